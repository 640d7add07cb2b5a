//! What a controller would change, for `plan`.

use std::fmt;

use serde::Serialize;

use crate::{
    Error,
    cluster::objects::{Key, Node, Object, Service},
};

/// Everything that one controller would change now.
#[derive(Debug, Default)]
pub struct Plan {
    /// The changes, in the order in which they would be made.
    pub changes: Vec<Planned>,
    /// What could not be found out, each with the object that it is about: `node a`, `service default/web`.
    pub errors: Vec<(String, Error)>,
    /// What an operator should know although nothing would be changed, each with its object: a deletion that is held back,
    /// a service that is paused.
    pub notes: Vec<(String, String)>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Planned {
    /// Where.
    pub target: Target,
    /// The object on whose behalf: `node a`, `service default/web`.
    pub object: String,
    /// In words, for example `create listener 443`.
    pub what: String,
}

/// Where a change would be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// In the cloud.
    Cloud,
    /// On a Kubernetes object.
    Cluster,
}

impl Plan {
    /// Adds a change in the cloud on behalf of `object`.
    pub fn cloud(&mut self, object: impl Into<String>, what: impl fmt::Display) {
        self.add(Target::Cloud, object.into(), what);
    }

    /// Adds a change of the Kubernetes object `object`.
    pub fn cluster(&mut self, object: impl Into<String>, what: impl fmt::Display) {
        self.add(Target::Cluster, object.into(), what);
    }

    /// Adds something that could not be found out about `object`.
    pub fn error(&mut self, object: impl Into<String>, error: Error) {
        self.errors.push((object.into(), error));
    }

    /// Adds what an operator should know about `object`.
    pub fn note(&mut self, object: impl Into<String>, text: impl Into<String>) {
        self.notes.push((object.into(), text.into()));
    }

    /// Takes in what another controller would do, after this.
    pub fn extend(&mut self, other: Self) {
        self.changes.extend(other.changes);
        self.errors.extend(other.errors);
        self.notes.extend(other.notes);
    }

    fn add(&mut self, target: Target, object: String, what: impl fmt::Display) {
        self.changes.push(Planned { target, object, what: what.to_string() });
    }
}

/// How a plan names a node.
pub fn node(node: &Node) -> String {
    format!("node {}", node.name())
}

/// How a plan names a service.
pub fn service(service: &Service) -> String {
    service_key(&service.key())
}

/// How a plan names a service by its key.
pub fn service_key(key: &Key) -> String {
    format!("service {key}")
}
