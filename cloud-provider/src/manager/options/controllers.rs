//! Sections of the single controllers.

use std::{num::NonZeroU32, time::Duration};

use clap::Args;

use super::Errors;
use crate::config::duration::GoDuration;

/// Section "cloud-node-controller".
#[derive(Args, Clone, Debug)]
#[group(skip)]
#[command(next_help_heading = "Cloud-node-controller flags")]
pub struct Node {
    /// Nodes initialised at the same time. Unset: automatic, nodes are initialised in batches (upstream: 1)
    #[arg(long)]
    pub concurrent_node_syncs: Option<i32>,
    /// Node statuses updated at the same time; 0 for as many as --concurrent-node-syncs. Unset: automatic
    #[arg(long)]
    pub concurrent_node_status_updates: Option<i32>,
}

/// Section "cloud-node-lifecycle-controller".
#[derive(Args, Clone, Debug)]
#[group(skip)]
#[command(next_help_heading = "Cloud-node-lifecycle-controller flags")]
pub struct NodeLifecycle {
    /// Nodes looked at at the same time. Unset: automatic, instances are read in batches (upstream: 1)
    #[arg(long)]
    pub concurrent_node_lifecycle_syncs: Option<i32>,
    /// Time between looks at nodes that are not ready
    #[arg(long, default_value = "5s")]
    pub node_monitor_period: GoDuration,
}

/// Section "service-lb-controller".
#[derive(Args, Clone, Debug)]
#[group(skip)]
#[command(next_help_heading = "Service-lb-controller flags")]
pub struct Service {
    /// Services synced at the same time. Unset: automatic (upstream: 1)
    #[arg(long)]
    pub concurrent_service_syncs: Option<i32>,
}

/// How many things a controller does at the same time; none for automatic.
pub type Workers = Option<NonZeroU32>;

/// Settings of the node controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSettings {
    /// Initialisations at the same time.
    pub syncs: Workers,
    /// Status updates at the same time.
    pub status_updates: Workers,
    /// Time between passes over the addresses of all nodes.
    pub status_update_frequency: Duration,
}

/// Settings of the node lifecycle controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeLifecycleSettings {
    /// Nodes at the same time.
    pub syncs: Workers,
    /// Time between passes.
    pub monitor_period: Duration,
}

/// Settings of the service controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSettings {
    /// Services at the same time.
    pub syncs: Workers,
}

fn workers(count: Option<i32>) -> Workers {
    count.and_then(|count| u32::try_from(count).ok()).and_then(NonZeroU32::new)
}

impl Node {
    /// Upstream has these checks but never makes them, so that 0 workers initialise no node.
    pub(super) fn validate(&self, frequency: GoDuration, errors: &mut Errors) -> NodeSettings {
        if self.concurrent_node_syncs.is_some_and(|count| count <= 0) {
            errors.add("concurrent-node-syncs must be a positive number");
        }
        if self.concurrent_node_status_updates.is_some_and(|count| count < 0) {
            errors.add("concurrent-node-status-updates cannot be a negative number");
        }
        if frequency <= GoDuration::ZERO {
            errors.add("node-status-update-frequency must be greater than zero");
        }
        let syncs = workers(self.concurrent_node_syncs);
        NodeSettings {
            syncs,
            status_updates: workers(self.concurrent_node_status_updates).or(syncs),
            status_update_frequency: frequency.to_std(),
        }
    }
}

impl NodeLifecycle {
    pub(super) fn validate(&self, errors: &mut Errors) -> NodeLifecycleSettings {
        if let Some(count) = self.concurrent_node_lifecycle_syncs.filter(|count| *count < 1) {
            errors.add(format!("concurrent-node-lifecycle-syncs must be at least 1, but got {count}"));
        }
        if self.node_monitor_period <= GoDuration::ZERO {
            errors.add("node-monitor-period must be greater than zero");
        }
        NodeLifecycleSettings {
            syncs: workers(self.concurrent_node_lifecycle_syncs),
            monitor_period: self.node_monitor_period.to_std(),
        }
    }
}

impl Service {
    /// As for nodes, upstream takes 0 and then syncs no service.
    pub(super) fn validate(&self, errors: &mut Errors) -> ServiceSettings {
        if self.concurrent_service_syncs.is_some_and(|count| count <= 0) {
            errors.add("concurrent-service-syncs must be a positive number");
        }
        ServiceSettings { syncs: workers(self.concurrent_service_syncs) }
    }
}
