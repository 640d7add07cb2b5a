//! One round of one scope.

use std::{collections::HashMap, sync::Arc};

use kube::api::{Patch, PatchParams};
use tokio::time::Instant;

use super::{ServiceController, backends::Backends};
use crate::{
    cloud::{Mode, Scope, ScopeId},
    cluster::{
        events::Severity,
        objects::{Key, Node, Object, Service},
        patch::{FinalizerChange, ServicePatch},
    },
    controllers::about_service,
    error::{Error, Kind, Result},
    service::{pause, predicates},
};

/// What a round is about, beyond what the cloud gets to see.
pub(super) struct Round {
    pub(super) scope: Scope,
    pub(super) mode: Mode,
    /// The count of node changes before the nodes were read.
    pub(super) nodes_changed: u64,
    /// Services that are gone from the cluster.
    pub(super) orphans: Vec<Arc<Service>>,
    /// The backends that the load balancers are told in this round.
    pub(super) backends: HashMap<Key, Backends>,
    /// Services whose round shall only be told of where it changes something: the first one after a start, and periodic
    /// checks.
    pub(super) quiet: Vec<Key>,
}

impl Round {
    /// Whether the service is gone from the cluster.
    pub(super) fn is_orphan(&self, service: &Service) -> bool {
        self.orphans.iter().any(|orphan| orphan.uid() == service.uid())
    }
}

impl ServiceController {
    /// Works on the scope of the service `key`.
    pub(super) async fn sync(&self, key: &Key) {
        // An orphan goes first. A new service of the same name waits until nothing is left of it: its retry comes back here.
        for orphan in self.orphans(key) {
            self.sync_scope(key, &orphan, vec![orphan.clone()]).await;
        }
        if self.state().orphans.contains_key(key) {
            return;
        }
        match self.services.get(key) {
            Some(service) => self.sync_scope(key, &service, Vec::new()).await,
            None => self.forget(key),
        }
    }

    /// What is left of the service `key` in scopes that it is not in, or not any more.
    fn orphans(&self, key: &Key) -> Vec<Arc<Service>> {
        let current = self.services.get(key).filter(|service| predicates::wants_load_balancer(service));
        let mut state = self.state();
        let Some(orphans) = state.orphans.get_mut(key) else { return Vec::new() };
        // It may have moved back.
        orphans.retain(|orphan| {
            !current.as_ref().is_some_and(|current| {
                current.uid() == orphan.uid() && self.load_balancers.scope(current) == self.load_balancers.scope(orphan)
            })
        });
        let orphans = orphans.clone();
        if orphans.is_empty() {
            state.orphans.remove(key);
        }
        orphans
    }

    /// Keeps a service that somebody made disappear in mind, until nothing is left of it in the cloud.
    pub(super) fn adopt(&self, service: &Arc<Service>) {
        let key = service.key();
        let mut state = self.state();
        let orphans = state.orphans.entry(key.clone()).or_default();
        if !orphans.iter().any(|orphan| orphan.uid() == service.uid()) {
            orphans.push(service.clone());
        }
        drop(state);
        self.enqueue_changed(key);
    }

    async fn sync_scope(&self, key: &Key, service: &Arc<Service>, orphans: Vec<Arc<Service>>) {
        self.outage.turn().await;
        let id = self.load_balancers.scope(service);
        let _round = self.scopes.lock(&id.0).await;
        let round = self.round(id, key, orphans);
        if round.scope.wanted.is_empty() && round.scope.unwanted.is_empty() {
            return self.forget(key);
        }
        if self.is_paused(&round) {
            // An orphan is not in the cluster, so nothing else would bring it back.
            match round.orphans.is_empty() {
                true => self.queue.forget(key),
                false => _ = self.queue.add_rate_limited(key.clone()),
            }
            return;
        }
        match self.add_finalizers(&round).await {
            Ok(()) => {}
            // Deleted, or replaced: the watch is about to tell. Nothing is made for it.
            Err((gone, error)) if error.is_not_found() || *error.kind() == Kind::Conflict => {
                tracing::debug!(service = %gone.key(), error = %error.chain(), "the service is not the one that was read");
                self.state().changed.insert(gone.key());
                self.queue.add_rate_limited(key.clone());
                return;
            }
            Err((failed, error)) => return self.report_failure(&failed, &round, &error),
        }
        self.announce(&round);
        let started = Instant::now();
        let outcome = self.load_balancers.sync(&round.scope, round.mode).await;
        if round.mode == Mode::Backends {
            self.metrics.host_updates.inc();
            self.metrics.host_update_latency.observe(started.elapsed().as_secs_f64());
        }
        let failed = outcome.services.values().filter_map(|service| service.error.as_ref()).any(Error::is_outage);
        if self.outage.note(!failed) {
            self.enqueue_failed();
        }
        self.conclude(round, outcome).await;
    }

