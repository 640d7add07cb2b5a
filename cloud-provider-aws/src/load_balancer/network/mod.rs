//! Network load balancers.
//!
//! Each service has its own, with a listener and a target group for each port. Everything is found by names that are made
//! from the service and the cluster, so that nothing is lost when a round ends half way.

mod addresses;
mod apply;
mod attributes;
mod desired;
mod merged_rules;
mod neighbours;
mod node_rules;
mod observed;
mod operation;
mod plan;
mod ports;
#[cfg(test)]
mod properties;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use cloud_provider::{
    Error, Kind,
    cloud::{Applied, LoadBalancerStatus, Mode, Model, Scope, ScopeId, ServiceOutcome, ServiceState},
    cluster::objects::{Key, Node, Object, Service},
    error::Result,
};

use self::{
    apply::Made,
    desired::{Desired, Resolved},
    observed::Observed,
    operation::Operation,
    plan::Cluster,
};
use super::{names, resolve::Shared};
use crate::client::network::SecurityGroup;

/// How long until a removal that does not settle is looked at again.
const REMOVAL: Duration = Duration::from_secs(2);

/// Network load balancers, one for each service.
pub(crate) struct Network {
    shared: Arc<Shared>,
    /// Load balancers for which a step failed in this process. What such a round leaves over may belong to none any more.
    unsettled: Mutex<HashSet<String>>,
}

impl Network {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, unsettled: Mutex::default() }
    }

    fn is_unsettled(&self, name: &str) -> bool {
        self.unsettled().contains(name)
    }

    fn note_settled(&self, name: &str) {
        self.unsettled().remove(name);
    }

    fn unsettled(&self) -> MutexGuard<'_, HashSet<String>> {
        self.unsettled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cluster(&self) -> Cluster<'_> {
        let keep_node_groups = self.shared.settings().disable_security_group_ingress;
        Cluster { id: self.shared.cluster_id(), keep_node_groups }
    }

    /// Whether there is a network load balancer of the service, or something that was made for one.
    pub(crate) async fn remains(&self, service: &Service, cluster_name: &str) -> Result<bool> {
        let shared = &self.shared;
        let resolved = Resolved { cluster_name: cluster_name.to_owned(), ..Resolved::default() };
        let desired = desired::identity(service, &resolved);
        let found = shared.listings().network(shared.client(), &desired.name).await?;
        if Self::network(&desired.name, found)?.is_some() || !self.leftovers(&desired).await?.is_empty() {
            return Ok(true);
        }
        let rule = names::client_rule(&desired.name);
        let keeps = self.cluster().keep_node_groups;
        let serves =
            |group: &SecurityGroup| !keeps && group.ingress.iter().any(|it| it.description.as_deref() == Some(&rule));
        let own = |group: &SecurityGroup| {
            group.name == desired.managed_group.name && shared.cluster_id().owns(&group.tags) == Ok(true)
        };
        Ok(shared.groups().await?.iter().any(|group| own(group) || serves(group)))
    }
}

#[async_trait]
impl Model for Network {
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

    fn set_aside(&self, scope: &Scope) -> Vec<(Key, ServiceOutcome)> {
        let wrong = |service: &Arc<Service>| {
            let error = desired::check(service, self.shared.settings()).err()?;
            Some((service.key(), ServiceOutcome::failed(error)))
        };
        scope.wanted.iter().filter_map(wrong).collect()
    }

    async fn resolve(&self, scope: &Scope, mode: Mode) -> Result<Resolved> {
        let (service, wanted) = scope.only()?;
        let shared = &self.shared;
        let mut resolved = Resolved {
            cluster_id: shared.cluster_id().clone(),
            cluster_name: scope.cluster_name.to_string(),
            tags: shared.tags(service, true),
            group_tags: shared.tags(service, false),
            ..Resolved::default()
        };
        if !wanted {
            return Ok(resolved);
        }
        let targets = shared.targets(service, &scope.nodes).await?;
        resolved.instances = targets.iter().map(|target| target.id.as_str().to_owned()).collect();
        if !shared.settings().disable_security_group_ingress {
            resolved.node_groups = shared.node_groups(&targets, &shared.groups().await?)?;
        }
        if mode != Mode::Backends {
            resolved.subnets = shared.subnets(service).await?;
        }
        Ok(resolved)
    }

    fn desired(&self, scope: &Scope, resolved: &Resolved) -> Result<Desired> {
        let (service, wanted) = scope.only()?;
        let mut desired = desired::identity(service, resolved);
        if wanted {
            desired.wanted = Some(desired::wanted(service, self.shared.settings(), resolved)?);
        }
        Ok(desired)
    }

    async fn observe(&self, scope: &Scope, resolved: &Resolved, mode: Mode) -> Result<Observed> {
        let desired = self.desired(scope, resolved)?;
        let Some(wanted) = &desired.wanted else { return self.observe_unwanted(&desired).await };
        let observed = self.observe_wanted(&desired, wanted, mode).await.inspect_err(|error| {
            // What was listed of it is gone: the next round looks for itself.
            if error.is_not_found() {
                self.shared.listings().written(&desired.name);
            }
        })?;
        if observed.load_balancer.is_none() || observed.moves {
            addresses::check_addresses(scope.only()?.0, resolved.subnets.chosen.len())?;
        }
        Ok(observed)
    }

    fn plan(&self, desired: &Desired, observed: &Observed, mode: Mode) -> Vec<Operation> {
        plan::plan(self.cluster(), desired, observed, mode)
    }

    async fn apply(&self, operation: &Operation, made: &mut Made) -> Result<Applied> {
        self.shared.listings().written(&operation.balancer);
        let result = self.run(operation, made).await;
        if !matches!(result, Ok(Applied::Done)) {
            self.unsettled().insert(operation.balancer.clone());
        }
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
        let outcome = match &desired.wanted {
            Some(_) => present(observed, made),
            None if self.plan(desired, observed, Mode::Full).is_empty() => {
                self.note_settled(&desired.name);
                ServiceOutcome::of(ServiceState::Absent)
            }
            None => {
                let problem = format!("network load balancer {} is not gone yet", desired.name);
                ServiceOutcome::failed(Error::new(Kind::Pending { retry_after: REMOVAL }, problem))
            }
        };
        vec![(desired.key.clone(), outcome)]
    }
}

/// The status of a service whose load balancer is there. One that is impaired in some zones still serves in the others.
fn present(observed: &Observed, made: &Made) -> ServiceOutcome {
    let Some(balancer) = made.load_balancer.as_ref().or(observed.load_balancer.as_ref()) else {
        return ServiceOutcome::of(ServiceState::Unsettled);
    };
    match balancer.state.as_str() {
        "active" | "provisioning" | "active_impaired" if !balancer.dns_name.is_empty() => {
            let status = LoadBalancerStatus::hostname(balancer.dns_name.clone());
            ServiceOutcome { error: made.refusal(), ..ServiceOutcome::of(ServiceState::Present(status)) }
        }
        state => {
            let problem = format!("network load balancer {} is in state {state:?}", balancer.name);
            ServiceOutcome::failed(Error::transient(problem))
        }
    }
}
