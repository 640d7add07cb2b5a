//! One pass: list, compare, apply, tell.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use kube::api::{Patch, PatchParams};
use tokio::time::Instant;

use super::{
    RouteController, Trigger,
    condition::Network,
    retries::{Attempt, BACKOFF, Retries},
    steps::{NodeSteps, Outlook, Steps, steps},
};
use crate::{
    Error, Kind,
    cloud::routes::{Change, Creation},
    cluster::{
        events::{Severity, Subject},
        objects::{NETWORK_UNAVAILABLE, Node, Object},
    },
    config::duration::GoDuration,
    controllers::plan::{self, Plan},
    error::{Result, warn_of},
};

/// Conditions written at the same time.
const WRITES: usize = 16;
/// How often a condition is written anew when the node changed meanwhile, and the pause before, as upstream's.
const CONFLICT_TRIES: u32 = 5;
const CONFLICT_PAUSE: Duration = Duration::from_millis(100);
/// When to look again at routes that the cloud is busy with, where it did not say.
const PENDING: Duration = Duration::from_secs(5);

impl RouteController {
    /// Makes a pass and says after which time another one is needed, if at all.
    ///
    /// # Errors
    ///
    /// Where the routes cannot be listed. What fails after that is told on the nodes and remembered in `retries`.
    pub(super) async fn pass(&self, trigger: Trigger, retries: &mut Retries) -> Result<Option<Duration>> {
        let count = |outcome| self.syncs.with_label_values(&[outcome, trigger.label()]).inc();
        let nodes = self.nodes.list();
        let routes = self.routes.list(&nodes).await.inspect_err(|_| count("error"))?;
        let steps = steps(&nodes, &routes, &self.settings.cluster_cidrs);
        let attempts = self.apply(&steps.changes, retries).await;
        let again = retries.record(&steps.changes, &attempts);
        let changed = attempts.iter().any(|attempt| matches!(attempt, Attempt::Done));
        let unwritten = self.write_conditions(verdicts(&steps, &attempts)).await;
        count(if changed { "changed" } else { "noop" });
        let looks = [again, steps.pending.then_some(PENDING), unwritten.then_some(BACKOFF.base)];
        Ok(looks.into_iter().flatten().min())
    }

    /// What the next pass would change.
    pub(super) async fn planned(&self) -> Plan {
        let mut plan = Plan::default();
        let nodes = self.nodes.list();
        let routes = match self.routes.list(&nodes).await {
            Ok(routes) => routes,
            Err(error) => {
                plan.error("routes", error);
                return plan;
            }
        };
        let steps = steps(&nodes, &routes, &self.settings.cluster_cidrs);
        for change in &steps.changes {
            let object = change.node().map_or_else(|| "routes".into(), |node| format!("node {node}"));
            plan.cloud(object, change);
        }
        // As if all of it succeeded.
        let attempts: Vec<Attempt> = steps.changes.iter().map(|_| Attempt::Done).collect();
        for (node, network) in verdicts(&steps, &attempts) {
            if !network.is_on(&node) {
                let what = format!("set {NETWORK_UNAVAILABLE}={} ({})", network.status(), network.reason());
                plan.cluster(plan::node(&node), what);
            }
        }
        plan
    }

