//! What the controller would do now.

use std::{collections::BTreeMap, sync::Arc};

use futures::StreamExt;

use super::{
    ServiceController,
    outcome::{unwanted_patch, wanted_patch},
};
use crate::{
    cloud::{Mode, Outcome, Scope, ScopeId, ServiceOutcome, ServiceState},
    cluster::{
        objects::{Node, Object, Service},
        patch::{FinalizerChange, ServicePatch},
    },
    controllers::plan::{self, Plan},
    service::{pause, predicates},
};

/// How many services of a shared change are named.
const NAMED: usize = 3;

impl ServiceController {
    /// What the controller would do now: one full round of every scope, without its writes.
    pub(super) async fn planned(&self) -> Plan {
        let nodes = self.eligible_nodes();
        let mut scopes: BTreeMap<ScopeId, Vec<Arc<Service>>> = BTreeMap::new();
        for service in self.services.list().into_iter().filter(|service| self.takes_part(service)) {
            scopes.entry(self.load_balancers.scope(&service)).or_default().push(service);
        }
        let automatic = self.load_balancers.concurrency();
        let limit = self.settings.concurrent_service_syncs.unwrap_or(automatic).max(1);
        let mut plans = futures::stream::iter(scopes)
            .map(|(id, members)| self.plan_scope(id, members, nodes.clone()))
            .buffered(limit);
        let mut plan = Plan::default();
        while let Some(part) = plans.next().await {
            plan.extend(part);
        }
        plan
    }

    async fn plan_scope(&self, id: ScopeId, members: Vec<Arc<Service>>, nodes: Arc<[Arc<Node>]>) -> Plan {
        let mut plan = Plan::default();
        if let Some(by) = members.iter().find(|service| pause::is_paused(service)) {
            let text = format!("paused by annotation {} of service {}", pause::ANNOTATION, by.key());
            members.iter().for_each(|service| plan.note(plan::service(service), text.clone()));
            return plan;
        }
        let scope = self.scope(id, members, nodes);
        let mut outcome = self.load_balancers.sync(&scope, Mode::DryRun).await;
        for service in scope.wanted.iter().filter(|service| !predicates::has_finalizer(service)) {
            plan.cluster(plan::service(service), format!("add finalizer {}", predicates::FINALIZER));
        }
        for change in &outcome.changes {
            let object = change.service.as_ref().map_or_else(|| all_of(&scope), plan::service_key);
            plan.cloud(object, &change.what);
        }
        for service in &scope.wanted {
            wanted(&mut plan, service, &mut outcome);
        }
        for service in &scope.unwanted {
            unwanted(&mut plan, service, &mut outcome);
        }
        plan
    }
}

/// How a plan names the services that share a change.
fn all_of(scope: &Scope) -> String {
    let services: Vec<&Arc<Service>> = scope.wanted.iter().chain(&scope.unwanted).collect();
    if let [service] = services[..] {
        return plan::service(service);
    }
    let names: Vec<String> = services.iter().take(NAMED).map(|service| service.key().to_string()).collect();
    let more = services.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("services {}{more}", names.join(", "))
}

fn touched(service: &Service, outcome: &Outcome) -> bool {
    outcome.changes.iter().any(|change| change.service.as_ref().is_none_or(|owner| *owner == service.key()))
}

fn wanted(plan: &mut Plan, service: &Service, outcome: &mut Outcome) {
    let touched = touched(service, outcome);
    let Some(result) = outcome.services.remove(&service.key()) else { return };
    let patch = wanted_patch(service, &result);
    describe(plan, service, &patch);
    let settled = matches!(result.state, ServiceState::Present(_) | ServiceState::Elsewhere);
    if touched && !settled && result.error.is_none() && service.status.load_balancer.ingress.is_empty() {
        plan.cluster(
            plan::service(service),
            "write status.loadBalancer, which is known when the load balancer is there",
        );
    }
    match result.error {
        Some(error) => plan.error(plan::service(service), error.context("ensure the load balancer")),
        None if !touched && !settled => plan.note(plan::service(service), "waits for its load balancer"),
        None => {}
    }
}

fn unwanted(plan: &mut Plan, service: &Service, outcome: &mut Outcome) {
    let touched = touched(service, outcome);
    let Some(result) = outcome.services.remove(&service.key()) else { return };
    match result {
        ServiceOutcome { error: Some(error), .. } => {
            plan.error(plan::service(service), error.context("remove the load balancer"));
        }
        ServiceOutcome { state: ServiceState::Absent | ServiceState::Elsewhere, .. } => {
            describe(plan, service, &unwanted_patch(service, &result));
        }
        // What follows once the changes above are made.
        _ if touched => describe(plan, service, &unwanted_patch(service, &ServiceOutcome::of(ServiceState::Absent))),
        _ => plan.note(plan::service(service), "waits for the end of its load balancer"),
    }
}

/// A write of a service in words.
fn describe(plan: &mut Plan, service: &Service, patch: &ServicePatch<'_>) {
    let object = plan::service(service);
    for (key, value) in &patch.annotations {
        plan.cluster(
            &object,
            match value {
                Some(value) => format!("set annotation {key}={value}"),
                None => format!("remove annotation {key}"),
            },
        );
    }
    if let Some(status) = patch.status {
        let points: Vec<&str> =
            status.ingress.iter().filter_map(|ingress| ingress.hostname.as_deref().or(ingress.ip.as_deref())).collect();
        plan.cluster(
            &object,
            if points.is_empty() {
                "clear status.loadBalancer".to_owned()
            } else {
                format!("set status.loadBalancer to {}", points.join(", "))
            },
        );
    }
    match patch.finalizer {
        Some(FinalizerChange::Add(finalizer)) => plan.cluster(object, format!("add finalizer {finalizer}")),
        Some(FinalizerChange::Remove(finalizer)) => plan.cluster(object, format!("remove finalizer {finalizer}")),
        None => {}
    }
}
