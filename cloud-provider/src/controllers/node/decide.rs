//! What a node gets, as pure functions that runs and plans share.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Settings;
use crate::{
    Error,
    cloud::{Instance, Metadata},
    cluster::{
        objects::{Node, NodeAddress, Object, Taint},
        patch,
    },
    error::Result,
    node::{addresses, labels, taints},
};

/// What the cloud's answer means for a node that waits for its initialisation.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It can be initialised.
    Initialize(Box<Metadata>),
    /// It stays as it is, for this reason.
    LeaveAlone(&'static str),
}

/// Decides about a node that waits.
///
/// # Errors
///
/// The cloud's, and metadata without which the node cannot be initialised; the node is tried again.
pub(super) fn verdict(node: &Node, answer: Result<Instance>) -> Result<Verdict> {
    let metadata = match answer? {
        Instance::Present { metadata: Some(metadata), .. } => metadata,
        Instance::Present { metadata: None, .. } => {
            return Ok(Verdict::LeaveAlone("the cloud has no metadata for this node yet, it stays uninitialized"));
        }
        Instance::Foreign => return Ok(Verdict::LeaveAlone("node of another cloud left alone")),
        Instance::Gone => return Err(Error::not_found("instance not found")),
    };
    if metadata.provider_id.is_empty() && node.provider_id().is_none() {
        let problem = format!("cloud provider does not set node provider ID for node {}", node.name());
        return Err(Error::transient(problem));
    }
    Ok(Verdict::Initialize(metadata))
}

/// The addresses to write; `None` where the node has them already, in the same order, or the cloud knows none.
///
/// # Errors
///
/// A provided node IP that is wrong.
pub(super) fn changed_addresses(node: &Node, metadata: &Metadata) -> Result<Option<Vec<NodeAddress>>> {
    let provided = node.annotation(addresses::PROVIDED_NODE_IP);
    let wanted = addresses::wanted(&metadata.addresses, &node.status.addresses, provided).map_err(|problem| {
        let problem = format!("provided node ip for node {:?} is not valid: {problem}", node.name());
        Error::invalid(addresses::PROVIDED_NODE_IP, problem)
    })?;
    let has_them = wanted == node.status.addresses || by_kind(&wanted) == node.status.addresses;
    Ok((!metadata.addresses.is_empty() && !has_them).then_some(wanted))
}

/// As the API server stores a list that takes the place of another: each kind's addresses together, where its first stood. The
/// kind is the key by which it merges.
fn by_kind(addresses: &[NodeAddress]) -> Vec<NodeAddress> {
    let mut sorted = addresses.to_vec();
    sorted.sort_by_key(|address| addresses.iter().position(|first| first.kind == address.kind));
    sorted
}

/// What makes a node schedulable, in one conditional write.
#[derive(Debug, PartialEq)]
pub(super) struct Schedulable {
    pub(super) provider_id: Option<String>,
    pub(super) labels: BTreeMap<String, String>,
    taints: Vec<Taint>,
}

impl Schedulable {
    pub(super) fn of(node: &Node, metadata: &Metadata) -> Self {
        Self {
            provider_id: (node.provider_id().is_none() && !metadata.provider_id.is_empty())
                .then(|| metadata.provider_id.clone()),
            labels: labels::of_instance(metadata, node.metadata.labels.as_ref()),
            taints: taints::without_uninitialized(&node.spec.taints),
        }
    }

    pub(super) fn patch(&self, node: &Node) -> Value {
        let version = node.metadata.resource_version.as_deref().unwrap_or_default();
        patch::node_initialized(version, self.provider_id.as_deref(), &self.labels, &self.taints)
    }
}

/// The labels to write on an initialised node, where the settings ask for it.
pub(super) fn refreshed_labels(node: &Node, metadata: &Metadata, settings: &Settings) -> BTreeMap<String, String> {
    let current = node.metadata.labels.as_ref();
    let mut refreshed = BTreeMap::new();
    if settings.refresh_labels {
        refreshed.extend(labels::topology(metadata, current));
    }
    if settings.refresh_additional_labels {
        refreshed.extend(labels::additional(metadata, current));
    }
    refreshed
}

