//! Fewer rules in the nodes' groups, where there would be too many.
//!
//! Rules of one load balancer with the same protocol and source become one, from its lowest to its highest node port, and
//! health checks of all load balancers share one rule for each subnet. A range never reaches into a port that another load
//! balancer opens to fewer clients. All of it follows from what stands in the group, and from the node ports of load
//! balancers whose rules name none, so that any load balancer's round can make room for its own rules.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::{
    neighbours::Neighbours,
    node_rules::{NodeRules, described, is_without_ports, path_mtu},
};
use crate::{
    client::network::{Rule, SecurityGroup, Source, Traffic},
    load_balancer::{
        names,
        security_groups::{IngressDiff, RULES},
    },
};

/// The node ports that an API server gives out, unless it is told otherwise.
const NODE_PORTS: (i32, i32) = (30_000, 32_767);

/// The round of one load balancer among those that share a group.
pub(super) struct Merging<'a> {
    group: &'a SecurityGroup,
    /// The description of its client rules.
    client: &'a str,
    wanted: &'a NodeRules,
    /// What it lets in for clients.
    traffic: &'a [Traffic],
    /// Node ports that a security group guards, its own or that of another load balancer.
    guarded: BTreeSet<(&'static str, i32)>,
}

impl<'a> Merging<'a> {
    pub(super) fn new(
        group: &'a SecurityGroup,
        client: &'a str,
        neighbours: &Neighbours,
        wanted: &'a NodeRules,
        traffic: &'a [Traffic],
    ) -> Self {
        let others = group.ingress.iter().filter(|rule| is_without_ports(rule) && !described(rule, client));
        let others = others.filter_map(|rule| names::client_rule_owner(rule.description.as_deref()?));
        let mut guarded: BTreeSet<_> = others.flat_map(|name| neighbours.client_ports(name)).collect();
        if wanted.source.is_some() {
            guarded.extend(&wanted.client_ports);
        }
        Self { group, client, wanted, traffic, guarded }
    }

    /// The rules of the group that take the place of some for single ports: ranges of our own that begin and end with a
    /// port of ours and are not in the way of others, and the shared ones for health checks.
    pub(super) fn kept(&self) -> Vec<&'a Rule> {
        let others = Restricted::of(&self.group.ingress, self.client, &self.guarded);
        let is_end = |rule: &Rule, port: i32| {
            let ports = Some((port, port));
            self.traffic.iter().any(|traffic| traffic.same(&Traffic { ports, ..rule.traffic.clone() }))
        };
        let fits = |rule: &&Rule| match rule.traffic.ports {
            Some((first, last)) if first < last => {
                is_end(rule, first) && is_end(rule, last) && !others.are_hurt(&rule.traffic)
            }
            _ => false,
        };
        let own = self.group.ingress.iter().filter(|rule| described(rule, self.client)).filter(fits);
        own.chain(self.group.ingress.iter().filter(|rule| described(rule, names::SHARED_HEALTH_RULE))).collect()
    }

    /// Makes room for what `diff` adds to the group, and takes others' ranges out of the way of ours.
    pub(super) fn merge(&self, diff: &mut IngressDiff) {
        self.step_aside(diff);
        let mut whole = diff.clone();
        path_mtu(&mut whole, self.group);
        let path_mtu = whole.add.len() - diff.add.len();
        let rules = after(diff, self.group);
        if rules.len() + path_mtu <= RULES {
            return;
        }
        let merged = with_ranges(with_shared_health(&rules), &self.guarded);
        // Where that is not enough, the failure of the single rules says so, and nothing else changes.
        if merged.len() + path_mtu > RULES {
            return;
        }
        diff.remove = self.group.ingress.iter().filter(|rule| !merged.contains(rule)).cloned().collect();
        diff.add = merged.into_iter().filter(|rule| !self.group.ingress.contains(rule)).collect();
    }

    /// Splits ranges of other load balancers at our ports, where their clients are more than ours. What is left of such a
    /// range is put right by the next round of its owner.
    fn step_aside(&self, diff: &mut IngressDiff) {
        let described_as_ours =
            |traffic: &Traffic| Rule { traffic: traffic.clone(), description: Some(self.client.into()) };
        let own: Vec<Rule> = self.traffic.iter().map(described_as_ours).collect();
        let guarded = if self.wanted.source.is_some() { &self.wanted.client_ports } else { const { &BTreeSet::new() } };
        let ours = Restricted::of(&own, "", guarded);
        for rule in self.group.ingress.iter().filter(|rule| is_range(rule) && !described(rule, self.client)) {
            if !ours.are_hurt(&rule.traffic) || diff.remove.contains(rule) {
                continue;
            }
            let Some((first, last)) = rule.traffic.ports else { continue };
            let inside = self.wanted.client_ports.iter().filter(|(protocol, _)| *protocol == rule.traffic.protocol);
            let cuts = inside.map(|(_, port)| *port).filter(|port| (first..=last).contains(port));
            diff.remove.push(rule.clone());
            let mut from = first;
            for cut in cuts.chain([last + 1]) {
                if from < cut {
                    let traffic = Traffic { ports: Some((from, cut - 1)), ..rule.traffic.clone() };
                    diff.add.push(Rule { traffic, ..rule.clone() });
                }
                from = cut + 1;
            }
        }
    }
}

