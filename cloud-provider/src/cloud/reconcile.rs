//! Resolve, desired, observe, plan, apply: the typed form in which cloud crates write load balancers.

use std::fmt;

use async_trait::async_trait;

use super::{
    KeyedLocks,
    load_balancers::{
        Change, DEFAULT_CONCURRENCY, LoadBalancers, Mode, Outcome, Owned, Scope, ScopeId, ServiceOutcome, ServiceState,
    },
};
use crate::{
    Error, Kind,
    cluster::objects::{Key, Node, Object, Service},
    error::Result,
};

/// How often a round observes and plans again, to see a removal through to the end.
const MAX_PASSES: usize = 4;

/// The load balancers of one cloud, in the cloud's own types.
///
/// A round is: [`resolve`](Self::resolve) what names mean → [`desired`](Self::desired) → [`observe`](Self::observe) →
/// [`plan`](Self::plan) → [`apply`](Self::apply) each operation in order → [`outcome`](Self::outcome). Nothing is
/// remembered between rounds: after a crash the next round observes and plans again. Planning again after applying gives
/// no operations; removal is a plan towards nothing, and is finished when nothing is planned any more.
#[async_trait]
pub trait Model: Send + Sync + 'static {
    /// What names in annotations and configuration mean: subnets, networks, security groups, flavors; and the backends.
    type Resolved: Send + Sync;
    /// What shall be, for all services of the scope.
    type Desired: Send + Sync;
    /// What is, as far as it belongs to the services of the scope.
    type Observed: Send + Sync;
    /// One step.
    type Operation: Operation;
    /// What operations made, by deterministic keys, for later operations and for the outcome.
    type Made: Default + Send + Sync;

    /// See [`LoadBalancers::scope`].
    fn scope(&self, service: &Service) -> ScopeId;

    /// See [`LoadBalancers::backend`].
    fn backend(&self, service: &Service, node: &Node) -> Option<String>;

    /// Services of the scope that are somebody else's or are wrong as they stand; they get this outcome and take no part
    /// in the round. Called before anything is read.
    fn set_aside(&self, _scope: &Scope) -> Vec<(Key, ServiceOutcome)> {
        Vec::new()
    }

    /// Reads what names mean. For a scope with nothing wanted it should read only what removal needs.
    async fn resolve(&self, scope: &Scope, mode: Mode) -> Result<Self::Resolved>;

    /// A pure function of its inputs. A service that cannot be served must be kept as it is, never planned away: fail the
    /// scope, or remember its error and give it back in [`outcome`](Self::outcome).
    fn desired(&self, scope: &Scope, resolved: &Self::Resolved) -> Result<Self::Desired>;

    /// Reads what there is. Leftovers are found by their name formulas, also when the load balancer itself is gone.
    async fn observe(&self, scope: &Scope, resolved: &Self::Resolved, mode: Mode) -> Result<Self::Observed>;

    /// A pure diff. The order of the operations is the order in which they are applied.
    fn plan(&self, desired: &Self::Desired, observed: &Self::Observed, mode: Mode) -> Vec<Self::Operation>;

    /// Runs one operation and notes what it made.
    async fn apply(&self, operation: &Self::Operation, made: &mut Self::Made) -> Result<Applied>;

    /// What the round means for each service that took part; errors of operations are added by the caller.
    fn outcome(
        &self,
        scope: &Scope,
        desired: &Self::Desired,
        observed: &Self::Observed,
        made: &Self::Made,
    ) -> Vec<(Key, ServiceOutcome)>;

    /// See [`LoadBalancers::concurrency`].
    fn concurrency(&self) -> usize {
        DEFAULT_CONCURRENCY
    }

    /// See [`LoadBalancers::claims`].
    fn claims(&self, _service: &Service) -> Vec<String> {
        Vec::new()
    }

    /// See [`LoadBalancers::owned`].
    async fn owned(&self, _cluster_name: &str) -> Result<Option<Vec<Owned>>> {
        Ok(None)
    }
}

/// One step of a plan. Its `Display` is what a dry run prints.
pub trait Operation: fmt::Display + Send + Sync {
    /// The service it serves; `None` for what the whole scope shares. When an operation fails, the later operations of its
    /// service are left out, or all later ones where there is no service.
    fn service(&self) -> Option<&Key>;

