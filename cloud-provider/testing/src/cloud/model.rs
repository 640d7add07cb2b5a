//! What exists in the cloud.

use std::collections::{BTreeMap, BTreeSet};

use cloud_provider::cluster::objects::Key;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::wire;

/// Whether a virtual machine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Power {
    /// It runs.
    Running,
    /// It is shut down and can be started again.
    Stopped,
}

/// A virtual machine. One that was terminated is not there any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtualMachine {
    /// Given by the cloud: `vm-1`.
    pub id: String,
    /// The name of the node that runs on it.
    pub name: String,
    /// Whether it runs.
    pub power: Power,
    /// Its private address.
    pub address: String,
    /// Its zone.
    pub zone: String,
    /// The ranges of its pods' addresses; none yet while it is `None`.
    pub pod_ranges: Option<Vec<String>>,
}

/// One port of a load balancer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Listener {
    /// The service it belongs to.
    #[serde(with = "wire::key")]
    pub owner: Key,
    /// `TCP` or `UDP`.
    pub protocol: String,
    /// The port clients connect to.
    pub port: i32,
    /// The port of the backends.
    pub node_port: i32,
}

/// A load balancer. While it is busy with its last change, further changes are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancer {
    /// Given by the cloud: `lb-1`.
    pub id: String,
    /// Given by the controller.
    pub name: String,
    /// Where clients connect to.
    pub address: String,
    /// Its ports.
    pub listeners: BTreeSet<Listener>,
    /// IDs of virtual machines.
    pub backends: BTreeSet<String>,
    /// Until when it is busy.
    #[serde(with = "wire::moment")]
    pub(super) busy_until: Instant,
    /// Whether it goes when it is no longer busy.
    pub(super) deleting: bool,
}

impl LoadBalancer {
    /// Whether it is busy with its last change.
    pub fn is_pending(&self) -> bool {
        self.busy_until > Instant::now()
    }
}

/// An entry of the route table, which has one for each destination. While it is busy with its last change, further
/// changes are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteEntry {
    /// The network that it is for, in the spelling of whoever made it.
    pub destination: String,
    /// Where it leads: the ID of a machine, which may be gone, or the name of something that is no machine.
    pub target: String,
    /// Until when it is busy.
    #[serde(with = "wire::moment")]
    pub(super) busy_until: Instant,
    /// Whether it goes when it is no longer busy.
    pub(super) deleting: bool,
}

impl RouteEntry {
    /// Whether it is busy with its last change.
    pub fn is_pending(&self) -> bool {
        self.busy_until > Instant::now()
    }
}

/// Everything in the account. Firewalls are a second kind of thing that a service owns: the node ports that traffic may
/// come in at, by the name of the load balancer, which holds on to its firewall.
#[derive(Debug, Clone, Default)]
pub(super) struct Account {
    pub(super) machines: BTreeMap<String, VirtualMachine>,
    /// The IDs of the machines by the names of their nodes.
    pub(super) named: BTreeMap<String, String>,
    pub(super) load_balancers: BTreeMap<String, LoadBalancer>,
    pub(super) firewalls: BTreeMap<String, BTreeSet<i32>>,
    /// By destination.
    pub(super) routes: BTreeMap<String, RouteEntry>,
    pub(super) made: u32,
}

impl Account {
    /// Lets go what has been on its way out for long enough.
    pub(super) fn settle(&mut self) {
        self.load_balancers.retain(|_, balancer| !balancer.deleting || balancer.is_pending());
        self.routes.retain(|_, route| !route.deleting || route.is_pending());
    }

    pub(super) fn next(&mut self) -> u32 {
        self.made += 1;
        self.made
    }
}
