//! What an image is made of, in CycloneDX 1.6.

use serde::Serialize;

use crate::layer::digest;
use crate::packages::Package;
use crate::project::{Controller, Revision};

/// The media type of the document.
pub const MEDIA_TYPE: &str = "application/vnd.cyclonedx+json";

/// The document; only the fields that we fill.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Bom {
    bom_format: &'static str,
    spec_version: &'static str,
    version: u32,
    metadata: Metadata,
    components: Vec<Component>,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Serialize)]
struct Metadata {
    timestamp: String,
    component: Component,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Component {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(rename = "bom-ref")]
    id: String,
    name: String,
    version: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hashes: Vec<Hash>,
    licenses: Vec<License>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purl: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    external_references: Vec<Reference>,
}

#[derive(Debug, Serialize)]
struct Hash {
    alg: &'static str,
    content: String,
}

#[derive(Debug, Serialize)]
struct License {
    expression: String,
}

#[derive(Debug, Serialize)]
struct Reference {
    #[serde(rename = "type")]
    kind: &'static str,
    url: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Dependency {
    #[serde(rename = "ref")]
    id: String,
    depends_on: Vec<String>,
}

impl Bom {
    /// Describes a program: the crates that it is made of, the first of which is its own, and the C library `glibc`.
    pub fn new(
        controller: &Controller,
        revision: &Revision,
        program: &[u8],
        packages: &[Package],
        glibc: Option<&str>,
    ) -> Self {
        let name = &controller.settings.binary;
        let own = Component {
            kind: "application",
            id: format!("{name}@{}", controller.version),
            name: name.clone(),
            version: controller.version.clone(),
            hashes: vec![sha256(digest(program).trim_start_matches("sha256:"))],
            licenses: vec![License { expression: controller.license.clone() }],
            purl: None,
            external_references: vec![Reference { kind: "vcs", url: controller.repository.clone() }],
        };
        let mut components: Vec<Component> = packages.iter().map(library).collect();
        components.extend(glibc.map(c_library));
        let first = packages.iter().take(1).map(Package::id);
        let direct = first.chain(glibc.map(|version| format!("glibc@{version}"))).collect();
        let mut dependencies = vec![Dependency { id: own.id.clone(), depends_on: direct }];
        dependencies.extend(
            packages
                .iter()
                .map(|package| Dependency { id: package.id(), depends_on: package.uses.iter().cloned().collect() }),
        );
        Self {
            bom_format: "CycloneDX",
            spec_version: "1.6",
            version: 1,
            metadata: Metadata { timestamp: revision.time.to_string(), component: own },
            components,
            dependencies,
        }
    }
}

fn library(package: &Package) -> Component {
    let reference = |url: &String| Reference { kind: "vcs", url: url.clone() };
    Component {
        kind: "library",
        id: package.id(),
        name: package.name.clone(),
        version: package.version.clone(),
        hashes: package.checksum.as_deref().map(sha256).into_iter().collect(),
        licenses: vec![License { expression: package.license.clone() }],
        // Only what is in the registry can be found there.
        purl: package.checksum.as_ref().map(|_| format!("pkg:cargo/{}", package.id())),
        external_references: package.repository.iter().map(reference).collect(),
    }
}

fn c_library(version: &str) -> Component {
    Component {
        kind: "library",
        id: format!("glibc@{version}"),
        name: "glibc".to_owned(),
        version: version.to_owned(),
        hashes: Vec::new(),
        licenses: vec![License { expression: "LGPL-2.1-or-later".to_owned() }],
        purl: Some(format!("pkg:generic/glibc@{version}")),
        external_references: Vec::new(),
    }
}

fn sha256(content: &str) -> Hash {
    Hash { alg: "SHA-256", content: content.to_owned() }
}