/// The labels that have to follow older ones, see [`labels::follow_older_keys`].
pub(super) fn stale_labels(node: &Node) -> BTreeMap<String, String> {
    node.metadata.labels.as_ref().map(labels::follow_older_keys).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::objects::AddressKind;

    /// And order, which upstream misses for several addresses of one type.
    #[test]
    fn section_12_3_addresses_changed() {
        let int = NodeAddress::new(AddressKind::InternalIp, "10.0.0.1");
        let ext = NodeAddress::new(AddressKind::ExternalIp, "132.143.154.163");
        let other = NodeAddress::new(AddressKind::ExternalIp, "132.143.154.164");
        let name = NodeAddress::new(AddressKind::Hostname, "n");
        let changed = |old: &[&NodeAddress], new: &[&NodeAddress]| {
            let mut node = Node::default();
            node.status.addresses = old.iter().map(|address| (*address).clone()).collect();
            let addresses = new.iter().map(|address| (*address).clone()).collect();
            changed_addresses(&node, &Metadata { addresses, ..Metadata::default() }).unwrap().is_some()
        };
        assert!(!changed(&[&int, &ext, &name], &[&int, &ext, &name]));
        assert!(changed(&[&int, &ext, &name], &[&int, &other, &name]));
        assert!(changed(&[&int, &ext], &[&int, &ext, &name]));
        assert!(changed(&[&ext, &int], &[&int, &ext]));
        assert!(!changed(&[&int], &[]));
    }

    #[test]
    fn addresses_that_the_api_server_sorted_by_kind_are_not_written_again() {
        let address = |kind, text: &str| NodeAddress::new(kind, text);
        let (first, second) =
            (address(AddressKind::InternalIp, "10.0.0.1"), address(AddressKind::InternalIp, "10.9.0.1"));
        let public = address(AddressKind::ExternalIp, "203.0.113.1");
        let changed = |old: &[&NodeAddress]| {
            let mut node = Node::default();
            node.status.addresses = old.iter().map(|address| (*address).clone()).collect();
            let addresses = vec![first.clone(), public.clone(), second.clone()];
            changed_addresses(&node, &Metadata { addresses, ..Metadata::default() }).unwrap().is_some()
        };
        assert!(!changed(&[&first, &public, &second]));
        assert!(!changed(&[&first, &second, &public]));
        assert!(changed(&[&second, &first, &public]));
        assert!(changed(&[&public, &first, &second]));
    }

    /// The rows of the newer interface.
    #[test]
    fn section_12_3_get_instance_metadata() {
        let decide = |on_node: Option<&str>, in_cloud: &str| {
            let mut node = Node::default();
            node.spec.provider_id = on_node.map(ToOwned::to_owned);
            let metadata = Metadata { provider_id: in_cloud.into(), ..Metadata::default() };
            let answer = Instance::Present { power: crate::cloud::Power::Running, metadata: Some(Box::new(metadata)) };
            match verdict(&node, Ok(answer)) {
                Ok(Verdict::Initialize(metadata)) => Some(Schedulable::of(&node, &metadata).provider_id),
                _ => None,
            }
        };
        assert_eq!(decide(None, "fake://12345"), Some(Some("fake://12345".into())));
        assert_eq!(decide(None, ""), None, "an error");
        assert_eq!(decide(Some("fake://12345"), ""), Some(None), "that of the node is kept");
    }

    #[test]
    fn labels_are_refreshed_only_where_the_settings_ask_for_it() {
        let metadata = Metadata {
            zone: "z2".into(),
            additional_labels: [("my.label/a".to_owned(), "b".to_owned())].into(),
            ..Metadata::default()
        };
        let count = |refresh_labels, refresh_additional_labels| {
            let settings = Settings { refresh_labels, refresh_additional_labels, ..Settings::default() };
            refreshed_labels(&Node::default(), &metadata, &settings).len()
        };
        assert_eq!((count(false, false), count(true, false), count(false, true), count(true, true)), (0, 2, 1, 3));
    }
}
