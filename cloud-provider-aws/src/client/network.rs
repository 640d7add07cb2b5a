//! Subnets, route tables and security groups.

#[cfg(feature = "sdk")]
mod calls;

use std::fmt;

use crate::provider_id::InstanceId;

#[cfg(feature = "sdk")]
pub use calls::{Groups, NewSecurityGroup, RouteTables};

/// Tags of a resource.
pub use crate::cluster_id::Tags;

/// A subnet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subnet {
    /// `subnet-…`.
    pub id: String,
    /// The VPC.
    pub vpc: String,
    /// The availability zone; empty where AWS names none.
    pub zone: String,
    /// The IPv4 range; empty in a subnet for IPv6 only.
    pub cidr: String,
    /// Whether it has an IPv6 range.
    pub ipv6: bool,
    /// Tags.
    pub tags: Tags,
}

/// A route table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouteTable {
    /// `rtb-…`.
    pub id: String,
    /// Whether it serves the subnets that have no table of their own.
    pub main: bool,
    /// The subnets that are associated with it.
    pub subnets: Vec<String>,
    /// Its routes to networks.
    pub routes: Vec<Route>,
    /// Tags.
    pub tags: Tags,
}

/// A route.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Route {
    /// The network, of either IP family.
    pub destination: String,
    /// The instance that it leads to.
    pub instance: Option<InstanceId>,
    /// The gateway that it leads to; `local` for the VPC itself.
    pub gateway: Option<String>,
    /// Whether its target is gone, or does not run.
    pub blackhole: bool,
}

/// A security group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecurityGroup {
    /// `sg-…`.
    pub id: String,
    /// The name, unique in its VPC.
    pub name: String,
    /// The VPC.
    pub vpc: String,
    /// Tags.
    pub tags: Tags,
    /// Inbound rules, one source each.
    pub ingress: Vec<Rule>,
}

/// An inbound rule with one source.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// What it lets through, and whom.
    pub traffic: Traffic,
    /// The description; it does not tell rules apart.
    pub description: Option<String>,
}

/// What makes a rule the same as another one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Traffic {
    /// `tcp`, `udp`, `icmp`, `icmpv6`, `-1` for all, or a number.
    pub protocol: String,
    /// First and last port, or type and code; absent for all protocols.
    pub ports: Option<(i32, i32)>,
    /// Who is let in.
    pub source: Source,
}

/// Who is let in by a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// An IPv4 range.
    Ipv4(String),
    /// An IPv6 range.
    Ipv6(String),
    /// Members of another security group.
    Group {
        /// `sg-…`.
        id: String,
        /// The group's account, where AWS names it. It does not tell sources apart.
        account: Option<String>,
    },
    /// A managed prefix list.
    PrefixList(String),
}

impl Rule {
    /// A rule without description.
    pub fn new(protocol: &str, ports: Option<(i32, i32)>, source: Source) -> Self {
        Self { traffic: Traffic { protocol: protocol.to_owned(), ports, source }, description: None }
    }

    /// The rule with a description.
    #[must_use]
    pub fn described(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// Whether the members of group `id` are let in.
    pub fn refers_to(&self, id: &str) -> bool {
        self.traffic.source.group() == Some(id)
    }
}

impl Source {
    /// All members of a group in this account.
    pub fn group_id(id: impl Into<String>) -> Self {
        Self::Group { id: id.into(), account: None }
    }

    /// A range of addresses of either family.
    pub fn range(range: &ipnet::IpNet) -> Self {
        match range {
            ipnet::IpNet::V4(range) => Self::Ipv4(range.to_string()),
            ipnet::IpNet::V6(range) => Self::Ipv6(range.to_string()),
        }
    }

    /// The group, where it is one.
    pub fn group(&self) -> Option<&str> {
        match self {
            Self::Group { id, .. } => Some(id),
            _ => None,
        }
    }
}

impl Traffic {
    /// Whether this is the same as `other` for AWS.
    pub fn same(&self, other: &Self) -> bool {
        let source = match (&self.source, &other.source) {
            (Source::Group { id: a, .. }, Source::Group { id: b, .. }) => a == b,
            (a, b) => a == b,
        };
        source && self.protocol == other.protocol && self.ports == other.ports
    }

    /// Whether this lets in all that `other` does, from the very same source.
    pub fn covers(&self, other: &Self) -> bool {
        let holds = match (self.ports, other.ports) {
            (Some((first, last)), Some((from, to))) => first <= from && to <= last,
            (ours, theirs) => ours == theirs,
        };
        let ports = self.ports;
        holds && self.same(&Self { ports, ..other.clone() })
    }
}

impl SecurityGroup {
    /// Whether a rule with the same traffic is there.
    pub fn allows(&self, traffic: &Traffic) -> bool {
        self.ingress.iter().any(|rule| rule.traffic.same(traffic))
    }
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.protocol.as_str(), self.ports) {
            ("-1", _) => f.write_str("all traffic")?,
            (protocol, None) => write!(f, "{protocol}")?,
            (protocol, Some((first, last))) if first == last => write!(f, "{protocol} {first}")?,
            (protocol, Some((first, last))) => write!(f, "{protocol} {first}-{last}")?,
        }
        match &self.source {
            Source::Ipv4(source) | Source::Ipv6(source) | Source::PrefixList(source) => write!(f, " from {source}"),
            Source::Group { id, .. } => write!(f, " from {id}"),
        }
    }
}
