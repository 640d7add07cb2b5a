//! The roles under test, from `roles.yaml`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use cloud_provider_testing::rbac::{self, Rule};
use serde::Deserialize;
use serde_json::Value;

/// A role with the flags that go with it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Role {
    pub(crate) name: String,
    /// Where upstream has it.
    pub(crate) source: String,
    pub(crate) flags: Vec<String>,
    /// Whether the account may read how the API server authenticates.
    reader: bool,
    rules: Vec<Line>,
    /// What upstream's controller manager is refused with this role.
    #[serde(default)]
    pub(crate) lacks: Vec<Lack>,
    /// Who assigns pod ranges.
    #[serde(default)]
    pub(crate) ranges: Option<Ranges>,
    /// Whether the cloud has routes.
    #[serde(default)]
    pub(crate) routes: bool,
    /// `initialised` where something else initialises nodes.
    #[serde(default)]
    pub(crate) nodes: Option<Nodes>,
    /// Only nodes are initialised, and nothing else is done.
    #[serde(default)]
    pub(crate) only_nodes: bool,
    /// Nobody is asked about the users of the secure port.
    #[serde(default)]
    pub(crate) no_reviews: bool,
    /// Objects of a manifest, instead of those that `rules` make.
    #[serde(skip)]
    manifest: Option<Vec<Value>>,
}

/// A permission that is missing.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lack {
    /// Verb and resource.
    pub(crate) permission: String,
    /// What upstream's does with it.
    #[serde(rename = "upstream")]
    _upstream: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Ranges {
    Cluster,
    Cloud,
    Others,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Nodes {
    Initialised,
}

/// `resource.group: verbs`, with `named` beside it.
#[derive(Debug, Deserialize)]
struct Line {
    #[serde(default)]
    named: Vec<String>,
    #[serde(flatten)]
    grants: BTreeMap<String, String>,
}

impl Role {
    pub(crate) fn all() -> Vec<Self> {
        serde_saphyr::from_str(include_str!("roles.yaml")).unwrap()
    }

    /// A role that allows to read, to be the leader and to record events.
    pub(crate) fn reading_only() -> Self {
        let text = r#"
name: reading-only
source: nobody grants this
flags: [--cluster-cidr=10.200.0.0/16]
reader: true
routes: true
ranges: others
nodes: initialised
rules:
  - leases.coordination.k8s.io: get create update
  - events: create patch
  - nodes: get list watch
  - services: list watch
lacks:
  - {permission: patch nodes/status, upstream: "addresses, and the condition of routes"}
  - {permission: patch nodes, upstream: "the shutdown taint"}
  - {permission: delete nodes, upstream: "nodes whose instances are gone"}
  - {permission: patch services/status, upstream: "the finalizer"}
  - {permission: create tokenreviews.authentication.k8s.io, upstream: "users of the secure port"}
"#;
        serde_saphyr::from_str(text).unwrap()
    }

    /// What the charts of this workspace grant; all of them grant the same.
    pub(crate) fn ours() -> anyhow::Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut crates =
            fs::read_dir(&root)?.filter_map(|entry| Some(entry.ok()?.path().join("deploy/manifests.yaml")));
        let path = crates.find(|path| path.is_file()).context("there are no manifests")?;
        let mut role: Self = serde_saphyr::from_str(&format!(
            "{{name: {}, source: {}, flags: [--cluster-cidr=10.200.0.0/16], reader: true, routes: true, ranges: others, rules: []}}",
            rbac::ACCOUNT,
            path.display(),
        ))?;
        role.manifest = Some(rbac::of_manifest(&path)?);
        Ok(role)
    }

    /// What its rules grant: verb and resource.
    pub(crate) fn grants(&self) -> BTreeSet<String> {
        let words = |value: &Value| -> Vec<String> {
            value.as_array().into_iter().flatten().filter_map(|word| Some(word.as_str()?.to_owned())).collect()
        };
        let objects = self.objects();
        let rules = objects.iter().flat_map(|one| one["rules"].as_array().into_iter().flatten());
        rules
            .flat_map(|rule| {
                let resources = words(&rule["resources"]);
                words(&rule["verbs"]).into_iter().flat_map(move |verb| {
                    resources.iter().map(|resource| format!("{verb} {resource}")).collect::<Vec<_>>()
                })
            })
            .collect()
    }

    /// Its objects, for an account of its name.
    pub(crate) fn objects(&self) -> Vec<Value> {
        if let Some(objects) = &self.manifest {
            return objects.clone();
        }
        let rules: Vec<Rule> = self.rules.iter().flat_map(Line::rules).collect();
        let mut objects = rbac::role_of(&self.name, &self.name, &rules);
        if self.reader {
            objects.push(rbac::reader(&self.name));
        }
        objects
    }

    pub(crate) fn lacks(&self, permission: &str) -> bool {
        self.lacks.iter().any(|lack| lack.permission == permission)
    }

    pub(crate) fn serves(&self) -> bool {
        !self.flags.iter().any(|flag| flag == "--secure-port=0")
    }
}

impl Line {
    fn rules(&self) -> impl Iterator<Item = Rule> {
        self.grants.iter().map(|(resource, verbs)| {
            let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
            let verbs: Vec<&str> = verbs.split(' ').collect();
            let rule = Rule::new(group, &[resource], &verbs);
            if self.named.is_empty() { rule } else { rule.named(&self.named) }
        })
    }
}
