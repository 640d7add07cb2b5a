//! What the workspace says: which controllers it has images for, and which commit it is at.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

/// The workspace at a commit.
#[derive(Debug, Clone)]
pub struct Project {
    /// Its folder.
    pub root: PathBuf,
    /// Where builds go.
    pub target: PathBuf,
    /// The commit.
    pub revision: Revision,
    /// What it has images for.
    pub controllers: Vec<Controller>,
}

/// A commit, and whether the files are as it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// Its hash.
    pub commit: String,
    /// Files differ from it.
    pub dirty: bool,
    /// The time of it, or that of `SOURCE_DATE_EPOCH` where that is set.
    pub time: Timestamp,
}

impl Revision {
    /// The hash, marked when files differ.
    pub fn describe(&self) -> String {
        format!("{}{}", self.commit, if self.dirty { "-dirty" } else { "" })
    }
}

/// A controller that there is an image for.
#[derive(Debug, Clone)]
pub struct Controller {
    /// What its crate says about the image.
    pub settings: Settings,
    /// The name of its crate.
    pub package: String,
    /// The folder of its crate.
    pub folder: PathBuf,
    /// The version of its crate.
    pub version: String,
    /// What its crate says that it is.
    pub description: String,
    /// Its licence, an SPDX expression.
    pub license: String,
    /// Where its source is.
    pub repository: String,
}

/// The table `package.metadata.image` in the manifest of a cloud's crate. Path, form and user are those of upstream's image,
/// so that upstream's manifests run with the image changed and nothing else.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// The cloud.
    pub cloud: String,
    /// The name of the program.
    pub binary: String,
    /// Its path in the image.
    pub path: String,
    /// Whether arguments of a manifest follow the path or replace it.
    pub form: Form,
    /// Whom it runs as unless a manifest says otherwise.
    pub user: String,
    /// An image that is larger, compressed, is an error.
    pub max_compressed_bytes: u64,
}

/// Where the image names its program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// In the entry point: `args` of a manifest are its flags.
    Entrypoint,
    /// In the command: `args` of a manifest replace it, and begin with the path.
    Cmd,
}

impl Project {
    /// Asks cargo and git, in the workspace around `folder`.
    ///
    /// # Errors
    /// When one of them fails, or a table in a manifest is not valid.
    pub fn load(folder: &Path) -> anyhow::Result<Self> {
        let text = cargo(folder, &["metadata", "--no-deps", "--locked", "--format-version", "1"])?;
        let metadata: Value = serde_json::from_str(&text).context("read the answer of cargo metadata")?;
        let root = PathBuf::from(string(&metadata, "workspace_root")?);
        let packages = metadata["packages"].as_array().map_or(&[][..], Vec::as_slice);
        let controllers = packages.iter().filter_map(Controller::read).collect::<anyhow::Result<_>>()?;
        let target = PathBuf::from(string(&metadata, "target_directory")?);
        Ok(Self { revision: revision(&root)?, root, target, controllers })
    }

    /// The controller of a cloud.
    ///
    /// # Errors
    /// When there is none.
    pub fn controller(&self, cloud: &str) -> anyhow::Result<&Controller> {
        let known = || self.controllers.iter().map(|one| one.settings.cloud.as_str()).collect::<Vec<_>>().join(", ");
        let mut controllers = self.controllers.iter();
        controllers
            .find(|one| one.settings.cloud == cloud)
            .with_context(|| format!("there is no image for cloud {cloud:?}; known: {}", known()))
    }

    /// Where the layout of a cloud's image is.
    pub fn layout(&self, cloud: &str) -> PathBuf {
        self.target.join("image").join(cloud)
    }
}

impl Controller {
    fn read(package: &Value) -> Option<anyhow::Result<Self>> {
        let image = package["metadata"].get("image")?;
        let settings = Settings::deserialize(image)
            .with_context(|| format!("read package.metadata.image of {}", package["name"]))
            .and_then(|settings| {
                Ok(Self {
                    settings,
                    package: string(package, "name")?,
                    folder: PathBuf::from(string(package, "manifest_path")?.trim_end_matches("Cargo.toml")),
                    version: string(package, "version")?,
                    description: string(package, "description")?,
                    license: string(package, "license")?,
                    repository: string(package, "repository")?,
                })
            });
        Some(settings)
    }

    /// The tag of its image.
    pub fn tag(&self) -> String {
        format!("v{}", self.version)
    }
}

fn revision(root: &Path) -> anyhow::Result<Revision> {
    let git = |args: &[&str]| output(Command::new("git").current_dir(root).args(args));
    let head = git(&["log", "-1", "--format=%H %ct"])?;
    let (commit, time) = head.trim().split_once(' ').context("read the answer of git log")?;
    let epoch = std::env::var("SOURCE_DATE_EPOCH").unwrap_or_else(|_| time.to_owned());
    let seconds = epoch.parse().with_context(|| format!("{epoch:?} is no time in seconds"))?;
    Ok(Revision {
        commit: commit.to_owned(),
        dirty: !git(&["status", "--porcelain"])?.is_empty(),
        time: Timestamp::from_second(seconds).with_context(|| format!("{epoch} is no time"))?,
    })
}

/// What cargo prints.
pub(crate) fn cargo(folder: &Path, args: &[&str]) -> anyhow::Result<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    output(Command::new(cargo).current_dir(folder).args(args))
}

/// What a program prints; an error with what it said if it fails.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("start {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim_end());
    }
    String::from_utf8(output.stdout).with_context(|| format!("{command:?} printed something that is not UTF-8"))
}

pub(crate) fn string(value: &Value, field: &str) -> anyhow::Result<String> {
    value[field].as_str().map(str::to_owned).with_context(|| format!("cargo metadata lacks {field}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cloud_says_what_its_image_is_like() {
        let project = Project::load(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
        let aws = project.controller("aws").unwrap();
        assert_eq!(aws.settings.path, "/bin/aws-cloud-controller-manager");
        assert_eq!(aws.settings.form, Form::Entrypoint);
        assert_eq!(project.revision.commit.len(), 40);
        let error = project.controller("tape").unwrap_err().to_string();
        assert!(error.contains("known: aws") || error.contains(", aws"), "{error}");
    }
}
