//! Names, tags and descriptions of what is made for services. They are a wire format: what exists is found by them.

use cloud_provider::cluster::objects::{Object, Service};

/// The beginning of the names and tags of load balancers.
pub const PREFIX: &str = "kube_service_";
/// What the descriptions of our floating IPs contain.
pub const FLOATING_IP_MARK: &str = "Floating IP for Kubernetes external service";

/// The longest name that Octavia and Neutron take, in bytes.
const LONGEST: usize = 255;

/// What a service's resources are called in one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// `namespace/name`.
    service: String,
    cluster: String,
    /// The load balancer; also the tag with which it, and the service's listeners, say whose they are.
    pub load_balancer: String,
    /// The load balancer's name in early versions; only looked up.
    pub legacy: String,
    /// The security group of the nodes.
    pub security_group: String,
}

impl Names {
    /// The names for `service` in the cluster of that name.
    pub fn of(service: &Service, cluster: &str) -> Self {
        let key = service.key();
        let uid = service.uid();
        Self {
            load_balancer: load_balancer(cluster, &key.namespace, &key.name),
            legacy: cut(format!("a{}", uid.replace('-', "")), 32),
            security_group: cut(format!("lb-sg-{uid}-{}-{}", key.namespace, key.name), LONGEST),
            service: key.to_string(),
            cluster: cluster.to_owned(),
        }
    }

    /// The description of the load balancer.
    pub fn description(&self) -> String {
        format!("Kubernetes external service {} from cluster {}", self.service, self.cluster)
    }

    /// The description of the floating IP.
    pub fn floating_ip_description(&self) -> String {
        format!("{FLOATING_IP_MARK} {} from cluster {}", self.service, self.cluster)
    }

    /// The description of the security group.
    pub fn security_group_description(&self) -> String {
        format!("Security Group for {} Service LoadBalancer in cluster {}", self.service, self.cluster)
    }

    /// The listener of the port at `index` in the spec.
    pub fn listener(&self, index: usize) -> String {
        self.child("listener", index)
    }

    /// Its pool.
    pub fn pool(&self, index: usize) -> String {
        self.child("pool", index)
    }

    /// Its monitor.
    pub fn monitor(&self, index: usize) -> String {
        self.child("monitor", index)
    }

    fn child(&self, kind: &str, index: usize) -> String {
        cut(format!("{kind}_{index}_{}", self.load_balancer), LONGEST)
    }

    /// The cluster under whose name a load balancer was made for this very service, where that is another one: the cluster
    /// was renamed.
    pub fn former_cluster(&self, load_balancer: &str) -> Option<String> {
        if load_balancer == self.load_balancer || !load_balancer.starts_with(PREFIX) {
            return None;
        }
        let cluster = cluster_of(load_balancer)?;
        (self.in_cluster(&cluster) == load_balancer).then_some(cluster)
    }

    /// The name of the load balancer in a cluster of that name.
    pub fn in_cluster(&self, cluster: &str) -> String {
        let (namespace, name) = self.service.split_once('/').unwrap_or_default();
        self::load_balancer(cluster, namespace, name)
    }

    /// `text`, a name or tag, with this cluster in the place of `former`.
    pub fn renamed(&self, text: &str, former: &str) -> String {
        rename(text, former, &self.cluster)
    }
}

/// The name of the load balancer of a service.
pub fn load_balancer(cluster: &str, namespace: &str, name: &str) -> String {
    cut(format!("{PREFIX}{cluster}_{namespace}_{name}"), LONGEST)
}

/// The name of a member that is made by itself.
pub fn serial_member(node: &str, address: &str, port: i32) -> String {
    cut(format!("member_{node}_{address}_{port}"), LONGEST)
}

/// The cluster in a name or tag: the shortest text behind [`PREFIX`] that only a namespace and a name follow. A name that
/// was cut may have lost the latter.
pub fn cluster_of(text: &str) -> Option<String> {
    let (_, rest) = text.split_once(PREFIX)?;
    let parts: Vec<&str> = rest.split('_').collect();
    let cluster = match parts.len() {
        0 | 1 => return None,
        2 => &parts[..1],
        more => &parts[..more - 2],
    };
    Some(cluster.join("_"))
}

/// `text` with another cluster: behind [`PREFIX`] where that is in it, else the first occurrence.
pub fn rename(text: &str, from: &str, to: &str) -> String {
    if from.is_empty() {
        return text.to_owned();
    }
    let start = text.find(PREFIX).map_or(0, |at| at + PREFIX.len());
    let (head, tail) = text.split_at(start);
    let replaced = if start > 0 {
        tail.strip_prefix(from).map(|rest| format!("{to}{rest}"))
    } else {
        Some(tail.replacen(from, to, 1))
    };
    match replaced {
        Some(tail) => cut(format!("{head}{tail}"), LONGEST),
        None => text.to_owned(),
    }
}

