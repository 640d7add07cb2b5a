//! What there is of a service's classic load balancer.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::desired::Desired;
use crate::{
    client::{
        elb::{Attributes, LoadBalancer},
        network::{Rule, SecurityGroup, Source, Tags, Traffic},
    },
    load_balancer::names,
};

/// What is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observed {
    /// The load balancer, as AWS describes it.
    pub(super) balancer: Option<LoadBalancer>,
    /// Its attributes, where they were read.
    pub(super) attributes: Option<Attributes>,
    /// Its tags, where they are known: all of them where they are read, else the additional ones.
    pub(super) tags: Option<Tags>,
    /// The zones of its subnets, as far as these are not wanted.
    pub(super) zones: BTreeMap<String, String>,
    /// The security groups of the VPC.
    pub(super) groups: Arc<Vec<SecurityGroup>>,
    /// Security groups of other load balancers, where it matters.
    pub(super) groups_of_others: BTreeSet<String>,
    /// Groups of the user that it leaves or has left, and that no other load balancer has.
    pub(super) left: BTreeSet<String>,
}

/// Whether a rule is of the kind that lets a load balancer's group in.
pub(super) fn is_all_traffic(traffic: &Traffic) -> bool {
    traffic.protocol == "-1"
}

/// All traffic from the members of a group: what the nodes' groups let in.
pub(super) fn all_traffic_from(group: &str) -> Rule {
    Rule::new("-1", None, Source::group_id(group))
}

impl Observed {
    /// A security group of the VPC.
    pub(super) fn group(&self, id: &str) -> Option<&SecurityGroup> {
        self.groups.iter().find(|group| group.id == id)
    }

    /// The group that was made for the load balancer with this name, whether the load balancer is there or not.
    pub(super) fn own_group(&self, balancer: &str) -> Option<&SecurityGroup> {
        let name = names::classic_group(balancer);
        self.groups.iter().find(|group| group.name == name)
    }

    /// Whether a group has the cluster's tag.
    pub(super) fn is_tagged(&self, desired: &Desired, id: &str) -> bool {
        self.group(id).is_some_and(|group| desired.cluster.has_tag(&group.tags))
    }

    /// The group that stands for the load balancer in the rules of the nodes' groups.
    pub(super) fn source(&self, desired: &Desired) -> Option<String> {
        let mut attached = self.balancer.as_ref()?.security_groups.clone();
        desired.order.sort(&mut attached, |id| self.is_tagged(desired, id));
        attached.into_iter().next()
    }

    /// The groups, other than itself, with a rule that `matches` and has `source` as source.
    pub(super) fn referring<'a>(
        &'a self,
        source: &'a str,
        matches: impl Fn(&Traffic) -> bool + 'a,
    ) -> impl Iterator<Item = &'a SecurityGroup> {
        let refers = move |rule: &Rule| rule.refers_to(source) && matches(&rule.traffic);
        self.groups.iter().filter(move |group| group.id != source && group.ingress.iter().any(&refers))
    }
}
