//! The rules that a network load balancer needs in the security groups of nodes, and which of those that are there can go.
//!
//! All network load balancers share these groups. Rules are told apart by their traffic alone, so that one rule may serve
//! several load balancers, while its description names only the one that came first.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::{
    merged_rules::{Merging, contains},
    neighbours::Neighbours,
    operation::SecurityGroupRef,
};
use crate::{
    client::network::{Rule, SecurityGroup, Source, Traffic},
    load_balancer::{names, security_groups::IngressDiff},
};

/// What the nodes have to let in for one load balancer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NodeRules {
    /// The node ports, with `tcp` or `udp`.
    pub(super) client_ports: BTreeSet<(&'static str, i32)>,
    /// The ports of health checks, over TCP.
    pub(super) health_ports: BTreeSet<i32>,
    /// Who may be a client; the load balancer keeps client addresses.
    pub(super) clients: BTreeSet<IpNet>,
    /// The ranges of the load balancer's subnets, where health checks come from.
    pub(super) subnets: BTreeSet<String>,
    /// Whether there are clients over IPv6: the load balancer hides them behind its own addresses.
    pub(super) dual_stack: bool,
    /// Whether rules may be merged to ranges of ports.
    pub(super) merged: bool,
    /// The load balancer's security group, which alone is let in where it is given.
    pub(super) source: Option<SecurityGroupRef>,
}

impl NodeRules {
    pub(super) fn client_traffic(&self) -> Vec<Traffic> {
        if let Some(source) = &self.source {
            let source = Source::group_id(source.to_string());
            return vec![Traffic { protocol: "-1".to_owned(), ports: None, source }];
        }
        let arrives = |range: &&IpNet| !self.dual_stack || matches!(range, IpNet::V4(_));
        let mut sources: Vec<Source> = self.clients.iter().filter(arrives).map(Source::range).collect();
        if self.dual_stack && !self.lets_in_all_ipv4() {
            sources.extend(self.subnet_sources().filter(|source| !sources.contains(source)).collect::<Vec<_>>());
        }
        traffic(&self.client_ports, &sources)
    }

    /// None where client traffic covers it.
    pub(super) fn health_traffic(&self) -> Vec<Traffic> {
        if self.source.is_some() || self.clients_cover_health() {
            return Vec::new();
        }
        traffic(&self.health_over_tcp(), &self.subnet_sources().collect::<Vec<_>>())
    }

    /// Whether health checks get in as clients do.
    fn clients_cover_health(&self) -> bool {
        let alone = self.dual_stack || self.clients.len() == 1;
        self.lets_in_all_ipv4() && alone && self.health_over_tcp() == self.client_ports
    }

    fn health_over_tcp(&self) -> BTreeSet<(&'static str, i32)> {
        self.health_ports.iter().map(|port| ("tcp", *port)).collect()
    }

    fn lets_in_all_ipv4(&self) -> bool {
        self.clients.iter().any(|range| matches!(range, IpNet::V4(range) if range.prefix_len() == 0))
    }

    fn subnet_sources(&self) -> impl Iterator<Item = Source> {
        self.subnets.iter().map(|range| Source::Ipv4(range.clone()))
    }
}

fn traffic(ports: &BTreeSet<(&str, i32)>, sources: &[Source]) -> Vec<Traffic> {
    let pairs = ports.iter().flat_map(|port| sources.iter().map(move |source| (*port, source)));
    pairs
        .map(|((protocol, port), source)| Traffic {
            protocol: protocol.to_owned(),
            ports: Some((port, port)),
            source: source.clone(),
        })
        .collect()
}