/// The first bytes of a name, never half a character.
fn cut(mut name: String, longest: usize) -> String {
    let end = (0..=longest.min(name.len())).rev().find(|end| name.is_char_boundary(*end)).unwrap_or_default();
    name.truncate(end);
    name
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(uid: &str, namespace: &str, name: &str) -> Service {
        serde_json::from_value(json!({ "metadata": { "uid": uid, "namespace": namespace, "name": name } })).unwrap()
    }

    #[test]
    fn section_12_4_load_balancer_name() {
        let name = load_balancer("my-valid-cluster", "valid-cluster-namespace", "valid-name");
        assert_eq!(name, "kube_service_my-valid-cluster_valid-cluster-namespace_valid-name");
        assert_eq!(load_balancer(&"c".repeat(300), "ns", "n").len(), 255);
        assert_eq!(load_balancer("", "", ""), "kube_service___");
        assert_eq!(load_balancer(&"é".repeat(300), "ns", "n").len(), 255, "13 bytes, then 121 characters of two");
    }

    #[test]
    fn section_12_4_security_group_name() {
        let group = |uid, namespace, name| Names::of(&service(uid, namespace, name), "c").security_group;
        let name = group("12345", "security-group-namespace", "security-group-name");
        assert_eq!(name, "lb-sg-12345-security-group-namespace-security-group-name");
        assert_eq!(group("", "", ""), "lb-sg---");
    }

    #[test]
    fn everything_else_is_named_as_upstream_does() {
        let names = Names::of(&service("0123-4567-89ab-cdef-0123-4567-89ab-cdef", "default", "web"), "kubernetes");
        assert_eq!(names.listener(0), "listener_0_kube_service_kubernetes_default_web");
        assert_eq!(names.pool(1), "pool_1_kube_service_kubernetes_default_web");
        assert_eq!(names.monitor(2), "monitor_2_kube_service_kubernetes_default_web");
        assert_eq!(names.legacy, "a0123456789abcdef0123456789abcde");
        assert_eq!(names.description(), "Kubernetes external service default/web from cluster kubernetes");
        let floating = "Floating IP for Kubernetes external service default/web from cluster kubernetes";
        assert_eq!(names.floating_ip_description(), floating);
        let group = "Security Group for default/web Service LoadBalancer in cluster kubernetes";
        assert_eq!(names.security_group_description(), group);
        assert_eq!(serial_member("node-1", "10.0.0.5", 30080), "member_node-1_10.0.0.5_30080");
    }

    #[test]
    fn section_12_4_rename() {
        let rename_of = |text, from| rename(text, from, "cluster123");
        let whole = "kube_service_cluster123_namespace_name";
        assert_eq!(rename_of("kube_service_kubernetes_namespace_name", "kubernetes"), whole);
        assert_eq!(rename_of("kube_service_kube_namespace_name", "kube"), whole);
        assert_eq!(rename_of("foo_kubernetes_bar", "kubernetes"), "foo_cluster123_bar");
        assert_eq!(rename_of("foo_bar", "kubernetes"), "foo_bar");
        let long = format!("kube_service_kubernetes_{}_name", "n".repeat(300));
        assert_eq!(rename(&long[..255], "kubernetes", &"c".repeat(20)).len(), 255);
        // Upstream corrupts these two.
        let child = rename_of("listener_0_kube_service_kube_namespace_name", "kube");
        assert_eq!(child, "listener_0_kube_service_cluster123_namespace_name");
        assert_eq!(rename_of("kube_service_kubernetes_namespace_name", ""), "kube_service_kubernetes_namespace_name");
    }

    #[test]
    fn section_12_4_cluster_extraction() {
        let cluster = |text| cluster_of(text);
        assert_eq!(cluster("kube_service_kubernetes_namespace_name").as_deref(), Some("kubernetes"));
        assert_eq!(cluster("listener_0_kube_service_kubernetes_namespace_name").as_deref(), Some("kubernetes"));
        assert_eq!(cluster("kube_service_kubernetes_123_namespace_name").as_deref(), Some("kubernetes_123"));
        assert_eq!(cluster("something_else"), None);
        assert_eq!(cluster("kube_service_kubernetes_namespace").as_deref(), Some("kubernetes"));
    }

    #[test]
    fn a_renamed_cluster_is_told_from_another_service() {
        let names = Names::of(&service("u", "default", "web"), "new");
        assert_eq!(names.former_cluster("kube_service_old_default_web").as_deref(), Some("old"));
        assert_eq!(names.former_cluster("kube_service_new_default_web"), None);
        assert_eq!(names.former_cluster("kube_service_old_default_api"), None);
        assert_eq!(names.former_cluster("my-load-balancer"), None);
    }
}
