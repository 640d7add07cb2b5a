//! `xtask-release push`: a layout goes to a registry, its name last.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use indicatif::{ProgressBar, ProgressStyle};
use oci_spec::distribution::Reference;
use oci_spec::image::{Descriptor, ImageManifest};
use serde_json::json;

use crate::assembly::{index_of, tag_of};
use crate::layout::Layout;
use crate::project::Project;
use crate::registry::Registry;
use crate::registry::credentials::Credentials;

/// What to push, and where.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The cloud whose image it is
    #[arg(long)]
    cloud: String,
    /// Where it goes: registry and repository, and a tag if not that of the image
    #[arg(long, value_name = "REFERENCE")]
    to: String,
    /// Another layout than that of `cargo xtask image`
    #[arg(long, value_name = "PATH")]
    layout: Option<PathBuf>,
    /// Speak to the registry without TLS; loopback is always spoken to so
    #[arg(long)]
    plain_http: bool,
    /// Print a summary as JSON
    #[arg(long)]
    json: bool,
}

/// Pushes it and prints the name and digest under which it can be pulled.
///
/// # Errors
/// When the tag names another image already, or the registry fails for good.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let path = match &args.layout {
        Some(path) => path.clone(),
        None => Project::load(&std::env::current_dir().context("find the working folder")?)?.layout(&args.cloud),
    };
    let layout = Layout::open(&path)?;
    let (named, _) = index_of(&layout)?;
    let target = Target::parse(&args.to, tag_of(&named).map_or("", String::as_str))?;
    let mut registry = target.open(args.plain_http, Credentials::find(&target.registry)?)?;
    push(&layout, &mut registry, &target.tag).await.with_context(|| format!("push to {target}"))?;
    let digest = named.digest();
    let text = if args.json {
        json!({ "cloud": args.cloud, "reference": target.to_string(), "digest": digest }).to_string()
    } else {
        format!("{target}@{digest}")
    };
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush()).context("write to standard output")
}

/// A tag in a repository of a registry.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    registry: String,
    repository: String,
    tag: String,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}:{}", self.registry, self.repository, self.tag)
    }
}

impl Target {
    /// Reads `registry/repository:tag`; `tag` is the one where there is none.
    pub(crate) fn parse(text: &str, tag: &str) -> anyhow::Result<Self> {
        let reference: Reference = text.parse().with_context(|| format!("{text:?} names no place in a registry"))?;
        if reference.digest().is_some() {
            bail!("{text} has a digest; an image is pushed to a tag");
        }
        // The parser says "latest" where there is none.
        let has_tag = text.rsplit('/').next().is_some_and(|last| last.contains(':'));
        let tag = reference.tag().filter(|_| has_tag).unwrap_or(tag);
        Ok(Self {
            registry: reference.resolve_registry().to_owned(),
            repository: reference.repository().to_owned(),
            tag: tag.to_owned(),
        })
    }

    pub(crate) fn registry(&self) -> &str {
        &self.registry
    }

    pub(crate) fn tag(&self) -> &str {
        &self.tag
    }

