//! What a controller would change, for `plan`.

use serde::Serialize;

use crate::Error;

/// Everything that one controller would change now.
#[derive(Debug, Default)]
pub struct Plan {
    /// The changes, in the order in which they would be made.
    pub changes: Vec<Planned>,
    /// What could not be found out, each with the object that it is about: `node a`, `service default/web`.
    pub errors: Vec<(String, Error)>,
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
