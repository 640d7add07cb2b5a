//! The labels, annotations, taints, finalizers and conditions that the core reads and writes: the source of their reference
//! page. Those of a cloud stand in its crate.

use crate::{
    controllers::node_lifecycle::MAY_BE_DELETED,
    node::{addresses, labels, taints},
    service::{nodes, pause, predicates, source_ranges},
};

/// A key on an object of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// The key.
    pub name: &'static str,
    /// `taint`, `label`, `annotation`, `finalizer` or `condition`.
    pub kind: &'static str,
    /// `Node` or `Service`.
    pub object: &'static str,
    /// Whether the core writes it; it reads all of them.
    pub written: bool,
    /// What it means.
    pub about: &'static str,
    /// Whether it is upstream's.
    pub upstream: bool,
}

const fn node(name: &'static str, kind: &'static str, written: bool, about: &'static str) -> Key {
    Key { name, kind, object: "Node", written, about, upstream: true }
}

const fn service(name: &'static str, kind: &'static str, written: bool, about: &'static str) -> Key {
    Key { name, kind, object: "Service", written, about, upstream: true }
}

const OF_INSTANCE: &str = "Written when a node is initialised; afterwards the current key follows the older one, and both the \
                           cloud with `--refresh-node-labels`.";

/// Whether the core reads this annotation of nodes; others are not kept in memory.
pub(crate) fn is_annotation_of_nodes(name: &str) -> bool {
    ALL.iter().any(|key| key.object == "Node" && key.kind == "annotation" && key.name == name)
}

/// All of them.
pub const ALL: &[Key] = &[
    node(
        taints::UNINITIALIZED,
        "taint",
        true,
        "Set by kubelets with an external cloud provider. Removed, whatever its value and effect, once addresses, provider ID \
         and labels are written.",
    ),
    node(
        taints::SHUTDOWN,
        "taint",
        true,
        "With effect `NoSchedule` while the instance is stopped and the node not ready.",
    ),
    node(
        taints::TO_BE_DELETED,
        "taint",
        false,
        "The cluster autoscaler is removing the node: it leaves load balancers.",
    ),
    node(labels::INSTANCE_TYPE[0], "label", true, OF_INSTANCE),
    node(labels::INSTANCE_TYPE[1], "label", true, OF_INSTANCE),
    node(labels::ZONE[0], "label", true, OF_INSTANCE),
    node(labels::ZONE[1], "label", true, OF_INSTANCE),
    node(labels::REGION[0], "label", true, OF_INSTANCE),
    node(labels::REGION[1], "label", true, OF_INSTANCE),
    node(nodes::EXCLUDE, "label", false, "The node stays out of load balancers."),
    node(
        addresses::PROVIDED_NODE_IP,
        "annotation",
        false,
        "Set by kubelets with `--node-ip`: the node gets only addresses of its families, with these first.",
    ),
    Key {
        upstream: false,
        ..node(
            MAY_BE_DELETED,
            "annotation",
            false,
            "`true` lets the node be deleted although so many instances seem gone at once that the guard holds.",
        )
    },
    node(
        "NetworkUnavailable",
        "condition",
        true,
        "`False` once the node's pod ranges are routed, `True` while a route is missing. Only where routes, or pod ranges of \
         the cloud, are configured.",
    ),
    service(
        predicates::FINALIZER,
        "finalizer",
        true,
        "There before anything is made in the cloud, gone when nothing is left there.",
    ),
    service(
        source_ranges::ANNOTATION,
        "annotation",
        false,
        "Who may reach the load balancer, comma-separated, where `spec.loadBalancerSourceRanges` is empty.",
    ),
    Key {
        upstream: false,
        ..service(
            pause::ANNOTATION,
            "annotation",
            false,
            "`true` leaves the load balancer as it is until it is taken away.",
        )
    },
];
