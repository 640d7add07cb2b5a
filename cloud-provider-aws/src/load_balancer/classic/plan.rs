//! From what is to what shall be: a pure function.

use std::collections::BTreeSet;

use super::{
    attributes,
    desired::{self, Backends, Balancer, Desired, Goal},
    listeners,
    observed::{Observed, all_traffic_from, is_all_traffic},
    operation::{Group, Operation, Step},
};
use crate::{
    client::{
        elb::{Listener, LoadBalancer, NewLoadBalancer},
        network::{SecurityGroup, Tags},
    },
    load_balancer::{security_groups::ingress_diff, subnets},
};

/// The steps, in order; none where all is as it shall be.
pub(super) fn plan(desired: &Desired, observed: &Observed) -> Vec<Operation> {
    let steps = match (&desired.goal, &observed.balancer) {
        (Goal::Gone, _) => removal(desired, observed),
        (Goal::Backends(backends), Some(balancer)) => {
            let source = observed.source(desired).map(Group::Id);
            let (allow, revoke) = node_rules(desired, observed, backends, source.as_ref());
            [allow, instances(backends, Some(balancer)), revoke].concat()
        }
        (Goal::Backends(_), None) => Vec::new(),
        (Goal::Balancer(wanted, backends), _) => whole(desired, observed, wanted, backends),
    };
    let operation = |step| Operation { service: desired.key.clone(), balancer: desired.name.clone(), step };
    steps.into_iter().map(operation).collect()
}

fn whole(desired: &Desired, observed: &Observed, wanted: &Balancer, backends: &Backends) -> Vec<Step> {
    let groups = wanted_groups(desired, observed, wanted);
    let mut steps = Vec::from_iter(additional_tags(observed, wanted));
    steps.extend(own_group(desired, observed, wanted));
    match &observed.balancer {
        None => steps.extend(creation(desired, wanted, &groups)),
        Some(balancer) => steps.extend(changes(observed, wanted, balancer, &groups)),
    }
    let default = attributes::of_a_new_load_balancer();
    let actual = observed.attributes.as_ref().filter(|_| observed.balancer.is_some()).unwrap_or(&default);
    steps.extend(attributes::difference(&wanted.attributes, actual).map(Step::ModifyAttributes));
    steps.extend(tls_policies(wanted, observed.balancer.as_ref()));
    let check = observed.balancer.as_ref().and_then(|balancer| balancer.health_check.as_ref());
    if check != Some(&wanted.health_check) {
        steps.push(Step::ConfigureHealthCheck(wanted.health_check.clone()));
    }
    let source = source(desired, observed, &groups);
    let (allow, revoke) = node_rules(desired, observed, backends, source.as_ref());
    steps.extend(allow);
    steps.extend(instances(backends, observed.balancer.as_ref()));
    steps.extend(revoke);
    steps.extend(dropped_groups(desired, observed, wanted, &groups));
    steps
}

/// The groups that the load balancer is to have, the own one first.
fn wanted_groups(desired: &Desired, observed: &Observed, wanted: &Balancer) -> Vec<Group> {
    let own = wanted.own_group.as_ref().map(|_| match observed.own_group(&desired.name) {
        Some(group) => Group::Id(group.id.clone()),
        None => Group::Made,
    });
    own.into_iter().chain(wanted.given_groups.iter().cloned().map(Group::Id)).collect()
}

/// The one of `groups` that stands for the load balancer in the rules of the nodes' groups.
fn source(desired: &Desired, observed: &Observed, groups: &[Group]) -> Option<Group> {
    // The group that is yet to be made has no ID to be sorted by; no annotation can name it, and it has our tag.
    let mut ids: Vec<String> = groups.iter().map(|group| group.id().unwrap_or_default().to_owned()).collect();
    desired.order.sort(&mut ids, |id| id.is_empty() || observed.is_tagged(desired, id));
    let first = ids.into_iter().next()?;
    groups.iter().find(|group| group.id().unwrap_or_default() == first).cloned()
}

fn own_group(desired: &Desired, observed: &Observed, wanted: &Balancer) -> Option<Step> {
    let own = wanted.own_group.as_ref()?;
    let settled = observed.own_group(&desired.name).is_some_and(|group| {
        let tagged = desired.cluster.missing_tags(&group.id, &group.tags).is_ok_and(|missing| missing.is_empty());
        tagged && ingress_diff(&own.ingress, &group.ingress).is_empty()
    });
    (!settled).then(|| Step::EnsureGroup(own.clone()))
}

/// The additional tags that a load balancer lacks, as far as its tags are known; all of them where they are not. They come
/// before all other steps: a round that ended half way always leaves something else to do, or has written them.
fn additional_tags(observed: &Observed, wanted: &Balancer) -> Option<Step> {
    observed.balancer.as_ref()?;
    let tags = observed.tags.as_ref();
    let lacks = |(key, value): &(&String, &String)| tags.and_then(|tags| tags.get(*key)) != Some(value);
    let missing = wanted.additional_tags.iter().filter(lacks);
    let missing: Tags = missing.map(|(key, value)| (key.clone(), value.clone())).collect();
    (!missing.is_empty()).then_some(Step::AddTags(missing))
}

