//! What controllers may do in a cluster: the roles that operators grant.

use anyhow::Context as _;
use kube::api::{Api, DynamicObject, GroupVersionKind, PostParams};
use kube::{Client, Discovery};
use serde_json::{Value, json};

/// The service account that controllers run as, in `kube-system`.
pub const ACCOUNT: &str = "cloud-controller-manager";

const GROUP: &str = "rbac.authorization.k8s.io";

/// One rule of a role.
#[derive(Debug, Clone)]
pub struct Rule(Value);

impl Rule {
    /// Grants `verbs` on `resources` of an API group.
    pub fn new(group: &str, resources: &[&str], verbs: &[&str]) -> Self {
        Self(json!({ "apiGroups": [group], "resources": resources, "verbs": verbs }))
    }
}

/// A cluster role for [`ACCOUNT`] with its binding, and the binding that lets it read how the API server authenticates.
pub fn cluster_role(name: &str, rules: &[Rule]) -> Vec<Value> {
    let rules: Vec<&Value> = rules.iter().map(|rule| &rule.0).collect();
    vec![
        json!({
            "apiVersion": format!("{GROUP}/v1"), "kind": "ClusterRole",
            "metadata": { "name": name }, "rules": rules,
        }),
        cluster_role_binding(name),
        json!({
            "apiVersion": format!("{GROUP}/v1"), "kind": "RoleBinding",
            "metadata": { "name": format!("{ACCOUNT}:apiserver-authentication-reader"), "namespace": "kube-system" },
            "roleRef": { "apiGroup": GROUP, "kind": "Role", "name": "extension-apiserver-authentication-reader" },
            "subjects": subjects(),
        }),
    ]
}

fn cluster_role_binding(role: &str) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "ClusterRoleBinding",
        "metadata": { "name": format!("{ACCOUNT}:{role}") },
        "roleRef": { "apiGroup": GROUP, "kind": "ClusterRole", "name": role },
        "subjects": subjects(),
    })
}

fn subjects() -> Value {
    json!([{ "kind": "ServiceAccount", "name": ACCOUNT, "namespace": "kube-system" }])
}

/// Creates roles and bindings, or binds `cluster-admin` where there are none.
///
/// # Errors
/// When one is not valid or the API server refuses it.
pub async fn grant(client: &Client, roles: Vec<Value>) -> anyhow::Result<()> {
    let roles = if roles.is_empty() { vec![cluster_role_binding("cluster-admin")] } else { roles };
    let discovery = Discovery::new(client.clone()).filter(&[GROUP]).run().await.context("discover roles")?;
    for role in roles {
        let object: DynamicObject = serde_json::from_value(role).context("read a role")?;
        let types = object.types.clone().context("a role has no kind")?;
        let kind = GroupVersionKind::try_from(&types).context("read the kind of a role")?;
        let (resource, _) = discovery.resolve_gvk(&kind).with_context(|| format!("there is no kind {}", kind.kind))?;
        let api: Api<DynamicObject> = match &object.metadata.namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        api.create(&PostParams::default(), &object).await.with_context(|| format!("create a {}", kind.kind))?;
    }
    Ok(())
}
