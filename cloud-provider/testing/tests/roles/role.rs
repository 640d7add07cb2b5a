//! The roles under test, from `roles.yaml`.

use std::collections::BTreeMap;

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

    /// Its objects, for an account of its name.
    pub(crate) fn objects(&self) -> Vec<Value> {
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
