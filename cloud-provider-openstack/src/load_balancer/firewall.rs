//! The security group that opens the nodes to a service's load balancer, where the configuration has it managed.

use std::collections::BTreeSet;

use cloud_provider::cluster::objects::Service;

use super::members::{Backend, Family};
use crate::client::{
    network::{Port, Subnet},
    security_group::{KnownRule, Rule},
};

/// What the nodes let in for one service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Firewall {
    /// The name of the group.
    pub(super) group: String,
    /// Its description.
    pub(super) description: String,
    /// Protocols and node ports.
    pub(super) ports: BTreeSet<(String, i32)>,
    /// The node port of health checks.
    pub(super) health_check: Option<i32>,
    /// Where traffic comes from, where the provider driver keeps the addresses of clients; else the members' subnet.
    pub(super) clients: Option<Vec<String>>,
    /// The nodes that are members.
    pub(super) backends: Vec<Backend>,
}

impl Firewall {
    /// The protocols and node ports of a service.
    pub(super) fn ports(service: &Service) -> BTreeSet<(String, i32)> {
        let ports = service.spec.ports.iter().filter(|port| port.node_port != 0);
        ports.map(|port| (port.protocol.to_lowercase(), port.node_port)).collect()
    }

    /// The rules of the group, with members in `subnet`. All are of the subnet's family.
    pub(super) fn rules(&self, subnet: &Subnet) -> BTreeSet<Rule> {
        let family = if subnet.ip_version == 6 { Family::V6 } else { Family::V4 };
        let rule = |protocol: &str, port, source: &str| Rule {
            direction: "ingress".to_owned(),
            ethertype: family.ether_type().to_owned(),
            protocol: Some(protocol.to_owned()),
            port_range_min: Some(port),
            port_range_max: Some(port),
            remote_ip_prefix: Some(source.to_owned()),
        };
        let own = [subnet.cidr.clone()];
        let sources: Vec<&String> = match &self.clients {
            Some(clients) => clients.iter().filter(|range| range.contains(':') == (family == Family::V6)).collect(),
            None => own.iter().collect(),
        };
        let health_check = self.health_check.map(|port| rule("tcp", port, &subnet.cidr));
        let of_port = |(protocol, port): &(String, i32)| {
            sources.iter().map(|source| rule(protocol, *port, source)).collect::<Vec<_>>()
        };
        self.ports.iter().flat_map(of_port).chain(health_check).collect()
    }

    /// The ports of members, among `ports`, that lack the group: those that hold the member's address in `subnet` and have
    /// port security.
    pub(super) fn closed<'a>(&self, ports: &'a [Port], subnet: &Subnet, group: Option<&str>) -> Vec<&'a Port> {
        let lacks = |port: &&Port| group.is_none_or(|group| !port.security_groups.iter().any(|id| id == group));
        ports.iter().filter(|port| self.is_member(port, subnet)).filter(lacks).collect()
    }

    /// The ports, among those with the group, that are no member's any more.
    pub(super) fn leaving<'a>(&self, ports: &'a [Port], subnet: &Subnet) -> Vec<&'a Port> {
        ports.iter().filter(|port| !self.is_member(port, subnet)).collect()
    }

    fn is_member(&self, port: &Port, subnet: &Subnet) -> bool {
        let holds = |backend: &Backend| {
            backend.server.as_deref() == Some(port.device_id.as_str())
                && port.fixed_ips.iter().any(|ip| ip.ip_address == backend.address && ip.subnet_id == subnet.id)
        };
        port.port_security_enabled == Some(true) && self.backends.iter().any(holds)
    }
}

/// The difference between wanted rules and those that are there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RuleDiff {
    pub(super) add: Vec<Rule>,
    pub(super) remove: Vec<KnownRule>,
}

impl RuleDiff {
    /// Whatever is not wanted goes, also the rules for outgoing traffic that Neutron gives a new group, as upstream has it.
    pub(super) fn new(wanted: &BTreeSet<Rule>, actual: &[KnownRule]) -> Self {
        let known: BTreeSet<Rule> = actual.iter().map(|known| normalized(&known.rule)).collect();
        Self {
            add: wanted.iter().filter(|rule| !known.contains(rule)).cloned().collect(),
            remove: actual.iter().filter(|known| !wanted.contains(&normalized(&known.rule))).cloned().collect(),
        }
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.add.is_empty() && self.remove.is_empty()
    }
}

