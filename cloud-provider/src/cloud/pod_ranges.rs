//! Ranges of pods' addresses that the cloud assigns, many nodes at a time.

use std::sync::Arc;

use async_trait::async_trait;
use ipnet::IpNet;

use super::Freshness;
use crate::{cluster::objects::Node, error::Result};

/// The ranges of pods' addresses that the cloud assigned to instances, and routes to them by itself.
///
/// # Contract
///
/// - `assigned` gives exactly one result per node, in the order of `nodes`. One bad ID never fails its neighbours.
/// - It is asked only about nodes with a provider ID.
/// - What it gave once for an instance stays: the ranges of a node cannot be changed.
/// - Whether to read by ID or to list is the provider's choice, by cost.
#[async_trait]
pub trait PodRanges: Send + Sync {
    /// Looks up what is assigned to `nodes`. Reads only.
    async fn assigned(&self, nodes: &[Arc<Node>], freshness: Freshness) -> Vec<Result<Assignment>>;
}

/// What the cloud assigned to one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Assignment {
    /// These ranges. Of each family the first one counts, and which families are used is the cluster's choice, so a
    /// provider gives all that the instance's default network interface has.
    Ranges(Vec<IpNet>),
    /// None yet: the cloud is about to assign them, or the instance is still being made. Asked again, with back-off.
    Pending,
    /// None, and the cloud will assign none by itself: an instance without a secondary range. The operator is told, and it
    /// is asked again with back-off, since somebody may add one.
    None,
    /// The cloud does not know the instance.
    Unknown,
    /// The node belongs to another cloud, or is not managed by this process. It is left alone.
    Foreign,
}
