//! Sections of the single controllers.

use std::{num::NonZeroU32, time::Duration};

use clap::Args;

use super::Errors;
use crate::{config::duration::GoDuration, node::unmanaged::Unmanaged};

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
    /// Label selector of nodes to leave alone, because no instance of the cloud stands behind them; empty for none
    #[arg(long, default_value = "type=virtual-kubelet")]
    pub unmanaged_node_selector: String,
    /// Write the labels of instance type, zone and region again when the cloud says otherwise, not only on new nodes
    #[arg(long)]
    pub refresh_node_labels: bool,
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
    /// Time for which the instance of a node must be gone before the node is deleted
    #[arg(long, default_value = "10s")]
    pub node_deletion_grace_period: GoDuration,
    /// The same for nodes younger than five minutes, whose instances may not be visible everywhere yet
    #[arg(long, default_value = "1m0s")]
    pub new_node_deletion_grace_period: GoDuration,
    /// Share of the nodes, from 0 to 1: when the instances of more than this seem gone at once, no node is deleted.
    /// 1 turns the guard off
    #[arg(long, default_value = "0.5")]
    pub node_deletion_guard_threshold: f32,
    /// Number of nodes below which the guard does not begin to hold
    #[arg(long, default_value = "10")]
    pub node_deletion_guard_min_nodes: i32,
}

/// Section "service-lb-controller".
#[derive(Args, Clone, Debug)]
#[group(skip)]
#[command(next_help_heading = "Service-lb-controller flags")]
pub struct Service {
    /// Services synced at the same time. Unset: automatic (upstream: 1)
    #[arg(long)]
    pub concurrent_service_syncs: Option<i32>,
    /// Time within which every load balancer is compared with what it should be, and repaired. 0: only when its service or
    /// its nodes change
    #[arg(long, default_value = "0s")]
    pub service_reconciliation_period: GoDuration,
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
    /// Nodes to leave alone.
    pub unmanaged: Unmanaged,
    /// Whether instance type, zone and region labels are refreshed.
    pub refresh_labels: bool,
}

/// Settings of the node lifecycle controller.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeLifecycleSettings {
    /// Nodes at the same time.
    pub syncs: Workers,
    /// Time between passes.
    pub monitor_period: Duration,
    /// How long an instance must be gone.
    pub grace: Duration,
    /// The same for young nodes.
    pub grace_young: Duration,
    /// The share of nodes above which none is deleted.
    pub guard_threshold: f64,
    /// The number of nodes below which the guard does not begin to hold.
    pub guard_min_nodes: usize,
}

/// Settings of the service controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSettings {
    /// Services at the same time.
    pub syncs: Workers,
    /// Time within which every load balancer is checked; none for no periodic checks.
    pub reconciliation_period: Option<Duration>,
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
        let unmanaged = self.unmanaged_node_selector.parse().unwrap_or_else(|problem| {
            errors.add(format!("unmanaged-node-selector: {problem}"));
            Unmanaged::default()
        });
        let syncs = workers(self.concurrent_node_syncs);
        NodeSettings {
            syncs,
            status_updates: workers(self.concurrent_node_status_updates).or(syncs),
            status_update_frequency: frequency.to_std(),
            unmanaged,
            refresh_labels: self.refresh_node_labels,
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
        for (name, period) in [
            ("node-deletion-grace-period", self.node_deletion_grace_period),
            ("new-node-deletion-grace-period", self.new_node_deletion_grace_period),
        ] {
            if period < GoDuration::ZERO {
                errors.add(format!("{name} cannot be negative"));
            }
        }
        let threshold = self.node_deletion_guard_threshold;
        if !(0.0..=1.0).contains(&threshold) {
            errors.add(format!("node-deletion-guard-threshold must be between 0 and 1, but got {threshold}"));
        }
        let min_nodes = usize::try_from(self.node_deletion_guard_min_nodes).unwrap_or_else(|_| {
            errors.add("node-deletion-guard-min-nodes cannot be a negative number");
            0
        });
        NodeLifecycleSettings {
            syncs: workers(self.concurrent_node_lifecycle_syncs),
            monitor_period: self.node_monitor_period.to_std(),
            grace: self.node_deletion_grace_period.to_std(),
            grace_young: self.new_node_deletion_grace_period.to_std(),
            guard_threshold: threshold.into(),
            guard_min_nodes: min_nodes,
        }
    }
}

impl Service {
    /// As for nodes, upstream takes 0 and then syncs no service.
    pub(super) fn validate(&self, errors: &mut Errors) -> ServiceSettings {
        if self.concurrent_service_syncs.is_some_and(|count| count <= 0) {
            errors.add("concurrent-service-syncs must be a positive number");
        }
        if self.service_reconciliation_period < GoDuration::ZERO {
            errors.add("service-reconciliation-period cannot be negative");
        }
        let period = self.service_reconciliation_period.to_std();
        ServiceSettings {
            syncs: workers(self.concurrent_service_syncs),
            reconciliation_period: (!period.is_zero()).then_some(period),
        }
    }
}
