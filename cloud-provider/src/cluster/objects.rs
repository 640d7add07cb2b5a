//! Nodes, services and persistent volumes, trimmed to what the controllers and the clouds read.
//!
//! They are decoded straight from the API server's JSON; what is not named here never takes memory. They are never
//! written back: writes are the patches of [`super::patch`], or start from raw JSON read live.

use std::{borrow::Cow, collections::BTreeMap, fmt, str::FromStr};

use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope, apimachinery::pkg::apis::meta::v1::Time};
use kube::core::ObjectMeta;
use serde::{Deserialize, Deserializer, Serialize};

use crate::{cloud::LoadBalancerStatus, keys};

/// The condition that says whether a kubelet is well.
const READY: &str = "Ready";
/// The condition that keeps pods off a node without routes.
pub const NETWORK_UNAVAILABLE: &str = "NetworkUnavailable";

/// The key of an object: its namespace, empty for cluster-scoped ones, and its name. Printed as `namespace/name`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Empty for cluster-scoped objects.
    pub namespace: String,
    /// The object's name.
    pub name: String,
}

impl Key {
    /// The key of a namespaced object.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The key of a cluster-scoped object.
    pub fn cluster(name: impl Into<String>) -> Self {
        Self::new("", name)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() { f.write_str(&self.name) } else { write!(f, "{}/{}", self.namespace, self.name) }
    }
}

impl Serialize for Key {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What the store needs of an object.
pub trait Object: kube::Resource<DynamicType = ()> + Clone + fmt::Debug + Send + Sync + 'static {
    /// The object's key.
    fn key(&self) -> Key {
        let meta = self.meta();
        Key { namespace: meta.namespace.clone().unwrap_or_default(), name: meta.name.clone().unwrap_or_default() }
    }

    /// The object's UID; empty before the API server gave one.
    fn uid(&self) -> &str {
        self.meta().uid.as_deref().unwrap_or_default()
    }

    /// The value of a label.
    fn label(&self, key: &str) -> Option<&str> {
        self.meta().labels.as_ref()?.get(key).map(String::as_str)
    }

    /// The value of an annotation.
    fn annotation(&self, key: &str) -> Option<&str> {
        self.meta().annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// Whether the object is on its way out: deleted, and held by finalizers.
    fn is_terminating(&self) -> bool {
        self.meta().deletion_timestamp.is_some()
    }
}

/// A node.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Node {
    /// Name, UID, resource version, times, labels, and of the annotations those that [`crate::keys::ALL`] names; nothing else.
    #[serde(deserialize_with = "trimmed_meta_of_node")]
    pub metadata: ObjectMeta,
    /// The node's spec.
    pub spec: NodeSpec,
    /// The node's status.
    pub status: NodeStatus,
}

/// The part of a node's spec that is read.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeSpec {
    /// `spec.providerID`.
    #[serde(rename = "providerID")]
    pub provider_id: Option<String>,
    /// `spec.podCIDRs`.
    #[serde(rename = "podCIDRs", deserialize_with = "null_as_default")]
    pub pod_cidrs: Vec<String>,
    /// `spec.taints`.
    #[serde(deserialize_with = "null_as_default")]
    pub taints: Vec<Taint>,
}

/// One taint. Kept whole, since the list is written back as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Taint {
    /// The key.
    pub key: String,
    /// The value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
    /// When it was added, as the API server printed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_added: Option<String>,
}

/// The part of a node's status that is read.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    /// `status.addresses`, in order.
    #[serde(deserialize_with = "null_as_default")]
    pub addresses: Vec<NodeAddress>,
    /// `status.conditions`: `Ready` and `NetworkUnavailable`.
    #[serde(deserialize_with = "read_conditions")]
    pub conditions: Vec<NodeCondition>,
}

/// One address of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeAddress {
    /// What kind of address it is.
    #[serde(rename = "type")]
    pub kind: AddressKind,
    /// The address, in the spelling of the cloud.
    pub address: String,
}

impl NodeAddress {
    /// An address of `kind`.
    pub fn new(kind: AddressKind, address: impl Into<String>) -> Self {
        Self { kind, address: address.into() }
    }
}

/// The kinds of node addresses.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum AddressKind {
    /// `Hostname`
    Hostname,
    /// `InternalIP`
    InternalIp,
    /// `ExternalIP`
    ExternalIp,
    /// `InternalDNS`
    InternalDns,
    /// `ExternalDNS`
    ExternalDns,
    /// A kind this version does not know; kept as it is.
    Other(String),
}

impl AddressKind {
    /// The spelling of the Kubernetes API.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Hostname => "Hostname",
            Self::InternalIp => "InternalIP",
            Self::ExternalIp => "ExternalIP",
            Self::InternalDns => "InternalDNS",
            Self::ExternalDns => "ExternalDNS",
            Self::Other(name) => name,
        }
    }
}

