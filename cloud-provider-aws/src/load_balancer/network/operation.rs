//! The steps towards a network load balancer.

use std::{fmt, sync::Arc};

use cloud_provider::{cloud, cluster::objects::Key};

use super::{neighbours::Neighbours, node_rules::NodeRules};
use crate::{
    client::{
        elbv2::{Attributes, HealthCheck, ListenerSettings, NewLoadBalancer, NewTargetGroup, SubnetMapping, Target},
        network::{Rule, Tags},
    },
    load_balancer::security_groups::{IngressDiff, NamedGroup},
};

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Operation {
    /// The service.
    pub(super) key: Key,
    /// The name of its load balancer.
    pub(super) balancer: String,
    /// What is done.
    pub(super) step: Step,
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    EnsureSecurityGroup(NamedGroup),
    SetIngress { group: SecurityGroupRef, rules: Vec<Rule> },
    CreateLoadBalancer { new: NewLoadBalancer, groups: Vec<SecurityGroupRef> },
    SetSecurityGroups { arn: String, groups: Vec<SecurityGroupRef> },
    SetAttributes { arn: Option<String>, attributes: Attributes },
    SetSubnets { arn: String, subnets: Vec<SubnetMapping> },
    SetDualStack { arn: String, dual_stack: bool },
    AddTags { arns: Vec<String>, tags: Tags },
    CreateTargetGroup { vpc: Option<String>, new: NewTargetGroup },
    ModifyTargetGroup { name: String, arn: String, check: HealthCheck },
    SetTargetGroupAttributes { group: TargetGroupRef, attributes: Attributes },
    Deregister { group: TargetGroupRef, targets: Vec<Target> },
    Register { group: TargetGroupRef, targets: Vec<Target> },
    CreateListener { load_balancer: Option<String>, settings: ListenerSettings, group: TargetGroupRef, tags: Tags },
    ModifyListener { arn: String, settings: ListenerSettings, group: TargetGroupRef },
    DeleteListener { arn: String, port: i32, protocol: String },
    DeleteTargetGroup { name: String, arn: String },
    DeleteLoadBalancer { name: String, arn: String },
    NodeRules { group: String, neighbours: Arc<Neighbours>, rules: Option<NodeRules>, diff: IngressDiff },
    RevokeReferences { group: String, rules: Vec<Rule> },
    DeleteSecurityGroup { id: String, name: String },
}

/// A security group that is there, or the one that an earlier step ensures.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SecurityGroupRef {
    Id(String),
    Managed,
}

/// A target group; without an ARN an earlier step makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TargetGroupRef {
    pub(super) name: String,
    pub(super) arn: Option<String>,
}

impl cloud::Operation for Operation {
    fn service(&self) -> Option<&Key> {
        Some(&self.key)
    }

    fn shared(&self) -> Option<&str> {
        match &self.step {
            Step::NodeRules { group, .. } | Step::RevokeReferences { group, .. } => Some(group),
            _ => None,
        }
    }
}

