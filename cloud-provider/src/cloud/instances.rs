//! Looking up the instances behind nodes, many at a time.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::{
    cluster::objects::{Node, NodeAddress},
    error::Result,
};

/// The instances behind nodes.
///
/// # Contract
///
/// - `look_up` gives exactly one result per node, in the order of `nodes`. One bad ID never fails its neighbours.
/// - [`Instance::Gone`] only on a positive answer of the cloud: it says that the instance does not exist, or shows it in
///   a final state. A timeout, a missing permission, an empty page of a listing that should name the instance, or a node
///   that cannot be matched to an instance for lack of data is an error, never gone.
/// - With [`Freshness::Live`] the answer comes from a read of those very instances, begun after the call; the node
///   lifecycle controller deletes a node on nothing less.
/// - Whether to read by ID or to list is the provider's choice, by cost.
#[async_trait]
pub trait Instances: Send + Sync {
    /// Looks up the instances of `nodes`.
    async fn look_up(&self, nodes: &[Arc<Node>], want: Want, freshness: Freshness) -> Vec<Result<Instance>>;
}

/// How much is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// Existence and power state. Must not cost calls for ports, topology or anything else.
    State,
    /// [`Metadata`] too.
    Metadata,
}

/// How old an answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Read now, each instance itself.
    Live,
    /// Anything read within this time will do, listings included.
    Within(Duration),
}

/// What the cloud knows about the instance of one node.
#[derive(Debug, Clone, PartialEq)]
pub enum Instance {
    /// It exists.
    Present {
        /// Running or stopped.
        power: Power,
        /// Where [`Want::Metadata`] was asked for.
        metadata: Option<Box<Metadata>>,
    },
    /// It does not exist any more: the cloud said so.
    Gone,
    /// The node belongs to another cloud, by its provider ID. Controllers leave it alone.
    Foreign,
}

/// Whether an instance runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// Running, or on its way up or down.
    Running,
    /// Shut down but not removed; its node gets the shutdown taint.
    Stopped,
}

/// What a node is told about its instance.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata {
    /// The provider ID for `spec.providerID`; written only where the node has none.
    pub provider_id: String,
    /// The instance type; empty where there is none, then no label is written.
    pub instance_type: String,
    /// All addresses, in the order in which they shall stand in `status.addresses`.
    pub addresses: Vec<NodeAddress>,
    /// The availability zone; empty where there is none.
    pub zone: String,
    /// The region; empty where there is none.
    pub region: String,
    /// More labels. Keys under `kubernetes.io` and `k8s.io`, and keys that the node already has, are left out.
    pub additional_labels: BTreeMap<String, String>,
}