    /// Whether it only waits for the cloud and changes nothing; a dry run leaves it out.
    fn is_wait(&self) -> bool {
        false
    }

    /// The name of a thing that several scopes write, such as the security group of the nodes. The core lets only one
    /// operation with the same name run at a time, across all scopes; the operation reads such a thing anew.
    fn shared(&self) -> Option<&str> {
        None
    }
}

/// How far an operation got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It is done.
    Done,
    /// The cloud works on it, and what comes after it has to wait: the round ends here and is taken up again.
    Pending {
        /// When to look again.
        retry_after: std::time::Duration,
    },
}

/// Drives a [`Model`] and makes the object-safe [`LoadBalancers`] of it.
pub struct Reconciler<M> {
    model: M,
    shared: KeyedLocks,
}

impl<M: Model> Reconciler<M> {
    /// A driver of `model`.
    pub fn new(model: M) -> Self {
        Self { model, shared: KeyedLocks::default() }
    }

    async fn round(&self, scope: &Scope, mode: Mode, outcome: &mut Outcome) -> Result<()> {
        let mut made = M::Made::default();
        for pass in 1..=MAX_PASSES {
            let resolved = self.model.resolve(scope, mode).await?;
            let desired = self.model.desired(scope, &resolved)?;
            let observed = self.model.observe(scope, &resolved, mode).await?;
            let operations = self.model.plan(&desired, &observed, mode);
            let settled = operations.is_empty();
            if mode == Mode::DryRun {
                let known = self.model.outcome(scope, &desired, &observed, &made);
                outcome.services.extend(known.into_iter().map(|(key, known)| {
                    let foreseen = foresee(known, &key, &operations);
                    (key, foreseen)
                }));
                outcome.changes.extend(operations.iter().filter(|operation| !operation.is_wait()).map(change));
                return Ok(());
            }
            let failures = self.apply_all(operations, &mut made, outcome).await;
            let stopped = !failures.is_empty();
            // Removal is proven by a pass that finds nothing left to do; everything else by its own answers.
            if settled || stopped || scope.unwanted.is_empty() || pass == MAX_PASSES {
                outcome.services.extend(self.model.outcome(scope, &desired, &observed, &made));
                assign_failures(scope, failures, outcome);
                return Ok(());
            }
        }
        Ok(())
    }

    /// Applies in order; gives the failures, each with the service it belongs to.
    async fn apply_all(
        &self,
        operations: Vec<M::Operation>,
        made: &mut M::Made,
        outcome: &mut Outcome,
    ) -> Vec<(Option<Key>, Error)> {
        let mut failures: Vec<(Option<Key>, Error)> = Vec::new();
        for operation in &operations {
            let skip = failures.iter().any(|(service, _)| service.is_none() || service.as_ref() == operation.service());
            if skip {
                continue;
            }
            let lock = match operation.shared() {
                Some(name) => Some(self.shared.lock(name).await),
                None => None,
            };
            let result = self.model.apply(operation, made).await;
            drop(lock);
            match result {
                Ok(Applied::Done) => {
                    tracing::info!(operation = %operation, service = operation.service().map(ToString::to_string), "changed the cloud");
                    outcome.changes.push(change(operation));
                }
                Ok(Applied::Pending { retry_after }) => {
                    outcome.changes.push(change(operation));
                    let waiting = Error::new(Kind::Pending { retry_after }, format!("waiting for: {operation}"));
                    failures.push((operation.service().cloned(), waiting));
                }
                Err(error) => failures.push((operation.service().cloned(), error.context(operation))),
            }
        }
        failures
    }
}

fn change<O: Operation>(operation: &O) -> Change {
    Change { service: operation.service().cloned(), what: operation.to_string() }
}

/// What a dry run can say about a service: what the model concludes from its observation, where no operation changes that.
/// Of a service with operations only its own mistakes are known.
fn foresee<O: Operation>(known: ServiceOutcome, key: &Key, operations: &[O]) -> ServiceOutcome {
    if operations.iter().all(|operation| operation.service().is_some_and(|owner| owner != key)) {
        return known;
    }
    let state = match known.state {
        ServiceState::Elsewhere => ServiceState::Elsewhere,
        _ => ServiceState::Unsettled,
    };
    let error = known.error.filter(|error| matches!(error.kind(), Kind::Invalid { .. } | Kind::Unsupported));
    ServiceOutcome { error, notes: known.notes, ..ServiceOutcome::of(state) }
}