    /// Tries the changes whose time it is, and tells what failed: one line in the log, an event on each node.
    async fn apply(&self, changes: &[Change], retries: &Retries) -> Vec<Attempt> {
        let due = retries.due(changes);
        let chosen: Vec<Change> = changes.iter().zip(&due).filter(|(_, due)| **due).map(|(c, _)| c.clone()).collect();
        let started = Instant::now();
        let mut results = match chosen.is_empty() {
            true => Vec::new(),
            false => self.routes.apply(&chosen).await,
        };
        let took = started.elapsed();
        if results.len() != chosen.len() {
            tracing::error!(
                changes = chosen.len(),
                results = results.len(),
                "the provider has to give one result per change"
            );
            results = chosen.iter().map(|_| Err(Error::transient("the provider gave no result"))).collect();
        }
        let mut failed: Vec<(&Change, String)> = Vec::new();
        let mut attempts = Vec::with_capacity(changes.len());
        let mut results = results.into_iter();
        for (change, due) in changes.iter().zip(due) {
            let attempt = match if due { results.next() } else { None } {
                None => Attempt::Held,
                Some(Ok(())) => {
                    tracing::info!(node = change.node(), "{change}: done");
                    Attempt::Done
                }
                Some(Err(error)) => match error.kind() {
                    Kind::Pending { .. } => Attempt::Waiting(error.retry_after()),
                    Kind::Refused => Attempt::Waiting(None),
                    _ => {
                        failed.push((change, error.chain()));
                        Attempt::Failed(error)
                    }
                },
            };
            attempts.push(attempt);
        }
        if let Some((change, error)) = failed.first() {
            tracing::warn!(failed = failed.len(), of = chosen.len(), first = %change, %error, "routes not changed, trying again");
        }
        for (change, error) in failed {
            if let Change::Create(creation) = change {
                self.tell(creation, &error, took);
            }
        }
        attempts
    }

    /// Upstream's event, whose subject has the node's name for its UID.
    fn tell(&self, creation: &Creation, error: &str, took: Duration) {
        let (name, took) = (creation.node.name(), GoDuration::from(took));
        let (hint, destination) = (creation.name_hint(), &creation.destination);
        let subject = Subject { kind: "Node".into(), name: name.into(), uid: name.into(), ..Subject::default() };
        let message = format!("Could not create route {hint} {destination} for node {name} after {took}: {error}");
        self.recorder.event(&subject, Severity::Warning, "FailedToCreateRoute", message);
    }

    /// Writes the conditions that nodes do not have yet; true where at least one could not be written.
    async fn write_conditions(&self, verdicts: Vec<(Arc<Node>, Network)>) -> bool {
        let write = |(node, network): (Arc<Node>, Network)| async move {
            // Changes may have taken long; what the node says now counts.
            let Some(now) = self.nodes.get(&node.key()).filter(|now| now.uid() == node.uid()) else { return false };
            if network.is_on(&now) {
                return false;
            }
            let result = self.write_condition(node.name(), network).await;
            if let Err(error) = &result {
                warn_of!(error, node = node.name(), error = %error.chain(), "{NETWORK_UNAVAILABLE} not written, trying again");
            }
            result.is_err()
        };
        stream::iter(verdicts)
            .map(write)
            .buffer_unordered(WRITES)
            .fold(false, |any, failed| async move { any | failed })
            .await
    }

    async fn write_condition(&self, node: &str, network: Network) -> Result<()> {
        for tries in 1.. {
            match self.api.patch_status(node, &PatchParams::default(), &Patch::Strategic(network.patch())).await {
                Ok(_) => break,
                Err(kube::Error::Api(status)) if status.code == 404 => break,
                Err(kube::Error::Api(status)) if status.code == 409 && tries < CONFLICT_TRIES => {
                    tokio::time::sleep(CONFLICT_PAUSE.mul_f64(1.0 + rand::random::<f64>())).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// What is to stand on the nodes, given what became of the changes; nothing where that is not decided yet.
pub(super) fn verdicts(steps: &Steps, attempts: &[Attempt]) -> Vec<(Arc<Node>, Network)> {
    let verdict = |node: &NodeSteps| {
        let attempts = attempts.get(node.creations.clone()).unwrap_or_default();
        let failed = |attempt: &Attempt| matches!(attempt, Attempt::Failed(_) | Attempt::Held);
        let waiting = |attempt: &Attempt| matches!(attempt, Attempt::Waiting(_));
        let network = match node.outlook {
            Outlook::Bad => Some(Network::Unrouted),
            _ if attempts.iter().any(failed) => Some(Network::Unrouted),
            Outlook::Pending => None,
            Outlook::Good if attempts.iter().any(waiting) => None,
            Outlook::Good => Some(Network::Routed),
        };
        network.map(|network| (node.node.clone(), network))
    };
    steps.nodes.iter().filter_map(verdict).collect()
}
