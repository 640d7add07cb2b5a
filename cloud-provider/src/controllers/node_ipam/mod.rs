//! The node IPAM controller: gives nodes the ranges of their pods' addresses, `spec.podCIDR` and `spec.podCIDRs`.
//!
//! [`RangeAllocator`] hands out blocks of the cluster's ranges, [`CloudAllocator`] copies what the cloud assigned. Either is
//! off until `--controllers` names the controller: in clusters that exist kube-controller-manager allocates, and two
//! allocators beside each other would give two nodes the same addresses. Moving from one to the other is the business of
//! leader migration.
//!
//! Once set, the ranges of a node cannot be changed; the API server sees to that.

pub mod cidr_set;
mod cloud_allocator;
mod ledger;
mod range_allocator;
mod settings;

pub use self::{
    cloud_allocator::CloudAllocator,
    range_allocator::RangeAllocator,
    settings::{Error, Flags, NodeRange, RangeSettings, Settings, Stack},
};
use super::about_node;
use crate::cluster::{
    events::{Recorder, Severity},
    objects::Node,
};

/// There is no range for a node.
const NOT_AVAILABLE: &str = "CIDRNotAvailable";
/// A node's ranges could not be written.
const NOT_ASSIGNED: &str = "CIDRAssignmentFailed";

/// Records an event in upstream's words.
fn announce(recorder: &Recorder, node: &Node, reason: &'static str) {
    let message = format!("Node {} status is now: {reason}", node.name());
    recorder.event(&about_node(node), Severity::Normal, reason, message);
}
