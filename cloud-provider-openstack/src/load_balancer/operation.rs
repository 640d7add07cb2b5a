//! The steps towards a load balancer.

use std::{collections::BTreeMap, fmt};

use cloud_provider::{cloud, cluster::objects::Key};

use super::firewall::{Firewall, RuleDiff};
use crate::client::{
    floating_ip::NewFloatingIp,
    load_balancer::{
        ListenerChanges, MonitorChanges, NewListener, NewLoadBalancer, NewMember, NewMonitor, NewPool, PoolChanges,
    },
    network::{Port, Subnet},
    security_group::{Rule, SecurityGroup},
};

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Operation {
    /// The service.
    pub(super) key: Key,
    /// The load balancer that it changes, where that is known: only one change of it goes on at a time.
    pub(super) load_balancer: Option<String>,
    /// What is done.
    pub(super) step: Step,
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Rename(Renaming),
    /// Refused where as many services share it as may, at that time; `None` where it was made for the service.
    AddTag {
        id: String,
        tag: String,
        limit: Option<i64>,
    },
    RemoveTag {
        id: String,
        tag: String,
    },
    CreateLoadBalancer(Box<NewLoadBalancer>),
    FailOver {
        id: String,
    },
    /// It stays where a service came to share it since these tags were read.
    DeleteLoadBalancer {
        id: String,
        name: String,
        cascade: bool,
        tags: Vec<String>,
    },
    CreateListener {
        port: usize,
        new: NewListener,
    },
    UpdateListener {
        id: String,
        name: String,
        changes: ListenerChanges,
    },
    DeleteListener {
        id: String,
        name: String,
    },
    CreatePool {
        port: usize,
        listener: Reference,
        new: NewPool,
    },
    UpdatePool {
        id: String,
        name: String,
        changes: PoolChanges,
    },
    DeletePool {
        id: String,
        name: String,
    },
    SetMembers {
        pool: Reference,
        name: String,
        members: Vec<NewMember>,
    },
    AddMember {
        pool: Reference,
        member: NewMember,
    },
    RemoveMember {
        pool: String,
        id: String,
        name: String,
    },
    CreateMonitor {
        pool: Reference,
        new: NewMonitor,
    },
    UpdateMonitor {
        id: String,
        name: String,
        changes: MonitorChanges,
    },
    DeleteMonitor {
        id: String,
        name: String,
    },
    CreateFloatingIp {
        new: NewFloatingIp,
        subnets: Vec<String>,
    },
    AttachFloatingIp {
        id: String,
        address: String,
        port: Option<String>,
    },
    DetachFloatingIp {
        id: String,
        address: String,
    },
    DeleteFloatingIp {
        id: String,
        address: String,
    },
    OpenNodes(Box<Opening>),
    DeleteSecurityGroup {
        id: String,
        name: String,
        ports: Vec<Port>,
    },
}

/// Another name, and other tags where some change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Renaming {
    pub(super) thing: Thing,
    pub(super) id: String,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) tags: Option<Retagging>,
}

/// Other tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Retagging {
    /// All tags, as they were read.
    pub(super) all: Vec<String>,
    /// The new ones of those that change.
    pub(super) renamed: BTreeMap<String, String>,
}

impl Retagging {
    /// The tags that replace `current`.
    pub(super) fn of(&self, current: &[String]) -> Vec<String> {
        current.iter().map(|tag| self.renamed.get(tag).unwrap_or(tag).clone()).collect()
    }
}

/// What has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Thing {
    LoadBalancer,
    Listener,
    Pool,
    Monitor,
}

/// A listener or pool that is there, or the one that an earlier step makes for the port at this place in the spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reference {
    Known(String),
    Made(usize),
}

/// The security group of the nodes, its rules, and the ports that it is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Opening {
    pub(super) firewall: Firewall,
    /// The group, where there is one.
    pub(super) group: Option<SecurityGroup>,
    /// The subnet of the members; the load balancer's where it is not known before that is made.
    pub(super) subnet: Option<Subnet>,
    /// What becomes of the rules, where it is known.
    pub(super) rules: Option<RuleDiff>,
    /// The ports of members' servers, where some may lack it.
    pub(super) ports: Vec<Port>,
    /// Those that get the group, where it is known.
    pub(super) open: Option<Vec<Port>>,
    /// Those that lose it.
    pub(super) close: Vec<Port>,
}

impl cloud::Operation for Operation {
    fn service(&self) -> Option<&Key> {
        Some(&self.key)
    }

