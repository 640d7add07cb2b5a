//! Where an image comes from: an in-toto statement with SLSA's provenance.

use oci_spec::image::{Arch, Descriptor};
use serde::Serialize;
use serde_json::{Value, json};

use crate::layer::digest;
use crate::packages::target;
use crate::project::{Controller, Revision};

/// The media type of the statement.
pub const MEDIA_TYPE: &str = "application/vnd.in-toto+json";

/// The kind of its predicate.
pub const PREDICATE: &str = "https://slsa.dev/provenance/v1";

/// The kind of the statement.
pub const STATEMENT: &str = "https://in-toto.io/Statement/v1";

/// The statement.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    #[serde(rename = "_type")]
    kind: &'static str,
    subject: Vec<Subject>,
    predicate_type: &'static str,
    predicate: Value,
}

#[derive(Debug, Serialize)]
struct Subject {
    name: String,
    digest: Value,
}

/// What went into a build.
#[derive(Debug)]
pub struct Build<'a> {
    /// The controller.
    pub controller: &'a Controller,
    /// The commit, whose files are as it says.
    pub revision: &'a Revision,
    /// The machine that it is for.
    pub architecture: &'a Arch,
    /// `Cargo.lock`.
    pub lock: &'a [u8],
    /// What the compiler says that it is.
    pub compiler: &'a str,
    /// Who builds, a URI.
    pub builder: &'a str,
}

impl Statement {
    /// States that `image`, with `program` in it, was built this way.
    pub fn new(build: &Build<'_>, image: &Descriptor, program: &[u8]) -> Self {
        let settings = &build.controller.settings;
        let repository = &build.controller.repository;
        let subject = |name: &str, digest: &str| Subject {
            name: name.to_owned(),
            digest: json!({ "sha256": digest.trim_start_matches("sha256:") }),
        };
        let predicate = json!({
            "buildDefinition": {
                "buildType": format!("{repository}/blob/main/docs/reference/images.md"),
                "externalParameters": {
                    "cloud": settings.cloud,
                    "target": target(build.architecture),
                    "profile": "release",
                },
                "internalParameters": { "compiler": build.compiler },
                "resolvedDependencies": [
                    { "uri": format!("git+{repository}"), "digest": { "gitCommit": build.revision.commit } },
                    { "name": "Cargo.lock", "digest": { "sha256": digest(build.lock).trim_start_matches("sha256:") } },
                ],
            },
            "runDetails": { "builder": { "id": build.builder } },
        });
        Self {
            kind: STATEMENT,
            subject: vec![subject("image", image.digest().as_ref()), subject(&settings.binary, &digest(program))],
            predicate_type: PREDICATE,
            predicate,
        }
    }
}
