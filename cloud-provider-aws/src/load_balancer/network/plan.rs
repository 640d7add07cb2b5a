//! The difference between what shall be and what is, in the order in which it is made up.

use std::collections::{BTreeMap, BTreeSet};

use cloud_provider::cloud::Mode;

use super::{
    addresses::{self, Families},
    attributes,
    desired::{Desired, Security, Wanted},
    node_rules::{NodeRules, node_rules},
    observed::{Group, Observed},
    operation::{Operation, SecurityGroupRef, Step, TargetGroupRef},
    ports::{self, Port},
};
use crate::{
    client::{
        elbv2::{Attributes, Listener, LoadBalancer, NewLoadBalancer, SubnetMapping, TAGGED, TARGETS, Target},
        network::{SecurityGroup, Subnet, Tags},
    },
    cluster_id::ClusterId,
    load_balancer::{
        names,
        security_groups::{ingress_diff, references},
    },
};

/// The cluster and what its configuration says about the nodes' groups.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cluster<'a> {
    pub(super) id: &'a ClusterId,
    /// Whether the nodes' security groups are never touched.
    pub(super) keep_node_groups: bool,
}

/// The plan of one round.
pub(super) fn plan(cluster: Cluster<'_>, desired: &Desired, observed: &Observed, mode: Mode) -> Vec<Operation> {
    let backends_only = mode == Mode::Backends;
    let mut plan = Plan { cluster, desired, observed, backends_only, steps: Vec::new(), group_attributes: Vec::new() };
    match (&desired.wanted, mode) {
        (None, _) => plan.removal(),
        (Some(wanted), Mode::Backends) => plan.backends(wanted),
        (Some(wanted), Mode::Full | Mode::DryRun) => plan.everything(wanted),
    }
    let operation = |step| Operation { key: desired.key.clone(), balancer: desired.name.clone(), step };
    plan.steps.into_iter().map(operation).collect()
}

struct Plan<'a> {
    cluster: Cluster<'a>,
    desired: &'a Desired,
    observed: &'a Observed,
    backends_only: bool,
    steps: Vec<Step>,
    /// Attributes of target groups, for the end: they need permissions that upstream's documented policy lacks.
    group_attributes: Vec<Step>,
}

impl<'a> Plan<'a> {
    fn everything(&mut self, wanted: &Wanted) {
        let attached = self.security_groups(wanted);
        // AWS does not let it have listeners over UDP together with IPv6.
        let over_udp = wanted.ports.iter().any(|port| port.listener.protocol.contains("UDP"));
        if over_udp {
            self.leaves_ipv6(wanted);
        }
        self.clashing_listeners(wanted);
        for port in &wanted.ports {
            self.port(wanted, port);
        }
        let moved = self.moved(wanted);
        self.node_groups(Some(wanted), moved.is_some());
        // Traffic flows. What comes may lack a permission or meet a quota, and ends the round then.
        self.unused_listeners(wanted);
        let missing = missing(&wanted.attributes, &self.observed.attributes);
        if !missing.is_empty() {
            self.steps.push(Step::SetAttributes { arn: self.arn(), attributes: missing });
        }
        if let Some(balancer) = &self.observed.load_balancer {
            if !over_udp {
                self.leaves_ipv6(wanted);
            }
            self.addresses(wanted, balancer, moved);
            self.tags(wanted, balancer);
        }
        self.unused_target_groups(wanted);
        self.unused_security_groups(&attached);
        self.steps.append(&mut self.group_attributes);
    }

    fn unused_listeners(&mut self, wanted: &Wanted) {
        let kept = wanted.by_listener();
        let is_kept = |listener: &&Listener| {
            kept.contains_key(&(listener.port, listener.protocol.as_str())) || clashes(wanted, listener)
        };
        self.steps.extend(self.observed.listeners.iter().filter(|listener| !is_kept(listener)).map(delete_listener));
    }

