//! Load balancers for services, in Octavia.
//!
//! Each service is planned by itself, also where several share a load balancer: whose the listeners of that are, and who
//! shares it, is told by tags. What is written to one load balancer is written by one at a time, and waited for, since
//! Octavia refuses every change while another one goes on; all load balancers are worked on at the same time.

pub mod annotations;
mod apply;
mod audit;
mod builder;
mod check;
mod desired;
pub mod features;
mod firewall;
pub mod floating;
mod measured;
pub mod members;
pub mod names;
mod observed;
mod opened;
mod operation;
mod placement;
mod plan;
mod resolve;
#[cfg(test)]
mod tests;
mod tree;
mod waiting;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use cloud_provider::{
    Error, Kind,
    cloud::{
        Applied, Ingress, IpMode, KeyedLocks, LoadBalancerStatus, LoadBalancers, Mode, Model, Owned, Reconciler, Scope,
        ScopeId, ServiceOutcome, ServiceState,
    },
    cluster::objects::{Key, Node, Object, Service},
    error::Result,
    metrics::Metrics,
};
use tokio::{sync::OnceCell, time::Instant};

use self::{
    apply::Made,
    desired::{Desired, Resolved, StatusForm, Wanted},
    features::Version,
    measured::Measured,
    observed::Observed,
    opened::Opened,
    operation::Operation,
    waiting::{Lookout, Waits},
};
use crate::{
    client::{Client, load_balancer::LoadBalancer, network::Subnet},
    config::LoadBalancer as Settings,
};

/// When to look again at a load balancer that Octavia is working on: soon at first, at last only now and then.
const PENDING: Duration = Duration::from_secs(2);
const LONG_PENDING: Duration = Duration::from_secs(30);
/// Services that are worked on at the same time: nearly all of a round is waiting for Octavia.
const CONCURRENCY: usize = 100;
/// Those that it takes where the variable does not say.
const STEPS: u32 = 23;
/// The environment variable that says how many looks at a load balancer upstream would take before it gives up.
pub const STEPS_VARIABLE: &str = "OCCM_WAIT_LB_ACTIVE_STEPS";

/// The load balancers of a project.
pub(crate) struct Octavia {
    client: Client,
    settings: Settings,
    region: String,
    cluster_name: Arc<str>,
    waits: Waits,
    lookout: Lookout,
    version: OnceCell<Version>,
    subnets: Mutex<HashMap<String, Subnet>>,
    /// Load balancers that were failed over, and did not come back by that.
    failed_over: Mutex<HashSet<String>>,
    /// Since when load balancers are seen to be pending.
    busy: Mutex<HashMap<String, Instant>>,
    /// Ports whose security groups are being changed.
    ports: KeyedLocks,
    opened: Opened,
}

/// The load balancers of the cluster of that name, as the service controller sees them. `steps` is the value of
/// [`STEPS_VARIABLE`].
pub fn load_balancers(
    client: Client,
    settings: Settings,
    cluster_name: Arc<str>,
    steps: Option<&str>,
    metrics: &Metrics,
) -> Arc<dyn LoadBalancers> {
    let region = client.region().to_owned();
    let model = Octavia {
        client,
        settings,
        region,
        cluster_name,
        waits: Waits::new(steps.and_then(|steps| steps.parse().ok()).unwrap_or(STEPS)),
        lookout: Lookout::new(),
        version: OnceCell::new(),
        subnets: Mutex::default(),
        failed_over: Mutex::default(),
        busy: Mutex::default(),
        ports: KeyedLocks::default(),
        opened: Opened::default(),
    };
    Measured::shared(Reconciler::new(model), metrics)
}

impl Octavia {
    fn was_failed_over(&self, id: &str) -> bool {
        self.failed_over.lock().unwrap_or_else(PoisonError::into_inner).contains(id)
    }

    fn note_failed_over(&self, id: &str, in_vain: bool) {
        let mut failed_over = self.failed_over.lock().unwrap_or_else(PoisonError::into_inner);
        _ = if in_vain { failed_over.insert(id.to_owned()) } else { failed_over.remove(id) };
    }

    /// How long a load balancer is pending, as far as it was seen.
    fn busy_for(&self, id: &str) -> Duration {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.entry(id.to_owned()).or_insert_with(Instant::now).elapsed()
    }

    fn note_idle(&self, id: &str) {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    /// A load balancer is gone.
    fn forget(&self, id: &str) {
        self.note_idle(id);
        self.note_failed_over(id, false);
    }
}

#[async_trait]
impl Model for Octavia {
    type Resolved = Resolved;
    type Desired = Desired;
    type Observed = Observed;
    type Operation = Operation;
    type Made = Made;

    fn concurrency(&self) -> usize {
        CONCURRENCY
    }

    /// Each service is a scope of its own: which load balancer it names may change, not least by our own annotation.
    fn scope(&self, service: &Service) -> ScopeId {
        ScopeId(format!("service/{}", service.uid()))
    }

    fn backend(&self, service: &Service, node: &Node) -> Option<String> {
        self.identity_of(service, node)
    }

    fn set_aside(&self, scope: &Scope) -> Vec<(Key, ServiceOutcome)> {
        let wrong = |service: &Arc<Service>| {
            let error = desired::check(service, &self.settings).err()?;
            Some((service.key(), ServiceOutcome::failed(error)))
        };
        scope.wanted.iter().filter_map(wrong).collect()
    }

