//! Whatever services ask for and AWS answers: no panic, and no step on what is not the service's.

use std::collections::BTreeSet;

use cloud_provider::cloud::Mode;
use proptest::{
    collection::vec, option, prelude::*, sample::select, strategy::ValueTree as _, test_runner::TestRunner,
};

use super::{
    addresses,
    desired::{self, Desired, Resolved},
    neighbours::Neighbours,
    observed::{Group, Observed},
    operation::{SecurityGroupRef, Step, TargetGroupRef},
    plan::{Cluster, plan},
};
use crate::{
    client::{
        elbv2::{HealthCheck, Listener, LoadBalancer, SubnetMapping, Target, TargetGroup},
        network::{Rule, SecurityGroup, Subnet},
    },
    load_balancer::{
        generated::{GROUPS, cases, cluster, name, security_groups, service, settings, some_groups, subnets},
        names,
        subnets::Choice,
    },
};

const CLUSTER_NAME: &str = "kubernetes";
const ARN: &str = "arn:own";
const ARNS: [&str; 4] = ["arn:tg-0", "arn:tg-1", "arn:tg-2", "arn:tg-3"];

fn load_balancer() -> impl Strategy<Value = LoadBalancer> {
    (any::<bool>(), any::<bool>(), 1..=3_usize, some_groups()).prop_map(
        |(dual_stack, internal, count, security_groups)| {
            let mapping = |number| SubnetMapping { subnet: format!("subnet-{number}"), ..SubnetMapping::default() };
            LoadBalancer {
                arn: ARN.into(),
                name: name(),
                kind: "network".into(),
                dns_name: "own.elb.example".into(),
                state: "active".into(),
                internal,
                vpc: "vpc-1".into(),
                subnets: (0..count).map(mapping).collect(),
                dual_stack,
                security_groups,
            }
        },
    )
}

fn listener() -> impl Strategy<Value = Listener> {
    let protocol = select(&["TCP", "UDP", "TLS", "TCP_UDP", "QUIC", ""][..]);
    (1..=6_i32, protocol, option::of(select(&ARNS[..]))).prop_map(|(port, protocol, group)| Listener {
        arn: format!("arn:listener-{port}-{protocol}"),
        port: port * 80,
        protocol: protocol.into(),
        target_group: group.map(str::to_owned),
        ..Listener::default()
    })
}

fn target_group() -> impl Strategy<Value = TargetGroup> {
    let check =
        (select(&["TCP", "HTTP", ""][..]), select(&["traffic-port", "32000", "x", "99999999999"][..]), any::<i32>());
    (select(&ARNS[..]), select(&["TCP", "UDP", "TLS", "TCP_UDP", ""][..]), 29_999..=30_006_i32, check).prop_map(
        |(arn, protocol, port, (check, check_port, number))| TargetGroup {
            arn: arn.into(),
            name: format!("k8s-shop-web-{port:010}"),
            protocol: protocol.into(),
            port,
            vpc: "vpc-1".into(),
            target_type: "instance".into(),
            health_check: HealthCheck {
                protocol: check.into(),
                port: check_port.into(),
                interval: if number % 2 == 0 { 30 } else { number },
                healthy: number,
                unhealthy: 3,
                ..HealthCheck::default()
            },
            load_balancers: vec![
                ARN.into(),
                format!("a:b:c:d:e:loadbalancer/net/{}/0", name()),
                "/".into(),
                String::new(),
            ],
        },
    )
}

/// An account as the reads of a round show it, but for what follows from the service.
fn observed() -> impl Strategy<Value = Observed> {
    let managed = names::managed_group(CLUSTER_NAME, "shop", "web", crate::load_balancer::generated::UID);
    let targets = vec((select(&["i-1", "i-2", "i-9"][..]), 30_000..=30_006_i32), 0..4);
    let groups = vec((target_group(), targets), 0..4);
    (option::of(load_balancer()), vec(listener(), 0..5), groups, security_groups(managed), subnets()).prop_map(
        |(load_balancer, listeners, groups, security_groups, subnets)| {
            let mut seen = BTreeSet::new();
            let groups: Vec<Group> = groups
                .into_iter()
                .filter(|(group, _)| seen.insert(group.arn.clone()))
                .map(|(group, targets)| Group {
                    targets: targets.into_iter().map(|(id, port)| Target { id: id.into(), port }).collect(),
                    ..Group::from(group)
                })
                .collect();
            let known: Vec<TargetGroup> = groups.iter().map(|group| group.group.clone()).collect();
            let is_there = |listener: &Listener| load_balancer.is_some() && !listener.arn.is_empty();
            Observed {
                listeners: listeners.into_iter().filter(is_there).collect(),
                subnets: load_balancer.iter().flat_map(|it| &subnets[..it.subnets.len()]).cloned().collect(),
                neighbours: Neighbours::of(&known).into(),
                load_balancer,
                groups,
                security_groups,
                ..Observed::default()
            }
        },
    )
}

