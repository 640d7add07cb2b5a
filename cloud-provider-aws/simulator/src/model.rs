//! The EC2 resources, in the form that seeds, the control endpoint and the state dump share.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, Ipv6Addr},
};

use ipnet::{Ipv4Net, Ipv6Net};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Tags of a resource.
pub type Tags = BTreeMap<String, String>;

/// Tags from pairs.
pub fn tags<const N: usize>(pairs: [(&str, &str); N]) -> Tags {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// Address ranges as text.
mod text {
    use std::{fmt::Display, str::FromStr};

    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }

    pub(super) mod option {
        use super::{Display, FromStr};
        use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

        pub(crate) fn serialize<T: Display, S: Serializer>(value: &Option<T>, to: S) -> Result<S::Ok, S::Error> {
            match value {
                Some(value) => to.collect_str(value),
                None => to.serialize_none(),
            }
        }

        pub(crate) fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(
            from: D,
        ) -> Result<Option<T>, D::Error> {
            let text = Option::<String>::deserialize(from)?;
            text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
        }
    }
}

/// An availability, local or wavelength zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Zone {
    /// Name, such as `us-east-1a`.
    pub name: String,
    /// Zone ID, such as `use1-az1`.
    pub id: String,
    /// `availability-zone`, `local-zone` or `wavelength-zone`.
    #[serde(default = "Zone::usual_kind")]
    pub kind: String,
}

impl Zone {
    fn usual_kind() -> String {
        "availability-zone".into()
    }

    /// An availability zone.
    pub fn new(name: &str, id: &str) -> Self {
        Self { name: name.into(), id: id.into(), kind: Self::usual_kind() }
    }
}

/// A virtual private cloud.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vpc {
    /// `vpc-…`.
    pub id: String,
    /// IPv4 range.
    #[serde(with = "text")]
    pub cidr: Ipv4Net,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}

/// A subnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subnet {
    /// `subnet-…`.
    pub id: String,
    /// Its VPC.
    pub vpc: String,
    /// Name of its zone.
    pub zone: String,
    /// IPv4 range.
    #[serde(with = "text")]
    pub cidr: Ipv4Net,
    /// IPv6 range.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "text::option")]
    pub ipv6_cidr: Option<Ipv6Net>,
    /// Whether new instances get a public address.
    #[serde(default)]
    pub public_addresses: bool,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}

/// A route table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteTable {
    /// `rtb-…`.
    pub id: String,
    /// Its VPC.
    pub vpc: String,
    /// Whether it serves the subnets that have no table of their own.
    #[serde(default)]
    pub main: bool,
    /// Subnets that are associated with it.
    #[serde(default)]
    pub subnets: BTreeSet<String>,
    /// Routes, without the local one that every table has.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}

/// A route to exactly one kind of target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// IPv4 or IPv6 range in canonical form.
    pub destination: String,
    /// Where it leads.
    pub target: RouteTarget,
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteTarget {
    /// An internet gateway `igw-…` or a virtual private gateway.
    Gateway(String),
    /// A NAT gateway.
    NatGateway(String),
    /// The first network interface of an instance.
    Instance(String),
    /// A network interface.
    Interface(String),
}

/// A security group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecurityGroup {
    /// `sg-…`.
    pub id: String,
    /// Unique in its VPC.
    pub name: String,
    /// Description.
    #[serde(default)]
    pub description: String,
    /// Its VPC.
    pub vpc: String,
    /// Inbound rules, one source each.
    #[serde(default)]
    pub ingress: Vec<Rule>,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
    /// When it was made; reads hide it until the configured visibility delay is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
}

/// An inbound rule with one source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// `tcp`, `udp`, `icmp`, `icmpv6`, `-1`, or another protocol's number.
    pub protocol: String,
    /// First port, or ICMP type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_port: Option<i64>,
    /// Last port, or ICMP code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_port: Option<i64>,
    /// Whom it lets in.
    pub source: Source,
    /// Description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// The source of a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// An IPv4 range in canonical form.
    #[serde(with = "text")]
    Ipv4(Ipv4Net),
    /// An IPv6 range in canonical form.
    #[serde(with = "text")]
    Ipv6(Ipv6Net),
    /// Members of another security group.
    Group(String),
    /// A managed prefix list.
    PrefixList(String),
}

/// States of an instance, as EC2 names them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceState {
    /// Starting.
    Pending,
    /// Up.
    #[default]
    Running,
    /// On its way to `terminated`.
    ShuttingDown,
    /// Gone, still listed for about an hour.
    Terminated,
    /// On its way to `stopped`.
    Stopping,
    /// Off, can be started again.
    Stopped,
}

impl InstanceState {
    /// EC2's number of the state.
    pub(crate) fn code(self) -> u16 {
        match self {
            Self::Pending => 0,
            Self::Running => 16,
            Self::ShuttingDown => 32,
            Self::Terminated => 48,
            Self::Stopping => 64,
            Self::Stopped => 80,
        }
    }

