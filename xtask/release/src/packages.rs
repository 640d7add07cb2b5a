//! The crates that a program is made of.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use oci_spec::image::Arch;
use serde_json::Value;

use crate::certificates;
use crate::project::{Controller, Project, cargo, string};

/// A crate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its licence, an SPDX expression.
    pub license: String,
    /// Who wrote it.
    pub authors: Vec<String>,
    /// Where its source is.
    pub repository: Option<String>,
    /// The SHA-256 of its archive in the registry; the crates of the workspace are in none.
    pub checksum: Option<String>,
    /// Its folder.
    pub folder: PathBuf,
    /// The crates of the program that it uses, by their [`Package::id`].
    pub uses: BTreeSet<String>,
}

impl Package {
    /// Its name and version.
    pub fn id(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    /// Whether it is a crate of the workspace.
    pub fn is_ours(&self) -> bool {
        self.checksum.is_none()
    }
}

/// What cargo calls the machine that images of an architecture run on.
pub fn target(architecture: &Arch) -> String {
    let machine = if *architecture == Arch::ARM64 { "aarch64" } else { "x86_64" };
    format!("{machine}-unknown-linux-gnu")
}

/// The crates whose code is in a controller's program, and the one whose certificates are in its image; the controller's own
/// is the first.
///
/// # Errors
/// When cargo fails, or does not know a crate that it names.
pub fn of(project: &Project, controller: &Controller, architecture: &Arch) -> anyhow::Result<Vec<Package>> {
    let target = target(architecture);
    // With the features that the program is built with; the metadata has those of the whole workspace.
    let mut tree = vec!["tree", "--locked", "--package", &controller.package, "--edges", "normal,no-proc-macro"];
    tree.extend(["--target", &target, "--prefix", "none", "--format", "{p}"]);
    let mut ids: BTreeSet<String> = cargo(&project.root, &tree)?.lines().filter_map(id).collect();
    let metadata = ["metadata", "--locked", "--format-version", "1", "--filter-platform", &target];
    let metadata: Value =
        serde_json::from_str(&cargo(&project.root, &metadata)?).context("read the answer of cargo metadata")?;
    let checksums = checksums(&project.root)?;
    let mut packages = BTreeMap::new();
    for package in array(&metadata["packages"]) {
        let package = read(package, &checksums)?;
        if package.name == certificates::PACKAGE {
            ids.insert(package.id());
        }
        packages.insert(package.id(), package);
    }
    let uses = edges(&metadata);
    let mut found = Vec::new();
    for id in &ids {
        let mut package = packages.remove(id).with_context(|| format!("cargo metadata lacks {id}"))?;
        package.uses = uses.get(id).into_iter().flatten().filter(|used| ids.contains(*used)).cloned().collect();
        found.push(package);
    }
    found.sort_by_key(|package| (package.name != controller.package, package.id()));
    Ok(found)
}

/// Reads `tokio v1.54.1`, with a folder or a note behind it.
fn id(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    Some(format!("{}@{}", words.next()?, words.next()?.strip_prefix('v')?))
}

fn read(package: &Value, checksums: &BTreeMap<String, String>) -> anyhow::Result<Package> {
    let manifest = PathBuf::from(string(package, "manifest_path")?);
    let (name, version) = (string(package, "name")?, string(package, "version")?);
    Ok(Package {
        checksum: checksums.get(&format!("{name}@{version}")).cloned(),
        // An old way to write it.
        license: package["license"].as_str().unwrap_or("NOASSERTION").replace('/', " OR "),
        authors: array(&package["authors"]).iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        repository: package["repository"].as_str().map(str::to_owned),
        folder: manifest.parent().context("a manifest without a folder")?.to_owned(),
        uses: BTreeSet::new(),
        name,
        version,
    })
}

/// Who uses whom outside of tests and build scripts.
fn edges(metadata: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let ids: BTreeMap<&str, String> = array(&metadata["packages"])
        .iter()
        .filter_map(|package| {
            let id = format!("{}@{}", package["name"].as_str()?, package["version"].as_str()?);
            Some((package["id"].as_str()?, id))
        })
        .collect();
    let named = |id: &Value| ids.get(id.as_str()?).cloned();
    let is_normal = |used: &&Value| array(&used["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
    array(&metadata["resolve"]["nodes"])
        .iter()
        .filter_map(|node| {
            let used = array(&node["deps"]).iter().filter(is_normal).filter_map(|used| named(&used["pkg"])).collect();
            Some((named(&node["id"])?, used))
        })
        .collect()
}

/// The checksums of `Cargo.lock`.
fn checksums(root: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let path = root.join("Cargo.lock");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let value = |package: &str, field: &str| {
        let line = package.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(" = \""));
        line.and_then(|line| line.strip_suffix('"')).map(str::to_owned)
    };
    Ok(text
        .split("[[package]]")
        .filter_map(|package| {
            let id = format!("{}@{}", value(package, "name")?, value(package, "version")?);
            Some((id, value(package, "checksum")?))
        })
        .collect())
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controllers_crates_are_those_that_are_linked() {
        let project = Project::load(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
        let controller = project.controller("memory").unwrap();
        let packages = of(&project, controller, &Arch::Amd64).unwrap();
        assert_eq!(packages[0].name, controller.package);
        let named = |name: &str| packages.iter().find(|package| package.name == name);
        let tokio = named("tokio").unwrap();
        assert_eq!(tokio.checksum.as_ref().unwrap().len(), 64);
        assert!(tokio.uses.iter().any(|used| used.starts_with("mio@")), "{tokio:?}");
        assert!(named("cloud-provider").unwrap().is_ours());
        assert!(named("webpki-root-certs").is_some(), "the certificates are in the image");
        assert!(named("serde_derive").is_none() && named("cc").is_none(), "what only builds is not in the program");
    }
}
