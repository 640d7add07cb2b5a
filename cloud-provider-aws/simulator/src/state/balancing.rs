//! Load balancers, classic and network, with what belongs to them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::Tags;

/// A classic load balancer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ClassicLoadBalancer {
    pub(crate) name: String,
    pub(crate) dns_name: String,
    pub(crate) scheme: String,
    pub(crate) vpc: String,
    pub(crate) created: Timestamp,
    pub(crate) subnets: BTreeSet<String>,
    pub(crate) security_groups: BTreeSet<String>,
    /// By load balancer port.
    pub(crate) listeners: BTreeMap<i64, ClassicListener>,
    pub(crate) policies: BTreeMap<String, ClassicPolicy>,
    /// Policies of back ends, by instance port.
    pub(crate) backends: BTreeMap<i64, Vec<String>>,
    pub(crate) instances: BTreeSet<String>,
    pub(crate) health_check: HealthCheck,
    pub(crate) attributes: ClassicAttributes,
    pub(crate) tags: Tags,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClassicListener {
    pub(crate) protocol: String,
    pub(crate) port: i64,
    pub(crate) instance_protocol: String,
    pub(crate) instance_port: i64,
    pub(crate) certificate: Option<String>,
    pub(crate) policies: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClassicPolicy {
    pub(crate) kind: String,
    pub(crate) attributes: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HealthCheck {
    pub(crate) target: String,
    pub(crate) interval: i64,
    pub(crate) timeout: i64,
    pub(crate) unhealthy: i64,
    pub(crate) healthy: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClassicAttributes {
    pub(crate) cross_zone: bool,
    pub(crate) access_log: Option<AccessLog>,
    pub(crate) draining: bool,
    pub(crate) draining_timeout: i64,
    pub(crate) idle_timeout: i64,
    pub(crate) additional: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AccessLog {
    pub(crate) bucket: String,
    pub(crate) prefix: String,
    pub(crate) emit_interval: i64,
}

/// A Network Load Balancer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LoadBalancer {
    pub(crate) arn: String,
    pub(crate) name: String,
    pub(crate) dns_name: String,
    pub(crate) scheme: String,
    pub(crate) vpc: String,
    pub(crate) created: Timestamp,
    /// From then on it is `active`.
    pub(crate) active: Timestamp,
    /// A state that a test has set, such as `active_impaired`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) forced_state: Option<String>,
    pub(crate) subnets: Vec<SubnetMapping>,
    pub(crate) security_groups: BTreeSet<String>,
    /// Whether it may have security groups at all, which is decided when it is made.
    pub(crate) takes_security_groups: bool,
    pub(crate) ip_address_type: String,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) tags: Tags,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SubnetMapping {
    pub(crate) subnet: String,
    pub(crate) allocation: Option<String>,
    pub(crate) private_address: Option<Ipv4Addr>,
}

/// A listener of a Network Load Balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listener {
    pub(crate) arn: String,
    pub(crate) load_balancer: String,
    pub(crate) port: i64,
    pub(crate) protocol: String,
    pub(crate) ssl_policy: Option<String>,
    pub(crate) certificate: Option<String>,
    pub(crate) alpn_policy: Vec<String>,
    pub(crate) target_group: String,
    pub(crate) tags: Tags,
}

/// A target group.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TargetGroup {
    pub(crate) arn: String,
    pub(crate) name: String,
    pub(crate) protocol: String,
    pub(crate) port: i64,
    pub(crate) vpc: String,
    pub(crate) target_type: String,
    pub(crate) ip_address_type: String,
    pub(crate) health_check: TargetHealthCheck,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) targets: Vec<Target>,
    pub(crate) draining: Vec<Target>,
    pub(crate) tags: Tags,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TargetHealthCheck {
    pub(crate) enabled: bool,
    pub(crate) protocol: String,
    pub(crate) port: String,
    pub(crate) path: Option<String>,
    pub(crate) matcher: Option<String>,
    pub(crate) interval: i64,
    pub(crate) timeout: i64,
    pub(crate) healthy: i64,
    pub(crate) unhealthy: i64,
}

/// A target. `until` is when it turns healthy, or, while it drains, when it is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Target {
    pub(crate) id: String,
    pub(crate) port: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) zone: Option<String>,
    pub(crate) until: Timestamp,
}

impl Target {
    pub(crate) fn is(&self, id: &str, port: i64) -> bool {
        self.id == id && self.port == port
    }
}