    /// A load balancer leaves IPv6 before its subnets may.
    fn leaves_ipv6(&mut self, wanted: &Wanted) {
        let dual_stack = self.observed.load_balancer.iter().filter(|balancer| balancer.dual_stack);
        if wanted.families != Families::AsIs && !self.observed.dual_stack {
            self.steps
                .extend(dual_stack.map(|balancer| Step::SetDualStack { arn: balancer.arn.clone(), dual_stack: false }));
        }
    }

    /// The subnets that the load balancer moves to, where it moves.
    fn moved(&self, wanted: &Wanted) -> Option<Vec<SubnetMapping>> {
        let balancer = self.observed.load_balancer.as_ref().filter(|_| self.observed.moves)?;
        addresses::moved(&wanted.load_balancer.subnets, &self.observed.goal, &balancer.subnets)
    }

    /// The subnets of a load balancer, and IPv6 where it gets it.
    fn addresses(&mut self, wanted: &Wanted, balancer: &LoadBalancer, moved: Option<Vec<SubnetMapping>>) {
        if let Some(subnets) = moved {
            self.steps.push(Step::SetSubnets { arn: balancer.arn.clone(), subnets });
            self.left_subnets(wanted);
        }
        if wanted.families != Families::AsIs && self.observed.dual_stack && !balancer.dual_stack {
            self.steps.push(Step::SetDualStack { arn: balancer.arn.clone(), dual_stack: true });
        }
    }

    /// Tags that are missing or different, on as many things at a time as lack the same.
    fn tags(&mut self, wanted: &Wanted, balancer: &LoadBalancer) {
        let Some(tags) = &self.observed.tags else { return };
        let observed = self.observed;
        let staying = |port| {
            let group = observed.group(port).map(|group| (group.group.arn.as_str(), &port.group.tags));
            let listener = observed.listener(port).map(|listener| (listener.arn.as_str(), &port.group.tags));
            [listener, group].into_iter().flatten()
        };
        let all = std::iter::once((balancer.arn.as_str(), &wanted.load_balancer.tags));
        let mut lacking: BTreeMap<Tags, BTreeSet<String>> = BTreeMap::new();
        for (arn, wanted) in all.chain(wanted.ports.iter().flat_map(staying)) {
            let Some(actual) = tags.get(arn) else { continue };
            let missing = wanted.iter().filter(|(key, value)| actual.get(*key) != Some(*value));
            let missing: Tags = missing.map(|(key, value)| (key.clone(), value.clone())).collect();
            if !missing.is_empty() {
                lacking.entry(missing).or_default().insert(arn.to_owned());
            }
        }
        for (tags, arns) in lacking {
            let arns: Vec<String> = arns.into_iter().collect();
            self.steps
                .extend(arns.chunks(TAGGED).map(|arns| Step::AddTags { arns: arns.to_vec(), tags: tags.clone() }));
        }
    }

    fn backends(&mut self, wanted: &Wanted) {
        for port in &wanted.ports {
            if let Some(group) = self.observed.group(port) {
                self.targets(wanted, port, Some(group));
            }
        }
        self.node_groups(Some(wanted), false);
    }

    fn removal(&mut self) {
        let observed = self.observed;
        if let Some(balancer) = &observed.load_balancer {
            let (name, arn) = (balancer.name.clone(), balancer.arn.clone());
            self.steps.push(Step::DeleteLoadBalancer { name, arn });
        }
        for Group { group, .. } in &observed.groups {
            self.steps.push(Step::DeleteTargetGroup { name: group.name.clone(), arn: group.arn.clone() });
        }
        self.node_groups(None, false);
        self.unused_security_groups(&BTreeSet::new());
    }

