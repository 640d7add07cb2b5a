//! Classic load balancers.
//!
//! One for each service, with one listener for each port, a security group of its own unless others are named, and the
//! nodes' instances as back ends. The nodes' security groups let in all traffic of the load balancer's group.

mod apply;
mod attributes;
mod desired;
mod listeners;
mod observed;
mod operation;
mod plan;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use cloud_provider::{
    Error, Kind,
    cloud::{Applied, LoadBalancerStatus, Mode, Model, Scope, ScopeId, ServiceOutcome, ServiceState},
    cluster::objects::{Key, Node, Object, Service},
    error::Result,
    service::predicates,
};

use self::{
    desired::{Backends, Balancer, Desired, Goal, GroupOrder},
    observed::{Observed, is_all_traffic},
    operation::Operation,
};
use super::{change_of_type, names, resolve::Shared, subnets::Choice};
use crate::client::{
    elb::LoadBalancer,
    network::{SecurityGroup, Tags},
};

/// When to look again at what AWS is still removing.
const REMOVAL_INTERVAL: Duration = Duration::from_secs(5);

/// Classic load balancers, one in each scope.
pub(crate) struct Classic {
    shared: Arc<Shared>,
    /// The additional tags that load balancers have, by name, as far as this process wrote or presumed them.
    tags: Mutex<HashMap<String, Tags>>,
    /// The users' groups that load balancers left while this process ran, by name: their rules in the nodes' groups have to
    /// go, and where that fails AWS does not tell of them any more.
    left: Mutex<HashMap<String, BTreeSet<String>>>,
}

/// What names mean.
pub(crate) struct Resolved {
    mode: Mode,
    subnets: BTreeMap<String, String>,
    groups: Arc<Vec<SecurityGroup>>,
    backends: Backends,
}

/// What the operations of a round made.
#[derive(Debug, Default)]
pub(crate) struct Made {
    /// The own security group.
    group: Option<String>,
    dns_name: Option<String>,
}

