//! The route controller: gives the pod ranges of nodes their routes in the cloud.
//!
//! ```text
//! timer, or node changes ─► queue ─► list routes ─► steps (pure) ─► Routes::apply ─► events, NetworkUnavailable
//!                             ▲                                         │
//!                             └──────── failed changes, with back-off ──┘
//! ```
//!
//! One pass at a time. A pass over a cluster in order costs one listing and writes nothing. What is remembered between
//! passes is only what failed, and when it is tried again.

mod cluster_cidrs;
mod condition;
mod pass;
mod retries;
mod steps;
#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use kube::{Api, Client};
use prometheus::IntCounterVec;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

pub use cluster_cidrs::ClusterCidrs;

use super::{Managed, plan::Plan};
use crate::{
    cloud::Routes,
    cluster::{
        events::Recorder,
        objects::Node,
        store::{Change, Store},
        workqueue::WorkQueue,
    },
    error::Result,
    metrics::Metrics,
};

/// With the watch: the time from the start of a pass to the start of the next one that a change of nodes asks for.
const SPACING: Duration = Duration::from_secs(10);

/// No pass is followed by another one sooner, whatever the cloud says.
const SOONEST: Duration = Duration::from_secs(1);

/// What the controller is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `--cluster-cidr`.
    pub cluster_cidrs: ClusterCidrs,
    /// When it looks.
    pub pacing: Pacing,
}

/// When the controller looks at all routes. In either mode what failed is tried again with back-off: after 10, 20, 40 and
/// then every 60 seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pacing {
    /// Every `--route-reconciliation-period`, from start to start.
    Timer(Duration),
    /// When nodes that have a range come, go, or change ranges or addresses, at most every 10 seconds; and after a random time between
    /// this one (`--min-resync-period`) and twice this one. Feature gate
    /// `CloudControllerManagerWatchBasedRoutesReconciliation`.
    Watch(Duration),
}

/// The controller.
pub struct RouteController {
    routes: Arc<dyn Routes>,
    nodes: Store<Node>,
    api: Api<Node>,
    recorder: Recorder,
    queue: WorkQueue<Trigger>,
    settings: Settings,
    syncs: IntCounterVec,
}

/// Why a pass is made: the key in the queue, and the label of the metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Trigger {
    Periodic,
    NodeChange,
}

impl Trigger {
    fn label(self) -> &'static str {
        match self {
            Self::Periodic => "periodic",
            Self::NodeChange => "node_change",
        }
    }

    /// Whether a change of nodes matters to routes. Nodes that have no range do not: a pass for each node that registers
    /// would put off the one that is needed when it gets its range.
    fn of(change: &Change<Node>) -> Option<Self> {
        let has_range = |node: &Node| !node.spec.pod_cidrs.is_empty();
        let matters = match change {
            Change::Added(node) | Change::Deleted(node) => has_range(node),
            Change::Updated { old, new } => {
                old.spec.pod_cidrs != new.spec.pod_cidrs
                    || has_range(new) && old.status.addresses != new.status.addresses
            }
        };
        matters.then_some(Self::NodeChange)
    }
}

impl RouteController {
    /// A controller over `nodes`, which somebody else feeds.
    pub fn new(
        routes: Arc<dyn Routes>,
        nodes: Store<Node>,
        client: Client,
        recorder: Recorder,
        settings: Settings,
        metrics: &Metrics,
    ) -> Self {
        Self {
            routes,
            nodes,
            api: Api::all(client),
            recorder,
            queue: WorkQueue::new("Routes", retries::BACKOFF, metrics),
            settings,
            syncs: metrics.counter_vec(
                "route_controller_route_sync_total",
                "[ALPHA] A metric counting the amount of times routes have been synced with the cloud provider.",
                &["outcome", "trigger"],
            ),
        }
    }

    /// Asks for a pass when nodes change, soon after the last one only when that is long enough ago.
    fn watch(&self, last: Arc<Mutex<Option<Instant>>>) {
        let queue = self.queue.clone();
        // The routes of nodes that went while nobody looked are seen to even where no node is left.
        queue.add(Trigger::NodeChange);
        self.nodes.subscribe(move |change| {
            if let Some(trigger) = Trigger::of(change) {
                let last = *last.lock().unwrap_or_else(PoisonError::into_inner);
                let wait = last.map_or(Duration::ZERO, |last: Instant| SPACING.saturating_sub(last.elapsed()));
                queue.add_after(trigger, wait);
            }
        });
    }

    /// Asks for the periodic passes. A pass that takes longer than the period is followed by the next one at once.
    async fn tick(&self) {
        match self.settings.pacing {
            Pacing::Timer(period) => {
                let mut timer = tokio::time::interval(period.max(Duration::from_millis(1)));
                timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
                loop {
                    timer.tick().await;
                    self.queue.add(Trigger::Periodic);
                }
            }
            Pacing::Watch(resync) => loop {
                tokio::time::sleep(resync.mul_f64(1.0 + rand::random::<f64>())).await;
                self.queue.add(Trigger::Periodic);
            },
        }
    }

    async fn work(&self, last: &Mutex<Option<Instant>>) {
        let mut retries = retries::Retries::new();
        while let Some(trigger) = self.queue.next().await {
            *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            match self.pass(*trigger, &mut retries).await {
                Ok(next) => {
                    self.queue.forget(&trigger);
                    if let Some(after) = next {
                        self.queue.add_after(*trigger, after.max(SOONEST));
                    }
                }
                Err(error) => {
                    let retry_in = self.queue.retry(*trigger, &error);
                    tracing::warn!(error = %error.chain(), ?retry_in, "routes not listed");
                }
            }
        }
    }
}

#[async_trait]
impl Managed for RouteController {
    /// Runs until `token` is cancelled; a pass in flight then ends at its next step.
    async fn run(self: Box<Self>, token: CancellationToken) -> Result<()> {
        let work = async {
            // Without all nodes a pass would take routes away.
            self.nodes.synced().await;
            let last = Arc::new(Mutex::new(None));
            if let Pacing::Watch(_) = self.settings.pacing {
                self.watch(last.clone());
            }
            tokio::join!(self.tick(), self.work(&last))
        };
        tokio::select! {
            () = token.cancelled() => {}
            ((), ()) = work => {}
        }
        self.queue.shut_down();
        Ok(())
    }

    async fn plan(&self) -> Plan {
        self.planned().await
    }
}
