//! How the simulated cloud misbehaves, and how slow it is.

use std::collections::BTreeSet;

use cloud_provider_simulation::{
    Behaviour,
    faults::{Fault, Latency, RateLimit, every},
};
use serde::{Deserialize, Serialize};

/// Everything that can be set while the simulator runs. The default is a fast and healthy cloud with AWS's quotas.
///
/// Actions are patterns over `SERVICE.Action` or only `Action`: `EC2.DescribeInstances`, `DescribeInstances`,
/// `ELBv2.*`, `*`. Services are `EC2`, `ELB`, `ELBv2`, `STS` and `IMDS`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Knobs {
    /// Time before an answer; the first entry that matches counts.
    pub latency: Vec<Latency>,
    /// Token buckets; a call takes a token from every bucket that matches.
    pub rate_limits: Vec<RateLimit>,
    /// Failures; the first one that strikes counts.
    pub faults: Vec<Fault>,
    /// Elements left out of answers.
    pub omissions: Vec<Omission>,
    /// Instances that DescribeInstances leaves out silently, as in partial results.
    pub hidden_instances: BTreeSet<String>,
    /// How long things take.
    pub delays: Delays,
    /// Quotas.
    pub quotas: Quotas,
}

impl Behaviour for Knobs {
    fn latency(&self) -> &[Latency] {
        &self.latency
    }

    fn rate_limits(&self) -> &[RateLimit] {
        &self.rate_limits
    }

    fn faults(&mut self) -> &mut Vec<Fault> {
        &mut self.faults
    }
}

/// An element left out of answers: classic load balancers without `HealthCheck`, instances without `instanceState`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Omission {
    /// Which actions.
    #[serde(default = "every")]
    pub action: String,
    /// The end of the element's path in the answer, such as `HealthCheck` or `instancesSet/item/instanceState`.
    pub element: String,
}

/// How long things take, in milliseconds. Zero means at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Delays {
    /// Until reads show a new instance.
    pub instance_visible_ms: u64,
    /// Until reads show a new security group.
    pub group_visible_ms: u64,
    /// Until a starting, stopping or terminating instance has reached its state.
    pub instance_settles_ms: u64,
    /// How long a new Network Load Balancer is `provisioning`.
    pub provisioning_ms: u64,
    /// How long a new target is `initial`.
    pub target_healthy_ms: u64,
    /// How long a deregistered target is `draining`; none for the target group's own
    /// `deregistration_delay.timeout_seconds`.
    pub draining_ms: Option<u64>,
    /// How long a deleted load balancer still holds its security groups, so that deleting them is refused.
    pub groups_released_ms: u64,
}

/// AWS's default quotas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quotas {
    /// Inbound rules of a group, counted apart for IPv4 and IPv6.
    pub rules_per_group: usize,
    /// Security groups in a VPC (the quota is per region; the account has one).
    pub security_groups: usize,
    /// Security groups of a load balancer.
    pub groups_per_load_balancer: usize,
    /// Routes in a table, the local one not counted.
    pub routes_per_table: usize,
    /// Classic load balancers.
    pub classic_load_balancers: usize,
    /// Listeners of a classic load balancer.
    pub classic_listeners: usize,
    /// Policies of a classic load balancer.
    pub classic_policies: usize,
    /// Network Load Balancers.
    pub load_balancers: usize,
    /// Listeners of a Network Load Balancer.
    pub listeners: usize,
    /// Target groups.
    pub target_groups: usize,
    /// Targets of a Network Load Balancer in each zone; without cross-zone load balancing they count per zone.
    pub targets_per_zone: usize,
    /// Targets of a target group.
    pub targets_per_group: usize,
    /// Tags of a resource.
    pub tags: usize,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            rules_per_group: 60,
            security_groups: 2500,
            groups_per_load_balancer: 5,
            routes_per_table: 50,
            classic_load_balancers: 20,
            classic_listeners: 100,
            classic_policies: 100,
            load_balancers: 50,
            listeners: 50,
            target_groups: 3000,
            targets_per_zone: 500,
            targets_per_group: 1000,
            tags: 50,
        }
    }
}