impl From<String> for AddressKind {
    fn from(name: String) -> Self {
        match name.as_str() {
            "Hostname" => Self::Hostname,
            "InternalIP" => Self::InternalIp,
            "ExternalIP" => Self::ExternalIp,
            "InternalDNS" => Self::InternalDns,
            "ExternalDNS" => Self::ExternalDns,
            _ => Self::Other(name),
        }
    }
}

impl From<AddressKind> for String {
    fn from(kind: AddressKind) -> Self {
        kind.as_str().to_owned()
    }
}

/// One condition of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct NodeCondition {
    /// `Ready` or `NetworkUnavailable`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// The reason its writer gave.
    pub reason: String,
}

/// A service.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Service {
    /// Name, namespace, UID, resource version, times, labels, annotations, finalizers; nothing else.
    #[serde(deserialize_with = "trimmed_meta")]
    pub metadata: ObjectMeta,
    /// The service's spec.
    pub spec: ServiceSpec,
    /// The service's status.
    pub status: ServiceStatus,
}

/// The part of a service's spec that is read.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceSpec {
    /// `ClusterIP`, `NodePort`, `LoadBalancer` or `ExternalName`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The ports, in order.
    #[serde(deserialize_with = "null_as_default")]
    pub ports: Vec<ServicePort>,
    /// `spec.loadBalancerClass`.
    pub load_balancer_class: Option<String>,
    /// `spec.loadBalancerIP`.
    #[serde(rename = "loadBalancerIP")]
    pub load_balancer_ip: Option<String>,
    /// `spec.loadBalancerSourceRanges`.
    #[serde(deserialize_with = "null_as_default")]
    pub load_balancer_source_ranges: Vec<String>,
    /// `spec.externalIPs`.
    #[serde(rename = "externalIPs", deserialize_with = "null_as_default")]
    pub external_ips: Vec<String>,
    /// `Cluster` or `Local`.
    pub external_traffic_policy: Option<String>,
    /// The port on which nodes say whether they have endpoints, with policy `Local`.
    pub health_check_node_port: i32,
    /// `None` or `ClientIP`.
    pub session_affinity: Option<String>,
    /// `spec.sessionAffinityConfig.clientIP.timeoutSeconds`, as raw JSON of the configuration.
    pub session_affinity_config: Option<serde_json::Value>,
    /// `IPv4`, `IPv6`, in order.
    #[serde(deserialize_with = "null_as_default")]
    pub ip_families: Vec<String>,
    /// `SingleStack`, `PreferDualStack` or `RequireDualStack`.
    pub ip_family_policy: Option<String>,
    /// The service's cluster IPs.
    #[serde(rename = "clusterIPs", deserialize_with = "null_as_default")]
    pub cluster_ips: Vec<String>,
    /// Whether node ports are allocated for a load balancer; absent means yes.
    pub allocate_load_balancer_node_ports: Option<bool>,
}

/// One port of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServicePort {
    /// The port's name; empty where there is none.
    pub name: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// The port on the load balancer.
    pub port: i32,
    /// The port on every node; 0 where none is allocated.
    pub node_port: i32,
    /// The port or port name of the pods.
    pub target_port: Option<serde_json::Value>,
    /// The application protocol.
    pub app_protocol: Option<String>,
}

/// The part of a service's status that is read.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceStatus {
    /// `status.loadBalancer`.
    #[serde(deserialize_with = "null_as_default")]
    pub load_balancer: LoadBalancerStatus,
}

impl Node {
    /// The node's name.
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// `spec.providerID`, where it is set.
    pub fn provider_id(&self) -> Option<&str> {
        self.spec.provider_id.as_deref().filter(|id| !id.is_empty())
    }

    /// The status of condition `Ready`: `True`, `False` or `Unknown`; `None` where the node never reported.
    pub fn ready(&self) -> Option<&str> {
        self.condition(READY).map(|ready| ready.status.as_str())
    }

    /// A condition, `Ready` or [`NETWORK_UNAVAILABLE`]; others are not kept.
    pub fn condition(&self, kind: &str) -> Option<&NodeCondition> {
        self.status.conditions.iter().find(|condition| condition.kind == kind)
    }
}

/// Gives one type its place in the Kubernetes API.
macro_rules! resource {
    ($type:ty, $scope:ty, $kind:literal, $plural:literal) => {
        impl kube::Resource for $type {
            type DynamicType = ();
            type Scope = $scope;
            fn kind((): &()) -> Cow<'_, str> {
                $kind.into()
            }
            fn group((): &()) -> Cow<'_, str> {
                "".into()
            }
            fn version((): &()) -> Cow<'_, str> {
                "v1".into()
            }
            fn plural((): &()) -> Cow<'_, str> {
                $plural.into()
            }
            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
        impl Object for $type {}
    };
}

mod persistent_volumes;

pub use persistent_volumes::{PersistentVolume, PersistentVolumeSpec, VolumeSource};

resource!(Node, ClusterResourceScope, "Node", "nodes");
resource!(Service, NamespaceResourceScope, "Service", "services");