/// Gives each failure to the services it concerns. Only one service can own an error; the others of the scope get one
/// that names the cause.
fn assign_failures(scope: &Scope, failures: Vec<(Option<Key>, Error)>, outcome: &mut Outcome) {
    for (service, error) in failures {
        let concerned: Vec<Key> = match service {
            Some(key) => vec![key],
            None => scope.wanted.iter().chain(&scope.unwanted).map(|service| service.key()).collect(),
        };
        let mut whole = Some(error);
        let (kind, text) = match &whole {
            Some(error) => (error.kind().clone(), error.chain()),
            None => continue,
        };
        for key in concerned {
            let error = whole.take().unwrap_or_else(|| Error::new(kind.clone(), text.clone()));
            let entry = outcome.services.entry(key).or_insert_with(|| ServiceOutcome::of(ServiceState::Unsettled));
            // A removal that failed half way is not finished, whatever the model concluded from its observation.
            if entry.state == ServiceState::Absent {
                entry.state = ServiceState::Unsettled;
            }
            // Why it does not go on says more than that it is not finished.
            if entry.error.as_ref().is_none_or(|error| matches!(error.kind(), Kind::Pending { .. })) {
                entry.error = Some(error);
            }
        }
    }
}

#[async_trait]
impl<M: Model> LoadBalancers for Reconciler<M> {
    fn scope(&self, service: &Service) -> ScopeId {
        self.model.scope(service)
    }

    fn backend(&self, service: &Service, node: &Node) -> Option<String> {
        self.model.backend(service, node)
    }

    fn concurrency(&self) -> usize {
        self.model.concurrency()
    }

    fn claims(&self, service: &Service) -> Vec<String> {
        self.model.claims(service)
    }

    async fn owned(&self, cluster_name: &str) -> Result<Option<Vec<Owned>>> {
        self.model.owned(cluster_name).await
    }

    async fn sync(&self, scope: &Scope, mode: Mode) -> Outcome {
        let mut outcome = Outcome { services: self.model.set_aside(scope).into_iter().collect(), ..Outcome::default() };
        let mut scope = scope.clone();
        scope.wanted.retain(|service| !outcome.services.contains_key(&service.key()));
        scope.unwanted.retain(|service| !outcome.services.contains_key(&service.key()));
        if scope.wanted.is_empty() && scope.unwanted.is_empty() {
            return outcome;
        }
        if let Err(error) = self.round(&scope, mode, &mut outcome).await {
            assign_failures(&scope, vec![(None, error)], &mut outcome);
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// What a service is told whose model concluded `known`, and of whose operations these failed.
    fn told(known: Option<Error>, failures: impl IntoIterator<Item = Error>) -> Kind {
        let key = Key { namespace: "default".into(), name: "web".into() };
        let known = ServiceOutcome { error: known, ..ServiceOutcome::of(ServiceState::Absent) };
        let mut outcome = Outcome { services: [(key.clone(), known)].into(), ..Outcome::default() };
        let scope = Scope {
            id: ScopeId("default/web".into()),
            cluster_name: "kubernetes".into(),
            wanted: Vec::new(),
            unwanted: Vec::new(),
            nodes: [].into(),
        };
        assign_failures(&scope, failures.into_iter().map(|error| (Some(key.clone()), error)).collect(), &mut outcome);
        let told = outcome.services.remove(&key).unwrap();
        assert_eq!(told.state, ServiceState::Unsettled, "what failed half way is not finished");
        told.error.unwrap().kind().clone()
    }

    #[test]
    fn a_real_failure_says_more_than_that_something_is_pending() {
        let pending = || Error::new(Kind::Pending { retry_after: Duration::from_secs(1) }, "not gone yet");
        let denied = || Error::new(Kind::Denied { permission: None }, "refused");
        assert!(matches!(told(Some(pending()), [denied()]), Kind::Denied { .. }));
        assert!(matches!(told(Some(denied()), [pending()]), Kind::Denied { .. }));
        assert!(matches!(told(None, [pending(), denied()]), Kind::Denied { .. }));
        assert!(matches!(told(None, [pending()]), Kind::Pending { .. }));
        assert!(matches!(told(Some(Error::transient("first")), [denied()]), Kind::Transient), "the first one stays");
    }
}
