//! Load balancers for services, as the service controller sees them.
//!
//! The unit of work is a [`Scope`]: all services that share cloud resources. Where every service has a load balancer of
//! its own (AWS, GCP), a scope holds one service; where many share one (an Octavia load balancer named by annotation,
//! Azure's one load balancer), it holds them all. The core never runs two rounds of one scope at the same time.
//!
//! Cloud crates usually do not implement [`LoadBalancers`] but the typed [`Model`](super::Model), which
//! [`Reconciler`](super::Reconciler) turns into this object-safe form.

use std::{collections::BTreeMap, fmt, sync::Arc};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    cluster::objects::{Key, Node, Service},
    error::{Error, Result},
};

/// Services worked on at the same time where neither flag nor cloud says.
pub(super) const DEFAULT_CONCURRENCY: usize = 10;

/// The load balancers of a cloud.
#[async_trait]
pub trait LoadBalancers: Send + Sync {
    /// Which scope a service belongs to: a pure function of the service and the configuration. Services with equal
    /// scopes are worked on together, and the core never runs two rounds of one scope at a time.
    fn scope(&self, service: &Service) -> ScopeId;

    /// What identifies `node`, which is eligible as a backend in general, among the backends of this service in this
    /// cloud: an instance ID, an address; `None` where the node does not serve it, or not yet. A change of the set of
    /// identities is what makes the service controller call [`sync`](Self::sync) with [`Mode::Backends`].
    fn backend(&self, service: &Service, node: &Node) -> Option<String>;

    /// Brings the cloud to what the services of `scope` want, or only says what that would change. Never panics and
    /// never fails as a whole: what went wrong stands in the outcome, next to what was done.
    async fn sync(&self, scope: &Scope, mode: Mode) -> Outcome;

    /// How many services are worked on at the same time where the flag does not say: few where the cloud limits calls, many
    /// where a round mostly waits for it.
    fn concurrency(&self) -> usize {
        DEFAULT_CONCURRENCY
    }

    /// What names a service as the owner of resources in the cloud, for `audit`: the names that this provider's formulas
    /// give for it, and what it writes into tags. A pure function of the service and the configuration.
    fn claims(&self, _service: &Service) -> Vec<String> {
        Vec::new()
    }

    /// Everything in the cloud that bears this cluster's marks and matches this provider's name formulas, for `audit`;
    /// `None` where the provider cannot tell. Reads only, and never less than there is: what cannot be listed is an error.
    async fn owned(&self, _cluster_name: &str) -> Result<Option<Vec<Owned>>> {
        Ok(None)
    }
}

/// A resource in the cloud that a controller of this cluster made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owned {
    /// In words, with the name or ID under which the cloud's tools find it: `security group sg-0123 (k8s-elb-a1b2)`.
    pub what: String,
    /// It belongs to the service whose [`claims`](LoadBalancers::claims) hold this.
    pub claim: String,
}

/// Names a scope; also the key of the lock that keeps its rounds apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScopeId(pub String);

impl fmt::Display for ScopeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What one round works on.
#[derive(Debug, Clone)]
pub struct Scope {
    /// The scope's name.
    pub id: ScopeId,
    /// `--cluster-name`; part of some clouds' resource names.
    pub cluster_name: Arc<str>,
    /// Services that shall have a load balancer.
    pub wanted: Vec<Arc<Service>>,
    /// Services whose load balancer shall go.
    pub unwanted: Vec<Arc<Service>>,
    /// Nodes that are eligible as backends in general, sorted by name.
    pub nodes: Arc<[Arc<Node>]>,
}

impl Scope {
    /// The one service of a scope, and whether it wants a load balancer: for clouds whose services never share one.
    ///
    /// # Errors
    ///
    /// [`Kind::Transient`](crate::Kind::Transient) where there is none.
    pub fn only(&self) -> Result<(&Arc<Service>, bool)> {
        let wanted = self.wanted.first().map(|service| (service, true));
        let unwanted = self.unwanted.first().map(|service| (service, false));
        wanted.or(unwanted).ok_or_else(|| Error::transient(format!("scope {} holds no service", self.id)))
    }
}

/// What to do with a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Everything: create, update, delete.
    Full,
    /// The set of nodes changed and nothing else did: bring the backends, and the firewall rules that follow them, up
    /// to date. A provider may do more, it should not cost more than it must.
    Backends,
    /// Change nothing, say what a full round would change. The outcome names the changes, and of the services what can be
    /// known without making them.
    DryRun,
}

/// What a round did, or would do.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Every change that was made, or in a dry run would be.
    pub changes: Vec<Change>,
    /// One entry for each wanted and unwanted service of the scope.
    pub services: BTreeMap<Key, ServiceOutcome>,
}

/// One change to the cloud, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The service on whose behalf; absent for what the scope shares.
    pub service: Option<Key>,
    /// For example `create target group k8s-default-web-0123456789`.
    pub what: String,
}

/// What a round means for one service.
#[derive(Debug)]
pub struct ServiceOutcome {
    /// Where its load balancer stands.
    pub state: ServiceState,
    /// Annotations to write (`Some`) or remove (`None`) on the service. Written also where `error` is set.
    pub annotations: BTreeMap<String, Option<String>>,
    /// What went wrong; the service is tried again.
    pub error: Option<Error>,
    /// What its owner should know beside that; told as events.
    pub notes: Vec<Note>,
}