    /// Registry and repository.
    pub(crate) fn place(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    pub(crate) fn open(&self, plain_http: bool, credentials: Credentials) -> anyhow::Result<Registry> {
        Registry::new(&self.registry, &self.repository, plain_http, credentials)
    }
}

/// Pushes everything of a layout; the tag comes last, so that what is half there is never found, and what is there already is
/// not sent again. A tag that names another image is left alone.
///
/// # Errors
/// When the tag names another image already, or the registry fails for good.
pub async fn push(layout: &Layout, registry: &mut Registry, tag: &str) -> anyhow::Result<()> {
    let (named, _) = index_of(layout)?;
    check_free(registry, tag, &named).await?;
    upload(layout, registry).await?;
    name(layout, registry, tag).await
}

/// Uploads everything of a layout under digests, the index too: what can be pulled by its digest and by no name.
///
/// # Errors
/// When the registry fails for good.
pub async fn upload(layout: &Layout, registry: &mut Registry) -> anyhow::Result<()> {
    let (named, index) = index_of(layout)?;
    let referrers: Vec<Descriptor> =
        layout.index()?.manifests().iter().filter(|one| tag_of(one).is_none()).cloned().collect();
    let mut manifests: BTreeMap<String, ImageManifest> = BTreeMap::new();
    for one in index.manifests().iter().chain(&referrers) {
        manifests.insert(one.digest().to_string(), layout.get_json(one)?);
    }
    let blobs = manifests.values().flat_map(|one| one.layers().iter().chain([one.config()]));
    let blobs: BTreeMap<String, &Descriptor> = blobs.map(|blob| (blob.digest().to_string(), blob)).collect();
    for blob in blobs.values() {
        put_blob(layout, registry, blob).await?;
    }
    for image in index.manifests() {
        put(layout, registry, image, image.digest().as_ref()).await?;
    }
    for referrer in &referrers {
        let is_noticed = put(layout, registry, referrer, referrer.digest().as_ref()).await?;
        let subject = manifests.get(&referrer.digest().to_string()).and_then(|one| one.subject().as_ref());
        if let Some(subject) = subject.filter(|_| !is_noticed) {
            registry.refer(subject, referrer).await?;
        }
    }
    put(layout, registry, &named, named.digest().as_ref()).await.map(|_| ())
}

/// Gives an index that was uploaded its name. A tag that names another image is left alone.
///
/// # Errors
/// When the tag names another image already, or the registry fails for good.
pub async fn name(layout: &Layout, registry: &mut Registry, tag: &str) -> anyhow::Result<()> {
    let (named, _) = index_of(layout)?;
    // Once more: uploads take their time.
    check_free(registry, tag, &named).await?;
    put(layout, registry, &named, tag).await?;
    match registry.digest_of(tag).await? {
        Some(digest) if digest == named.digest().to_string() => Ok(()),
        other => {
            bail!("{tag} was stored as {}, and reads as {}", named.digest(), other.as_deref().unwrap_or("nothing"))
        }
    }
}

async fn check_free(registry: &mut Registry, tag: &str, image: &Descriptor) -> anyhow::Result<()> {
    match registry.digest_of(tag).await? {
        Some(digest) if digest != image.digest().to_string() => {
            bail!(
                "{tag} is {digest} already; a tag that was pushed is not overwritten (this image is {})",
                image.digest()
            )
        }
        _ => Ok(()),
    }
}

async fn put(layout: &Layout, registry: &mut Registry, one: &Descriptor, reference: &str) -> anyhow::Result<bool> {
    registry.put_manifest(reference, one.media_type(), &layout.get(one)?).await
}

async fn put_blob(layout: &Layout, registry: &mut Registry, blob: &Descriptor) -> anyhow::Result<()> {
    let bytes = Bytes::from(layout.get(blob)?);
    if registry.has_blob(blob).await? {
        eprintln!("{}: there already", blob.digest());
        return Ok(());
    }
    let bar = ProgressBar::new(blob.size());
    // The template is ours, and is tested.
    if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(blob.digest().to_string());
    let sent = bar.clone();
    registry.put_blob(blob, &bytes, move |count| sent.set_position(count)).await?;
    bar.finish_and_clear();
    eprintln!("{}: {} bytes of {}", blob.digest(), blob.size(), blob.media_type());
    Ok(())
}

const TEMPLATE: &str = "{elapsed} [{bar:24}] {bytes}/{total_bytes} {wide_msg:.dim}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_without_a_tag_gets_that_of_the_image() {
        let target = |text: &str| Target::parse(text, "v1.2.3").map(|target| target.to_string());
        assert_eq!(target("registry.example:5000/team/ccm").unwrap(), "registry.example:5000/team/ccm:v1.2.3");
        assert_eq!(target("registry.example/team/ccm:v2").unwrap(), "registry.example/team/ccm:v2");
        assert!(target("registry.example/UPPER").is_err());
        let digest = "0".repeat(64);
        assert!(target(&format!("registry.example/ccm@sha256:{digest}")).unwrap_err().to_string().contains("digest"));
    }

    #[test]
    fn the_template_is_valid() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
    }
}
