//! What controllers may do in a cluster: the roles that operators grant.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};
use kube::api::{Api, DynamicObject, GroupVersionKind, PostParams};
use kube::{Client, Discovery};
use serde_json::{Value, json};

/// The service account that controllers run as, in `kube-system`.
pub const ACCOUNT: &str = "cloud-controller-manager";

const GROUP: &str = "rbac.authorization.k8s.io";
const NAMESPACE: &str = "kube-system";

/// One rule of a role.
#[derive(Debug, Clone)]
pub struct Rule(Value);

impl Rule {
    /// Grants `verbs` on `resources` of an API group.
    pub fn new(group: &str, resources: &[&str], verbs: &[&str]) -> Self {
        Self(json!({ "apiGroups": [group], "resources": resources, "verbs": verbs }))
    }

    /// The same, on objects of these names only.
    #[must_use]
    pub fn named(mut self, names: &[String]) -> Self {
        self.0["resourceNames"] = json!(names);
        self
    }
}

/// A cluster role for [`ACCOUNT`] with its binding, and the binding that lets it read how the API server authenticates.
pub fn cluster_role(name: &str, rules: &[Rule]) -> Vec<Value> {
    let mut objects = role_of(ACCOUNT, name, rules);
    objects.push(reader(ACCOUNT));
    objects
}

/// A cluster role with its binding to a service account of `kube-system`.
pub fn role_of(account: &str, name: &str, rules: &[Rule]) -> Vec<Value> {
    let rules: Vec<&Value> = rules.iter().map(|rule| &rule.0).collect();
    vec![
        json!({
            "apiVersion": format!("{GROUP}/v1"), "kind": "ClusterRole",
            "metadata": { "name": name }, "rules": rules,
        }),
        cluster_role_binding(account, name),
    ]
}

/// The binding that lets a service account of `kube-system` read how the API server authenticates.
pub fn reader(account: &str) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "RoleBinding",
        "metadata": { "name": format!("{account}:apiserver-authentication-reader"), "namespace": NAMESPACE },
        "roleRef": { "apiGroup": GROUP, "kind": "Role", "name": "extension-apiserver-authentication-reader" },
        "subjects": subjects(account),
    })
}

/// The roles and bindings in a manifest, such as `deploy/manifests.yaml` of a cloud's crate.
///
/// # Errors
/// When it cannot be read, or holds none.
pub fn of_manifest(path: &Path) -> anyhow::Result<Vec<Value>> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let mut objects = Vec::new();
    for document in text.split("\n---\n") {
        let object: Value =
            serde_saphyr::from_str(document).with_context(|| format!("read an object in {}", path.display()))?;
        if object["apiVersion"].as_str().is_some_and(|version| version.split('/').next() == Some(GROUP)) {
            objects.push(object);
        }
    }
    ensure!(!objects.is_empty(), "{} holds no role", path.display());
    Ok(objects)
}

fn cluster_role_binding(account: &str, role: &str) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "ClusterRoleBinding",
        "metadata": { "name": format!("{account}:{role}") },
        "roleRef": { "apiGroup": GROUP, "kind": "ClusterRole", "name": role },
        "subjects": subjects(account),
    })
}

fn subjects(account: &str) -> Value {
    json!([{ "kind": "ServiceAccount", "name": account, "namespace": NAMESPACE }])
}

/// Creates roles and bindings, or binds `cluster-admin` where there are none.
///
/// # Errors
/// When one is not valid or the API server refuses it.
pub async fn grant(client: &Client, roles: Vec<Value>) -> anyhow::Result<()> {
    let roles = if roles.is_empty() { vec![cluster_role_binding(ACCOUNT, "cluster-admin")] } else { roles };
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
