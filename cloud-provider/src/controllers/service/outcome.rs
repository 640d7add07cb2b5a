//! From the outcome of a round to status, finalizer, events and the next try.

use std::{collections::BTreeMap, sync::Arc};

use super::{ServiceController, sync::Round};
use crate::{
    Error, Kind,
    cloud::{LoadBalancerStatus, Mode, Outcome, ServiceOutcome, ServiceState},
    cluster::{
        events::Severity,
        objects::{Key, Object, Service},
        patch::{FinalizerChange, ServicePatch},
    },
    error::{Result, warn_of},
    service::predicates,
};

impl ServiceController {
    pub(super) async fn conclude(&self, round: Round, mut outcome: Outcome) {
        for service in &round.scope.wanted {
            let key = service.key();
            let result = outcome.services.remove(&key);
            let changed =
                outcome.changes.iter().any(|change| change.service.as_ref().is_none_or(|owner| *owner == key));
            match self.conclude_wanted(service, result, changed, &round).await {
                Ok(()) => {
                    self.queue.forget(&key);
                    if let Some(backends) = round.backends.get(&key) {
                        self.state().told.insert(key.clone(), *backends);
                        self.nodes_changed.look_again_since(round.nodes_changed);
                    }
                }
                Err(error) => self.report_failure(service, &round, &error),
            }
            // Where its finalizer was taken off by force meanwhile, nobody else knows of what this round made.
            if self.services.get(&key).is_none_or(|now| now.uid() != service.uid()) {
                self.adopt(service);
            }
        }
        for service in &round.scope.unwanted {
            let key = service.key();
            let result = outcome.services.remove(&key);
            let changed =
                outcome.changes.iter().any(|change| change.service.as_ref().is_none_or(|owner| *owner == key));
            match self.conclude_unwanted(service, result, changed, &round).await {
                Ok(()) => self.removed(service),
                Err(error) => self.report_failure(service, &round, &error),
            }
        }
    }

    async fn conclude_wanted(
        &self,
        service: &Service,
        result: Option<ServiceOutcome>,
        changed: bool,
        round: &Round,
    ) -> Result<()> {
        let in_full = |error: Error| match round.mode {
            Mode::Backends => error,
            _ => error.context("failed to ensure load balancer"),
        };
        let result = result.ok_or_else(|| in_full(no_answer(service)))?;
        let patch = wanted_patch(service, &result);
        let status_changed = patch.status.is_some();
        if !patch.is_empty() {
            self.write(service, &patch)
                .await
                .map_err(|error| error.context("failed to update load balancer status"))?;
        }
        if !round.quiet.contains(&service.key()) || changed {
            for note in result.notes {
                self.tell(service, Severity::Warning, note.reason, note.message);
            }
        }
        if let Some(error) = result.error {
            return Err(in_full(error));
        }
        if result.state == ServiceState::Elsewhere {
            return Ok(());
        }
        if round.mode == Mode::Backends {
            if changed && !round.scope.nodes.is_empty() {
                self.tell(service, Severity::Normal, "UpdatedLoadBalancer", "Updated load balancer with new hosts");
            }
            return Ok(());
        }
        let quiet = round.quiet.contains(&service.key());
        if quiet && (changed || status_changed) {
            self.tell(service, Severity::Normal, "EnsuringLoadBalancer", "Ensuring load balancer");
        }
        if !quiet || changed || status_changed {
            self.tell(service, Severity::Normal, "EnsuredLoadBalancer", "Ensured load balancer");
        }
        Ok(())
    }

    /// Writes what a round gave; that the watch shows its annotations then is no reason for another one.
    async fn write(&self, service: &Service, patch: &ServicePatch<'_>) -> Result<()> {
        let key = service.key();
        if !patch.annotations.is_empty() {
            let owned = |(key, value): (&&str, &Option<&str>)| ((*key).to_owned(), value.map(str::to_owned));
            let written = patch.annotations.iter().map(owned).collect();
            self.state().written.insert(key.clone(), written);
        }
        let written = gone_is_fine(self.patch(service, patch).await);
        if written.is_err() {
            self.state().written.remove(&key);
        }
        written
    }