/// What changes in `group` so that it lets in what `name` needs, and no more of what was let in for it before.
///
/// Added is what no rule of any description lets in yet. Taken out are our own rules, and health rules of load balancers
/// that have no client rules left, unless another load balancer may live on them; and rules for path MTU discovery of
/// clients that no load balancer has any more. Where client traffic covers health checks, our own health rules of before stay
/// as they are, as upstream's do: a takeover changes nothing. A group that is not wanted and holds no rule of ours is left
/// alone.
pub(super) fn node_rules(
    group: &SecurityGroup,
    name: &str,
    neighbours: &Neighbours,
    wanted: Option<&NodeRules>,
) -> IngressDiff {
    let (client, health) = (names::client_rule(name), names::health_rule(name));
    let ours = |rule: &Rule| described(rule, &client) || described(rule, &health);
    if wanted.is_none() && !group.ingress.iter().any(ours) {
        return IngressDiff::default();
    }
    let client_traffic = wanted.map(NodeRules::client_traffic).unwrap_or_default();
    let health_traffic = wanted.map(NodeRules::health_traffic).unwrap_or_default();
    let wanted_traffic = || client_traffic.iter().chain(&health_traffic);
    let merging = wanted.filter(|wanted| wanted.merged);
    let merging = merging.map(|wanted| Merging::new(group, &client, neighbours, wanted, &client_traffic));
    let merged = merging.as_ref().map(Merging::kept).unwrap_or_default();
    let needed = |rule: &Rule| wanted_traffic().any(|traffic| traffic.same(&rule.traffic)) || merged.contains(&rule);
    let others = Others::of(group, &client);
    let health_stays =
        wanted.is_some_and(|wanted| !wanted.merged && wanted.source.is_none() && wanted.clients_cover_health());
    let stale = |rule: &Rule| {
        if needed(rule) {
            return false;
        }
        if described(rule, &client) {
            return true;
        }
        match rule.description.as_deref().and_then(names::health_rule_owner) {
            Some(owner) if owner == name && health_stays => false,
            Some(owner) if owner == name || !others.has(owner) => !others.may_need(rule),
            _ => false,
        }
    };
    let mut diff =
        IngressDiff { add: Vec::new(), remove: group.ingress.iter().filter(|rule| stale(rule)).cloned().collect() };
    for (traffic, description) in
        client_traffic.iter().map(|it| (it, &client)).chain(health_traffic.iter().map(|it| (it, &health)))
    {
        if !merged.iter().any(|rule| rule.traffic.covers(traffic)) {
            add(&mut diff, group, Rule { traffic: traffic.clone(), description: Some(description.clone()) });
        }
    }
    if let Some(merging) = merging {
        merging.merge(&mut diff);
    }
    shared_health(&mut diff, group, &others, neighbours, &health_traffic);
    path_mtu(&mut diff, group);
    diff
}

/// The health rules that load balancers share go with the last one that no other rule lets in: this one, as far as `own`
/// health checks are concerned, or others. Of whom nothing is known may need them.
fn shared_health(
    diff: &mut IngressDiff,
    group: &SecurityGroup,
    others: &Others<'_>,
    neighbours: &Neighbours,
    own: &[Traffic],
) {
    let is_shared = |rule: &&Rule| described(rule, names::SHARED_HEALTH_RULE);
    let stay = group.ingress.iter().filter(|rule| !diff.remove.contains(rule)).chain(&diff.add);
    let rest: Vec<&Rule> = stay.filter(|rule| !is_shared(rule)).collect();
    let within =
        |ports: Option<(i32, i32)>, port: i32| ports.is_some_and(|(first, last)| (first..=last).contains(&port));
    let comes_in = |port: i32, source: &Source| {
        rest.iter().any(|rule| {
            let Traffic { protocol, ports, source: from } = &rule.traffic;
            protocol == "tcp" && within(*ports, port) && contains(from, source)
        })
    };
    let is_needed = |rule: &Rule| {
        let Traffic { ports, source, .. } = &rule.traffic;
        let lives_on = |port: i32| within(*ports, port) && !comes_in(port, source);
        let own = own.iter().filter(|traffic| rule.traffic.covers(traffic)).filter_map(|traffic| traffic.ports);
        let needs =
            |name: &&str| neighbours.health_ports(name).is_none_or(|ports| ports.iter().any(|port| lives_on(*port)));
        own.map(|(port, _)| port).any(lives_on) || others.names.iter().any(needs)
    };
    let stale = group.ingress.iter().filter(|rule| is_shared(rule) && !diff.remove.contains(rule) && !is_needed(rule));
    let stale: Vec<Rule> = stale.cloned().collect();
    diff.remove.extend(stale);
}

/// Whether a rule lets in a load balancer by its security group alone, on all ports.
pub(super) fn is_without_ports(rule: &Rule) -> bool {
    rule.traffic.source.group().is_some() && rule.description.as_deref().is_some_and(names::is_client_rule)
}

pub(super) fn described(rule: &Rule, description: &str) -> bool {
    rule.description.as_deref() == Some(description)
}

fn add(diff: &mut IngressDiff, group: &SecurityGroup, rule: Rule) {
    if !group.allows(&rule.traffic) && !diff.add.iter().any(|added| added.traffic.same(&rule.traffic)) {
        diff.add.push(rule);
    }
}