fn normalized(rule: &Rule) -> Rule {
    Rule { protocol: rule.protocol.as_ref().map(|protocol| protocol.to_lowercase()), ..rule.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::network::FixedIp;

    fn subnet() -> Subnet {
        Subnet { id: "subnet".into(), cidr: "10.0.0.0/16".into(), ip_version: 4, ..Subnet::default() }
    }

    fn rule(protocol: &str, port: i32, source: &str) -> Rule {
        Rule {
            direction: "ingress".into(),
            ethertype: "IPv4".into(),
            protocol: Some(protocol.into()),
            port_range_min: Some(port),
            port_range_max: Some(port),
            remote_ip_prefix: Some(source.into()),
        }
    }

    fn known(id: &str, rule: Rule) -> KnownRule {
        KnownRule { id: id.into(), rule }
    }

    fn firewall() -> Firewall {
        Firewall {
            ports: [("tcp".into(), 30080), ("udp".into(), 30053)].into(),
            health_check: Some(31000),
            backends: vec![Backend { node: "a".into(), address: "10.0.0.1".into(), server: Some("server-a".into()) }],
            ..Firewall::default()
        }
    }

    #[test]
    fn nodes_let_the_members_subnet_in_or_clients_where_their_addresses_are_kept() {
        let cidr = "10.0.0.0/16";
        let from_subnet = [rule("tcp", 30080, cidr), rule("udp", 30053, cidr), rule("tcp", 31000, cidr)];
        assert_eq!(firewall().rules(&subnet()), from_subnet.into());
        let clients = Some(vec!["192.0.2.0/24".into(), "2001:db8::/32".into()]);
        let ovn = Firewall { clients, health_check: None, ..firewall() };
        let from_clients = [rule("tcp", 30080, "192.0.2.0/24"), rule("udp", 30053, "192.0.2.0/24")];
        assert_eq!(ovn.rules(&subnet()), from_clients.into(), "those of the subnet's family");
    }

    #[test]
    fn section_12_4_security_group_diff() {
        let (a, b) = (rule("tcp", 80, "10.0.0.0/8"), rule("tcp", 81, "10.0.0.0/8"));
        let diff = |wanted: &[&Rule], actual: &[KnownRule]| {
            let diff = RuleDiff::new(&wanted.iter().map(|rule| (*rule).clone()).collect(), actual);
            (diff.add, diff.remove.into_iter().map(|known| known.id).collect::<Vec<_>>())
        };
        assert_eq!(diff(&[], &[]), (vec![], vec![]));
        let egress = known("e", Rule { direction: "egress".into(), ethertype: "IPv4".into(), ..Rule::default() });
        assert_eq!(diff(&[], std::slice::from_ref(&egress)), (vec![], vec!["e".into()]));
        assert_eq!(diff(&[&a], &[known("1", rule("TCP", 80, "10.0.0.0/8"))]), (vec![], vec![]), "TCP is tcp");
        assert_eq!(diff(&[&b], &[known("1", a.clone())]), (vec![b.clone()], vec!["1".into()]), "another port");
        let elsewhere = rule("tcp", 80, "10.1.0.0/16");
        assert_eq!(diff(&[&elsewhere], &[known("1", a.clone())]), (vec![elsewhere.clone()], vec!["1".into()]));
        assert_eq!(diff(&[], &[known("1", a.clone()), known("2", b.clone())]), (vec![], vec!["1".into(), "2".into()]));
        assert_eq!(diff(&[&a, &b], &[]).0.len(), 2);
    }

    #[test]
    fn only_the_ports_of_members_are_opened() {
        let port = |id: &str, device: &str, address: &str, secure, groups: &[&str]| Port {
            id: id.into(),
            device_id: device.into(),
            fixed_ips: vec![FixedIp { ip_address: address.into(), subnet_id: "subnet".into() }],
            port_security_enabled: secure,
            security_groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            ..Port::default()
        };
        let ports = [
            port("open", "server-a", "10.0.0.1", Some(true), &["default", "sg"]),
            port("closed", "server-a", "10.0.0.1", Some(true), &["default"]),
            port("insecure", "server-a", "10.0.0.1", Some(false), &[]),
            port("unknown", "server-a", "10.0.0.1", None, &[]),
            port("other address", "server-a", "10.0.0.9", Some(true), &[]),
            port("other server", "server-b", "10.0.0.1", Some(true), &[]),
        ];
        let ids = |ports: Vec<&Port>| ports.into_iter().map(|port| port.id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(firewall().closed(&ports, &subnet(), Some("sg"))), ["closed"]);
        assert_eq!(ids(firewall().closed(&ports, &subnet(), None)), ["open", "closed"]);
        assert_eq!(ids(firewall().leaving(&ports[4..], &subnet())), ["other address", "other server"]);
        let elsewhere = Subnet { id: "elsewhere".into(), ..subnet() };
        assert!(firewall().closed(&ports, &elsewhere, None).is_empty());
    }
}