/// A remark on a service that is no failure: what was asked for and is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The reason of the event, in upstream's spelling.
    pub reason: &'static str,
    /// What there is to say.
    pub message: String,
}

impl Note {
    /// A remark that becomes a warning.
    pub fn warning(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// Where a service's load balancer stands.
#[derive(Debug, Clone, PartialEq)]
pub enum ServiceState {
    /// It is as wanted, or as far as an error allowed; the status is to be written.
    Present(LoadBalancerStatus),
    /// Nothing of it is left in the cloud.
    Absent,
    /// Not known, or not finished: the service keeps the status it has.
    Unsettled,
    /// Another controller cares for it; the service's status is not ours to write.
    Elsewhere,
}

/// `status.loadBalancer` of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancerStatus {
    /// The points of entry, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ingress: Vec<Ingress>,
}

/// One point of entry of a load balancer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ingress {
    /// An IP address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// A DNS name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// How traffic to `ip` is delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_mode: Option<IpMode>,
    /// The state of single ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortStatus>,
}

/// How traffic to a load balancer's IP is delivered to nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum IpMode {
    /// With the load balancer's IP as destination; nodes may short-cut it.
    #[serde(rename = "VIP")]
    Vip,
    /// To the node's or pod's IP; nodes must not short-cut it.
    Proxy,
}

/// The state of one port of a load balancer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortStatus {
    /// The service port.
    pub port: i32,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// What is wrong with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl LoadBalancerStatus {
    /// A status with one DNS name.
    pub fn hostname(name: impl Into<String>) -> Self {
        Self { ingress: vec![Ingress { hostname: Some(name.into()), ..Ingress::default() }] }
    }

    /// Whether `stored` is what the API server makes of this status: it fills in [`IpMode::Vip`] for an address that names
    /// no mode, so that comparing as is would find a difference each time.
    pub fn is_stored_as(&self, stored: &Self) -> bool {
        let mut completed = self.clone();
        for ingress in completed.ingress.iter_mut().filter(|ingress| ingress.ip.is_some()) {
            ingress.ip_mode.get_or_insert(IpMode::Vip);
        }
        *self == *stored || completed == *stored
    }
}

impl ServiceOutcome {
    /// An outcome without annotations and error.
    pub fn of(state: ServiceState) -> Self {
        Self { state, annotations: BTreeMap::new(), error: None, notes: Vec::new() }
    }

    /// A failure that leaves the service's status as it is.
    pub fn failed(error: Error) -> Self {
        Self { error: Some(error), ..Self::of(ServiceState::Unsettled) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_that_the_api_server_filled_in_is_no_difference() {
        let address = |ip_mode| LoadBalancerStatus {
            ingress: vec![Ingress { ip: Some("192.0.2.1".into()), ip_mode, ..Ingress::default() }],
        };
        assert!(address(None).is_stored_as(&address(Some(IpMode::Vip))));
        assert!(address(None).is_stored_as(&address(None)));
        assert!(!address(None).is_stored_as(&address(Some(IpMode::Proxy))));
        assert!(!address(Some(IpMode::Proxy)).is_stored_as(&address(Some(IpMode::Vip))));
    }

    #[test]
    fn section_12_6_status_equal() {
        let status = |ip: &str, ip_mode, ports: &[&str]| {
            let port = |protocol: &&str| PortStatus { port: 80, protocol: (*protocol).into(), error: None };
            let ports = ports.iter().map(port).collect();
            LoadBalancerStatus { ingress: vec![Ingress { ip: Some(ip.into()), ip_mode, ports, hostname: None }] }
        };
        let plain = status("8.8.8.8", None, &[]);
        assert!(LoadBalancerStatus::default().is_stored_as(&LoadBalancerStatus::default()));
        assert!(plain.is_stored_as(&plain));
        assert!(!plain.is_stored_as(&status("8.8.4.4", None, &[])));
        let (vip, proxy) = (Some(IpMode::Vip), Some(IpMode::Proxy));
        assert!(status("8.8.8.8", vip, &[]).is_stored_as(&status("8.8.8.8", vip, &[])));
        assert!(!status("8.8.8.8", vip, &[]).is_stored_as(&plain), "only one set");
        assert!(!status("8.8.8.8", vip, &[]).is_stored_as(&status("8.8.8.8", proxy, &[])));
        let tcp = status("8.8.8.8", None, &["TCP"]);
        assert!(tcp.is_stored_as(&tcp));
        assert!(!tcp.is_stored_as(&status("8.8.8.8", None, &["UDP"])));
        assert!(!tcp.is_stored_as(&plain) && !plain.is_stored_as(&tcp));
    }

    #[test]
    fn a_host_name_gets_no_mode() {
        let status = LoadBalancerStatus::hostname("a.example.com");
        let mut other = status.clone();
        other.ingress[0].ip_mode = Some(IpMode::Vip);
        assert!(status.is_stored_as(&status) && !status.is_stored_as(&other));
    }
}