    /// The security groups of the load balancer, and what is in the managed one. Gives those that are attached in the end.
    fn security_groups(&mut self, wanted: &Wanted) -> BTreeSet<SecurityGroupRef> {
        let observed = self.observed;
        let attached: BTreeSet<_> = observed.attached().iter().cloned().map(SecurityGroupRef::Id).collect();
        // A load balancer that was made without groups can never get some.
        if observed.load_balancer.is_some() && attached.is_empty() {
            return attached;
        }
        let groups = match &wanted.security {
            Security::AsIs => Vec::new(),
            Security::Listed(ids) => ids.iter().cloned().map(SecurityGroupRef::Id).collect(),
            Security::Managed => {
                let ranges = wanted.clients.ranges(observed.dual_stack);
                let rules = &ports::ingress(&wanted.ports, &ranges, observed.dual_stack);
                let found = self.managed_group();
                let complete = found.filter(|group| {
                    self.cluster.id.missing_tags(&group.id, &group.tags).is_ok_and(|missing| missing.is_empty())
                });
                if complete.is_none() {
                    self.steps.push(Step::EnsureSecurityGroup(self.desired.managed_group.clone()));
                }
                let group = found.map_or(SecurityGroupRef::Managed, |group| SecurityGroupRef::Id(group.id.clone()));
                if found.is_none_or(|found| !ingress_diff(rules, &found.ingress).is_empty()) {
                    self.steps.push(Step::SetIngress { group: group.clone(), rules: rules.clone() });
                }
                vec![group]
            }
        };
        match &observed.load_balancer {
            None => {
                let new = NewLoadBalancer { dual_stack: observed.dual_stack, ..wanted.load_balancer.clone() };
                self.steps.push(Step::CreateLoadBalancer { new, groups: groups.clone() });
            }
            Some(_) if groups.is_empty() => return attached,
            Some(balancer) => {
                if groups.iter().cloned().collect::<BTreeSet<_>>() != attached {
                    self.steps.push(Step::SetSecurityGroups { arn: balancer.arn.clone(), groups: groups.clone() });
                }
            }
        }
        groups.into_iter().collect()
    }

    /// A listener cannot come before another one leaves its port.
    fn clashing_listeners(&mut self, wanted: &Wanted) {
        let clashing = self.observed.listeners.iter().filter(|listener| clashes(wanted, listener));
        self.steps.extend(clashing.map(delete_listener));
    }

    /// The target group and the listener of a port.
    fn port(&mut self, wanted: &Wanted, port: &Port) {
        let observed = self.observed;
        let group = observed.group(port);
        match group {
            None => {
                let vpc = observed.load_balancer.as_ref().map(|balancer| balancer.vpc.clone());
                self.steps.push(Step::CreateTargetGroup { vpc, new: port.group.clone() });
            }
            Some(Group { group, .. }) => {
                let (check, actual) = (&port.group.health_check, &group.health_check);
                let path_differs = check.protocol != "TCP" && check.path != actual.path;
                let timeout_differs = check.timeout.is_some() && check.timeout != actual.timeout;
                if path_differs
                    || timeout_differs
                    || check.port != actual.port
                    || (check.healthy, check.unhealthy) != (actual.healthy, actual.unhealthy)
                {
                    let (name, arn) = (group.name.clone(), group.arn.clone());
                    self.steps.push(Step::ModifyTargetGroup { name, arn, check: check.clone() });
                }
            }
        }
        let defaults = attributes::defaults();
        let attributes = missing(&wanted.group_attributes, group.map_or(&defaults, |group| &group.attributes));
        if !attributes.is_empty() {
            self.group_attributes.push(Step::SetTargetGroupAttributes { group: reference(port, group), attributes });
        }
        self.targets(wanted, port, group);
        let settings = port.listener.clone();
        match observed.listener(port) {
            None => self.steps.push(Step::CreateListener {
                load_balancer: self.arn(),
                settings,
                group: reference(port, group),
                tags: port.group.tags.clone(),
            }),
            Some(listener) if differs(listener, port, group) => self.steps.push(Step::ModifyListener {
                arn: listener.arn.clone(),
                settings,
                group: reference(port, group),
            }),
            Some(_) => {}
        }
    }

