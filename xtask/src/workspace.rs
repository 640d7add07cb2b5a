//! What cargo knows about the workspace, and where the user's cache is.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::Value;

use crate::tool::Tool;

/// The workspace.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) members: Vec<Member>,
}

/// A crate of the workspace.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) name: String,
    /// Its folder, relative to the root, such as `cloud-provider-aws/simulator`.
    pub(crate) folder: String,
    pub(crate) description: Option<String>,
    pub(crate) features: Vec<String>,
    pub(crate) has_library: bool,
    pub(crate) dependencies: Vec<Dependency>,
}

/// What a member's manifest asks for.
#[derive(Debug, Clone)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) dev: bool,
}

/// The program that goes into the image of a cloud.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) package: String,
    pub(crate) binary: String,
}

/// Finds it by the table `package.metadata.image` in the manifest of the cloud's crate.
pub(crate) fn image(cloud: &str) -> anyhow::Result<Image> {
    let metadata = metadata()?;
    let images = || array(&metadata["packages"]).iter().filter(|package| package["metadata"]["image"].is_object());
    let name = |package: &Value| package["metadata"]["image"]["cloud"].as_str().unwrap_or_default().to_owned();
    let known = || images().map(name).collect::<Vec<_>>().join(", ");
    let found = images().find(|package| name(package) == cloud);
    let package = found.with_context(|| format!("there is no image for cloud {cloud:?}; known: {}", known()))?;
    Ok(Image { package: string(&package["name"])?, binary: string(&package["metadata"]["image"]["binary"])? })
}

/// Where builds go.
pub(crate) fn target() -> anyhow::Result<PathBuf> {
    Ok(PathBuf::from(string(&metadata()?["target_directory"])?))
}

fn metadata() -> anyhow::Result<Value> {
    let text = Tool::cargo().args(["metadata", "--no-deps", "--format-version", "1"]).dir(&root()?).output()?;
    serde_json::from_str(&text).context("read the answer of cargo metadata")
}

impl Workspace {
    pub(crate) fn load() -> anyhow::Result<Self> {
        let metadata = metadata()?;
        let root = PathBuf::from(string(&metadata["workspace_root"])?);
        let members = array(&metadata["packages"]).iter().map(|package| Member::read(package, &root)).collect();
        Ok(Self { members: members_in_order(members)?, root })
    }
}

fn members_in_order(members: anyhow::Result<Vec<Member>>) -> anyhow::Result<Vec<Member>> {
    let mut members = members?;
    members.sort_by(|a, b| a.folder.cmp(&b.folder));
    Ok(members)
}

impl Member {
    fn read(package: &Value, root: &Path) -> anyhow::Result<Self> {
        let manifest = PathBuf::from(string(&package["manifest_path"])?);
        let folder = manifest.parent().and_then(|folder| folder.strip_prefix(root).ok());
        let kinds = |target: &Value| array(&target["kind"]).iter().any(|kind| kind == "lib");
        Ok(Self {
            name: string(&package["name"])?,
            folder: folder.context("a member outside of the workspace")?.to_string_lossy().into_owned(),
            description: package["description"].as_str().map(str::to_owned),
            features: package["features"].as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect(),
            has_library: array(&package["targets"]).iter().any(kinds),
            dependencies: array(&package["dependencies"])
                .iter()
                .map(|one| Ok(Dependency { name: string(&one["name"])?, dev: one["kind"] == "dev" }))
                .collect::<anyhow::Result<_>>()?,
        })
    }
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn string(value: &Value) -> anyhow::Result<String> {
    value.as_str().map(str::to_owned).context("cargo metadata lacks a field")
}

/// The folder of the workspace: the one above ours.
pub(crate) fn root() -> anyhow::Result<PathBuf> {
    let ours = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let ours = ours.context("CARGO_MANIFEST_DIR is not set; run it as cargo xtask")?;
    Ok(ours.parent().context("xtask has no folder above it")?.to_owned())
}

/// A folder in the user's cache, `cloud-provider/` and `name`; made if there is none.
pub(crate) fn cache(name: &str) -> anyhow::Result<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")));
    let path = cache.context("neither XDG_CACHE_HOME nor HOME is set")?.join("cloud-provider").join(name);
    std::fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
    Ok(path)
}
