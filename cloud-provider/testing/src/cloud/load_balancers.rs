//! Load balancers, one for each service or one shared by those that name it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use cloud_provider::cloud::{
    Applied, Ingress, LoadBalancerStatus, Mode, Model, Scope, ScopeId, ServiceOutcome, ServiceState,
};
use cloud_provider::cluster::objects::{Key, Node, Object as _, Service};
use cloud_provider::error::{Error, Kind, Result};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::backend::address;
use super::calls::{Client, Operation, Request, Terms};
use super::model::{Account, Listener, LoadBalancer};

/// Names the load balancer that a service shares with others of the same value.
pub const SHARED_ANNOTATION: &str = "memory.cloud/shared";
/// Makes the cloud find the service wrong: its value is the problem.
pub const REJECT_ANNOTATION: &str = "memory.cloud/reject";
/// With `true`, the load balancer's ID is written onto the service as [`ID_ANNOTATION`].
pub const REPORT_ID_ANNOTATION: &str = "memory.cloud/report-id";
/// The load balancer's ID.
pub const ID_ANNOTATION: &str = "memory.cloud/id";

/// The model.
pub(super) struct Balancing {
    client: Client,
}

impl Balancing {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }
}

/// What shall be.
pub(super) struct Desired {
    name: String,
    listeners: BTreeSet<Listener>,
    backends: BTreeSet<String>,
    /// Services that are wrong as they stand, and why; they keep what they have.
    rejected: BTreeMap<Key, String>,
    /// Where a scope has one service: on whose behalf.
    owner: Option<Key>,
}

/// What is.
#[derive(Serialize, Deserialize)]
pub(super) struct Observed {
    balancer: Option<LoadBalancer>,
    firewall: Option<BTreeSet<i32>>,
}

/// One step.
pub(super) struct Step {
    owner: Option<Key>,
    call: ChangeLoadBalancer,
}

/// A change of one load balancer and its firewall.
#[derive(Serialize, Deserialize)]
pub(super) struct ChangeLoadBalancer {
    name: String,
    change: Change,
}

#[derive(Serialize, Deserialize)]
enum Change {
    Await(Duration),
    PutFirewall(BTreeSet<i32>),
    Create(BTreeSet<Listener>, BTreeSet<String>),
    SetListeners(BTreeSet<Listener>),
    SetBackends(BTreeSet<String>),
    Delete,
    DeleteFirewall,
}

/// What a change came to.
#[derive(Serialize, Deserialize)]
pub(super) struct Changed {
    balancer: Option<LoadBalancer>,
    /// How long the cloud is busy with it.
    settling: Duration,
}

impl Request for ChangeLoadBalancer {
    const PATH: &'static str = "change-load-balancer";
    type Answer = Changed;

    fn operation(&self) -> Operation {
        match &self.change {
            // Waiting is no call; looking would be.
            Change::Await(_) => Operation::DescribeLoadBalancer,
            Change::PutFirewall(_) => Operation::PutFirewall,
            Change::Create(..) => Operation::CreateLoadBalancer,
            Change::SetListeners(_) => Operation::SetListeners,
            Change::SetBackends(_) => Operation::SetBackends,
            Change::Delete => Operation::DeleteLoadBalancer,
            Change::DeleteFirewall => Operation::DeleteFirewall,
        }
    }

    fn about(&self) -> String {
        self.name.clone()
    }

    fn carry_out(&self, account: &mut Account, terms: &Terms<'_>) -> Result<Changed> {
        let balancer = self.carry_out_on(account, terms)?;
        let settling = if balancer.is_some() { terms.settling } else { Duration::ZERO };
        // As clouds do: who sent thousands of backends does not get them back.
        let balancer = balancer.map(|balancer| LoadBalancer { backends: BTreeSet::new(), ..balancer });
        Ok(Changed { balancer, settling })
    }
}

/// A load balancer and its firewall, by name.
#[derive(Serialize, Deserialize)]
pub(super) struct DescribeLoadBalancer(String);

impl Request for DescribeLoadBalancer {
    const PATH: &'static str = "describe-load-balancer";
    type Answer = Observed;

    fn operation(&self) -> Operation {
        Operation::DescribeLoadBalancer
    }

    fn about(&self) -> String {
        self.0.clone()
    }

    fn carry_out(&self, account: &mut Account, _: &Terms<'_>) -> Result<Observed> {
        account.settle();
        let balancer = account.load_balancers.get(&self.0).cloned();
        Ok(Observed { balancer, firewall: account.firewalls.get(&self.0).cloned() })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.call.fmt(f)
    }
}