fn creation(desired: &Desired, wanted: &Balancer, groups: &[Group]) -> Vec<Step> {
    let new = NewLoadBalancer {
        name: desired.name.clone(),
        internal: wanted.internal,
        listeners: wanted.listeners.clone(),
        subnets: wanted.subnets.keys().cloned().collect(),
        tags: wanted.tags.clone(),
    };
    let mut steps = vec![Step::Create { new, groups: groups.to_vec() }];
    steps.extend(proxy_protocol(wanted, &LoadBalancer::default()));
    steps
}

fn changes(observed: &Observed, wanted: &Balancer, balancer: &LoadBalancer, groups: &[Group]) -> Vec<Step> {
    let attached = balancer.subnets.iter().map(|id| {
        let zone = wanted.subnets.get(id).or_else(|| observed.zones.get(id));
        (id.clone(), zone.cloned().unwrap_or_default())
    });
    let mut steps: Vec<Step> =
        subnets::moves(&attached.collect(), &wanted.subnets).into_iter().map(Step::MoveSubnets).collect();
    let is_attached =
        |group: &Group| group.id().is_some_and(|id| balancer.security_groups.iter().any(|other| other == id));
    if groups.len() != balancer.security_groups.len() || !groups.iter().all(is_attached) {
        steps.push(Step::ApplyGroups(groups.to_vec()));
    }
    let actual: Vec<Listener> = balancer.listeners.iter().map(|(listener, _)| listener.clone()).collect();
    let difference = listeners::difference(&wanted.listeners, &actual);
    if !difference.delete.is_empty() {
        steps.push(Step::DeleteListeners(difference.delete));
    }
    if !difference.create.is_empty() {
        steps.push(Step::CreateListeners(difference.create));
    }
    steps.extend(proxy_protocol(wanted, balancer));
    steps
}

/// Sets our policy on the back ends of wanted listeners or takes it away from there, and from all others.
fn proxy_protocol(wanted: &Balancer, balancer: &LoadBalancer) -> Vec<Step> {
    let policy = desired::proxy_policy();
    let mut ports: Vec<i32> = wanted.listeners.iter().map(|listener| listener.instance_port).collect();
    ports.extend(balancer.backends.keys());
    ports.sort_unstable();
    ports.dedup();
    let mut sets = Vec::new();
    for port in ports {
        let actual = balancer.backends.get(&port).cloned().unwrap_or_default();
        let on = wanted.proxy_protocol && wanted.listeners.iter().any(|listener| listener.instance_port == port);
        if on == actual.contains(&policy.name) {
            continue;
        }
        let mut policies: Vec<String> = actual.into_iter().filter(|name| *name != policy.name).collect();
        policies.extend(on.then(|| policy.name.clone()));
        sets.push(Step::SetBackendPolicies { port, policies });
    }
    let missing = wanted.proxy_protocol && !balancer.policies.contains(&policy.name) && !sets.is_empty();
    missing.then_some(Step::CreatePolicy(policy)).into_iter().chain(sets).collect()
}

/// Sets the wanted TLS policy on secure listeners, also on those that are only now made.
fn tls_policies(wanted: &Balancer, balancer: Option<&LoadBalancer>) -> Vec<Step> {
    let Some(policy) = &wanted.ssl_policy else { return Vec::new() };
    let has = |listener: &Listener| {
        let mut actual = balancer.into_iter().flat_map(|balancer| &balancer.listeners);
        actual.any(|(actual, policies)| listeners::same(listener, actual) && policies.contains(&policy.name))
    };
    let lacking = wanted.listeners.iter().filter(|listener| listeners::is_secure(listener) && !has(listener));
    let sets: Vec<Step> = lacking
        .map(|listener| Step::SetListenerPolicies { port: listener.port, policies: vec![policy.name.clone()] })
        .collect();
    let exists = balancer.is_some_and(|balancer| balancer.policies.contains(&policy.name));
    let create = (!exists && !sets.is_empty()).then(|| Step::CreatePolicy(policy.clone()));
    create.into_iter().chain(sets).collect()
}

fn instances(backends: &Backends, balancer: Option<&LoadBalancer>) -> Vec<Step> {
    let registered = balancer.map(|balancer| balancer.instances.clone()).unwrap_or_default();
    let new: Vec<String> = backends.instances.difference(&registered).cloned().collect();
    let old: Vec<String> = registered.difference(&backends.instances).cloned().collect();
    let steps = [Step::Register(new), Step::Deregister(old)];
    steps
        .into_iter()
        .filter(|step| !matches!(step, Step::Register(ids) | Step::Deregister(ids) if ids.is_empty()))
        .collect()
}