    /// Targets leave before others come, since their number is limited.
    fn targets(&mut self, wanted: &Wanted, port: &Port, group: Option<&Group>) {
        let node_port = port.group.port;
        let wanted: BTreeSet<Target> =
            wanted.instances.iter().map(|id| Target { id: id.clone(), port: node_port }).collect();
        let none = BTreeSet::new();
        let actual = group.map_or(&none, |group| &group.targets);
        let chunks = |targets: Vec<Target>| targets.chunks(TARGETS).map(<[Target]>::to_vec).collect::<Vec<_>>();
        let group = || reference(port, group);
        for targets in chunks(actual.difference(&wanted).cloned().collect()) {
            self.steps.push(Step::Deregister { group: group(), targets });
        }
        for targets in chunks(wanted.difference(actual).cloned().collect()) {
            self.steps.push(Step::Register { group: group(), targets });
        }
    }

    fn unused_target_groups(&mut self, wanted: &Wanted) {
        let used: BTreeSet<&str> = wanted
            .ports
            .iter()
            .filter_map(|port| self.observed.group(port))
            .map(|group| group.group.arn.as_str())
            .collect();
        let unused = self.observed.groups.iter().filter(|group| !used.contains(group.group.arn.as_str()));
        self.steps.extend(
            unused
                .map(|group| Step::DeleteTargetGroup { name: group.group.name.clone(), arn: group.group.arn.clone() }),
        );
    }

    /// Rules for clients and health checks in the nodes' groups; in all others that have some of ours, none any more. Where
    /// the load balancer `moves`, health checks come from where it stands as well as from where it is going.
    fn node_groups(&mut self, wanted: Option<&Wanted>, moves: bool) {
        let leaving = if moves { self.observed.subnets.as_slice() } else { &[] };
        let rules = wanted.and_then(|wanted| self.rules(wanted, leaving));
        for group in self.observed.security_groups.iter() {
            self.rules_of_group(wanted, group, rules.as_ref());
        }
    }

    /// What only the subnets need in which the load balancer stood before.
    fn left_subnets(&mut self, wanted: &Wanted) {
        let (before, after) = (self.rules(wanted, &self.observed.subnets), self.rules(wanted, &[]));
        for group in self.observed.security_groups.iter().filter(|group| wanted.node_groups.contains(&group.id)) {
            let written = node_rules(group, &self.desired.name, &self.observed.neighbours, before.as_ref());
            let mut group = group.clone();
            written.apply(&mut group.ingress);
            self.rules_of_group(Some(wanted), &group, after.as_ref());
        }
    }

    /// The rules for where the load balancer shall stand, and for some other subnets.
    fn rules(&self, wanted: &Wanted, others: &[Subnet]) -> Option<NodeRules> {
        let observed = self.observed;
        let rules = wanted.node_rules.clone()?;
        let source = if rules.merged { self.own_source(wanted) } else { None };
        let subnets = &addresses::cidrs(&observed.goal) | &addresses::cidrs(others);
        Some(NodeRules { subnets, dual_stack: observed.dual_stack, source, ..rules })
    }

    fn rules_of_group(&mut self, wanted: Option<&Wanted>, group: &SecurityGroup, rules: Option<&NodeRules>) {
        let is_node_group = wanted.is_some_and(|wanted| wanted.node_groups.contains(&group.id));
        let rules = rules.filter(|_| is_node_group);
        let neighbours = &self.observed.neighbours;
        let diff = node_rules(group, &self.desired.name, neighbours, rules);
        if !diff.is_empty() && !self.cluster.keep_node_groups {
            self.steps.push(Step::NodeRules {
                group: group.id.clone(),
                neighbours: neighbours.clone(),
                rules: rules.cloned(),
                diff,
            });
        }
    }

