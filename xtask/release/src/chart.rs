//! Charts and manifests of a controller, with its image pinned.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};
use oci_spec::image::{
    ANNOTATION_CREATED, ANNOTATION_REF_NAME, ANNOTATION_TITLE, ANNOTATION_VERSION, Descriptor, MediaType,
};
use serde_json::Value;

use crate::assembly::{self, manifest};
use crate::layer::{File, Layer};
use crate::layout::Layout;
use crate::project::{Controller, Revision};

/// What Helm calls a chart's description in a registry.
const CONFIG: &str = "application/vnd.cncf.helm.config.v1+json";
/// What it calls its archive.
const CONTENT: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";

/// A chart, as `helm package` makes it.
#[derive(Debug)]
pub struct Chart {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What `Chart.yaml` says.
    metadata: Value,
    /// The archive.
    pub archive: Vec<u8>,
}

/// Where a cloud's chart is; none where it has none.
pub fn folder(controller: &Controller) -> Option<std::path::PathBuf> {
    Some(controller.folder.join("deploy/chart")).filter(|folder| folder.is_dir())
}

/// The name of the chart in a folder, without packing it.
///
/// # Errors
/// When `Chart.yaml` is not valid.
pub fn name(folder: &Path) -> anyhow::Result<String> {
    field(&metadata(folder)?, "name")
}

impl Chart {
    /// Packs the chart in a folder, with the image `repository@digest` as the default of its values.
    ///
    /// # Errors
    /// When a file cannot be read, versions are not those of the crate, or the values have no place for the image.
    pub fn pack(folder: &Path, version: &str, repository: &str, digest: &str) -> anyhow::Result<Self> {
        let metadata = metadata(folder)?;
        check_versions(folder, &metadata, version)?;
        let name = field(&metadata, "name")?;
        let mut files = BTreeMap::new();
        read(folder, &name, &mut files)?;
        let values = files.get_mut(&format!("{name}/values.yaml")).context("the chart has no values.yaml")?;
        let text = String::from_utf8(std::mem::take(&mut values.content)).context("read values.yaml")?;
        values.content = pin(&text, repository, digest).context("pin the image in values.yaml")?.into_bytes();
        let archive = Layer::new(&files)?.compressed;
        Ok(Self { version: field(&metadata, "version")?, name, metadata, archive })
    }

    /// Writes it as registries keep it.
    ///
    /// # Errors
    /// When the layout cannot be written.
    pub fn write(&self, layout: &Layout, revision: &Revision) -> anyhow::Result<()> {
        let annotations = [
            (ANNOTATION_CREATED, revision.time.to_string()),
            (ANNOTATION_TITLE, self.name.clone()),
            (ANNOTATION_VERSION, self.version.clone()),
        ];
        let annotations: HashMap<_, _> = annotations.map(|(name, value)| (name.to_owned(), value)).into();
        let config = layout.put_json(MediaType::from(CONFIG), &self.metadata)?;
        let content = layout.put(MediaType::from(CONTENT), &self.archive)?;
        let manifest = manifest(config, vec![content]).annotations(annotations).build().context("make a manifest")?;
        let mut named = layout.put_json(MediaType::ImageManifest, &manifest)?;
        named.set_annotations(Some(HashMap::from([(ANNOTATION_REF_NAME.to_owned(), self.version.clone())])));
        layout.finish(&assembly::index(vec![named]).build().context("make the index of the layout")?)
    }
}

/// The manifest of the chart in a layout.
///
/// # Errors
/// When there is none.
pub fn in_layout(layout: &Layout) -> anyhow::Result<Descriptor> {
    layout.index()?.manifests().first().cloned().context("there is no chart")
}

/// Whether the chart in a folder is one of this version of its crate.
///
/// # Errors
/// When it is not, or cannot be read.
pub fn check(folder: &Path, version: &str) -> anyhow::Result<()> {
    check_versions(folder, &metadata(folder)?, version)
}