    fn shared(&self) -> Option<&str> {
        self.load_balancer.as_deref()
    }
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LoadBalancer => "load balancer",
            Self::Listener => "listener",
            Self::Pool => "pool",
            Self::Monitor => "monitor",
        })
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.step {
            Step::Rename(Renaming { thing, from, to, .. }) => write!(f, "rename {thing} {from} to {to}"),
            Step::AddTag { id, tag, .. } => write!(f, "add tag {tag} to load balancer {id}"),
            Step::RemoveTag { id, tag } => write!(f, "remove tag {tag} from load balancer {id}"),
            Step::CreateLoadBalancer(new) => {
                let ports: Vec<String> =
                    new.listeners.iter().map(|it| format!("{} {}", it.protocol, it.protocol_port)).collect();
                write!(f, "create load balancer {}", new.name)?;
                if ports.is_empty() { Ok(()) } else { write!(f, " with listeners {}", ports.join(", ")) }
            }
            Step::FailOver { id } => write!(f, "fail over load balancer {id}"),
            Step::DeleteLoadBalancer { id, name, .. } => write!(f, "delete load balancer {id} ({name})"),
            Step::CreateListener { new, .. } => write!(f, "create listener {} {}", new.protocol, new.protocol_port),
            Step::UpdateListener { name, changes, .. } => write!(f, "change listener {name}: {}", listener(changes)),
            Step::DeleteListener { name, .. } => write!(f, "delete listener {name}"),
            Step::CreatePool { new, .. } => {
                write!(f, "create pool {} ({}, {})", new.name, new.protocol, new.lb_algorithm)
            }
            Step::UpdatePool { name, changes, .. } => {
                write!(f, "change pool {name}:")?;
                if let Some(method) = &changes.lb_algorithm {
                    write!(f, " algorithm {method}")?;
                }
                match &changes.session_persistence {
                    None => Ok(()),
                    Some(None) => write!(f, " no session persistence"),
                    Some(Some(persistence)) => write!(f, " session persistence {}", persistence.kind),
                }
            }
            Step::DeletePool { name, .. } => write!(f, "delete pool {name}"),
            Step::SetMembers { name, members, .. } => write!(f, "set the members of pool {name}: {}", list(members)),
            Step::AddMember { member, .. } => write!(f, "add member {}", member.name),
            Step::RemoveMember { name, .. } => write!(f, "remove member {name}"),
            Step::CreateMonitor { new, .. } => write!(f, "create monitor {} ({})", new.name, new.kind),
            Step::UpdateMonitor { name, changes, .. } => {
                let MonitorChanges { delay, timeout, max_retries, max_retries_down, .. } = changes;
                write!(f, "change monitor {name}: delay {delay} s, timeout {timeout} s, ")?;
                write!(f, "retries {max_retries} and {max_retries_down}")
            }
            Step::DeleteMonitor { name, .. } => write!(f, "delete monitor {name}"),
            _ => self.outside(f),
        }
    }
}

impl Operation {
    /// Steps outside of Octavia.
    fn outside(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.step {
            Step::CreateFloatingIp { new, .. } => {
                write!(f, "create floating IP in network {}", new.floating_network_id)?;
                new.floating_ip_address.as_ref().map_or(Ok(()), |address| write!(f, " with address {address}"))
            }
            Step::AttachFloatingIp { address, .. } => write!(f, "attach floating IP {address}"),
            Step::DetachFloatingIp { address, .. } => write!(f, "detach floating IP {address}"),
            Step::DeleteFloatingIp { address, .. } => write!(f, "delete floating IP {address}"),
            Step::OpenNodes(opening) => write!(f, "{opening}"),
            Step::DeleteSecurityGroup { id, name, .. } => write!(f, "delete security group {id} ({name})"),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.group.is_some() { "change" } else { "create" };
        write!(f, "{verb} security group {}", self.firewall.group)?;
        if let Some(rules) = &self.rules {
            let add: Vec<String> = rules.add.iter().map(rule).collect();
            if !add.is_empty() {
                write!(f, "; let in {}", add.join(", "))?;
            }
            if !rules.remove.is_empty() {
                write!(f, "; remove {} rules", rules.remove.len())?;
            }
        }
        if let Some(open) = self.open.as_ref().filter(|open| !open.is_empty()) {
            write!(f, "; put it on {} ports of nodes", open.len())?;
        }
        if self.close.is_empty() { Ok(()) } else { write!(f, "; take it off {} ports", self.close.len()) }
    }
}

fn rule(rule: &Rule) -> String {
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "any".to_owned());
    let port = rule.port_range_min.unwrap_or_default();
    format!("{} {port} from {}", text(&rule.protocol), text(&rule.remote_ip_prefix))
}

fn listener(changes: &ListenerChanges) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut part = |name: &str, value: Option<String>| parts.extend(value.map(|value| format!("{name} {value}")));
    part("tags", changes.tags.as_ref().map(|tags| tags.join(", ")));
    part("connection limit", changes.connection_limit.map(|limit| limit.to_string()));
    part("certificate", changes.default_tls_container_ref.clone());
    part("headers", changes.insert_headers.as_ref().map(|headers| format!("{headers:?}")));
    part("source ranges", changes.allowed_cidrs.as_ref().map(|ranges| ranges.join(", ")));
    let timeouts = changes.timeouts;
    for (name, value) in [
        ("client data timeout", timeouts.client_data),
        ("member connect timeout", timeouts.member_connect),
        ("member data timeout", timeouts.member_data),
        ("TCP inspect timeout", timeouts.tcp_inspect),
    ] {
        part(name, value.map(|value| format!("{value} ms")));
    }
    parts.join("; ")
}

/// A few by name, many by number.
fn list(members: &[NewMember]) -> String {
    const FEW: usize = 5;
    if members.len() > FEW {
        return format!("{} nodes", members.len());
    }
    members.iter().map(|member| member.name.as_str()).collect::<Vec<_>>().join(", ")
}