    /// The finalizer goes only when nothing is left in the cloud.
    async fn conclude_unwanted(
        &self,
        service: &Service,
        result: Option<ServiceOutcome>,
        changed: bool,
        round: &Round,
    ) -> Result<()> {
        let orphan = round.is_orphan(service);
        let failed = |error: Error| if orphan { error } else { error.context("failed to delete load balancer") };
        let result = result.ok_or_else(|| failed(no_answer(service)))?;
        if changed {
            self.tell(service, Severity::Normal, "DeletingLoadBalancer", "Deleting load balancer");
        }
        if let Some(error) = result.error {
            return Err(failed(error));
        }
        let gone = matches!(result.state, ServiceState::Absent | ServiceState::Elsewhere);
        if !gone {
            return Err(failed(Error::transient("the load balancer is not gone yet")));
        }
        if !orphan {
            let patch = unwanted_patch(service, &result);
            if !patch.is_empty() {
                self.state().told.remove(&service.key());
                gone_is_fine(self.patch(service, &patch).await)
                    .map_err(|error| error.context("failed to remove load balancer cleanup finalizer"))?;
            }
        }
        self.tell(service, Severity::Normal, "DeletedLoadBalancer", "Deleted load balancer");
        Ok(())
    }

    fn removed(&self, service: &Arc<Service>) {
        let key = service.key();
        let mut state = self.state();
        if let Some(orphans) = state.orphans.get_mut(&key) {
            orphans.retain(|orphan| orphan.uid() != service.uid());
            if orphans.is_empty() {
                state.orphans.remove(&key);
            }
        }
        state.told.remove(&key);
        state.released.remove(&key);
        drop(state);
        self.queue.forget(&key);
    }

    /// Tells the service what went wrong and puts it back, after the wait that the cloud named or the queue's back-off.
    /// Something that merely takes its time is no failure.
    pub(super) fn report_failure(&self, service: &Arc<Service>, round: &Round, error: &Error) {
        let key = service.key();
        let backends_only = round.mode == Mode::Backends;
        if !backends_only {
            self.state().changed.insert(key.clone());
        }
        let retry_in = self.queue.retry(key.clone(), error);
        let chain = error.chain();
        match error.kind() {
            Kind::Pending { .. } => {
                return tracing::info!(service = %key, waiting = %chain, ?retry_in, "load balancer not finished");
            }
            Kind::Refused => return tracing::debug!(service = %key, error = %chain, "load balancer not synced"),
            _ => {}
        }
        warn_of!(error, service = %key, error = %chain, ?retry_in, "error syncing load balancer");
        if backends_only {
            self.metrics.node_sync_errors.inc();
            let nodes: Vec<Arc<_>> = round.scope.nodes.iter().take(20).cloned().collect();
            let names = nodes.iter().map(|node| node.name()).collect::<Vec<_>>().join(" ");
            let total = round.scope.nodes.len();
            let more = if total > nodes.len() { format!(" <{} more>", total - nodes.len()) } else { String::new() };
            let message = format!(
                "Error updating load balancer with new hosts [{names}{more}] [node names limited, total number of nodes: {total}], error: {chain}"
            );
            return self.tell(service, Severity::Warning, "UpdateLoadBalancerFailed", message);
        }
        let (reason, message) = if round.is_orphan(service) {
            ("DeleteLoadBalancerFailed", format!("Error deleting load balancer: {chain}"))
        } else {
            ("SyncLoadBalancerFailed", format!("Error syncing load balancer: {chain}"))
        };
        self.tell(service, Severity::Warning, reason, message);
    }
}

/// What to write on a service that shall have a load balancer.
pub(super) fn wanted_patch<'a>(service: &Service, result: &'a ServiceOutcome) -> ServicePatch<'a> {
    let status = match &result.state {
        ServiceState::Present(status) => Some(status),
        ServiceState::Absent | ServiceState::Unsettled | ServiceState::Elsewhere => None,
    };
    ServicePatch {
        status: status.filter(|status| !status.is_stored_as(&service.status.load_balancer)),
        annotations: annotations(service, result),
        ..ServicePatch::default()
    }
}

