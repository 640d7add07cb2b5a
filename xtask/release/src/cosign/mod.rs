//! Signatures and attestations as cosign makes and verifies them.
//!
//! cosign keeps what is signed about an image in the image's repository, in manifests whose tags are made of the image's
//! digest: `sha256-<digest>.sig` holds signatures of its name and digest, `sha256-<digest>.att` statements about it in
//! signed envelopes (DSSE).

pub mod key;

use std::collections::HashMap;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use oci_spec::image::{ANNOTATION_REF_NAME, Descriptor, ImageManifest, MediaType};
use serde_json::{Value, json};

use crate::assembly::{self, manifest, tag_of};
use crate::layer::digest;
use crate::layout::Layout;
use crate::registry::Registry;
use key::Key;

const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const ENVELOPE: &str = "application/vnd.dsse.envelope.v1+json";
const STATEMENT: &str = "application/vnd.in-toto+json";

/// The layers that are kept under one tag.
#[derive(Debug)]
pub struct Collection {
    tag: String,
    layers: Vec<Descriptor>,
}

/// The signature of an image's digest.
///
/// # Errors
/// When the layout cannot be written.
pub fn signature(layout: &Layout, key: &Key, repository: &str, image: &Descriptor) -> anyhow::Result<Collection> {
    let payload = json!({
        "critical": {
            "identity": { "docker-reference": repository },
            "image": { "docker-manifest-digest": image.digest() },
            "type": "cosign container image signature",
        },
        "optional": null,
    });
    let payload = payload.to_string();
    let mut layer = layout.put(MediaType::from(PAYLOAD), payload.as_bytes())?;
    let signature = STANDARD.encode(key.sign(payload.as_bytes())?);
    layer.set_annotations(Some(HashMap::from([(SIGNATURE.to_owned(), signature)])));
    Ok(Collection { tag: tag(image, "sig"), layers: vec![layer] })
}

/// A statement in its signed envelope: a layer for [`attestations`].
///
/// # Errors
/// When the statement has no type, or the layout cannot be written.
pub fn envelope(layout: &Layout, key: &Key, statement: &Value) -> anyhow::Result<Descriptor> {
    let kind = statement["predicateType"].as_str().context("a statement about nothing")?;
    let text = statement.to_string();
    let signature = key.sign(&pre_authentication(STATEMENT, text.as_bytes()))?;
    let envelope = json!({
        "payloadType": STATEMENT,
        "payload": STANDARD.encode(&text),
        "signatures": [{ "keyid": "", "sig": STANDARD.encode(signature) }],
    });
    let mut layer = layout.put_json(MediaType::from(ENVELOPE), &envelope)?;
    // cosign wants the first one to be there, although the signature is in the envelope.
    let annotations =
        [(SIGNATURE, ""), ("predicateType", kind)].map(|(name, value)| (name.to_owned(), value.to_owned()));
    layer.set_annotations(Some(annotations.into()));
    Ok(layer)
}

/// All that is attested of an image.
pub fn attestations(image: &Descriptor, envelopes: Vec<Descriptor>) -> Collection {
    Collection { tag: tag(image, "att"), layers: envelopes }
}

/// What DSSE signs of a document and its type, version 1.
fn pre_authentication(kind: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {kind} {} ", kind.len(), body.len()).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

fn tag(image: &Descriptor, suffix: &str) -> String {
    format!("{}.{suffix}", image.digest().to_string().replace(':', "-"))
}

/// Writes the index of a layout of collections.
///
/// # Errors
/// When it cannot be written.
pub fn finish(layout: &Layout, collections: &[Collection]) -> anyhow::Result<()> {
    let mut named = Vec::new();
    for one in collections {
        let mut stored = layout.put_json(MediaType::ImageManifest, &stored(layout, one.layers.clone())?)?;
        stored.set_annotations(Some(HashMap::from([(ANNOTATION_REF_NAME.to_owned(), one.tag.clone())])));
        named.push(stored);
    }
    layout.finish(&assembly::index(named).build().context("make the index of the layout")?)
}

/// The manifest under a tag; its configuration goes into the layout.
fn stored(layout: &Layout, layers: Vec<Descriptor>) -> anyhow::Result<ImageManifest> {
    let digests: Vec<String> = layers.iter().map(|layer| layer.digest().to_string()).collect();
    let config = json!({
        "architecture": "", "os": "", "config": {},
        "rootfs": { "type": "layers", "diff_ids": digests },
    });
    let config = layout.put_json(MediaType::ImageConfig, &config)?;
    manifest(config, layers).build().context("make a manifest")
}

/// Pushes a layout of collections. What is under a tag already stays: others may have signed too.
///
/// # Errors
/// When the registry fails for good, or holds something else under such a tag.
pub async fn push(layout: &Layout, registry: &mut Registry) -> anyhow::Result<()> {
    for named in layout.index()?.manifests() {
        let tag = tag_of(named).context("a collection without a tag")?;
        let ours: ImageManifest = layout.get_json(named)?;
        let there = match registry.manifest(tag).await? {
            Some(bytes) if digest(&bytes) == named.digest().to_string() => continue,
            Some(bytes) => {
                serde_json::from_slice::<ImageManifest>(&bytes).with_context(|| format!("read {tag}"))?.layers().clone()
            }
            None => Vec::new(),
        };
        let new = ours.layers().iter().filter(|layer| !there.contains(layer)).cloned();
        let all: Vec<Descriptor> = there.iter().cloned().chain(new).collect();
        if all == there {
            continue;
        }
        let manifest = stored(layout, all)?;
        for blob in ours.layers().iter().chain([manifest.config()]) {
            if !registry.has_blob(blob).await? {
                registry.put_blob(blob, &Bytes::from(layout.get(blob)?), |_| ()).await?;
            }
        }
        let stored = layout.put_json(MediaType::ImageManifest, &manifest)?;
        registry.put_manifest(tag, stored.media_type(), &layout.get(&stored)?).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_of_a_document_is_as_dsse_says() {
        // The example of the protocol.
        let signed = pre_authentication("http://example.com/HelloWorld", b"hello world");
        assert_eq!(signed, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }
}
