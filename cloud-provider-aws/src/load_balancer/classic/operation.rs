//! The steps of a plan.

use std::fmt;

use cloud_provider::{cloud, cluster::objects::Key};

use super::desired::OwnGroup;
use crate::{
    client::{
        elb::{Attributes, HealthCheck, Listener, NewLoadBalancer, Policy},
        network::Tags,
    },
    load_balancer::subnets::Move,
};

/// One step for one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Operation {
    pub(super) service: Key,
    /// The name of the load balancer.
    pub(super) balancer: String,
    pub(super) step: Step,
}

/// A security group in a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Group {
    /// One that is there.
    Id(String),
    /// The load balancer's own one, which an earlier step makes.
    Made,
}

impl Group {
    pub(super) fn id(&self) -> Option<&str> {
        match self {
            Self::Id(id) => Some(id),
            Self::Made => None,
        }
    }
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// The own security group is there, with our tags and exactly its rules.
    EnsureGroup(OwnGroup),
    Create {
        new: NewLoadBalancer,
        groups: Vec<Group>,
    },
    MoveSubnets(Move),
    ApplyGroups(Vec<Group>),
    DeleteListeners(Vec<i32>),
    CreateListeners(Vec<Listener>),
    CreatePolicy(Policy),
    SetBackendPolicies {
        port: i32,
        policies: Vec<String>,
    },
    SetListenerPolicies {
        port: i32,
        policies: Vec<String>,
    },
    AddTags(Tags),
    ModifyAttributes(Attributes),
    ConfigureHealthCheck(HealthCheck),
    /// A group of nodes lets in all traffic of the load balancer.
    Allow {
        node_group: String,
        source: Group,
    },
    Register(Vec<String>),
    Deregister(Vec<String>),
    /// A group lets in the members of another one no more: not all of their traffic, or no traffic at all.
    Revoke {
        node_group: String,
        source: String,
        all: bool,
    },
    DeleteBalancer,
    DeleteGroup {
        id: String,
        name: String,
    },
}

impl cloud::Operation for Operation {
    fn service(&self) -> Option<&Key> {
        Some(&self.service)
    }

    /// The groups of nodes are written for many services.
    fn shared(&self) -> Option<&str> {
        match &self.step {
            Step::Allow { node_group, .. } | Step::Revoke { node_group, .. } => Some(node_group),
            _ => None,
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id().unwrap_or("its own security group"))
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let balancer = &self.balancer;
        match &self.step {
            Step::EnsureGroup(OwnGroup { group, ingress }) => {
                let rules: Vec<String> = ingress.iter().map(|rule| rule.traffic.to_string()).collect();
                write!(f, "make security group {} let in exactly {}", group.name, rules.join(", "))
            }
            Step::Create { new, groups } => {
                let scheme = if new.internal { "internal" } else { "internet-facing" };
                write!(f, "create {scheme} classic load balancer {balancer} in {}", new.subnets.join(", "))?;
                write!(f, " with {} and {}", list(groups), listeners(&new.listeners))
            }
            Step::MoveSubnets(Move::Attach(ids)) => write!(f, "attach {balancer} to {}", ids.join(", ")),
            Step::MoveSubnets(Move::Detach(ids)) => write!(f, "detach {balancer} from {}", ids.join(", ")),
            Step::ApplyGroups(groups) => write!(f, "give {balancer} the security groups {}", list(groups)),
            Step::DeleteListeners(ports) => write!(f, "delete the listeners of {balancer} on {}", list(ports)),
            Step::CreateListeners(new) => write!(f, "create on {balancer} {}", listeners(new)),
            Step::CreatePolicy(policy) => write!(f, "create policy {} of {balancer}", policy.name),
            Step::SetBackendPolicies { port, policies } if policies.is_empty() => {
                write!(f, "take the policies of {balancer}'s back ends on {port} away")
            }
            Step::SetBackendPolicies { port, policies } => {
                write!(f, "give {balancer}'s back ends on {port} the policies {}", policies.join(", "))
            }
            Step::SetListenerPolicies { port, policies } => {
                write!(f, "give {balancer}'s listener on {port} the policies {}", policies.join(", "))
            }
            Step::AddTags(tags) => {
                let tags: Vec<String> = tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
                write!(f, "add to {balancer} the tags {}", tags.join(", "))
            }
            Step::ModifyAttributes(attributes) => {
                write!(f, "change of {balancer} {}", attribute_names(attributes).join(", "))
            }
            Step::ConfigureHealthCheck(check) => {
                let HealthCheck { target, interval, timeout, healthy, unhealthy } = check;
                write!(f, "check the instances of {balancer} at {target} every {interval}s for {timeout}s, ")?;
                write!(f, "{healthy} times for healthy and {unhealthy} times for unhealthy")
            }
            Step::Allow { node_group, source } => {
                write!(f, "let all traffic of {source} of {balancer} into security group {node_group}")
            }
            Step::Register(ids) => write!(f, "register {} with {balancer}", ids.join(", ")),
            Step::Deregister(ids) => write!(f, "deregister {} from {balancer}", ids.join(", ")),
            Step::Revoke { node_group, source, all: false } => {
                write!(f, "revoke the rule for all traffic of {source} from security group {node_group}")
            }
            Step::Revoke { node_group, source, all: true } => {
                write!(f, "revoke the rules for {source} from security group {node_group}")
            }
            Step::DeleteBalancer => write!(f, "delete classic load balancer {balancer}"),
            Step::DeleteGroup { id, name } => write!(f, "delete security group {id} ({name})"),
        }
    }
}

fn list<T: fmt::Display>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

fn listeners(listeners: &[Listener]) -> String {
    let listener = |listener: &Listener| {
        let Listener { port, protocol, instance_port, instance_protocol, .. } = listener;
        format!("{protocol} {port} to {instance_protocol} {instance_port}")
    };
    format!("listeners {}", listeners.iter().map(listener).collect::<Vec<_>>().join(", "))
}

fn attribute_names(attributes: &Attributes) -> Vec<String> {
    let Attributes { access_log, draining, idle_timeout, cross_zone } = attributes;
    let switch = |on: bool| if on { "on" } else { "off" };
    [
        access_log.as_ref().map(|log| format!("access logs: {}", switch(log.enabled))),
        draining.as_ref().map(|draining| format!("connection draining: {}", switch(draining.enabled))),
        idle_timeout.map(|seconds| format!("idle timeout: {seconds}s")),
        cross_zone.map(|on| format!("balancing across zones: {}", switch(on))),
    ]
    .into_iter()
    .flatten()
    .collect()
}