    async fn resolve(&self, scope: &Scope, mode: Mode) -> Result<Resolved> {
        self.look_up(scope, mode).await
    }

    fn desired(&self, scope: &Scope, resolved: &Resolved) -> Result<Desired> {
        let (service, wanted) = scope.only()?;
        let mut desired = desired::identity(service, &scope.cluster_name, resolved.features);
        if wanted {
            let wanted = desired::wanted(service, scope, &desired.names, &self.settings, resolved)?;
            desired.wanted = Some(Box::new(wanted));
        }
        Ok(desired)
    }

    async fn observe(&self, scope: &Scope, resolved: &Resolved, mode: Mode) -> Result<Observed> {
        let desired = self.desired(scope, resolved)?;
        match &desired.wanted {
            Some(wanted) => self.observe_wanted(&desired, wanted, mode).await,
            None => self.observe_unwanted(&desired).await,
        }
    }

    fn plan(&self, desired: &Desired, observed: &Observed, mode: Mode) -> Vec<Operation> {
        plan::plan(desired, observed, mode, self.settings.cascade_delete)
    }

    async fn apply(&self, operation: &Operation, made: &mut Made) -> Result<Applied> {
        self.run(operation, made).await
    }

    fn outcome(
        &self,
        scope: &Scope,
        desired: &Desired,
        observed: &Observed,
        made: &Made,
    ) -> Vec<(Key, ServiceOutcome)> {
        let outcome = match (&desired.wanted, scope.only()) {
            (Some(wanted), Ok((service, _))) => present(service, wanted, observed, made),
            (Some(_), Err(error)) => ServiceOutcome::failed(error),
            (None, _) if self.plan(desired, observed, Mode::Full).is_empty() => {
                ServiceOutcome::of(ServiceState::Absent)
            }
            (None, _) => {
                let problem = format!("load balancer {} is not gone yet", desired.names.load_balancer);
                ServiceOutcome::failed(Error::new(Kind::Pending { retry_after: PENDING }, problem))
            }
        };
        vec![(desired.key.clone(), outcome)]
    }

    fn claims(&self, service: &Service) -> Vec<String> {
        audit::claims(service, &self.cluster_name)
    }

    async fn owned(&self, cluster_name: &str) -> Result<Option<Vec<Owned>>> {
        self.everything(cluster_name).await.map(Some)
    }
}

/// What a service gets to see. The status waits for the address by which the load balancer shall be reached.
fn present(service: &Service, wanted: &Wanted, observed: &Observed, made: &Made) -> ServiceOutcome {
    let observed_one = || observed.tree.as_ref().filter(|_| observed.repair.is_none()).map(|tree| &tree.load_balancer);
    let notes = wanted.notes.iter().chain(&observed.notes).chain(&made.notes).cloned().collect();
    let Some(balancer) = made.load_balancer.as_ref().or_else(observed_one) else {
        return ServiceOutcome { notes, ..ServiceOutcome::of(ServiceState::Unsettled) };
    };
    let mut annotations = BTreeMap::new();
    let mut note = |annotation: annotations::Annotation, value: &str| {
        if annotation.of(service) != Some(value) {
            annotations.insert(annotation.key.to_owned(), Some(value.to_owned()));
        }
    };
    note(annotations::LOAD_BALANCER_ID, &balancer.id);
    let state = match address(balancer, wanted, observed, made) {
        Some(address) => {
            note(annotations::LOAD_BALANCER_ADDRESS, &address);
            ServiceState::Present(status(&address, balancer, wanted))
        }
        None => ServiceState::Unsettled,
    };
    ServiceOutcome { annotations, notes, ..ServiceOutcome::of(state) }
}

/// The address by which a load balancer is reached; `None` where a floating IP is still missing, or was not looked at.
fn address(balancer: &LoadBalancer, wanted: &Wanted, observed: &Observed, made: &Made) -> Option<String> {
    let own = Some(balancer.vip_address.clone()).filter(|address| !address.is_empty());
    if wanted.internal || balancer.vip_address.contains(':') {
        return own;
    }
    let floating = made.floating_ip.as_ref().or(observed.floating_ips.first());
    match floating {
        Some(floating) => Some(floating.floating_ip_address.clone()),
        // Without a network for floating IPs it is internal whether it is wanted or not.
        None if observed.source == observed::Source::None => own,
        None => None,
    }
}

fn status(address: &str, balancer: &LoadBalancer, wanted: &Wanted) -> LoadBalancerStatus {
    let hostname = match &wanted.status {
        StatusForm::Hostname(name) => Some(name.clone()),
        StatusForm::Suffixed(suffix) => Some(format!("{address}.{suffix}")),
        StatusForm::Proxy | StatusForm::Vip => None,
    };
    if let Some(hostname) = hostname {
        return LoadBalancerStatus::hostname(hostname);
    }
    let mode = if wanted.status == StatusForm::Proxy { IpMode::Proxy } else { IpMode::Vip };
    let ingress = |ip: &str| Ingress { ip: Some(ip.to_owned()), ip_mode: Some(mode), ..Ingress::default() };
    let further =
        if wanted.load_balancer.additional_vips.is_empty() { &[] } else { balancer.additional_vips.as_slice() };
    let further = further.iter().filter_map(|vip| vip.ip_address.as_deref());
    LoadBalancerStatus { ingress: std::iter::once(address).chain(further).map(ingress).collect() }
}