/// What to write on a service of which nothing is left in the cloud.
pub(super) fn unwanted_patch<'a>(service: &Service, result: &'a ServiceOutcome) -> ServicePatch<'a> {
    let has_status = !service.status.load_balancer.ingress.is_empty() && result.state != ServiceState::Elsewhere;
    ServicePatch {
        finalizer: predicates::has_finalizer(service).then_some(FinalizerChange::Remove(predicates::FINALIZER)),
        status: has_status.then_some(const { &LoadBalancerStatus { ingress: Vec::new() } }),
        annotations: annotations(service, result),
    }
}

/// Those that the service does not have yet.
fn annotations<'a>(service: &Service, result: &'a ServiceOutcome) -> BTreeMap<&'a str, Option<&'a str>> {
    let wanted = result.annotations.iter().map(|(key, value)| (key.as_str(), value.as_deref()));
    wanted.filter(|(key, value)| service.annotation(key) != *value).collect()
}

/// A service that is gone needs no write.
fn gone_is_fine(written: Result<()>) -> Result<()> {
    match written {
        Err(error) if error.is_not_found() => Ok(()),
        written => written,
    }
}

fn no_answer(service: &Service) -> Error {
    let key: Key = service.key();
    Error::transient(format!("the provider gave no outcome for service {key}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cloud::Ingress;

    fn service(finalizer: bool, ip: Option<&str>) -> Service {
        let finalizers = if finalizer { vec![predicates::FINALIZER] } else { Vec::new() };
        let ingress: Vec<_> = ip.iter().map(|ip| json!({"ip": ip, "ipMode": "VIP"})).collect();
        serde_json::from_value(json!({
            "metadata": {"name": "s", "finalizers": finalizers},
            "status": {"loadBalancer": {"ingress": ingress}},
        }))
        .unwrap()
    }

    #[test]
    fn section_12_5_finalizer_and_status() {
        let present = |ip: Option<&str>| {
            let ingress = ip.map(|ip| Ingress { ip: Some(ip.into()), ..Ingress::default() });
            ServiceOutcome::of(ServiceState::Present(LoadBalancerStatus { ingress: ingress.into_iter().collect() }))
        };
        let eights = Some("8.8.8.8");
        let writes = |before, after| !wanted_patch(&service(true, before), &present(after)).is_empty();
        assert!(!writes(eights, eights));
        assert!(writes(None, eights));
        assert!(!writes(None, None));
        assert!(writes(eights, None));

        let absent = ServiceOutcome::of(ServiceState::Absent);
        let removal = |finalizer, ip| {
            let service = service(finalizer, ip);
            let patch = unwanted_patch(&service, &absent);
            (patch.finalizer.is_some(), patch.status.is_some())
        };
        assert_eq!(removal(true, eights), (true, true));
        assert_eq!(removal(true, None), (true, false));
        assert_eq!(removal(false, None), (false, false));
        let elsewhere = ServiceOutcome::of(ServiceState::Elsewhere);
        assert!(wanted_patch(&service(true, eights), &elsewhere).is_empty(), "not ours to write");
        assert!(unwanted_patch(&service(true, eights), &elsewhere).status.is_none());
    }

    #[test]
    fn annotations_that_stand_already_are_not_written_again() {
        let mut annotated = service(false, None);
        annotated.metadata.annotations = Some([("a".to_owned(), "1".to_owned())].into());
        let written = |key: &str, value: Option<&str>| {
            let mut result = ServiceOutcome::of(ServiceState::Unsettled);
            result.annotations.insert(key.to_owned(), value.map(str::to_owned));
            wanted_patch(&annotated, &result).annotations.len()
        };
        assert_eq!((written("a", Some("1")), written("b", None)), (0, 0));
        assert_eq!((written("a", Some("2")), written("a", None), written("b", Some("1"))), (1, 1, 1));
    }
}
