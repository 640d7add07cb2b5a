//! What operators grant the controller: the cluster role of upstream's manifests.

use cloud_provider_testing::rbac::{self, ACCOUNT, Rule};
use serde_json::Value;

/// Upstream's cluster role with its binding.
pub(crate) fn upstream() -> Vec<Value> {
    let rules = [
        Rule::new("coordination.k8s.io", &["leases"], &["get", "create", "update"]),
        Rule::new("", &["events"], &["create", "patch", "update"]),
        Rule::new("", &["nodes"], &["*"]),
        Rule::new("", &["nodes/status"], &["patch"]),
        Rule::new("", &["services"], &["list", "patch", "update", "watch"]),
        Rule::new("", &["services/status"], &["patch"]),
        Rule::new("", &["serviceaccounts"], &["create", "get"]),
        Rule::new("", &["serviceaccounts/token"], &["create"]),
        Rule::new("", &["persistentvolumes"], &["*"]),
        Rule::new("", &["endpoints"], &["create", "get", "list", "watch", "update"]),
        Rule::new("", &["configmaps", "secrets"], &["get", "list", "watch"]),
    ];
    rbac::role_of(ACCOUNT, "system:cloud-controller-manager", &rules)
}