/// The rules as they stand after a change.
fn after(diff: &IngressDiff, group: &SecurityGroup) -> Vec<Rule> {
    let stay = group.ingress.iter().filter(|rule| !diff.remove.contains(rule));
    stay.chain(&diff.add).cloned().collect()
}

fn is_range(rule: &Rule) -> bool {
    let owned = rule.description.as_deref().is_some_and(names::is_client_rule);
    owned && rule.traffic.ports.is_some_and(|(first, last)| first < last)
}

/// Health checks of node ports come from subnets alone: one rule for each serves all load balancers.
fn with_shared_health(rules: &[Rule]) -> Vec<Rule> {
    let is_health = |rule: &&Rule| {
        let ours = rule.description.as_deref().is_some_and(|text| names::health_rule_owner(text).is_some());
        let inside = |(first, last): (i32, i32)| NODE_PORTS.0 <= first && last <= NODE_PORTS.1;
        ours && rule.traffic.protocol == "tcp" && rule.traffic.ports.is_some_and(inside)
    };
    let (health, mut rest): (Vec<&Rule>, Vec<&Rule>) = rules.iter().partition(is_health);
    rest.retain(|rule| !described(rule, names::SHARED_HEALTH_RULE));
    let known = rules.iter().filter(|rule| described(rule, names::SHARED_HEALTH_RULE));
    let sources: BTreeSet<&Source> = health.iter().copied().chain(known).map(|rule| &rule.traffic.source).collect();
    let shared = sources
        .into_iter()
        .map(|source| Rule::new("tcp", Some(NODE_PORTS), source.clone()).described(names::SHARED_HEALTH_RULE));
    rest.into_iter().cloned().chain(shared).collect()
}

/// One rule for each load balancer, protocol and source, or more where others are in between.
fn with_ranges(rules: Vec<Rule>, guarded: &BTreeSet<(&str, i32)>) -> Vec<Rule> {
    type Kind = (String, String, Source);
    let mut mergeable: BTreeMap<Kind, Vec<(i32, i32)>> = BTreeMap::new();
    let mut result = Vec::new();
    for rule in &rules {
        let owner = rule.description.clone().filter(|text| names::is_client_rule(text));
        match (owner, rule.traffic.ports) {
            (Some(owner), Some(ports)) => {
                let kind = (owner, rule.traffic.protocol.clone(), rule.traffic.source.clone());
                mergeable.entry(kind).or_default().push(ports);
            }
            _ => result.push(rule.clone()),
        }
    }
    for ((owner, protocol, source), mut ports) in mergeable {
        let others = Restricted::of(&rules, &owner, guarded);
        ports.sort_unstable();
        let mut ranges: Vec<(i32, i32)> = Vec::new();
        for (first, last) in ports {
            let joined = ranges.last().map(|range| (range.0, range.1.max(last)));
            let traffic = |ports| Traffic { protocol: protocol.clone(), ports: Some(ports), source: source.clone() };
            match (joined, ranges.last_mut()) {
                (Some(joined), Some(range)) if !others.are_hurt(&traffic(joined)) => *range = joined,
                _ => ranges.push((first, last)),
            }
        }
        for ports in ranges {
            let traffic = Traffic { protocol: protocol.clone(), ports: Some(ports), source: source.clone() };
            if !result.iter().any(|rule| rule.traffic.same(&traffic)) {
                result.push(Rule { traffic, description: Some(owner.clone()) });
            }
        }
    }
    result
}