/// What a step may touch.
struct World<'a> {
    desired: &'a Desired,
    observed: &'a Observed,
    steps: Vec<&'a Step>,
}

impl World<'_> {
    fn group(&self, id: &str) -> &SecurityGroup {
        self.observed.security_groups.iter().find(|group| group.id == id).expect("a group of the account")
    }

    fn is_target_group(&self, group: &TargetGroupRef) -> bool {
        group.arn.as_ref().is_none_or(|arn| self.has_target_group(arn)) && group.name.starts_with("k8s-shop-web-")
    }

    fn has_target_group(&self, arn: &str) -> bool {
        self.observed.groups.iter().any(|group| group.group.arn == arn)
    }

    fn has_listener(&self, arn: &str) -> bool {
        self.observed.listeners.iter().any(|listener| listener.arn == arn)
    }

    fn is_managed(&self, group: &SecurityGroupRef) -> bool {
        match group {
            SecurityGroupRef::Managed => true,
            SecurityGroupRef::Id(id) => self.group(id).name == self.desired.managed_group.name,
        }
    }

    /// Ours by name and tag, and nobody else's.
    fn may_be_deleted(&self, id: &str) -> bool {
        let group = self.group(id);
        let tags = &group.tags;
        group.name.starts_with("k8s-shop-web-")
            && cluster().owns(tags) == Ok(true)
            && !tags.contains_key(names::LOAD_BALANCER_CONTROLLER_TAG)
            && !self.desired.foreign_groups.contains(id)
    }

    fn is_ours(&self, step: &Step) -> bool {
        let own = |arn: &String| arn == ARN;
        match step {
            Step::EnsureSecurityGroup(group) => *group == self.desired.managed_group,
            Step::SetIngress { group, .. } => self.is_managed(group),
            Step::CreateLoadBalancer { new, .. } => self.observed.load_balancer.is_none() && new.name == name(),
            Step::SetSecurityGroups { arn, .. }
            | Step::SetSubnets { arn, .. }
            | Step::SetDualStack { arn, .. }
            | Step::DeleteLoadBalancer { arn, .. } => own(arn),
            Step::SetAttributes { arn, .. } => arn.iter().all(own),
            Step::AddTags { arns, .. } => {
                arns.iter().all(|arn| own(arn) || self.has_target_group(arn) || self.has_listener(arn))
            }
            Step::CreateTargetGroup { new, .. } => new.name.starts_with("k8s-shop-web-"),
            Step::ModifyTargetGroup { arn, .. } | Step::DeleteTargetGroup { arn, .. } => self.has_target_group(arn),
            Step::SetTargetGroupAttributes { group, .. }
            | Step::Deregister { group, .. }
            | Step::Register { group, .. } => self.is_target_group(group),
            Step::CreateListener { load_balancer, group, .. } => {
                load_balancer.iter().all(own) && self.is_target_group(group)
            }
            Step::ModifyListener { arn, group, .. } => self.has_listener(arn) && self.is_target_group(group),
            Step::DeleteListener { arn, .. } => self.has_listener(arn),
            Step::NodeRules { group, rules, diff, .. } => {
                let merged = rules.as_ref().is_some_and(|rules| rules.merged);
                let is_node_group = self.desired.wanted.as_ref().is_some_and(|it| it.node_groups.contains(group));
                (is_node_group || self.group(group).ingress.iter().any(is_own))
                    && diff.add.iter().all(|rule| may_be_written(rule, merged))
                    && diff.remove.iter().all(|rule| may_be_removed(rule, merged))
            }
            Step::RevokeReferences { group, rules } => {
                let goes = |id: &str| {
                    self.steps
                        .iter()
                        .any(|step| matches!(step, Step::DeleteSecurityGroup { id: other, .. } if other == id))
                };
                cluster().has_tag(&self.group(group).tags)
                    && rules.iter().all(|rule| rule.traffic.source.group().is_some_and(goes))
            }
            Step::DeleteSecurityGroup { id, .. } => self.may_be_deleted(id),
        }
    }
}