    /// Gathers the scope from the store, as it is now.
    fn round(&self, id: ScopeId, key: &Key, orphans: Vec<Arc<Service>>) -> Round {
        let members: Vec<Arc<Service>> = self
            .services
            .list()
            .into_iter()
            .filter(|service| self.takes_part(service) && self.load_balancers.scope(service) == id)
            // A new service waits until nothing is left of an orphan of its name.
            .filter(|service| orphans.iter().all(|orphan| orphan.key() != service.key()))
            .collect();
        let nodes_changed = self.nodes_changed.count();
        let mut scope = self.scope(id, members, self.eligible_nodes());
        scope.unwanted.extend(orphans.iter().cloned());
        let Scope { wanted, unwanted, nodes, .. } = &scope;
        let backends: HashMap<Key, Backends> =
            wanted.iter().map(|service| (service.key(), self.backends(service, nodes))).collect();

        let mut state = self.state();
        let mut changed = state.changed.remove(key);
        let mut checked = state.checked.remove(key);
        for service in wanted.iter().chain(unwanted) {
            changed |= state.changed.remove(&service.key());
            checked |= state.checked.remove(&service.key());
        }
        let known = wanted.iter().all(|service| state.told.contains_key(&service.key()));
        let full = changed || checked || !known || !unwanted.is_empty();
        let mode = if full { Mode::Full } else { Mode::Backends };
        let settled = |service: &&Arc<Service>| {
            let in_place = predicates::has_finalizer(service) && !service.status.load_balancer.ingress.is_empty();
            let known = state.told.contains_key(&service.key());
            in_place && (!known || checked && !changed)
        };
        let quiet = wanted.iter().filter(settled).map(|service| service.key()).collect();
        drop(state);
        Round { scope, mode, nodes_changed, orphans, backends, quiet }
    }

    /// Whether the service has to do with load balancers of ours at all.
    pub(super) fn takes_part(&self, service: &Service) -> bool {
        predicates::wants_load_balancer(service)
            || predicates::needs_cleanup(service)
            || self.state().released.contains(&service.key())
    }

    /// The scope of these services.
    pub(super) fn scope(&self, id: ScopeId, members: Vec<Arc<Service>>, nodes: Arc<[Arc<Node>]>) -> Scope {
        let (unwanted, wanted) = members.into_iter().partition(|service| {
            predicates::needs_cleanup(service) || !predicates::wants_load_balancer(service) || service.is_terminating()
        });
        Scope { id, cluster_name: self.settings.cluster_name.clone(), wanted, unwanted, nodes }
    }

    /// Whether a service of the round is paused; told on each of them once.
    fn is_paused(&self, round: &Round) -> bool {
        let members = || round.scope.wanted.iter().chain(&round.scope.unwanted);
        let paused = |service: &Arc<Service>| pause::is_paused(service) && !round.is_orphan(service);
        let Some(by) = members().find(|service| paused(service)).map(|service| service.key()) else {
            let mut state = self.state();
            for service in members() {
                state.paused.remove(&service.key());
            }
            return false;
        };
        for service in members() {
            if self.state().paused.insert(service.key()) {
                tracing::info!(service = %service.key(), %by, "paused, its load balancer is left as it is");
                let text = format!("Load balancer is left as it is: annotation {} of service {by}", pause::ANNOTATION);
                self.tell(service, Severity::Normal, "LoadBalancerPaused", text);
            }
        }
        true
    }

    /// The finalizer comes before anything is made in the cloud.
    async fn add_finalizers(&self, round: &Round) -> Result<(), (Arc<Service>, Error)> {
        for service in round.scope.wanted.iter().filter(|service| !predicates::has_finalizer(service)) {
            let patch = ServicePatch {
                finalizer: Some(FinalizerChange::Add(predicates::FINALIZER)),
                ..ServicePatch::default()
            };
            self.patch(service, &patch)
                .await
                .map_err(|error| (service.clone(), error.context("failed to add load balancer cleanup finalizer")))?;
        }
        Ok(())
    }

    /// Writes through `services/status`, the one way that existing roles grant; on this service only, not on another one of
    /// its name.
    pub(super) async fn patch(&self, service: &Service, patch: &ServicePatch<'_>) -> Result<()> {
        let key = service.key();
        let finalizers = service.metadata.finalizers.clone().unwrap_or_default();
        let body = Patch::Strategic(patch.to_value(service.uid(), &finalizers));
        self.api(&key).patch_status(&key.name, &PatchParams::default(), &body).await?;
        Ok(())
    }

    fn announce(&self, round: &Round) {
        for service in round.scope.wanted.iter().filter(|service| !round.quiet.contains(&service.key())) {
            if round.mode == Mode::Full {
                self.tell(service, Severity::Normal, "EnsuringLoadBalancer", "Ensuring load balancer");
            }
            if round.scope.nodes.is_empty() {
                let message = "There are no available nodes for LoadBalancer";
                self.tell(service, Severity::Warning, "UnAvailableLoadBalancer", message);
            }
        }
    }

    pub(super) fn tell(&self, service: &Service, severity: Severity, reason: &'static str, message: impl Into<String>) {
        self.recorder.event(&about_service(service), severity, reason, message);
    }
}
