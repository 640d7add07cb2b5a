//! EC2's instances, zones and network interfaces in plain types. What an answer leaves out is empty.

use crate::{cluster_id::Tags, provider_id::InstanceId};

/// An EC2 instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Its ID.
    pub id: InstanceId,
    /// Where it is in its life.
    pub state: State,
    /// Such as `m5.large`.
    pub instance_type: String,
    /// The name of its zone.
    pub zone: String,
    /// The ID of its zone, where the answer has it.
    pub zone_id: String,
    /// Its private DNS name.
    pub private_dns_name: String,
    /// Its public DNS name.
    pub public_dns_name: String,
    /// Its public IPv4 address.
    pub public_ip: String,
    /// Its VPC.
    pub vpc: String,
    /// Its subnet.
    pub subnet: String,
    /// Its tags.
    pub tags: Tags,
    /// The security groups of its first interface.
    pub security_groups: Vec<SecurityGroupRef>,
    /// Its network interfaces, in the order of the answer.
    pub interfaces: Vec<Interface>,
}

/// A security group as instances name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecurityGroupRef {
    /// Its ID.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// Where an instance is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// `pending`
    Pending,
    /// `running`
    Running,
    /// `shutting-down`
    ShuttingDown,
    /// `terminated`: gone for good, listed for about an hour.
    Terminated,
    /// `stopping`
    Stopping,
    /// `stopped`
    Stopped,
    /// Left out, or not known to this version.
    Unknown,
}

/// A network interface of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Whether its status is `in-use`.
    pub in_use: bool,
    /// Its place on the instance.
    pub device_index: Option<i32>,
    /// Its private IPv4 addresses, the primary one first.
    pub private_ips: Vec<String>,
    /// Its IPv6 addresses.
    pub ipv6_addresses: Vec<String>,
}

/// An availability zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// Its name, which differs between accounts, such as `us-west-2a`.
    pub name: String,
    /// Its ID, which does not, such as `usw2-az1`.
    pub id: String,
    /// `availability-zone`, `local-zone` or `wavelength-zone`.
    pub kind: String,
}

/// A network interface on its own, as Fargate's nodes are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkInterface {
    /// Its primary private IPv4 address.
    pub private_ip: String,
    /// Its private DNS name.
    pub private_dns_name: String,
    /// Its IPv6 addresses.
    pub ipv6_addresses: Vec<String>,
    /// The name of its zone.
    pub zone: String,
}