fn check_versions(folder: &Path, metadata: &Value, version: &str) -> anyhow::Result<()> {
    for name in ["version", "appVersion"] {
        let found = field(metadata, name)?;
        ensure!(found == version, "{name} in {} is {found}, not {version}", folder.join("Chart.yaml").display());
    }
    Ok(())
}

/// Manifests with every image of the controller's version replaced by one that is pinned.
///
/// # Errors
/// When no image is replaced.
pub fn pin_manifests(text: &str, version: &str, pinned: &str) -> anyhow::Result<String> {
    let ending = format!(":v{version}");
    let mut count = 0;
    let pin = |line: &str| match line.split_once("image: ") {
        Some((before, image)) if image.ends_with(&ending) => {
            count += 1;
            format!("{before}image: {pinned}\n")
        }
        _ => format!("{line}\n"),
    };
    let text = text.lines().map(pin).collect();
    ensure!(count > 0, "no image has the tag v{version}");
    Ok(text)
}

/// Writes repository and digest into the block `image` of values.
fn pin(values: &str, repository: &str, digest: &str) -> anyhow::Result<String> {
    let mut text = format!("\n{values}");
    for (name, value) in [("repository", repository), ("digest", digest)] {
        let start = format!("\n  {name}: ");
        let at = text.split_once("\nimage:\n").map(|(before, _)| before.len()).context("there is no image")?;
        let begin = at + text[at..].find(&start).with_context(|| format!("the image has no {name}"))? + start.len();
        let end = text[begin..].find('\n').map_or(text.len(), |length| begin + length);
        text.replace_range(begin..end, value);
    }
    Ok(text.split_off(1))
}

fn metadata(folder: &Path) -> anyhow::Result<Value> {
    let path = folder.join("Chart.yaml");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    serde_saphyr::from_str(&text).with_context(|| format!("read {}", path.display()))
}

fn field(metadata: &Value, name: &str) -> anyhow::Result<String> {
    metadata[name].as_str().map(str::to_owned).with_context(|| format!("Chart.yaml has no {name}"))
}

/// Reads all files below a folder; links are read as what they lead to.
fn read(folder: &Path, name: &str, files: &mut BTreeMap<String, File>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry.with_context(|| format!("read {}", folder.display()))?.path();
        let name = format!("{name}/{}", path.file_name().unwrap_or_default().to_string_lossy());
        if path.is_dir() {
            read(&path, &name, files)?;
        } else {
            let content = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            files.insert(name, File::data(content));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_is_pinned_in_its_own_block() {
        let values = "a:\n  digest: x\nimage:\n  repository: r\n  # a word\n  digest: \"\"\nb: {}\n";
        let pinned = "a:\n  digest: x\nimage:\n  repository: r.example/c\n  # a word\n  digest: sha256:1\nb: {}\n";
        assert_eq!(pin(values, "r.example/c", "sha256:1").unwrap(), pinned);
        assert!(pin("image:\n", "r", "d").is_err());
        assert!(pin("a: 1\n", "r", "d").is_err());
    }

    #[test]
    fn a_chart_of_another_version_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("Chart.yaml"), "name: a\nversion: 0.2.0\nappVersion: 0.1.0\n").unwrap();
        let told = check(folder.path(), "0.2.0").unwrap_err().to_string();
        assert!(told.starts_with("appVersion in ") && told.ends_with(" is 0.1.0, not 0.2.0"), "{told}");
    }

    #[test]
    fn images_of_manifests_are_pinned() {
        let text = "  - image: r/a:v0.1.0\n  - image: busybox:1\n";
        assert_eq!(
            pin_manifests(text, "0.1.0", "r/b@sha256:1").unwrap(),
            "  - image: r/b@sha256:1\n  - image: busybox:1\n"
        );
        assert!(pin_manifests(text, "0.2.0", "x").is_err());
    }
}
