//! The load balancers of both kinds, as the service controller sees them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use cloud_provider::{
    Error, Kind as ErrorKind,
    cloud::{LoadBalancers, Mode, Outcome, Owned, Reconciler, Scope, ScopeId, ServiceOutcome, ServiceState},
    cluster::objects::{Node, Object, Service},
    error::Result,
};

use super::{
    annotations::{self, Kind},
    audit::Auditor,
    classic::Classic,
    names,
    network::Network,
    resolve::{Shared, instance_of},
};
use crate::Environment;

/// How long until it is looked again whether a load balancer of the new kind has taken over.
const TAKES_OVER: Duration = Duration::from_secs(15);

/// Classic and network load balancers, each service having one of its own of the kind that its annotation names.
pub struct ElasticLoadBalancers {
    shared: Arc<Shared>,
    classic: Reconciler<Classic>,
    network: Reconciler<Network>,
    auditor: Auditor,
    /// The kinds that services have alone, by UID: nothing of the other kind was there when it was looked for, and only
    /// this process could have made something since.
    alone: Mutex<HashMap<String, Kind>>,
}

impl ElasticLoadBalancers {
    /// The load balancers of an environment.
    pub fn new(environment: &Environment) -> Self {
        let shared = Shared::new(environment);
        Self {
            classic: Reconciler::new(Classic::new(shared.clone())),
            network: Reconciler::new(Network::new(shared.clone())),
            auditor: Auditor::new(shared.clone(), environment.cluster_name.clone()),
            alone: Mutex::default(),
            shared,
        }
    }

    /// Removes what services have of the other kind, where the annotation was changed and the configuration allows that:
    /// once the new load balancer has taken over, and until nothing is left of the old one. What failed is the service's
    /// failure.
    async fn remove_other_kind(&self, scope: &Scope, mode: Mode, outcome: &mut Outcome) {
        for service in &scope.wanted {
            let kind = Kind::of(service);
            let Some(known) = outcome.services.get_mut(&service.key()).filter(|known| known.error.is_none()) else {
                continue;
            };
            let is_alone = kind == Kind::External || self.alone().get(service.uid()) == Some(&kind);
            if is_alone || (mode == Mode::Full && !matches!(known.state, ServiceState::Present(_))) {
                continue;
            }
            match self.is_left(service, kind, scope).await {
                Ok(false) => _ = self.alone().insert(service.uid().to_owned(), kind),
                Ok(true) => match self.takes_over(service, kind, &known.state).await {
                    Ok(takes_over) if takes_over || mode == Mode::DryRun => {
                        let old = Scope { wanted: Vec::new(), unwanted: vec![service.clone()], ..scope.clone() };
                        let other: &dyn LoadBalancers =
                            if kind == Kind::Classic { &self.network } else { &self.classic };
                        let removal = other.sync(&old, mode).await;
                        outcome.changes.extend(removal.changes);
                        known.error = removal.services.into_values().find_map(|service| service.error);
                    }
                    Ok(_) => {
                        let problem =
                            "the load balancer of the new type has not taken over yet; the old one stays until then";
                        known.error = Some(Error::new(ErrorKind::Pending { retry_after: TAKES_OVER }, problem));
                    }
                    Err(error) => known.error = Some(error.context("look whether the load balancer serves")),
                },
                Err(error) => known.error = Some(error.context("look for a load balancer of the other type")),
            }
        }
    }

    /// Whether something of the other kind is left.
    async fn is_left(&self, service: &Service, kind: Kind, scope: &Scope) -> Result<bool> {
        match kind {
            Kind::Classic => Network::new(self.shared.clone()).remains(service, &scope.cluster_name).await,
            Kind::Network => Classic::new(self.shared.clone()).remains(service).await,
            Kind::External => Ok(false),
        }
    }

    /// Whether a load balancer may take the place of the one of the other kind: the service bears its name, so that whoever
    /// reads it there finds it, and AWS has finished it. Classic load balancers are finished when they are made.
    async fn takes_over(&self, service: &Service, kind: Kind, state: &ServiceState) -> Result<bool> {
        let is_told = match state {
            ServiceState::Present(status) => status.is_stored_as(&service.status.load_balancer),
            _ => false,
        };
        if !is_told || kind != Kind::Network {
            return Ok(is_told);
        }
        let name = names::load_balancer(service.uid());
        let found = self.shared.listings().network(self.shared.client(), &name).await?;
        Ok(found.is_some_and(|balancer| matches!(balancer.state.as_str(), "active" | "active_impaired")))
    }