impl fmt::Display for SecurityGroupRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => f.write_str(id),
            Self::Managed => f.write_str("the managed one"),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.step {
            Step::EnsureSecurityGroup(group) => write!(f, "create or repair security group {}", group.name),
            Step::SetIngress { group, rules } => {
                write!(f, "set the inbound rules of security group {group}: {}", list(rules))
            }
            Step::CreateLoadBalancer { new, groups } => {
                let scheme = if new.internal { "internal" } else { "internet-facing" };
                let subnets: Vec<&str> = new.subnets.iter().map(|mapping| mapping.subnet.as_str()).collect();
                write!(f, "create {scheme} network load balancer {} in {}", new.name, subnets.join(", "))?;
                match groups.is_empty() {
                    true => Ok(()),
                    false => write!(f, " with security groups {}", names(groups)),
                }
            }
            Step::SetSecurityGroups { groups, .. } => {
                write!(f, "set the security groups of the load balancer: {}", names(groups))
            }
            Step::SetAttributes { attributes, .. } => {
                write!(f, "set attributes of the load balancer: {}", pairs(attributes))
            }
            Step::SetSubnets { subnets, .. } => {
                let subnets: Vec<String> = subnets.iter().map(mapping).collect();
                write!(f, "set the subnets of the load balancer: {}", subnets.join(", "))
            }
            Step::SetDualStack { dual_stack: true, .. } => f.write_str("add IPv6 addresses to the load balancer"),
            Step::SetDualStack { dual_stack: false, .. } => f.write_str("take the load balancer's IPv6 addresses away"),
            Step::AddTags { arns, tags } => {
                let names: Vec<&str> = arns.iter().map(|arn| resource(arn)).collect();
                write!(f, "set tags of {}: {}", names.join(", "), pairs(tags))
            }
            Step::CreateTargetGroup { new, .. } => {
                write!(f, "create target group {} for {} {}", new.name, new.protocol, new.port)
            }
            Step::ModifyTargetGroup { name, check, .. } => {
                let HealthCheck { port, path, healthy, unhealthy, .. } = check;
                write!(f, "change the health check of target group {name}: port {port}, path {path:?}, ")?;
                write!(f, "thresholds {healthy} and {unhealthy}")?;
                check.timeout.map_or(Ok(()), |timeout| write!(f, ", timeout {timeout} s"))
            }
            Step::SetTargetGroupAttributes { group, attributes } => {
                write!(f, "set attributes of target group {}: {}", group.name, pairs(attributes))
            }
            Step::Deregister { group, targets } => {
                write!(f, "deregister {} from target group {}", instances(targets), group.name)
            }
            Step::Register { group, targets } => {
                write!(f, "register {} with target group {}", instances(targets), group.name)
            }
            Step::CreateListener { settings, group, .. } => {
                write!(f, "create listener {} {} for target group {}", settings.protocol, settings.port, group.name)
            }
            Step::ModifyListener { settings, group, .. } => {
                write!(f, "change listener {} {} for target group {}", settings.protocol, settings.port, group.name)
            }
            Step::DeleteListener { port, protocol, .. } => write!(f, "delete listener {protocol} {port}"),
            Step::DeleteTargetGroup { name, .. } => write!(f, "delete target group {name}"),
            Step::DeleteLoadBalancer { name, .. } => write!(f, "delete network load balancer {name}"),
            Step::NodeRules { group, diff, .. } => {
                write!(f, "in security group {group} of nodes, for {},", self.balancer)?;
                let both = !diff.add.is_empty() && !diff.remove.is_empty();
                if !diff.add.is_empty() {
                    write!(f, " let in {}", list(&diff.add))?;
                }
                if !diff.remove.is_empty() {
                    write!(f, "{} no longer let in {}", if both { ";" } else { "" }, list(&diff.remove))?;
                }
                Ok(())
            }
            Step::RevokeReferences { group, rules } => {
                write!(f, "in security group {group}, no longer let in {}", list(rules))
            }
            Step::DeleteSecurityGroup { id, name } => write!(f, "delete security group {id} ({name})"),
        }
    }
}

/// A subnet with the address given for it.
fn mapping(mapping: &SubnetMapping) -> String {
    match mapping.allocation.as_ref().or(mapping.private_address.as_ref()) {
        Some(address) => format!("{} ({address})", mapping.subnet),
        None => mapping.subnet.clone(),
    }
}

/// An ARN without what is the same for all.
fn resource(arn: &str) -> &str {
    arn.splitn(6, ':').last().unwrap_or(arn)
}

fn list(rules: &[Rule]) -> String {
    rules.iter().map(|rule| rule.traffic.to_string()).collect::<Vec<_>>().join(", ")
}

fn names(groups: &[SecurityGroupRef]) -> String {
    groups.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn pairs(attributes: &Attributes) -> String {
    attributes.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(", ")
}

/// A few by name, many by number.
fn instances(targets: &[Target]) -> String {
    const FEW: usize = 5;
    if targets.len() > FEW {
        return format!("{} instances", targets.len());
    }
    targets.iter().map(|target| target.id.as_str()).collect::<Vec<_>>().join(", ")
}