impl fmt::Display for ChangeLoadBalancer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.change {
            Change::Await(_) => write!(f, "wait for load balancer {name}"),
            Change::PutFirewall(ports) => write!(f, "open {ports:?} in firewall {name}"),
            Change::Create(listeners, _) => write!(f, "create load balancer {name} with {} listeners", listeners.len()),
            Change::SetListeners(listeners) => write!(f, "set {} listeners of {name}", listeners.len()),
            Change::SetBackends(backends) => write!(f, "set {} backends of {name}", backends.len()),
            Change::Delete => write!(f, "delete load balancer {name}"),
            Change::DeleteFirewall => write!(f, "delete firewall {name}"),
        }
    }
}

impl cloud_provider::cloud::Operation for Step {
    fn is_wait(&self) -> bool {
        matches!(self.call.change, Change::Await(_))
    }

    fn service(&self) -> Option<&Key> {
        self.owner.as_ref()
    }
}

#[async_trait]
impl Model for Balancing {
    type Resolved = ();
    type Desired = Desired;
    type Observed = Observed;
    type Operation = Step;
    type Made = Option<LoadBalancer>;

    fn scope(&self, service: &Service) -> ScopeId {
        match service.annotation(SHARED_ANNOTATION) {
            Some(name) => ScopeId(format!("shared/{name}")),
            None => ScopeId(format!("service/{}", service.uid())),
        }
    }

    fn backend(&self, _service: &Service, node: &Node) -> Option<String> {
        let (scheme, rest) = node.provider_id()?.split_once("://")?;
        let id = rest.rsplit_once('/').map_or(rest, |(_, id)| id);
        (scheme == super::NAME && !id.is_empty()).then(|| id.to_owned())
    }

    async fn resolve(&self, _scope: &Scope, _mode: Mode) -> Result<()> {
        Ok(())
    }

    fn desired(&self, scope: &Scope, (): &()) -> Result<Desired> {
        let mut desired = Desired {
            name: scope.id.0.replace('/', "-"),
            listeners: BTreeSet::new(),
            backends: BTreeSet::new(),
            rejected: BTreeMap::new(),
            owner: match (scope.wanted.as_slice(), scope.unwanted.as_slice()) {
                ([service], []) | ([], [service]) => Some(service.key()),
                _ => None,
            },
        };
        for service in &scope.wanted {
            if let Some(problem) = service.annotation(REJECT_ANNOTATION) {
                desired.rejected.insert(service.key(), problem.to_owned());
                continue;
            }
            desired.listeners.extend(service.spec.ports.iter().map(|port| Listener {
                owner: service.key(),
                protocol: port.protocol.clone(),
                port: port.port,
                node_port: port.node_port,
            }));
            desired.backends.extend(scope.nodes.iter().filter_map(|node| self.backend(service, node)));
        }
        Ok(desired)
    }

    async fn observe(&self, scope: &Scope, (): &(), _mode: Mode) -> Result<Observed> {
        self.client.send(&DescribeLoadBalancer(scope.id.0.replace('/', "-"))).await
    }

    fn plan(&self, desired: &Desired, observed: &Observed, mode: Mode) -> Vec<Step> {
        plan(desired, observed, mode)
            .into_iter()
            .map(|change| Step {
                owner: desired.owner.clone(),
                call: ChangeLoadBalancer { name: desired.name.clone(), change },
            })
            .collect()
    }

    async fn apply(&self, step: &Step, made: &mut Option<LoadBalancer>) -> Result<Applied> {
        if let Change::Await(time) = &step.call.change {
            return Ok(Applied::Pending { retry_after: *time });
        }
        let Changed { balancer, settling } = self.client.send(&step.call).await?;
        if balancer.is_some() {
            *made = balancer;
        }
        Ok(if settling.is_zero() { Applied::Done } else { Applied::Pending { retry_after: settling } })
    }

    fn outcome(
        &self,
        scope: &Scope,
        desired: &Desired,
        observed: &Observed,
        made: &Option<LoadBalancer>,
    ) -> Vec<(Key, ServiceOutcome)> {
        let balancer = made.as_ref().or(observed.balancer.as_ref());
        let wanted = scope.wanted.iter().map(|service| {
            let key = service.key();
            if let Some(problem) = desired.rejected.get(&key) {
                return (key, ServiceOutcome::failed(Error::invalid(REJECT_ANNOTATION, problem)));
            }
            let mut outcome = ServiceOutcome::of(match balancer {
                Some(balancer) if !balancer.is_pending() => ServiceState::Present(status(balancer)),
                _ => ServiceState::Unsettled,
            });
            if let (Some("true"), Some(balancer)) = (service.annotation(REPORT_ID_ANNOTATION), balancer)
                && service.annotation(ID_ANNOTATION) != Some(&balancer.id)
            {
                outcome.annotations.insert(ID_ANNOTATION.to_owned(), Some(balancer.id.clone()));
            }
            (key, outcome)
        });
        let unwanted = scope.unwanted.iter().map(|service| {
            let key = service.key();
            let left = match &observed.balancer {
                Some(balancer) => balancer.deleting || balancer.listeners.iter().any(|listener| listener.owner == key),
                None => observed.firewall.is_some() && scope.wanted.is_empty(),
            };
            (key, ServiceOutcome::of(if left { ServiceState::Unsettled } else { ServiceState::Absent }))
        });
        wanted.chain(unwanted).collect()
    }
}

