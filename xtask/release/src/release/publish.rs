//! Signing, and the steps that others see.

use anyhow::Context as _;
use oci_spec::image::Descriptor;
use serde_json::{Value, json};

use super::{Release, charts, checks, replace};
use crate::assembly::{document_about, index_of};
use crate::cosign;
use crate::cosign::key::Key;
use crate::layout::Layout;
use crate::{provenance, push, sbom};

/// The kind of an attestation that is an SBOM of ours, as cosign names it.
const CYCLONEDX: &str = "https://cyclonedx.org/bom";

/// Signs the index and each image in it, and what is known about each; whoever asks about the index gets it all.
pub(super) fn sign(release: &mut Release) -> anyhow::Result<String> {
    let key = release.key()?;
    let repository = release.to.place();
    let image = Layout::open(&release.layout())?;
    let (named, index) = index_of(&image)?;
    let mut count = 0;
    replace(&release.signatures(), |folder| {
        let layout = Layout::create(folder)?;
        let mut collections = vec![cosign::signature(&layout, key, &repository, &named)?];
        let mut all = Vec::new();
        for one in index.manifests() {
            collections.push(cosign::signature(&layout, key, &repository, one)?);
            let envelopes = attest(&image, &layout, key, &repository, [&named, one])?;
            all.extend(envelopes.iter().cloned());
            collections.push(cosign::attestations(one, envelopes));
        }
        count = all.len();
        collections.push(cosign::attestations(&named, all));
        cosign::finish(&layout, &collections)
    })?;
    charts::sign(release, key)?;
    Ok(format!("{} signatures, {count} attestations", index.manifests().len() + 1))
}

/// The envelopes about an image, which is in an index.
fn attest(
    image: &Layout,
    layout: &Layout,
    key: &Key,
    repository: &str,
    [index, one]: [&Descriptor; 2],
) -> anyhow::Result<Vec<Descriptor>> {
    let subjects = [index, one].map(|one| json!({ "name": repository, "digest": { "sha256": one.digest().digest() } }));
    let read = |kind: &str| -> anyhow::Result<Value> {
        let document = document_about(image, one, kind)?.with_context(|| format!("nothing of kind {kind}"))?;
        serde_json::from_slice(&document).with_context(|| format!("read what is of kind {kind}"))
    };
    let statement = |kind: &str, predicate: &Value| {
        let statement = json!({
            "_type": provenance::STATEMENT,
            "subject": subjects,
            "predicateType": kind,
            "predicate": predicate,
        });
        cosign::envelope(layout, key, &statement)
    };
    let origin = read(provenance::MEDIA_TYPE)?;
    Ok(vec![statement(CYCLONEDX, &read(sbom::MEDIA_TYPE)?)?, statement(provenance::PREDICATE, &origin["predicate"])?])
}

/// Everything but the names that users pull.
pub(super) async fn upload(release: &mut Release) -> anyhow::Result<String> {
    push::upload(&Layout::open(&release.layout())?, &mut release.registry).await?;
    cosign::push(&Layout::open(&release.signatures())?, &mut release.registry).await?;
    charts::upload(release).await?;
    Ok(format!("{}@{}", release.to.place(), release.digest()?))
}

/// Before the name of the image: who releases another commit as this version is refused here by the remote.
pub(super) fn git_tag(release: &mut Release) -> anyhow::Result<String> {
    let (tag, commit) = (release.git_tag(), release.project.revision.commit.clone());
    if checks::tagged(release)?.is_none() {
        let message = format!("{} {}", release.controller.package, release.version);
        checks::git(release, &["tag", "--annotate", "--message", &message, &tag, &commit])?;
    }
    let Some(remote) = &release.git_remote else { return Ok(format!("{tag}, here only")) };
    if checks::tagged_in_remote(release)?.is_none() {
        checks::git(release, &["push", remote, &format!("refs/tags/{tag}")])?;
    }
    Ok(tag)
}

/// The last of all names.
pub(super) async fn name(release: &mut Release) -> anyhow::Result<String> {
    push::name(&Layout::open(&release.layout())?, &mut release.registry, release.to.tag()).await?;
    Ok(release.to.to_string())
}
