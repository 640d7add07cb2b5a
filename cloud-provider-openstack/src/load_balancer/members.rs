//! Which nodes are members, and by which addresses.

use std::{collections::BTreeMap, net::IpAddr};

use cloud_provider::cluster::objects::{AddressKind, Node, NodeAddress, Object, Service, ServicePort};

use super::{annotations, names};
use crate::client::load_balancer::NewMember;

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4
    V4,
    /// IPv6
    V6,
}

impl Family {
    /// The first family of a service: it alone decides, since a load balancer has members of one family.
    pub fn first_of(service: &Service) -> Option<Self> {
        service.spec.ip_families.first().and_then(|family| Self::named(family))
    }

    /// The second family of a service.
    pub fn second_of(service: &Service) -> Option<Self> {
        service.spec.ip_families.get(1).and_then(|family| Self::named(family))
    }

    fn named(name: &str) -> Option<Self> {
        match name {
            "IPv4" => Some(Self::V4),
            "IPv6" => Some(Self::V6),
            _ => None,
        }
    }

    /// The family of an address; `None` for what is no address.
    pub fn of(address: &str) -> Option<Self> {
        match address.parse() {
            Ok(IpAddr::V4(_)) => Some(Self::V4),
            Ok(IpAddr::V6(_)) => Some(Self::V6),
            Err(_) => None,
        }
    }

    /// As Neutron calls it in rules.
    pub fn ether_type(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

/// The labels that a node needs to become a member. A key with an empty value must only exist.
pub fn selector(service: &Service, default: &str) -> BTreeMap<String, String> {
    annotations::pairs(annotations::NODE_SELECTOR.or(service, default))
}

/// Whether a node has all labels of a selector.
pub fn is_selected(node: &Node, selector: &BTreeMap<String, String>) -> bool {
    selector.iter().all(|(key, value)| node.label(key).is_some_and(|actual| value.is_empty() || actual == value))
}

/// The address under which a node is a member: the first internal one of the family, else the first external one.
pub fn address(node: &Node, family: Option<Family>) -> Option<&str> {
    let fits = |address: &&NodeAddress| match (Family::of(&address.address), family) {
        (None, _) => false,
        (Some(actual), Some(wanted)) => actual == wanted,
        (Some(_), None) => true,
    };
    let first = |kind| {
        let of_kind = node.status.addresses.iter().filter(|address| address.kind == kind);
        of_kind.filter(|address| fits(address)).map(|address| address.address.as_str()).next()
    };
    first(AddressKind::InternalIp).or_else(|| first(AddressKind::ExternalIp))
}

/// A node that is a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// The node's name.
    pub node: String,
    /// The node's address.
    pub address: String,
    /// The server behind the node, where it is known yet.
    pub server: Option<String>,
}

/// How members are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Making<'a> {
    /// One at a time, with names of their own kind, and neither subnet nor monitor port.
    pub serial: bool,
    /// The subnet in which nodes are reached.
    pub subnet: Option<&'a str>,
    /// The port that monitors ask.
    pub monitor_port: Option<i32>,
}

/// The members of the pool of a port: none where it has no node port.
pub fn members(backends: &[Backend], port: &ServicePort, making: Making<'_>) -> Vec<NewMember> {
    if port.node_port == 0 {
        return Vec::new();
    }
    let mut members: Vec<NewMember> = Vec::with_capacity(backends.len());
    for Backend { node, address, .. } in backends {
        if members.iter().any(|member| member.address == *address) {
            tracing::warn!(node, address, "two nodes have the same address, one of them is no member");
            continue;
        }
        let name = if making.serial { names::serial_member(node, address, port.node_port) } else { node.clone() };
        members.push(NewMember {
            name,
            address: address.clone(),
            protocol_port: port.node_port,
            subnet_id: making.subnet.filter(|_| !making.serial).map(str::to_owned),
            monitor_port: making.monitor_port.filter(|_| !making.serial),
        });
    }
    members
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(addresses: &[(&str, &str)], labels: Value) -> Node {
        let addresses: Vec<Value> =
            addresses.iter().map(|(kind, address)| json!({ "type": kind, "address": address })).collect();
        let value = json!({ "metadata": { "name": "n", "labels": labels }, "status": { "addresses": addresses } });
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn section_12_4_node_address() {
        let all = node(
            &[
                ("ExternalDNS", "n.example.com"),
                ("ExternalIP", "203.0.113.7"),
                ("InternalIP", "10.0.0.7"),
                ("InternalIP", "fd00::7"),
                ("ExternalIP", "2001:db8::7"),
            ],
            json!({}),
        );
        assert_eq!(address(&all, Some(Family::V4)), Some("10.0.0.7"));
        assert_eq!(address(&all, Some(Family::V6)), Some("fd00::7"));
        assert_eq!(address(&all, None), Some("10.0.0.7"));
        let external = node(&[("Hostname", "n"), ("ExternalIP", "203.0.113.7")], json!({}));
        assert_eq!(address(&external, Some(Family::V4)), Some("203.0.113.7"));
        assert_eq!(address(&external, Some(Family::V6)), None);
        assert_eq!(address(&node(&[("ExternalDNS", "n.example.com")], json!({})), None), None);
    }

    #[test]
    fn section_12_4_node_selector() {
        let selected = |text: &str, labels| is_selected(&node(&[], labels), &annotations::pairs(text));
        let both = json!({ "k1": "v1", "k2": "v2", "k3": "a=b" });
        for text in ["k1=v1,k2=v2", "k1,k2", "k3=a=b", " k1=v1, k2 ", "", "k1="] {
            assert!(selected(text, both.clone()), "{text}");
        }
        for text in ["k1=v2", "k4", " k1=v1, k4 ", "k1=v1,k2=v1"] {
            assert!(!selected(text, both.clone()), "{text}");
        }
        assert!(!selected("k1", json!({})), "a node without labels");
        assert!(selected("", json!({})));
    }

    #[test]
    fn section_12_4_members() {
        let backend = |node: &str, address: &str| Backend { node: node.into(), address: address.into(), server: None };
        let nodes = [backend("a", "10.0.0.1"), backend("b", "10.0.0.2")];
        let port = |node_port| ServicePort { port: 80, node_port, ..ServicePort::default() };
        let making = Making { serial: false, subnet: Some("subnet"), monitor_port: Some(31000) };
        assert!(members(&nodes, &port(0), making).is_empty());
        let two = members(&nodes, &port(30080), making);
        assert_eq!(two.len(), 2);
        assert_eq!((two[0].name.as_str(), two[0].protocol_port, two[0].monitor_port), ("a", 30080, Some(31000)));
        assert_eq!(two[1].subnet_id.as_deref(), Some("subnet"));
        let serial = members(&nodes, &port(30080), Making { serial: true, ..making });
        assert_eq!(serial[0].name, "member_a_10.0.0.1_30080");
        assert_eq!((serial[0].subnet_id.clone(), serial[0].monitor_port), (None, None));
        let twice = [backend("a", "10.0.0.1"), backend("b", "10.0.0.1")];
        assert_eq!(members(&twice, &port(30080), making).len(), 1);
    }
}