impl Classic {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, tags: Mutex::default(), left: Mutex::default() }
    }

    /// Whether there is a classic load balancer of the service, or the group that was made for one.
    pub(crate) async fn remains(&self, service: &Service) -> Result<bool> {
        let name = names::load_balancer(service.uid());
        if self.shared.listings().classic(self.shared.client(), &name).await?.is_some() {
            return Ok(true);
        }
        let group = names::classic_group(&name);
        let owned = |tags: &Tags| self.shared.cluster_id().owns(tags) == Ok(true);
        Ok(self.shared.groups().await?.iter().any(|other| other.name == group && owned(&other.tags)))
    }

    async fn backends(&self, service: &Service, scope: &Scope, groups: &[SecurityGroup]) -> Result<Backends> {
        let targets = self.shared.targets(service, &scope.nodes).await?;
        let node_groups = match self.shared.settings().disable_security_group_ingress {
            true => BTreeSet::new(),
            false => self.shared.node_groups(&targets, groups)?,
        };
        let instances = targets.iter().map(|target| target.id.as_str().to_owned()).collect();
        Ok(Backends { instances, node_groups })
    }

    /// The tags of a load balancer, where they are read or remembered.
    async fn known_tags(&self, name: &str) -> Result<Option<Tags>> {
        let names = [name.to_owned()];
        let read = || async { self.shared.client().classic_tags(&names).await };
        if let Some(mut tags) = self.shared.read_tags(read).await? {
            return Ok(Some(tags.remove(name).unwrap_or_default()));
        }
        Ok(self.tags.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned())
    }

    /// Takes the wanted additional tags of a load balancer that is new to this process to be there, where all else is as
    /// it shall be. Upstream writes them in every round, so they are on each load balancer that a controller left in
    /// order; and our own rounds write them before anything else. What differs was changed while no controller ran: then
    /// they are written.
    fn presume_tags(&self, desired: &Desired, observed: &mut Observed) {
        let Goal::Balancer(wanted, _) = &desired.goal else { return };
        if observed.tags.is_some() {
            return;
        }
        let presumed = Observed { tags: Some(wanted.additional_tags.clone()), ..observed.clone() };
        if wanted.additional_tags.is_empty() || plan::plan(desired, &presumed).is_empty() {
            self.note_tags(&desired.name, &wanted.additional_tags);
            *observed = presumed;
        }
    }

    fn note_tags(&self, name: &str, tags: &Tags) {
        let mut known = self.tags.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(name.to_owned()).or_default().extend(tags.clone());
    }

    fn forget_tags(&self, name: &str) {
        self.tags.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// The zones of attached subnets that are not wanted: they say in which order subnets can be changed.
    async fn zones_of_unwanted(&self, balancer: &LoadBalancer, wanted: &Balancer) -> Result<BTreeMap<String, String>> {
        let unwanted: Vec<String> =
            balancer.subnets.iter().filter(|id| !wanted.subnets.contains_key(*id)).cloned().collect();
        if unwanted.is_empty() {
            return Ok(BTreeMap::new());
        }
        let subnets = self.shared.client().describe_subnets_by_id(&unwanted).await?;
        Ok(subnets.into_iter().map(|subnet| (subnet.id, subnet.zone)).collect())
    }

    /// The groups that a load balancer leaves, and those that it left while this process ran and that nodes' groups still have
    /// rules for; and the groups of all others, where there are any. A group that another load balancer has keeps its rules,
    /// which go with that one.
    async fn read_left(&self, desired: &Desired, observed: &mut Observed, mode: Mode) -> Result<()> {
        let kept = match &desired.goal {
            Goal::Backends(_) => return Ok(()),
            Goal::Gone => &[][..],
            Goal::Balancer(wanted, _) => &wanted.given_groups,
        };
        let own = observed.own_group(&desired.name).map(|own| own.id.clone());
        let mut left = self.known_left(&desired.name);
        left.retain(|id| observed.referring(id, is_all_traffic).next().is_some());
        left.extend(observed.source(desired));
        left.retain(|id| !kept.contains(id) && own.as_ref() != Some(id));
        if !left.is_empty() {
            observed.groups_of_others = self.shared.client().classic_groups_of_others(&desired.name).await?;
            left.retain(|id| !observed.groups_of_others.contains(id));
        }
        observed.left = left;
        if mode != Mode::DryRun {
            self.note_left(&desired.name, &observed.left);
        }
        Ok(())
    }

    fn known_left(&self, name: &str) -> BTreeSet<String> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned().unwrap_or_default()
    }

    fn note_left(&self, name: &str, left: &BTreeSet<String>) {
        let mut all = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        match left.is_empty() {
            true => all.remove(name),
            false => all.insert(name.to_owned(), left.clone()),
        };
    }
}

#[async_trait]
impl Model for Classic {
    type Resolved = Resolved;
    type Desired = Desired;
    type Observed = Observed;
    type Operation = Operation;
    type Made = Made;

    fn scope(&self, service: &Service) -> ScopeId {
        super::scope(service)
    }

    fn backend(&self, service: &Service, node: &Node) -> Option<String> {
        super::backend(service, node)
    }

    async fn resolve(&self, scope: &Scope, mode: Mode) -> Result<Resolved> {
        let (service, is_wanted) = scope.only()?;
        if !is_wanted {
            let groups = self.shared.fresh_groups().await?;
            return Ok(Resolved { mode, subnets: BTreeMap::new(), groups, backends: Backends::default() });
        }
        let subnets = match mode {
            Mode::Backends => Choice::default(),
            Mode::Full | Mode::DryRun => {
                desired::check(service, self.shared.settings())?;
                self.shared.subnets(service).await?
            }
        };
        let groups = self.shared.groups().await?;
        let backends = self.backends(service, scope, &groups).await?;
        let subnets = subnets.chosen.into_iter().map(|subnet| (subnet.id, subnet.zone)).collect();
        Ok(Resolved { mode, subnets, groups, backends })
    }