fn is_own(rule: &Rule) -> bool {
    let description = rule.description.as_deref().unwrap_or_default();
    description == names::client_rule(&name()) || description == names::health_rule(&name())
}

fn is_shared(rule: &Rule) -> bool {
    let description = rule.description.as_deref().unwrap_or_default();
    description == names::MTU_RULE || description == names::SHARED_HEALTH_RULE
}

fn is_clients(rule: &Rule) -> bool {
    rule.description.as_deref().is_some_and(names::is_client_rule)
}

fn may_be_written(rule: &Rule, merged: bool) -> bool {
    is_own(rule) || is_shared(rule) || (merged && is_clients(rule))
}

/// Health rules of load balancers that are gone go with anybody's round.
fn may_be_removed(rule: &Rule, merged: bool) -> bool {
    let is_health = || rule.description.as_deref().is_some_and(|text| names::health_rule_owner(text).is_some());
    may_be_written(rule, merged) || is_health()
}

fn resolved(subnets: &[Subnet], node_groups: BTreeSet<String>) -> Resolved {
    Resolved {
        cluster_id: cluster(),
        cluster_name: CLUSTER_NAME.into(),
        subnets: Choice { chosen: subnets.to_vec(), candidates: subnets.to_vec() },
        instances: ["i-1", "i-2"].map(str::to_owned).into(),
        node_groups,
        ..Resolved::default()
    }
}

#[test]
fn many_of_the_services_can_be_served() {
    let mut runner = TestRunner::deterministic();
    let both = (service(), settings());
    let is_served = |_: &i32| {
        let (service, settings) = both.new_tree(&mut runner).unwrap().current();
        desired::check(&service, &settings).is_ok()
    };
    let served = (0..400).filter(is_served).count();
    assert!(served >= 60, "{served} of 400");
}

proptest! {
    #![proptest_config(cases(3_000))]

    #[test]
    fn whatever_a_service_asks_for_only_what_is_its_own_changes(
        service in service(), settings in settings(), observed in observed(), subnets in subnets(),
        node_groups in proptest::sample::subsequence(&GROUPS[..], 0..3), is_wanted in prop::bool::weighted(0.8),
    ) {
        let resolved = resolved(&subnets, node_groups.into_iter().map(str::to_owned).collect());
        let mut desired = desired::identity(&service, &resolved);
        let mut observed = observed;
        if is_wanted {
            let Ok(wanted) = desired::check(&service, &settings).and_then(|()| desired::wanted(&service, &settings, &resolved))
            else { return Ok(()) };
            let scheme = observed.load_balancer.as_ref().is_some_and(|it| it.internal == wanted.load_balancer.internal);
            observed.moves = wanted.moves && scheme;
            observed.goal = match observed.load_balancer.is_none() || observed.moves {
                true => wanted.subnets.keeping(&observed.subnets),
                false => observed.subnets.clone(),
            };
            match addresses::dual_stack(&wanted, &observed, true) {
                Ok(dual_stack) => observed.dual_stack = dual_stack,
                Err(_) => return Ok(()),
            }
            desired.wanted = Some(wanted);
        }
        let id = cluster();
        let cluster = Cluster { id: &id, keep_node_groups: settings.disable_security_group_ingress };
        for mode in [Mode::Full, Mode::Backends, Mode::DryRun] {
            let operations = plan(cluster, &desired, &observed, mode);
            let world = World { desired: &desired, observed: &observed, steps: operations.iter().map(|it| &it.step).collect() };
            for operation in &operations {
                prop_assert!(world.is_ours(&operation.step), "{operation}: {:?}", operation.step);
                let is_rule = matches!(operation.step, Step::NodeRules { .. });
                prop_assert!(!(is_rule && cluster.keep_node_groups), "{operation}");
            }
        }
    }
}