    /// EC2's name of the state.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::ShuttingDown => "shutting-down",
            Self::Terminated => "terminated",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }
}

/// An instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Instance {
    /// `i-…`.
    pub id: String,
    /// Its state. A change that takes time is stored as the final state with `settled`.
    #[serde(default)]
    pub state: InstanceState,
    /// Type, such as `m5.large`.
    #[serde(default = "Instance::usual_type")]
    pub instance_type: String,
    /// The subnet of the first network interface.
    pub subnet: String,
    /// Private DNS name, empty once terminated.
    pub private_dns_name: String,
    /// Public DNS name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_dns_name: Option<String>,
    /// Public IPv4 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_ip: Option<Ipv4Addr>,
    /// Network interfaces in the order in which EC2 lists them.
    #[serde(default)]
    pub interfaces: Vec<NetworkInterface>,
    /// The network nodes above it, from the top; empty when the type has no topology.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub network_nodes: Vec<String>,
    /// False after the check was switched off for routing.
    #[serde(default = "yes")]
    pub source_dest_check: bool,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
    /// When it was launched; reads hide it until the configured visibility delay is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launched: Option<Timestamp>,
    /// Until then the transient state before `state` is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<Timestamp>,
}

fn yes() -> bool {
    true
}

impl Instance {
    fn usual_type() -> String {
        "m5.large".into()
    }

    /// A running instance with one network interface.
    pub fn new(id: &str, subnet: &str, private_ip: Ipv4Addr, private_dns_name: &str, groups: &[String]) -> Self {
        let mut interface = NetworkInterface::new(&id.replacen("i-", "eni-", 1), subnet, private_ip);
        interface.private_dns_name = private_dns_name.into();
        interface.groups = groups.to_vec();
        interface.device_index = Some(0);
        Self {
            id: id.into(),
            state: InstanceState::Running,
            instance_type: Self::usual_type(),
            subnet: subnet.into(),
            private_dns_name: private_dns_name.into(),
            public_dns_name: None,
            public_ip: None,
            interfaces: vec![interface],
            network_nodes: Vec::new(),
            source_dest_check: true,
            tags: Tags::new(),
            launched: None,
            settled: None,
        }
    }

    /// The state shown at `now`, which is a transient one while a change takes its time.
    pub(crate) fn state_at(&self, now: Timestamp) -> InstanceState {
        match (self.settled.is_some_and(|settled| now < settled), self.state) {
            (true, InstanceState::Terminated) => InstanceState::ShuttingDown,
            (true, InstanceState::Stopped) => InstanceState::Stopping,
            (true, InstanceState::Running) => InstanceState::Pending,
            (_, state) => state,
        }
    }

    /// The first network interface: the one with the lowest device index.
    pub(crate) fn primary(&self) -> Option<&NetworkInterface> {
        self.interfaces.iter().min_by_key(|interface| interface.device_index.unwrap_or(u32::MAX))
    }
}

/// An EBS volume, attached to nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// `vol-…`.
    pub id: String,
    /// Name of its zone.
    pub zone: String,
    /// Its size.
    #[serde(default = "Volume::usual_size")]
    pub gibibytes: u32,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}

impl Volume {
    fn usual_size() -> u32 {
        1
    }

    /// A volume of one gibibyte.
    pub fn new(id: &str, zone: &str) -> Self {
        Self { id: id.into(), zone: zone.into(), gibibytes: Self::usual_size(), tags: Tags::new() }
    }
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkInterface {
    /// `eni-…`.
    pub id: String,
    /// Its subnet.
    pub subnet: String,
    /// IPv4 addresses, the primary one first.
    pub private_ips: Vec<Ipv4Addr>,
    /// IPv6 addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ipv6: Vec<Ipv6Addr>,
    /// Private DNS name.
    #[serde(default)]
    pub private_dns_name: String,
    /// Device index of the attachment; none when the attachment is not by an instance of this account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_index: Option<u32>,
    /// `in-use`, `available`, `attaching`, …
    #[serde(default = "NetworkInterface::usual_status")]
    pub status: String,
    /// Security groups.
    #[serde(default)]
    pub groups: Vec<String>,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}

impl NetworkInterface {
    fn usual_status() -> String {
        "in-use".into()
    }

    /// An interface in use with one address.
    pub fn new(id: &str, subnet: &str, private_ip: Ipv4Addr) -> Self {
        Self {
            id: id.into(),
            subnet: subnet.into(),
            private_ips: vec![private_ip],
            ipv6: Vec::new(),
            private_dns_name: String::new(),
            device_index: None,
            status: Self::usual_status(),
            groups: Vec::new(),
            description: String::new(),
            tags: Tags::new(),
        }
    }
}