/// Metadata without managed fields, owner references and what else nobody here reads.
fn trimmed_meta<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Trimmed {
        name: Option<String>,
        namespace: Option<String>,
        uid: Option<String>,
        resource_version: Option<String>,
        creation_timestamp: Option<Time>,
        deletion_timestamp: Option<Time>,
        labels: Option<BTreeMap<String, String>>,
        annotations: Option<BTreeMap<String, String>>,
        finalizers: Option<Vec<String>>,
    }
    let trimmed = Trimmed::deserialize(deserializer)?;
    let annotations = trimmed.annotations.map(|mut annotations| {
        // A copy of the whole object, which nothing reads here.
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        annotations
    });
    Ok(ObjectMeta {
        name: trimmed.name,
        namespace: trimmed.namespace,
        uid: trimmed.uid,
        resource_version: trimmed.resource_version,
        creation_timestamp: trimmed.creation_timestamp,
        deletion_timestamp: trimmed.deletion_timestamp,
        // Built anew, all at once: filled one by one, its nodes are half empty.
        labels: trimmed.labels.map(|labels| labels.into_iter().collect()),
        annotations,
        finalizers: trimmed.finalizers,
        ..ObjectMeta::default()
    })
}

/// Network plugins and storage drivers write long annotations on every node, which thousands of them would hold for nothing.
fn trimmed_meta_of_node<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let mut meta = trimmed_meta(deserializer)?;
    let annotations = meta.annotations.take().map(|mut annotations| {
        annotations.retain(|key, _| keys::is_annotation_of_nodes(key));
        annotations
    });
    meta.annotations = annotations.filter(|annotations| !annotations.is_empty());
    Ok(meta)
}

/// Only the conditions that controllers read; the others change with every heartbeat.
fn read_conditions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<NodeCondition>, D::Error> {
    let mut conditions: Vec<NodeCondition> = null_as_default(deserializer)?;
    conditions.retain(|condition| condition.kind == READY || condition.kind == NETWORK_UNAVAILABLE);
    conditions.shrink_to_fit();
    Ok(conditions)
}

fn null_as_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

impl FromStr for Key {
    type Err = String;

    /// Reads `namespace/name`; anything else is refused in upstream's words.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split('/').collect::<Vec<_>>()[..] {
            [name] => Ok(Self::cluster(name)),
            [namespace, name] => Ok(Self::new(namespace, name)),
            _ => Err(format!("unexpected key format: {text:?}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_is_decoded_without_what_nobody_reads() {
        let node: Node = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": "n1", "uid": "u", "resourceVersion": "7", "managedFields": [{"manager": "kubelet"}],
                "creationTimestamp": "2026-01-02T03:04:05Z", "labels": {"a": "b"},
                "annotations": {"alpha.kubernetes.io/provided-node-ip": "10.0.0.1", "csi.volume.kubernetes.io/nodeid": "{}"}},
            "spec": {"providerID": "aws:///z/i-1", "taints": [{"key": "k", "effect": "NoSchedule", "timeAdded": "2026-01-02T03:04:05Z"}]},
            "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}, {"type": "Odd", "address": "x"}],
                "images": [{"names": ["a"]}],
                "conditions": [{"type": "Ready", "status": "True"}, {"type": "MemoryPressure", "status": "False"}]},
        }))
        .unwrap();
        assert_eq!(node.name(), "n1");
        assert_eq!(node.ready(), Some("True"));
        assert!(node.metadata.managed_fields.is_none());
        assert_eq!(node.label("a"), Some("b"));
        assert_eq!(node.annotation("alpha.kubernetes.io/provided-node-ip"), Some("10.0.0.1"));
        assert_eq!(node.annotation("csi.volume.kubernetes.io/nodeid"), None);
        assert_eq!(node.status.conditions.len(), 1);
        assert_eq!(node.status.addresses[1].kind, AddressKind::Other("Odd".into()));
        assert_eq!(node.spec.taints[0].time_added.as_deref(), Some("2026-01-02T03:04:05Z"));
    }

    #[test]
    fn null_lists_and_missing_parts_are_empty() {
        let node: Node = serde_json::from_value(json!({"metadata": {"name": "n"}, "spec": {"taints": null}})).unwrap();
        assert!(node.spec.taints.is_empty() && node.status.addresses.is_empty() && node.provider_id().is_none());
        let service: Service = serde_json::from_value(json!({
            "metadata": {"name": "s", "namespace": "d"},
            "spec": {"type": "LoadBalancer", "ports": [{"port": 80, "protocol": "TCP", "targetPort": "web"}]},
            "status": {"loadBalancer": {}},
        }))
        .unwrap();
        assert_eq!(service.key().to_string(), "d/s");
        assert!(service.status.load_balancer.ingress.is_empty());
    }

    #[test]
    fn section_12_5_sync_service_key() {
        assert_eq!("invalid/key/string".parse::<Key>().unwrap_err(), r#"unexpected key format: "invalid/key/string""#);
        assert_eq!("a/b".parse::<Key>().unwrap(), Key::new("a", "b"));
    }
}