/// The ports that other load balancers open, and to whom.
struct Restricted<'a> {
    opened: Vec<(&'a Traffic, BTreeSet<&'a Source>)>,
    /// Those that are open to one security group.
    guarded: &'a BTreeSet<(&'a str, i32)>,
}

impl<'a> Restricted<'a> {
    /// Those of all load balancers but the one of this description.
    fn of(rules: &'a [Rule], client: &str, guarded: &'a BTreeSet<(&'a str, i32)>) -> Self {
        let is_other =
            |rule: &&Rule| !described(rule, client) && rule.description.as_deref().is_some_and(names::is_client_rule);
        let others: Vec<&Rule> = rules.iter().filter(is_other).filter(|rule| rule.traffic.ports.is_some()).collect();
        let sources = |rule: &Rule| {
            let same = others.iter().filter(|other| {
                let (left, right) = (&other.traffic, &rule.traffic);
                other.description == rule.description && (&left.protocol, left.ports) == (&right.protocol, right.ports)
            });
            same.map(|other| &other.traffic.source).collect()
        };
        let opened = others.iter().map(|rule| (&rule.traffic, sources(rule))).collect();
        Self { opened, guarded }
    }

    /// Whether `traffic` would open one of these ports to more clients.
    fn are_hurt(&self, traffic: &Traffic) -> bool {
        let Some((first, last)) = traffic.ports else { return false };
        let is_inside = |(protocol, port): &(&str, i32)| *protocol == traffic.protocol && (first..=last).contains(port);
        self.guarded.iter().any(is_inside)
            || self.opened.iter().any(|(other, sources)| {
                let overlap = other.ports.is_some_and(|(from, to)| first <= to && from <= last);
                let open = || sources.iter().any(|source| contains(source, &traffic.source));
                overlap && other.protocol == traffic.protocol && !open()
            })
    }
}

/// Whether whoever comes from `inner` comes from `outer` too.
pub(super) fn contains(outer: &Source, inner: &Source) -> bool {
    match (range(outer), range(inner)) {
        (Some(outer), Some(inner)) => outer.contains(&inner),
        _ => outer == inner,
    }
}

fn range(source: &Source) -> Option<IpNet> {
    match source {
        Source::Ipv4(range) | Source::Ipv6(range) => range.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::node_rules::{
            node_rules,
            tests::{ALL, rules},
        },
        *,
    };
    use crate::{
        client::elbv2::{HealthCheck, TargetGroup},
        load_balancer::network::operation::SecurityGroupRef,
    };

    const SUBNETS: [&str; 3] = ["10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24"];

    fn wanted(ports: &[i32], clients: &str) -> NodeRules {
        NodeRules {
            client_ports: ports.iter().map(|port| ("tcp", *port)).collect(),
            health_ports: ports.iter().copied().collect(),
            subnets: SUBNETS.map(str::to_owned).into(),
            merged: true,
            ..rules(0, 0, clients)
        }
    }

    /// A round for one load balancer; what it comes to is settled.
    fn round(group: &mut SecurityGroup, name: &str, wanted: Option<&NodeRules>) {
        round_among(group, name, &Neighbours::default(), wanted);
    }

    fn round_among(group: &mut SecurityGroup, name: &str, neighbours: &Neighbours, wanted: Option<&NodeRules>) {
        node_rules(group, name, neighbours, wanted).apply(&mut group.ingress);
        assert!(group.ingress.len() <= RULES, "{name}: {} rules", group.ingress.len());
        let again = node_rules(group, name, neighbours, wanted);
        assert!(again.is_empty(), "{name}: {again:?}");
    }

    /// The target groups of load balancers.
    fn neighbours(all: &[(&str, &[i32])]) -> Neighbours {
        let group = |name: &str, port: i32| TargetGroup {
            protocol: "TCP".into(),
            port,
            health_check: HealthCheck { port: "traffic-port".into(), ..HealthCheck::default() },
            load_balancers: vec![format!("arn:aws:elasticloadbalancing:r:1:loadbalancer/net/{name}/0123456789abcdef")],
            ..TargetGroup::default()
        };
        let groups = all.iter().flat_map(|(name, ports)| ports.iter().map(|port| group(name, *port)));
        Neighbours::of(&groups.collect::<Vec<_>>())
    }

    /// Whom a group lets in to a port, as far as clients are concerned.
    fn open(group: &SecurityGroup, port: i32, client: &str) -> bool {
        let client: IpNet = client.parse().unwrap();
        group.ingress.iter().any(|rule| {
            let ports = rule.traffic.ports.is_some_and(|(first, last)| (first..=last).contains(&port));
            ports
                && rule.traffic.protocol == "tcp"
                && range(&rule.traffic.source).is_some_and(|it| it.contains(&client))
        })
    }

    fn ports_of(number: i32) -> [i32; 2] {
        [30_000 + number, 32_700 - number]
    }

    #[test]
    fn fifty_load_balancers_fit_and_come_and_go() {
        for clients in [ALL, "192.0.2.0/24"] {
            let mut group = SecurityGroup::default();
            for number in 0..50 {
                round(&mut group, &format!("lb{number}"), Some(&wanted(&ports_of(number), clients)));
                let exact = group.ingress.iter().filter(|rule| is_range(rule)).count();
                assert!(number > 5 || exact == 0, "nothing is merged as long as there is room");
            }
            for number in 0..50 {
                let (name, wanted) = (format!("lb{number}"), wanted(&ports_of(number), clients));
                let settled = node_rules(&group, &name, &Neighbours::default(), Some(&wanted));
                assert!(settled.is_empty(), "lb{number}: {settled:?}");
                for port in ports_of(number) {
                    assert!(open(&group, port, "192.0.2.1/32") && open(&group, port, "10.0.1.1/32"), "{port}");
                }
            }
            for number in 0..50 {
                round(&mut group, &format!("lb{number}"), None);
            }
            assert_eq!(group.ingress, []);
        }
    }

    #[test]
    fn a_range_spares_ports_that_others_restrict_whoever_comes_first() {
        for restricted_first in [true, false] {
            let mut group = SecurityGroup::default();
            let secret = wanted(&[30_500], "198.51.100.0/24");
            if restricted_first {
                round(&mut group, "secret", Some(&secret));
            }
            // Ten of them have their ports on both sides of it.
            let others: Vec<(String, NodeRules)> = (0..40)
                .map(|number| {
                    let second = if number < 10 { 31_000 } else { 30_100 };
                    (format!("lb{number}"), wanted(&[30_000 + number, second + number], ALL))
                })
                .collect();
            for (name, wanted) in &others {
                round(&mut group, name, Some(wanted));
            }
            if !restricted_first {
                assert!(open(&group, 30_500, "203.0.113.1/32"), "some range reaches over a port that nobody has");
                round(&mut group, "secret", Some(&secret));
            }
            assert!(!open(&group, 30_500, "203.0.113.1/32"));
            for (name, wanted) in &others {
                round(&mut group, name, Some(wanted));
            }
            assert!(!open(&group, 30_500, "203.0.113.1/32") && open(&group, 30_500, "198.51.100.7/32"));
            assert!(open(&group, 31_005, "203.0.113.1/32"));
        }
    }

    #[test]
    fn without_merging_a_group_goes_back_to_single_rules() {
        let mut group = SecurityGroup::default();
        for number in 0..40 {
            round(&mut group, &format!("lb{number}"), Some(&wanted(&ports_of(number), ALL)));
        }
        for number in 20..40 {
            round(&mut group, &format!("lb{number}"), None);
        }
        for number in 0..20 {
            let single = NodeRules { merged: false, ..wanted(&ports_of(number), ALL) };
            round(&mut group, &format!("lb{number}"), Some(&single));
        }
        assert_eq!(group.ingress.iter().filter(|rule| is_range(rule)).count(), 0);
    }

    #[test]
    fn the_shared_health_rule_goes_with_the_last_load_balancer_that_lives_on_it() {
        let shared = |group: &SecurityGroup| {
            group.ingress.iter().filter(|rule| described(rule, names::SHARED_HEALTH_RULE)).count()
        };
        let names: Vec<String> = (0..8).map(|number| format!("lb{number}")).collect();
        let all_ports: Vec<[i32; 2]> = (0..9).map(ports_of).collect();
        let mut pairs: Vec<(&str, &[i32])> =
            names.iter().map(String::as_str).zip(all_ports.iter().map(|it| &it[..])).collect();
        // One that everybody may reach needs no rule for health checks.
        pairs.push(("open", &all_ports[8]));
        let all = neighbours(&pairs);
        let few = "192.0.2.0/24";
        let merged = || {
            let mut group = SecurityGroup::default();
            round_among(&mut group, "open", &all, Some(&wanted(&all_ports[8], ALL)));
            for (name, ports) in &pairs[..8] {
                round_among(&mut group, name, &all, Some(&wanted(ports, few)));
            }
            assert_eq!(shared(&group), 3);
            group
        };
        // They go.
        let mut group = merged();
        for (name, _) in &pairs[..8] {
            assert_eq!(shared(&group), 3);
            round_among(&mut group, name, &all, None);
        }
        assert_eq!(shared(&group), 0);
        // Merging is switched off when there is room again.
        let mut group = merged();
        for (name, _) in &pairs[4..8] {
            round_among(&mut group, name, &all, None);
        }
        for (name, ports) in pairs[..4].iter().chain(&pairs[8..]) {
            let source = if *name == "open" { ALL } else { few };
            round_among(&mut group, name, &all, Some(&NodeRules { merged: false, ..wanted(ports, source) }));
            assert_eq!(shared(&group), if matches!(*name, "lb3" | "open") { 0 } else { 3 }, "{name}");
        }
        // Of whom nothing is known may live on it.
        let mut group = merged();
        for (name, _) in &pairs[..7] {
            round(&mut group, name, None);
        }
        round(&mut group, "lb7", None);
        assert_eq!(shared(&group), 3);
    }

    #[test]
    fn a_range_spares_ports_that_a_security_group_guards_whoever_comes_first() {
        let few = "192.0.2.0/24";
        let guarded = NodeRules { source: Some(SecurityGroupRef::Id("sg-9".into())), ..wanted(&[30_500], ALL) };
        let all = neighbours(&[("guarded", &[30_500])]);
        for guarded_first in [true, false] {
            let mut group = SecurityGroup::default();
            if guarded_first {
                round_among(&mut group, "guarded", &all, Some(&guarded));
            }
            for number in 0..20 {
                let known = if guarded_first { &all } else { &Neighbours::default() };
                round_among(&mut group, &format!("lb{number}"), known, Some(&wanted(&ports_of(number), few)));
            }
            assert_eq!(open(&group, 30_500, few), !guarded_first);
            round_among(&mut group, "guarded", &all, Some(&guarded));
            assert!(!open(&group, 30_500, few));
            for number in 0..20 {
                round_among(&mut group, &format!("lb{number}"), &all, Some(&wanted(&ports_of(number), few)));
            }
            assert!(!open(&group, 30_500, few) && open(&group, 30_010, few));
        }
    }
}