/// What the groups of the nodes let in: rules to add, and rules to take away where no node needs them any more.
///
/// Rules are only taken away where the source is the load balancer's own group: with any other one we cannot know who
/// else relies on them.
fn node_rules(
    desired: &Desired,
    observed: &Observed,
    backends: &Backends,
    source: Option<&Group>,
) -> (Vec<Step>, Vec<Step>) {
    let Some(source) = source.filter(|_| !desired.leave_nodes) else { return Default::default() };
    let rule = source.id().map(all_traffic_from);
    let allowed = |group: &SecurityGroup| rule.as_ref().is_some_and(|rule| group.allows(&rule.traffic));
    let ours = |id: &str| desired.global_group.as_deref() != Some(id);
    let lacking = backends.node_groups.iter().filter(|id| ours(id) && !observed.group(id).is_some_and(allowed));
    let allow = lacking.map(|id| Step::Allow { node_group: id.clone(), source: source.clone() }).collect();
    let own = observed.own_group(&desired.name).filter(|own| source.id() == Some(own.id.as_str()));
    let revoke = own.into_iter().flat_map(|own| {
        let stale = observed.referring(&own.id, is_all_traffic);
        let stale = stale.filter(|group| !backends.node_groups.contains(&group.id) && ours(&group.id));
        stale.filter(|group| desired.cluster.has_tag(&group.tags)).map(|group| Step::Revoke {
            node_group: group.id.clone(),
            source: own.id.clone(),
            all: false,
        })
    });
    (allow, revoke.collect())
}

/// What follows from the load balancer having other groups now: its own one goes for good, and the nodes do not let in
/// what the old groups stood for.
fn dropped_groups(desired: &Desired, observed: &Observed, wanted: &Balancer, groups: &[Group]) -> Vec<Step> {
    let mut steps = Vec::new();
    let own = observed.own_group(&desired.name);
    let mut old = abandoned(desired, observed);
    old.retain(|id| !groups.iter().any(|group| group.id() == Some(id)) && own.is_none_or(|own| own.id != *id));
    steps.extend(old.iter().flat_map(|old| abandoned_rules(desired, observed, old)));
    let own = own.filter(|own| wanted.own_group.is_none() && desired.cluster.owns(&own.tags) == Ok(true));
    if let Some(own) = own {
        steps.extend(rules_of_doomed(desired, observed, own));
        steps.push(Step::DeleteGroup { id: own.id.clone(), name: own.name.clone() });
    }
    steps
}

/// The group that stands for the load balancer, and those that did.
fn abandoned(desired: &Desired, observed: &Observed) -> BTreeSet<String> {
    observed.source(desired).into_iter().chain(observed.left.iter().cloned()).collect()
}

/// The rules of nodes' groups for a group that is not ours and stands for this load balancer no more, as long as no other
/// load balancer has that group too.
fn abandoned_rules(desired: &Desired, observed: &Observed, source: &str) -> Vec<Step> {
    if desired.leave_nodes || observed.groups_of_others.contains(source) {
        return Vec::new();
    }
    let groups = observed.referring(source, is_all_traffic);
    groups
        .filter(|group| desired.cluster.has_tag(&group.tags) && desired.global_group.as_ref() != Some(&group.id))
        .map(|group| Step::Revoke { node_group: group.id.clone(), source: source.to_owned(), all: false })
        .collect()
}

/// All rules that refer to a group which is about to be deleted: AWS does not delete it before.
fn rules_of_doomed(desired: &Desired, observed: &Observed, doomed: &SecurityGroup) -> Vec<Step> {
    if desired.leave_nodes {
        return Vec::new();
    }
    observed
        .referring(&doomed.id, |_| true)
        .filter(|group| desired.global_group.as_ref() != Some(&group.id))
        .map(|group| Step::Revoke { node_group: group.id.clone(), source: doomed.id.clone(), all: true })
        .collect()
}

/// Rules, then the load balancer, then groups: the one with the name of the service's own, and the attached ones with the
/// cluster's tag that neither the configuration nor an annotation names.
fn removal(desired: &Desired, observed: &Observed) -> Vec<Step> {
    let attached = observed.balancer.iter().flat_map(|balancer| &balancer.security_groups);
    let attached = attached.filter_map(|id| observed.group(id)).filter(|group| desired.cluster.has_tag(&group.tags));
    let own = observed.own_group(&desired.name).filter(|own| desired.cluster.owns(&own.tags) == Ok(true));
    let mut doomed: Vec<&SecurityGroup> = Vec::new();
    for group in own.into_iter().chain(attached.filter(|_| !desired.keep_attached)) {
        let named = desired.order.names(&group.id) || desired.global_group.as_ref() == Some(&group.id);
        if !named && !doomed.iter().any(|other| other.id == group.id) {
            doomed.push(group);
        }
    }
    let mut steps: Vec<Step> = doomed.iter().flat_map(|group| rules_of_doomed(desired, observed, group)).collect();
    let mut old = abandoned(desired, observed);
    old.retain(|id| !doomed.iter().any(|group| group.id == *id));
    steps.extend(old.iter().flat_map(|old| abandoned_rules(desired, observed, old)));
    steps.extend(observed.balancer.as_ref().map(|_| Step::DeleteBalancer));
    steps.extend(doomed.iter().map(|group| Step::DeleteGroup { id: group.id.clone(), name: group.name.clone() }));
    steps
}