/// One rule for every IPv4 source of a client rule, of any load balancer, as it stands after the change.
pub(super) fn path_mtu(diff: &mut IngressDiff, group: &SecurityGroup) {
    let stays = |rule: &&Rule| !diff.remove.contains(rule);
    let is_client = |rule: &&Rule| rule.description.as_deref().is_some_and(names::is_client_rule);
    let after = group.ingress.iter().filter(stays).chain(&diff.add);
    let sources: BTreeSet<Source> = after
        .filter(is_client)
        .map(|rule| rule.traffic.source.clone())
        .filter(|source| matches!(source, Source::Ipv4(_)))
        .collect();
    let rules: Vec<Rule> =
        sources.into_iter().map(|source| Rule::new("icmp", Some((3, 4)), source).described(names::MTU_RULE)).collect();
    let stale = |rule: &&Rule| {
        described(rule, names::MTU_RULE) && !rules.iter().any(|wanted| wanted.traffic.same(&rule.traffic))
    };
    diff.remove.extend(group.ingress.iter().filter(stale).cloned());
    for rule in rules {
        add(diff, group, rule);
    }
}

/// The other network load balancers with rules in a group that need rules for health checks: those that come in by their
/// security group do not.
struct Others<'a> {
    names: BTreeSet<&'a str>,
    rules: &'a [Rule],
    /// Ports that belong to one load balancer alone, since they are node ports of it.
    own_ports: BTreeSet<Option<(i32, i32)>>,
}

impl<'a> Others<'a> {
    fn of(group: &'a SecurityGroup, client: &str) -> Self {
        let clients = group.ingress.iter().filter(|rule| !described(rule, client) && !is_without_ports(rule));
        let names = clients.filter_map(|rule| names::client_rule_owner(rule.description.as_deref()?)).collect();
        let own = group.ingress.iter().filter(|rule| described(rule, client));
        Self { names, rules: &group.ingress, own_ports: own.map(|rule| rule.traffic.ports).collect() }
    }

    fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Whether another load balancer may live on a health rule: one that has none of its own for that source. The health
    /// checks of the nodes' shared port come from all load balancers of a subnet, for one.
    fn may_need(&self, rule: &Rule) -> bool {
        if self.own_ports.contains(&rule.traffic.ports) {
            return false;
        }
        self.names.iter().any(|name| {
            let health = names::health_rule(name);
            !self.rules.iter().any(|own| described(own, &health) && own.traffic.source == rule.traffic.source)
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const SUBNET: &str = "10.0.0.0/24";

    pub(in super::super) fn rules(port: i32, health: i32, clients: &str) -> NodeRules {
        NodeRules {
            client_ports: [("tcp", port)].into(),
            health_ports: [health].into(),
            clients: [clients.parse().unwrap()].into(),
            subnets: [SUBNET.to_owned()].into(),
            ..NodeRules::default()
        }
    }

    fn rule(protocol: &str, first: i32, last: i32, source: &str, description: &str) -> Rule {
        Rule::new(protocol, Some((first, last)), Source::Ipv4(source.into())).described(description)
    }

    fn client(name: &str, port: i32, source: &str) -> Rule {
        rule("tcp", port, port, source, &names::client_rule(name))
    }

    fn health(name: &str, port: i32) -> Rule {
        rule("tcp", port, port, SUBNET, &names::health_rule(name))
    }

    fn mtu(source: &str) -> Rule {
        rule("icmp", 3, 4, source, names::MTU_RULE)
    }

    fn group(rules: &[Rule]) -> SecurityGroup {
        SecurityGroup { id: "sg-1".into(), ingress: rules.to_vec(), ..SecurityGroup::default() }
    }

    fn diff_of(group: &SecurityGroup, name: &str, wanted: Option<&NodeRules>) -> IngressDiff {
        node_rules(group, name, &Neighbours::default(), wanted)
    }

    pub(in super::super) const ALL: &str = "0.0.0.0/0";

    #[test]
    fn one_load_balancer_comes_and_goes() {
        let by_hand = Rule::new("tcp", Some((22, 22)), Source::Ipv4(ALL.into()));
        let mut nodes = group(std::slice::from_ref(&by_hand));
        let wanted = rules(30080, 30080, "192.0.2.0/24");
        let diff = diff_of(&nodes, "a", Some(&wanted));
        let expected = [client("a", 30080, "192.0.2.0/24"), health("a", 30080), mtu("192.0.2.0/24")];
        assert_eq!(diff, IngressDiff { add: expected.to_vec(), remove: vec![] });
        diff.apply(&mut nodes.ingress);
        assert!(diff_of(&nodes, "a", Some(&wanted)).is_empty());
        let diff = diff_of(&nodes, "a", None);
        assert_eq!(diff, IngressDiff { add: vec![], remove: expected.to_vec() });
        diff.apply(&mut nodes.ingress);
        assert_eq!(nodes.ingress, [by_hand]);
        assert!(diff_of(&nodes, "a", None).is_empty());
    }

    #[test]
    fn health_rules_are_left_out_where_everybody_may_reach_the_same_ports() {
        let diff = diff_of(&group(&[]), "a", Some(&rules(30080, 30080, ALL)));
        assert_eq!(diff.add, [client("a", 30080, ALL), mtu(ALL)]);
        let udp = NodeRules { client_ports: [("udp", 30080)].into(), ..rules(30080, 30080, ALL) };
        let diff = diff_of(&group(&[]), "a", Some(&udp));
        assert_eq!(
            diff.add.iter().map(|rule| rule.traffic.to_string()).collect::<Vec<_>>(),
            ["udp 30080 from 0.0.0.0/0", "tcp 30080 from 10.0.0.0/24", "icmp 3-4 from 0.0.0.0/0"]
        );
    }

    #[test]
    fn a_shared_health_rule_stays_until_the_last_load_balancer_goes() {
        let mut nodes = group(&[]);
        for (name, port) in [("a", 30080), ("b", 30081)] {
            let diff = diff_of(&nodes, name, Some(&rules(port, 10256, ALL)));
            diff.apply(&mut nodes.ingress);
        }
        assert_eq!(nodes.ingress.iter().filter(|rule| rule.traffic.ports == Some((10256, 10256))).count(), 1);
        let diff = diff_of(&nodes, "a", None);
        assert_eq!(diff, IngressDiff { add: vec![], remove: vec![client("a", 30080, ALL)] });
        diff.apply(&mut nodes.ingress);
        // What is left of "a" is settled, although its description is ours.
        assert!(diff_of(&nodes, "a", None).is_empty());
        assert!(diff_of(&nodes, "b", Some(&rules(30081, 10256, ALL))).is_empty());
        let diff = diff_of(&nodes, "b", None);
        diff.apply(&mut nodes.ingress);
        assert_eq!(nodes.ingress, []);
    }

    #[test]
    fn health_rules_of_node_ports_go_although_others_are_there() {
        let nodes = group(&[
            client("a", 30080, "192.0.2.0/24"),
            health("a", 30080),
            client("b", 30081, ALL),
            mtu(ALL),
            mtu("192.0.2.0/24"),
        ]);
        let diff = diff_of(&nodes, "a", None);
        assert_eq!(diff.remove, [client("a", 30080, "192.0.2.0/24"), health("a", 30080), mtu("192.0.2.0/24")]);
    }

    #[test]
    fn a_change_of_ports_and_ranges_replaces_rules() {
        let mut nodes = group(&[]);
        for wanted in [rules(30080, 30080, "192.0.2.0/24"), rules(30090, 32000, ALL), rules(30090, 30090, ALL)] {
            let diff = diff_of(&nodes, "a", Some(&wanted));
            diff.apply(&mut nodes.ingress);
            assert!(diff_of(&nodes, "a", Some(&wanted)).is_empty());
        }
        // The last change needs no health rule any more; upstream leaves the one that is there until the load balancer goes.
        assert_eq!(nodes.ingress, [client("a", 30090, ALL), health("a", 32000), mtu(ALL)]);
        let diff = diff_of(&nodes, "a", None);
        diff.apply(&mut nodes.ingress);
        assert_eq!(nodes.ingress, []);
    }

    #[test]
    fn rules_of_others_are_left_alone() {
        let nodes = group(&[client("b", 30081, ALL), health("b", 30081), mtu(ALL)]);
        assert!(diff_of(&nodes, "a", None).is_empty());
        let diff = diff_of(&nodes, "a", Some(&rules(30080, 30080, ALL)));
        assert_eq!(diff, IngressDiff { add: vec![client("a", 30080, ALL)], remove: vec![] });
    }
}
