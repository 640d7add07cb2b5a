//! Files that go along with a release, and what is told about it in the end.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::{Release, charts, checks, replace};
use crate::assembly::{document_about, index_of};
use crate::chart;
use crate::layer::digest;
use crate::layout::Layout;
use crate::{provenance, sbom};

const SUMS: &str = "SHA256SUMS";
const SUMS_SIGNATURE: &str = "SHA256SUMS.sig";
const PUBLIC_KEY: &str = "cosign.pub";

/// Writes them all, and what vouches for them: their checksums, signed.
pub(super) fn write(release: &mut Release) -> anyhow::Result<String> {
    let key = release.key()?;
    let mut files = documents(release)?;
    files.insert(PUBLIC_KEY.to_owned(), key.public()?.into_bytes());
    if let Some(chart) = charts::packed(release)? {
        files.insert(format!("{}-{}.tgz", chart.name, chart.version), chart.archive);
    }
    files.extend(manifests(release)?);
    files.insert("notes.md".to_owned(), notes(release)?.into_bytes());
    let sums: String = files
        .iter()
        .map(|(name, bytes)| format!("{}  {name}\n", digest(bytes).trim_start_matches("sha256:")))
        .collect();
    files.insert(SUMS_SIGNATURE.to_owned(), STANDARD.encode(key.sign(sums.as_bytes())?).into_bytes());
    files.insert(SUMS.to_owned(), sums.into_bytes());
    let write = |folder: &Path| {
        files.iter().try_for_each(|(name, bytes)| {
            let path = folder.join(name);
            fs::write(&path, bytes).with_context(|| format!("write {}", path.display()))
        })
    };
    replace(&release.files(), write)?;
    Ok(format!("{} files", files.len()))
}

/// What is known of the image of each architecture.
fn documents(release: &Release) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let layout = Layout::open(&release.layout())?;
    let (_, index) = index_of(&layout)?;
    let mut files = BTreeMap::new();
    for image in index.manifests() {
        let platform = image.platform().as_ref().context("an image without a platform")?;
        let name = format!("{}-linux-{}", release.controller.settings.binary, platform.architecture());
        for (kind, end) in [(sbom::MEDIA_TYPE, "cdx.json"), (provenance::MEDIA_TYPE, "provenance.json")] {
            let document = document_about(&layout, image, kind)?.with_context(|| format!("{name} has no {end}"))?;
            files.insert(format!("{name}.{end}"), document);
        }
    }
    Ok(files)
}

/// The crate's manifests, with the image pinned.
fn manifests(release: &Release) -> anyhow::Result<Option<(String, Vec<u8>)>> {
    let path = release.controller.folder.join("deploy/manifests.yaml");
    if !path.exists() {
        return Ok(None);
    }
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let pinned = format!("{}@{}", release.to.place(), release.digest()?);
    let text = chart::pin_manifests(&text, &release.version, &pinned);
    let text = text.with_context(|| format!("pin the image in {}", path.display()))?;
    Ok(Some((format!("{}.yaml", release.controller.settings.binary), text.into_bytes())))
}

/// The changelog's words, and how to get and check what they are about.
fn notes(release: &Release) -> anyhow::Result<String> {
    let (package, version) = (&release.controller.package, &release.version);
    let pinned = format!("{}@{}", release.to.place(), release.digest()?);
    let mut text = format!("# {package} {version}\n\n{}\n\n", checks::notes(release)?);
    if let Some(chart) = &release.chart {
        // Writing to a string does not fail.
        let _ = write!(text, "## Chart\n\n    helm install NAME oci://{} --version {version}\n\n", chart.to.place());
    }
    let _ = write!(
        text,
        "## Image\n\n    {}\n    {pinned}\n\n\
         ## Verify\n\n    cosign verify --key {PUBLIC_KEY} --insecure-ignore-tlog=true {pinned}\n    \
         cosign verify-attestation --key {PUBLIC_KEY} --insecure-ignore-tlog=true --type cyclonedx {pinned}\n    \
         cosign verify-attestation --key {PUBLIC_KEY} --insecure-ignore-tlog=true --type slsaprovenance1 {pinned}\n    \
         cosign verify-blob --key {PUBLIC_KEY} --insecure-ignore-tlog=true --signature {SUMS_SIGNATURE} {SUMS}\n    \
         sha256sum --check {SUMS}\n\n\
         The key is in the file {PUBLIC_KEY}; trust it when it is the one that you know from elsewhere. The signatures are in \
         no transparency log, which is what the flag says.\n",
        release.to
    );
    Ok(text)
}

/// For programs: what was released, under which names.
pub(super) fn summary(release: &mut Release) -> anyhow::Result<String> {
    let layout = Layout::open(&release.layout())?;
    let (_, index) = index_of(&layout)?;
    let mut platforms = BTreeMap::new();
    for image in index.manifests() {
        let platform = image.platform().as_ref().context("an image without a platform")?;
        platforms.insert(format!("{}/{}", platform.os(), platform.architecture()), image.digest().to_string());
    }
    let folder = release.files();
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry.with_context(|| format!("read {}", folder.display()))?.path();
        let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        files.insert(name, digest(&bytes));
    }
    let chart = match (&release.chart, charts::stored(release)?) {
        (Some(place), Some(chart)) => json!({ "reference": place.to.to_string(), "digest": chart.digest() }),
        _ => json!(null),
    };
    let summary = json!({
        "cloud": release.controller.settings.cloud,
        "package": release.controller.package,
        "version": release.version,
        "commit": release.project.revision.commit,
        "git_tag": release.git_tag(),
        "image": { "reference": release.to.to_string(), "digest": release.digest()?, "platforms": platforms },
        "chart": chart,
        "folder": folder,
        "files": files,
    });
    let path = release.summary();
    fs::write(&path, format!("{summary}\n")).with_context(|| format!("write {}", path.display()))?;
    Ok(path.display().to_string())
}