    /// The managed group, where it is there.
    fn managed_group(&self) -> Option<&'a SecurityGroup> {
        self.observed.security_groups.iter().find(|group| group.name == self.desired.managed_group.name)
    }

    /// The security group that is the load balancer's alone, where it has or gets it.
    fn own_source(&self, wanted: &Wanted) -> Option<SecurityGroupRef> {
        if wanted.security != Security::Managed {
            return None;
        }
        let group = self.managed_group().map(|group| group.id.clone());
        let attached = self.observed.attached();
        match (&self.observed.load_balancer, group) {
            (Some(_), _) if attached.is_empty() => None,
            // Only a whole round attaches it.
            (Some(_), Some(id)) if self.backends_only && !attached.contains(&id) => None,
            (_, Some(id)) => Some(SecurityGroupRef::Id(id)),
            (_, None) if self.backends_only => None,
            (_, None) => Some(SecurityGroupRef::Managed),
        }
    }

    /// Security groups that we made for this load balancer and that it no longer has.
    fn unused_security_groups(&mut self, used: &BTreeSet<SecurityGroupRef>) {
        let observed = self.observed;
        let used = |id: &str| used.contains(&SecurityGroupRef::Id(id.to_owned()));
        let unused = observed.security_groups.iter().filter(|group| !used(&group.id) && self.is_managed(group));
        let unused: Vec<&SecurityGroup> = unused.collect();
        for group in unused {
            for (referring, rules) in references(self.cluster.id, &observed.security_groups, &group.id) {
                self.steps.push(Step::RevokeReferences { group: referring, rules });
            }
            self.steps.push(Step::DeleteSecurityGroup { id: group.id.clone(), name: group.name.clone() });
        }
    }

    /// Whether we made a group for this service: it has the name that we give, and the tag of what the cluster owns. The
    /// name hashes `--cluster-name`, which may have changed; then it is ours as long as the load balancer has it.
    fn is_managed(&self, group: &SecurityGroup) -> bool {
        let prefix = names::resource_prefix(&self.desired.key.namespace, &self.desired.key.name);
        let named = group.name == self.desired.managed_group.name
            || (group.name.starts_with(&prefix) && self.observed.attached().contains(&group.id));
        named
            && self.cluster.id.owns(&group.tags).unwrap_or_default()
            && !group.tags.contains_key(names::LOAD_BALANCER_CONTROLLER_TAG)
            && !self.desired.foreign_groups.contains(&group.id)
    }

    fn arn(&self) -> Option<String> {
        self.observed.load_balancer.as_ref().map(|balancer| balancer.arn.clone())
    }
}

fn clashes(wanted: &Wanted, listener: &Listener) -> bool {
    wanted.ports.iter().any(|port| port.listener.port == listener.port && port.listener.protocol != listener.protocol)
}

fn delete_listener(listener: &Listener) -> Step {
    Step::DeleteListener { arn: listener.arn.clone(), port: listener.port, protocol: listener.protocol.clone() }
}

fn reference(port: &Port, group: Option<&Group>) -> TargetGroupRef {
    match group {
        Some(Group { group, .. }) => TargetGroupRef { name: group.name.clone(), arn: Some(group.arn.clone()) },
        None => TargetGroupRef { name: port.group.name.clone(), arn: None },
    }
}

/// Whether a listener has to be changed. A TLS policy that is not asked for is AWS's choice.
fn differs(listener: &Listener, port: &Port, group: Option<&Group>) -> bool {
    let settings = &port.listener;
    let policy_differs = settings.ssl_policy.is_some() && settings.ssl_policy != listener.ssl_policy;
    policy_differs
        || settings.certificate != listener.certificate
        || group.map(|group| &group.group.arn) != listener.target_group.as_ref()
}

/// The wanted attributes that are otherwise. What AWS does not list is off or empty.
fn missing(wanted: &Attributes, actual: &Attributes) -> Attributes {
    let default = |key: &str| if key.ends_with(".enabled") && !key.starts_with("preserve") { "false" } else { "" };
    let differs = |key: &str, value: &str| actual.get(key).map_or_else(|| default(key), String::as_str) != value;
    wanted.iter().filter(|(key, value)| differs(key, value)).map(|(key, value)| (key.clone(), value.clone())).collect()
}
