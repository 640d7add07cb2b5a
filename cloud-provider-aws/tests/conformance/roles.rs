//! What operators grant the controller: upstream's base manifests (`examples/existing-cluster/base`), or those of our chart.

use std::path::Path;

use cloud_provider_testing::rbac::{self, ACCOUNT, Rule};
use serde_json::{Value, json};

/// Our chart's, and what operators add to them who turn labels of persistent volumes on.
pub(crate) fn ours() -> Vec<Value> {
    let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/manifests.yaml");
    let volumes = Rule::new("", &["persistentvolumes"], &["get", "list", "update", "watch"]);
    let mut roles = rbac::of_manifest(&manifests).unwrap();
    roles.extend(rbac::role_of(ACCOUNT, "persistent-volume-labels", &[volumes]));
    roles
}

/// Upstream's ClusterRole with its binding, and the binding to the API server's own role for delegated authentication.
pub(crate) fn base() -> Vec<Value> {
    let rule = |group: &str, resources: &[&str], verbs: &[&str]| json!({"apiGroups": [group], "resources": resources, "verbs": verbs});
    let rules = [
        rule("", &["events"], &["create", "patch", "update"]),
        rule("", &["nodes"], &["*"]),
        rule("", &["nodes/status"], &["patch"]),
        rule("", &["services"], &["list", "patch", "update", "watch"]),
        rule("", &["services/status"], &["list", "patch", "update", "watch"]),
        rule("", &["serviceaccounts"], &["create", "get", "list", "watch"]),
        rule("", &["persistentvolumes"], &["get", "list", "update", "watch"]),
        rule("", &["endpoints"], &["create", "get", "list", "watch", "update"]),
        rule("coordination.k8s.io", &["leases"], &["create", "get", "list", "watch", "update"]),
        rule("", &["serviceaccounts/token"], &["create"]),
    ];
    let subject = json!([{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": "kube-system"}]);
    const API: &str = "rbac.authorization.k8s.io";
    vec![
        json!({
            "apiVersion": format!("{API}/v1"), "kind": "ClusterRole",
            "metadata": {"name": "system:cloud-controller-manager"}, "rules": rules,
        }),
        json!({
            "apiVersion": format!("{API}/v1"), "kind": "ClusterRoleBinding",
            "metadata": {"name": "system:cloud-controller-manager"},
            "roleRef": {"apiGroup": API, "kind": "ClusterRole", "name": "system:cloud-controller-manager"},
            "subjects": subject,
        }),
        json!({
            "apiVersion": format!("{API}/v1"), "kind": "RoleBinding",
            "metadata": {"name": "cloud-controller-manager:apiserver-authentication-reader", "namespace": "kube-system"},
            "roleRef": {"apiGroup": API, "kind": "Role", "name": "extension-apiserver-authentication-reader"},
            "subjects": subject,
        }),
    ]
}