/// Rejected services keep the listeners they have. A busy load balancer takes no change, so it is waited for first.
fn plan(desired: &Desired, observed: &Observed, mode: Mode) -> Vec<Change> {
    let mut listeners = desired.listeners.clone();
    if let Some(balancer) = &observed.balancer {
        let kept = balancer.listeners.iter().filter(|listener| desired.rejected.contains_key(&listener.owner));
        listeners.extend(kept.cloned());
    }
    let ports: BTreeSet<i32> = listeners.iter().map(|listener| listener.node_port).collect();
    let mut changes = Vec::new();
    match &observed.balancer {
        Some(balancer) if balancer.is_pending() => {
            return vec![Change::Await(balancer.busy_until.saturating_duration_since(Instant::now()))];
        }
        None if listeners.is_empty() => {}
        None => {
            changes.push(Change::PutFirewall(ports));
            changes.push(Change::Create(listeners, desired.backends.clone()));
            return changes;
        }
        Some(_) if listeners.is_empty() => changes.push(Change::Delete),
        Some(balancer) => {
            if balancer.backends != desired.backends {
                changes.push(Change::SetBackends(desired.backends.clone()));
            }
            if mode != Mode::Backends {
                if observed.firewall.as_ref() != Some(&ports) {
                    changes.push(Change::PutFirewall(ports));
                }
                if balancer.listeners != listeners {
                    changes.push(Change::SetListeners(listeners));
                }
            }
            return changes;
        }
    }
    if observed.firewall.is_some() {
        changes.push(Change::DeleteFirewall);
    }
    changes
}

impl ChangeLoadBalancer {
    /// Gives the load balancer as it is now, where it is that which changed.
    fn carry_out_on(&self, account: &mut Account, terms: &Terms<'_>) -> Result<Option<LoadBalancer>> {
        let name = &self.name;
        let busy_until = Instant::now() + terms.settling;
        let conflict = |why: &str| Error::new(Kind::Conflict, format!("{self}: {why}"));
        let existing = |account: &mut Account| match account.load_balancers.get(name) {
            None => Err(Error::not_found(self.to_string())),
            Some(balancer) if balancer.is_pending() => Err(conflict("it is busy")),
            Some(balancer) => Ok(balancer.clone()),
        };
        let mut balancer = match &self.change {
            Change::Await(_) => return Ok(None),
            Change::PutFirewall(ports) => {
                account.firewalls.insert(name.clone(), ports.clone());
                return Ok(None);
            }
            Change::DeleteFirewall if account.load_balancers.contains_key(name) => {
                return Err(conflict("the load balancer still uses it"));
            }
            Change::DeleteFirewall => {
                account.firewalls.remove(name);
                return Ok(None);
            }
            Change::Create(..) if account.load_balancers.contains_key(name) => return Err(conflict("it exists")),
            Change::Create(listeners, backends) => {
                let number = account.next();
                LoadBalancer {
                    id: format!("lb-{number}"),
                    name: name.clone(),
                    address: address(198, number),
                    listeners: listeners.clone(),
                    backends: backends.clone(),
                    busy_until,
                    deleting: false,
                }
            }
            Change::SetListeners(listeners) => LoadBalancer { listeners: listeners.clone(), ..existing(account)? },
            Change::SetBackends(backends) => LoadBalancer { backends: backends.clone(), ..existing(account)? },
            Change::Delete => LoadBalancer { deleting: true, ..existing(account)? },
        };
        balancer.busy_until = busy_until;
        account.load_balancers.insert(name.clone(), balancer.clone());
        account.settle();
        Ok(Some(balancer))
    }
}

fn status(balancer: &LoadBalancer) -> LoadBalancerStatus {
    let ingress = Ingress { ip: Some(balancer.address.clone()), ..Ingress::default() };
    LoadBalancerStatus { ingress: vec![ingress] }
}
