//! The archive that `docker load` and `podman load` take: the image of one architecture.

use std::collections::BTreeMap;
use std::io::Read as _;

use anyhow::Context as _;
use flate2::read::GzDecoder;
use oci_spec::image::{Descriptor, ImageManifest};
use serde_json::json;

use crate::layer::{File, archive, digest};
use crate::layout::Layout;

/// Archives `image` of the layout under a name such as `name:v1.2.3`.
///
/// # Errors
/// When the layout is damaged.
pub fn write(layout: &Layout, image: &Descriptor, name: &str) -> anyhow::Result<Vec<u8>> {
    let manifest: ImageManifest = layout.get_json(image)?;
    let config = format!("{}.json", manifest.config().digest().digest());
    let mut files = BTreeMap::from([(config.clone(), File::data(layout.get(manifest.config())?))]);
    let mut layers = Vec::new();
    for layer in manifest.layers() {
        let mut content = Vec::new();
        let compressed = layout.get(layer)?;
        GzDecoder::new(compressed.as_slice()).read_to_end(&mut content).context("decompress a layer")?;
        let path = format!("{}.tar", digest(&content).trim_start_matches("sha256:"));
        layers.push(path.clone());
        files.insert(path, File::data(content));
    }
    let listed = json!([{ "Config": config, "RepoTags": [name], "Layers": layers }]);
    files.insert("manifest.json".to_owned(), File::data(listed.to_string()));
    archive(&files)
}
