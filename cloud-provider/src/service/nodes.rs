//! Which nodes can be backends of load balancers.

use crate::{
    cluster::objects::{Node, Object},
    node::taints,
};

/// Keeps a node out of all load balancers, unless its value is a Go spelling of false.
pub const EXCLUDE: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// Whether a node is eligible as a backend. Readiness, initialisation and role do not matter.
pub fn is_eligible(node: &Node) -> bool {
    let excluded =
        node.label(EXCLUDE).is_some_and(|value| !matches!(value, "0" | "f" | "F" | "false" | "FALSE" | "False"));
    !excluded && !node.is_terminating() && !node.spec.taints.iter().any(|taint| taint.key == taints::TO_BE_DELETED)
}

/// Whether a change of a node can change the backends of a load balancer: its eligibility, its provider ID, its labels
/// (which select nodes for single services) or its addresses.
pub fn matters(old: &Node, new: &Node) -> bool {
    is_eligible(old) != is_eligible(new)
        || old.provider_id() != new.provider_id()
        || old.metadata.labels != new.metadata.labels
        || old.status.addresses != new.status.addresses
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(change: impl FnOnce(&mut Value)) -> Node {
        let mut value = json!({"metadata": {"name": "n", "labels": {}}, "spec": {}, "status": {}});
        change(&mut value);
        serde_json::from_value(value).unwrap()
    }

    /// Without readiness, which no longer counts (KEP-3458).
    #[test]
    fn section_12_5_predicates() {
        assert!(is_eligible(&node(|_| {})));
        for (value, eligible) in [("", false), ("false", true), ("true", false), ("foo", false), ("0", true)] {
            assert_eq!(is_eligible(&node(|n| n["metadata"]["labels"][EXCLUDE] = json!(value))), eligible, "{value:?}");
        }
        assert!(!is_eligible(&node(|n| n["spec"]["taints"] = json!([{"key": taints::TO_BE_DELETED, "effect": "x"}]))));
        assert!(!is_eligible(&node(|n| n["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"))));
        let not_ready = json!([{"type": "Ready", "status": "False"}]);
        assert!(is_eligible(&node(|n| n["status"]["conditions"] = not_ready)));
    }

    /// The autoscaler's taint and deletion count here, upstream misses them.
    #[test]
    fn section_12_5_should_sync_updated_node() {
        let plain = node(|_| {});
        let with_id = node(|n| n["spec"]["providerID"] = json!("x://1"));
        assert!(matters(&plain, &with_id) && matters(&with_id, &plain));
        assert!(matters(&plain, &node(|n| n["metadata"]["labels"][EXCLUDE] = json!(""))));
        assert!(!matters(&plain, &node(|n| n["status"]["conditions"] = json!([{"type": "Ready", "status": "False"}]))));
        assert!(!matters(&plain, &node(|n| n["spec"]["taints"] = json!([{"key": "other", "effect": "NoSchedule"}]))));
    }
}
