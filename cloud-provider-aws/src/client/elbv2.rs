//! Network load balancers, their listeners and target groups.

#[cfg(feature = "sdk")]
mod calls;

use std::collections::BTreeMap;

#[cfg(feature = "sdk")]
pub use calls::{TAGGED, TARGETS};

use super::network::Tags;

/// Attributes of a load balancer or target group.
pub type Attributes = BTreeMap<String, String>;

/// A load balancer of the second API, of any type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadBalancer {
    /// The ARN.
    pub arn: String,
    /// The name, unique in region and account.
    pub name: String,
    /// `network`, `application` or `gateway`.
    pub kind: String,
    /// The DNS name.
    pub dns_name: String,
    /// `provisioning`, `active`, `active_impaired` or `failed`.
    pub state: String,
    /// Whether it is internal, which it stays.
    pub internal: bool,
    /// The VPC.
    pub vpc: String,
    /// The subnets, one for each zone, with the addresses that were given for them.
    pub subnets: Vec<SubnetMapping>,
    /// Whether it has IPv6 addresses besides those of IPv4.
    pub dual_stack: bool,
    /// The security groups.
    pub security_groups: Vec<String>,
}

impl LoadBalancer {
    /// Whether it is a network load balancer.
    pub fn is_network(&self) -> bool {
        self.kind == "network"
    }
}

/// A listener.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listener {
    /// The ARN.
    pub arn: String,
    /// The port.
    pub port: i32,
    /// `TCP`, `UDP`, `TLS`, `TCP_UDP`, …
    pub protocol: String,
    /// The TLS policy.
    pub ssl_policy: Option<String>,
    /// The default certificate.
    pub certificate: Option<String>,
    /// The target group of the first default action, where that names one.
    pub target_group: Option<String>,
}

/// A target group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TargetGroup {
    /// The ARN.
    pub arn: String,
    /// The name, unique in region and account.
    pub name: String,
    /// `TCP`, `UDP`, `TLS`, …
    pub protocol: String,
    /// The port of targets that name none.
    pub port: i32,
    /// The VPC.
    pub vpc: String,
    /// `instance`, `ip`, …
    pub target_type: String,
    /// The health check.
    pub health_check: HealthCheck,
    /// The load balancers that route to it.
    pub load_balancers: Vec<String>,
}

/// The health check of a target group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HealthCheck {
    /// `TCP`, `HTTP` or `HTTPS`.
    pub protocol: String,
    /// `traffic-port` or a number.
    pub port: String,
    /// The path; empty with TCP.
    pub path: String,
    /// Seconds between checks.
    pub interval: i32,
    /// Checks in a row.
    pub healthy: i32,
    /// Checks in a row.
    pub unhealthy: i32,
    /// Seconds that a check may take; absent where it is not asked for.
    pub timeout: Option<i32>,
}

/// A target: an instance and a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// The instance.
    pub id: String,
    /// The port.
    pub port: i32,
}

/// A subnet of a load balancer, with the addresses that are given for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubnetMapping {
    /// The subnet.
    pub subnet: String,
    /// An Elastic IP.
    pub allocation: Option<String>,
    /// A private address.
    pub private_address: Option<String>,
}

/// A network load balancer to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewLoadBalancer {
    /// The name.
    pub name: String,
    /// Whether it is internal.
    pub internal: bool,
    /// Where it stands.
    pub subnets: Vec<SubnetMapping>,
    /// Whether it has IPv6 addresses besides those of IPv4.
    pub dual_stack: bool,
    /// Tags.
    pub tags: Tags,
}

/// What a listener shall be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListenerSettings {
    /// The port.
    pub port: i32,
    /// `TCP`, `UDP`, `TCP_UDP` or `TLS`.
    pub protocol: String,
    /// The TLS policy; absent for AWS's default.
    pub ssl_policy: Option<String>,
    /// The certificate of a TLS listener.
    pub certificate: Option<String>,
}

/// A target group to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewTargetGroup {
    /// The name.
    pub name: String,
    /// `TCP`, `UDP`, `TCP_UDP` or `TLS`.
    pub protocol: String,
    /// The node port.
    pub port: i32,
    /// The health check.
    pub health_check: HealthCheck,
    /// Tags.
    pub tags: Tags,
}