    fn alone(&self) -> MutexGuard<'_, HashMap<String, Kind>> {
        self.alone.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl LoadBalancers for ElasticLoadBalancers {
    fn scope(&self, service: &Service) -> ScopeId {
        scope(service)
    }

    fn backend(&self, service: &Service, node: &Node) -> Option<String> {
        backend(service, node)
    }

    fn claims(&self, service: &Service) -> Vec<String> {
        self.auditor.claims(service)
    }

    async fn owned(&self, _cluster_name: &str) -> Result<Option<Vec<Owned>>> {
        self.auditor.owned().await.map(Some)
    }

    /// What is wanted goes to its kind. What is not is removed from both kinds, since the annotation may have changed
    /// together with the rest.
    async fn sync(&self, scope: &Scope, mode: Mode) -> Outcome {
        let mut outcome = Outcome::default();
        for service in &scope.unwanted {
            self.alone().remove(service.uid());
        }
        for (kind, reconciler) in [(Kind::Classic, &self.classic as &dyn LoadBalancers), (Kind::Network, &self.network)]
        {
            let mut part = scope.clone();
            part.wanted.retain(|service| Kind::of(service) == kind);
            if !part.wanted.is_empty() || !part.unwanted.is_empty() {
                merge(&mut outcome, reconciler.sync(&part, mode).await);
            }
        }
        if self.shared.settings().allow_load_balancer_type_change && mode != Mode::Backends {
            self.remove_other_kind(scope, mode, &mut outcome).await;
        }
        for service in scope.wanted.iter().filter(|service| Kind::of(service) == Kind::External) {
            outcome.services.insert(service.key(), ServiceOutcome::of(ServiceState::Elsewhere));
        }
        outcome
    }
}

/// A service is gone when it is gone from both kinds.
fn merge(outcome: &mut Outcome, part: Outcome) {
    outcome.changes.extend(part.changes);
    for (key, mut service) in part.services {
        if let Some(before) = outcome.services.remove(&key) {
            if before.state != ServiceState::Absent {
                service.state = before.state;
            }
            service.annotations.extend(before.annotations);
            service.error = before.error.or(service.error);
        }
        outcome.services.insert(key, service);
    }
}

/// Each service is a scope of its own.
pub(super) fn scope(service: &Service) -> ScopeId {
    ScopeId(format!("service/{}", service.uid()))
}

/// The instance of a node that the service selects.
pub(super) fn backend(service: &Service, node: &Node) -> Option<String> {
    if !annotations::selects(service, node) {
        return None;
    }
    instance_of(node).map(|id| id.as_str().to_owned())
}

/// Upstream's refusal, where a load balancer of the other kind was made before.
pub(super) fn change_of_type(kind: &str) -> Error {
    let key = annotations::TYPE.key;
    Error::invalid(key, format!("cannot update Load Balancer Type annotation {key:?} after creation for {kind}"))
}

#[cfg(test)]
mod tests {
    use cloud_provider::cluster::objects::Key;

    use super::*;

    fn part(state: ServiceState, error: Option<&str>) -> Outcome {
        let service = ServiceOutcome { error: error.map(Error::transient), ..ServiceOutcome::of(state) };
        Outcome { services: [(Key::new("default", "web"), service)].into(), ..Outcome::default() }
    }

    #[test]
    fn a_service_is_gone_only_when_both_kinds_are() {
        use ServiceState::{Absent, Unsettled};
        for (first, second, state, error) in [
            ((Absent, None), (Absent, None), Absent, None),
            ((Absent, None), (Unsettled, Some("b")), Unsettled, Some("b")),
            ((Unsettled, Some("a")), (Absent, None), Unsettled, Some("a")),
            ((Unsettled, Some("a")), (Unsettled, Some("b")), Unsettled, Some("a")),
        ] {
            let mut outcome = part(first.0, first.1);
            merge(&mut outcome, part(second.0, second.1));
            let service = &outcome.services[&Key::new("default", "web")];
            assert_eq!(service.state, state);
            assert_eq!(service.error.as_ref().map(ToString::to_string).as_deref(), error);
        }
    }
}
