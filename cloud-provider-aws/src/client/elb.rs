//! Classic load balancers.

#[cfg(feature = "sdk")]
mod calls;

use std::collections::{BTreeMap, BTreeSet};

use super::network::Tags;

/// A classic load balancer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadBalancer {
    /// The name, unique in region and account.
    pub name: String,
    /// The DNS name.
    pub dns_name: String,
    /// The subnets.
    pub subnets: BTreeSet<String>,
    /// The security groups, in AWS's order.
    pub security_groups: Vec<String>,
    /// The listeners, each with the policies that are set on it.
    pub listeners: Vec<(Listener, Vec<String>)>,
    /// The policies of back ends, by instance port.
    pub backends: BTreeMap<i32, Vec<String>>,
    /// The policies that exist, as far as the description names them.
    pub policies: BTreeSet<String>,
    /// The registered instances.
    pub instances: BTreeSet<String>,
    /// The health check; AWS-compatible clouds may leave it out.
    pub health_check: Option<HealthCheck>,
}

/// A listener.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listener {
    /// The port.
    pub port: i32,
    /// The protocol of clients, in any case.
    pub protocol: String,
    /// The node port.
    pub instance_port: i32,
    /// The protocol of instances, in any case.
    pub instance_protocol: String,
    /// The certificate.
    pub certificate: Option<String>,
}

/// The health check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HealthCheck {
    /// `TCP:30080`, `HTTP:10256/healthz`, …
    pub target: String,
    /// Seconds.
    pub interval: i32,
    /// Seconds.
    pub timeout: i32,
    /// Checks in a row.
    pub healthy: i32,
    /// Checks in a row.
    pub unhealthy: i32,
}

/// The attributes that annotations set. What is absent is not sent, or was not in the answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Access logs.
    pub access_log: Option<AccessLog>,
    /// Connection draining.
    pub draining: Option<Draining>,
    /// The idle timeout in seconds.
    pub idle_timeout: Option<i32>,
    /// Cross-zone balancing.
    pub cross_zone: Option<bool>,
}

/// Access logs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessLog {
    /// Whether they are written.
    pub enabled: bool,
    /// Minutes.
    pub emit_interval: Option<i32>,
    /// The bucket.
    pub bucket: Option<String>,
    /// The prefix.
    pub prefix: Option<String>,
}

/// Connection draining.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Draining {
    /// Whether it is on.
    pub enabled: bool,
    /// Seconds.
    pub timeout: Option<i32>,
}

/// A classic load balancer to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewLoadBalancer {
    /// The name.
    pub name: String,
    /// Whether it is internal.
    pub internal: bool,
    /// The listeners.
    pub listeners: Vec<Listener>,
    /// The subnets.
    pub subnets: Vec<String>,
    /// Tags.
    pub tags: Tags,
}

/// A policy of a classic load balancer, with its one attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The name, unique on its load balancer.
    pub name: String,
    /// `ProxyProtocolPolicyType` or `SSLNegotiationPolicyType`.
    pub kind: &'static str,
    /// The attribute.
    pub attribute: &'static str,
    /// Its value.
    pub value: String,
}
