//! Whatever services ask for and AWS answers: no panic, and no step on what is not the service's.

use std::collections::{BTreeMap, BTreeSet};

use cloud_provider::cluster::objects::{Object as _, Service};
use proptest::{
    collection::{btree_map, vec},
    option,
    prelude::*,
    sample::{select, subsequence},
};

use super::{
    desired::{self, Backends, Balancer, Desired, Goal, GroupOrder},
    observed::Observed,
    operation::{Group, Step},
    plan,
};
use crate::{
    client::elb::{Listener, LoadBalancer},
    cluster_id::Tags,
    config::Settings,
    load_balancer::{
        generated::{GROUPS, cases, cluster, name, security_groups, service, settings, some_groups, subnets},
        names,
    },
};

fn listener() -> impl Strategy<Value = (Listener, Vec<String>)> {
    let protocol = || select(&["TCP", "tcp", "HTTP", "HTTPS", "SSL", ""][..]);
    let policies = vec(select(&["k8s-SSLNegotiationPolicy-P", "ELBSecurityPolicy-2016-08", ""][..]), 0..3);
    (1..=6_i32, protocol(), 30_000..=30_006_i32, protocol(), policies).prop_map(
        |(port, protocol, instance_port, instance_protocol, policies)| {
            let listener = Listener {
                port: port * 80,
                protocol: protocol.into(),
                instance_port,
                instance_protocol: instance_protocol.into(),
                certificate: None,
            };
            (listener, policies.into_iter().map(str::to_owned).collect())
        },
    )
}

fn load_balancer() -> impl Strategy<Value = LoadBalancer> {
    let backends = btree_map(29_999..=30_006_i32, vec(Just(names::PROXY_PROTOCOL_POLICY.to_owned()), 0..2), 0..4);
    let subnets = subsequence(vec!["subnet-0", "subnet-1", "subnet-2", "subnet-9"], 0..4);
    (some_groups(), vec(listener(), 0..5), backends, subnets, subsequence(vec!["i-1", "i-2", "i-9"], 0..3)).prop_map(
        |(security_groups, listeners, backends, subnets, instances)| LoadBalancer {
            name: name(),
            dns_name: "own.elb.example".into(),
            subnets: subnets.into_iter().map(str::to_owned).collect(),
            security_groups,
            listeners,
            backends,
            instances: instances.into_iter().map(str::to_owned).collect(),
            ..LoadBalancer::default()
        },
    )
}

fn desired(service: &Service, settings: &Settings, goal: Goal, keep_attached: bool) -> Desired {
    Desired {
        key: service.key(),
        name: name(),
        keep_attached,
        goal,
        global_group: settings.elb_security_group.clone(),
        leave_nodes: settings.disable_security_group_ingress,
        order: GroupOrder::of(service),
        cluster: cluster(),
    }
}

fn is_ours(step: &Step, desired: &Desired, observed: &Observed, node_groups: &BTreeSet<String>) -> bool {
    let is_global = |id: &String| desired.global_group.as_ref() == Some(id);
    let attached = |id: &String| observed.balancer.iter().any(|balancer| balancer.security_groups.contains(id));
    let own_name = names::classic_group(&desired.name);
    match step {
        Step::EnsureGroup(group) => group.group.name == own_name,
        Step::Create { .. } => observed.balancer.is_none(),
        Step::Allow { node_group, .. } => {
            node_groups.contains(node_group) && !is_global(node_group) && !desired.leave_nodes
        }
        Step::Revoke { node_group, source, all } => {
            let tagged = observed.is_tagged(desired, node_group);
            !is_global(node_group) && !desired.leave_nodes && node_group != source && (tagged || *all)
        }
        Step::DeleteGroup { id, name } => {
            let group = observed.group(id).unwrap();
            let own = *name == own_name && desired.cluster.owns(&group.tags) == Ok(true);
            let given = matches!(desired.goal, Goal::Gone)
                && attached(id)
                && desired.cluster.has_tag(&group.tags)
                && !desired.keep_attached;
            let named = desired.order.names(id) && matches!(desired.goal, Goal::Gone);
            (own || given) && !named
        }
        Step::ApplyGroups(groups) => {
            let known = |group: &Group| {
                group.id().is_none_or(|id| {
                    observed.group(id).is_some() || desired.order.names(id) || is_global(&id.to_owned())
                })
            };
            groups.iter().all(known)
        }
        // They name the service's load balancer by its name.
        _ => true,
    }
}

proptest! {
    #![proptest_config(cases(1_500))]

    #[test]
    fn whatever_a_service_asks_for_only_what_is_its_own_changes(
        service in service(), settings in settings(), balancer in option::of(load_balancer()), subnets in subnets(),
        groups in security_groups(names::classic_group(&name())), node_groups in subsequence(&GROUPS[..], 0..3),
        goal in 0..3_u8, keep_attached in any::<bool>(),
    ) {
        let node_groups: BTreeSet<String> = node_groups.into_iter().map(str::to_owned).collect();
        let backends = Backends { instances: ["i-1", "i-2"].map(str::to_owned).into(), node_groups: node_groups.clone() };
        let subnets: BTreeMap<String, String> = subnets.into_iter().map(|subnet| (subnet.id, subnet.zone)).collect();
        let goal = match goal {
            0 => Goal::Gone,
            1 => Goal::Backends(backends),
            _ => {
                let wanted = desired::check(&service, &settings)
                    .and_then(|()| Balancer::of(&service, &settings, &cluster(), &name(), subnets, Tags::new()));
                let Ok(wanted) = wanted else { return Ok(()) };
                Goal::Balancer(Box::new(wanted), backends)
            }
        };
        let desired = desired(&service, &settings, goal, keep_attached);
        let observed = Observed { balancer, groups, ..Observed::default() };
        for operation in plan::plan(&desired, &observed) {
            prop_assert!(operation.balancer == name());
            prop_assert!(is_ours(&operation.step, &desired, &observed, &node_groups), "{operation}: {:?}", operation.step);
        }
    }
}
