//! What other network load balancers need of the nodes, as their target groups tell.
//!
//! Rules that are merged serve several load balancers, or stand beside rules that name no ports: the group of the nodes
//! alone does not tell what each of them needs.

use std::collections::{BTreeMap, BTreeSet};

use super::{node_rules::is_without_ports, ports};
use crate::{
    client::{elbv2::TargetGroup, network::SecurityGroup},
    load_balancer::names,
};

/// The ports of load balancers on the nodes, by the names of load balancers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Neighbours(BTreeMap<String, Ports>);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Ports {
    clients: BTreeSet<(&'static str, i32)>,
    health: BTreeSet<i32>,
}

impl Neighbours {
    /// What target groups say of the load balancers that use them.
    pub(super) fn of(groups: &[TargetGroup]) -> Self {
        let mut all: BTreeMap<String, Ports> = BTreeMap::new();
        for group in groups {
            for name in group.load_balancers.iter().filter_map(|arn| load_balancer(arn)) {
                let ports = all.entry(name.to_owned()).or_default();
                ports.clients.extend(ports::transports(&group.protocol).iter().map(|protocol| (*protocol, group.port)));
                ports.health.extend(ports::checked(&group.health_check, group.port));
            }
        }
        Self(all)
    }

    /// Whether they matter for the rules of a group: where load balancers share a rule for health checks, and where rules
    /// may be merged although a security group guards the ports of some load balancers.
    pub(super) fn matter(group: &SecurityGroup, merged: bool) -> bool {
        let is_shared = |text: &str| text == names::SHARED_HEALTH_RULE;
        group
            .ingress
            .iter()
            .any(|rule| rule.description.as_deref().is_some_and(is_shared) || (merged && is_without_ports(rule)))
    }

    /// The node ports of a load balancer, with `tcp` or `udp`.
    pub(super) fn client_ports(&self, name: &str) -> impl Iterator<Item = (&'static str, i32)> {
        self.0.get(name).into_iter().flat_map(|ports| ports.clients.iter().copied())
    }

    /// The ports of a load balancer's health checks; `None` where nothing is known of it.
    pub(super) fn health_ports(&self, name: &str) -> Option<&BTreeSet<i32>> {
        self.0.get(name).map(|ports| &ports.health)
    }
}

/// The name in an ARN that ends in `loadbalancer/net/<name>/<id>`.
fn load_balancer(arn: &str) -> Option<&str> {
    arn.rsplit('/').nth(1)
}