    fn desired(&self, scope: &Scope, resolved: &Resolved) -> Result<Desired> {
        let (service, is_wanted) = scope.only()?;
        let (settings, cluster) = (self.shared.settings(), self.shared.cluster_id());
        let name = names::load_balancer(service.uid());
        let goal = match (is_wanted, resolved.mode) {
            (false, _) => Goal::Gone,
            (true, Mode::Backends) => Goal::Backends(resolved.backends.clone()),
            (true, Mode::Full | Mode::DryRun) => {
                let tags = self.shared.tags(service, true);
                let balancer = Balancer::of(service, settings, cluster, &name, resolved.subnets.clone(), tags)?;
                Goal::Balancer(Box::new(balancer), resolved.backends.clone())
            }
        };
        Ok(Desired {
            key: service.key(),
            name,
            keep_attached: !is_wanted && predicates::wants_load_balancer(service) && !service.is_terminating(),
            goal,
            global_group: settings.elb_security_group.clone(),
            leave_nodes: settings.disable_security_group_ingress,
            order: GroupOrder::of(service),
            cluster: cluster.clone(),
        })
    }

    async fn observe(&self, scope: &Scope, resolved: &Resolved, mode: Mode) -> Result<Observed> {
        let desired = self.desired(scope, resolved)?;
        let (client, listings) = (self.shared.client(), self.shared.listings());
        let balancer = match &desired.goal {
            Goal::Gone => client.classic_load_balancer(&desired.name).await?,
            Goal::Backends(_) | Goal::Balancer(..) => listings.classic(client, &desired.name).await?,
        };
        let mut observed = Observed { balancer, groups: resolved.groups.clone(), ..Observed::default() };
        let Some(balancer) = observed.balancer.clone() else {
            self.note_left(&desired.name, &BTreeSet::new());
            let refused =
                !self.shared.settings().allow_load_balancer_type_change && matches!(desired.goal, Goal::Balancer(..));
            if refused && listings.network(client, &desired.name).await?.is_some() {
                return Err(change_of_type("Classic Load Balancer"));
            }
            return Ok(observed);
        };
        if let Goal::Balancer(wanted, _) = &desired.goal {
            let attributes = client.classic_attributes(&desired.name).await.inspect_err(|error| {
                // What was listed of it is gone: the next round looks for itself.
                if error.is_not_found() {
                    listings.written(&desired.name);
                }
            });
            observed.attributes = Some(attributes?);
            observed.tags = self.known_tags(&desired.name).await?;
            observed.zones = self.zones_of_unwanted(&balancer, wanted).await?;
        }
        self.read_left(&desired, &mut observed, mode).await?;
        self.presume_tags(&desired, &mut observed);
        Ok(observed)
    }

    fn plan(&self, desired: &Desired, observed: &Observed, _mode: Mode) -> Vec<Operation> {
        plan::plan(desired, observed)
    }

    async fn apply(&self, operation: &Operation, made: &mut Made) -> Result<Applied> {
        self.shared.listings().written(&operation.balancer);
        let result = self.run(operation, made).await;
        self.shared.listings().written(&operation.balancer);
        result
    }

    fn outcome(
        &self,
        _scope: &Scope,
        desired: &Desired,
        observed: &Observed,
        made: &Made,
    ) -> Vec<(Key, ServiceOutcome)> {
        let known = observed.balancer.as_ref().map(|balancer| balancer.dns_name.clone());
        let outcome = match (&desired.goal, made.dns_name.clone().or(known)) {
            (Goal::Gone, _) if plan::plan(desired, observed).is_empty() => ServiceOutcome::of(ServiceState::Absent),
            (Goal::Gone, _) => ServiceOutcome::failed(Error::new(
                Kind::Pending { retry_after: REMOVAL_INTERVAL },
                format!("AWS still removes classic load balancer {}", desired.name),
            )),
            (_, Some(host)) if host.is_empty() => {
                ServiceOutcome::of(ServiceState::Present(LoadBalancerStatus::default()))
            }
            (_, Some(host)) => ServiceOutcome::of(ServiceState::Present(LoadBalancerStatus::hostname(host))),
            (Goal::Backends(_), None) => {
                ServiceOutcome::failed(Error::transient(format!("Load balancer {} not found", desired.name)))
            }
            (Goal::Balancer(..), None) => ServiceOutcome::of(ServiceState::Unsettled),
        };
        vec![(desired.key.clone(), outcome)]
    }
}
