//! The cloud node lifecycle controller: removes nodes whose instance is gone, taints those whose instance is stopped.
//!
//! Only nodes that are not Ready are looked at. A look-up of all of them together nominates; a node is deleted only after
//! its instance was gone for a grace period, the [`Guard`] lets it go, and a live read of that very instance says *gone*
//! once more. An error, an empty page or a stale answer is never *gone*.

mod findings;
mod guard;
mod write;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use kube::{Api, Client};
use prometheus::{Histogram, IntCounterVec, IntGauge};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::guard::{Guard, MAY_BE_DELETED};
use self::{findings::Findings, guard::Watch};
use super::{Managed, plan, plan::Plan, some_names};
use crate::{
    cloud::{Freshness, Instance, Instances, Want},
    cluster::{
        events::Recorder,
        objects::{Node, Object},
        store::Store,
    },
    error::Result,
    metrics::{Metrics, exponential_buckets},
    node::{taints, unmanaged::Unmanaged},
};

/// How the controller paces itself.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The time between two passes, from the end of one to the start of the next.
    pub monitor_period: Duration,
    /// Nodes written at the same time; `None` means automatic.
    pub concurrent_syncs: Option<usize>,
    /// How long an instance must be gone before its node is deleted.
    pub grace: Duration,
    /// The same for a node that is younger than `young`: its instance may not be visible everywhere yet.
    pub grace_young: Duration,
    /// Until what age a node counts as young.
    pub young: Duration,
    /// When too many nodes seem gone to delete any.
    pub guard: Guard,
    /// Nodes that are left alone.
    pub unmanaged: Unmanaged,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            monitor_period: Duration::from_secs(5),
            concurrent_syncs: None,
            grace: Duration::from_secs(10),
            grace_young: Duration::from_secs(60),
            young: Duration::from_secs(300),
            guard: Guard::default(),
            unmanaged: Unmanaged::default(),
        }
    }
}

/// The controller.
pub struct NodeLifecycleController {
    instances: Arc<dyn Instances>,
    nodes: Store<Node>,
    api: Api<Node>,
    recorder: Recorder,
    settings: Settings,
    duration: Histogram,
    calls: IntCounterVec,
    held: IntGauge,
}

/// What is remembered from one pass to the next.
struct Memory {
    /// Since when the instances of nodes have been gone, by the nodes' UIDs.
    gone_since: HashMap<String, Instant>,
    watch: Watch,
}

impl NodeLifecycleController {
    /// A controller over `nodes`, which somebody else feeds.
    pub fn new(
        instances: Arc<dyn Instances>,
        nodes: Store<Node>,
        client: Client,
        recorder: Recorder,
        settings: Settings,
        metrics: &Metrics,
    ) -> Self {
        Self {
            instances,
            nodes,
            api: Api::all(client),
            recorder,
            settings,
            duration: metrics.histogram(
                "cloud_node_lifecycle_controller_monitor_nodes_duration_seconds",
                "Time of one pass over all nodes.",
                &exponential_buckets(0.001, 2.0, 15),
            ),
            calls: metrics.counter_vec(
                "cloud_node_lifecycle_controller_cloud_provider_calls_total",
                "Instances asked for, by operation and result.",
                &["operation", "result"],
            ),
            held: metrics.gauge(
                "cloud_node_lifecycle_controller_deletions_held",
                "Nodes that are not deleted because too many seem gone at once.",
            ),
        }
    }

    /// Looks at all nodes, and at the instances of those that are not Ready.
    async fn find(&self, freshness: Freshness) -> Findings {
        let nodes = self.nodes.list().into_iter().filter(|node| !self.settings.unmanaged.matches(node));
        let (ready, unready): (Vec<_>, Vec<_>) = nodes.partition(|node| node.ready() == Some("True"));
        let answers = if unready.is_empty() { Vec::new() } else { self.look_up(&unready, freshness).await };
        Findings::sort(ready, unready.into_iter().zip(answers).collect())
    }

    async fn pass(&self, memory: &mut Memory) {
        let findings = self.find(Freshness::Within(self.settings.monitor_period)).await;
        self.each(findings.back.clone(), |node| async move { self.set_shutdown(&node, false).await }).await;
        self.each(findings.stopped.clone(), |node| async move { self.set_shutdown(&node, true).await }).await;
        memory.note(&findings);
        let due = findings.gone.iter().filter(|node| memory.gone_for(node) >= self.grace(node)).cloned().collect();
        let due = memory.watch.admit(due, &findings, &self.recorder);
        if !due.is_empty() {
            self.confirm_and_delete(due, memory).await;
        }
    }

    fn grace(&self, node: &Node) -> Duration {
        let age = node
            .metadata
            .creation_timestamp
            .as_ref()
            .and_then(|created| SystemTime::now().duration_since(SystemTime::from(created.0)).ok())
            .unwrap_or_default();
        if age < self.settings.young { self.settings.grace_young } else { self.settings.grace }
    }

    /// Asks the cloud, and says once per pass what went wrong, not once per node.
    async fn look_up(&self, nodes: &[Arc<Node>], freshness: Freshness) -> Vec<Result<Instance>> {
        let answers = self.instances.look_up(nodes, Want::State, freshness).await;
        let mut failed: Vec<(Arc<Node>, String)> = Vec::new();
        for (node, answer) in nodes.iter().zip(&answers) {
            let (exists, shutdown) = match answer {
                Ok(Instance::Gone) => ("instance_not_found", None),
                // One answer says both things, for which upstream makes two calls.
                Ok(_) => ("success", Some("success")),
                Err(error) => {
                    failed.push((node.clone(), error.chain()));
                    ("error", None)
                }
            };
            self.calls.with_label_values(&["instance_exists", exists]).inc();
            if let Some(shutdown) = shutdown {
                self.calls.with_label_values(&["instance_shutdown", shutdown]).inc();
            }
        }
        if let Some((_, error)) = failed.first() {
            let nodes: Vec<_> = failed.iter().map(|(node, _)| node.clone()).collect();
            tracing::warn!(nodes = %some_names(&nodes), %error, "instances not found out about, nodes are kept");
        }
        answers
    }

    /// The nodes whose grace period is over: only a live read of their instances lets them go.
    async fn confirm_and_delete(&self, due: Vec<Arc<Node>>, memory: &mut Memory) {
        let answers = self.look_up(&due, Freshness::Live).await;
        let mut confirmed = Vec::new();
        for (node, answer) in due.into_iter().zip(answers) {
            match answer {
                Ok(Instance::Gone) => confirmed.push(node),
                Ok(_) => {
                    tracing::info!(node = %node.name(), "instance is there after all, the node is kept");
                    memory.gone_since.remove(node.uid());
                }
                Err(_) => {}
            }
        }
        self.each(confirmed, |node| async move { self.delete(&node).await }).await;
    }
}

#[async_trait]
impl Managed for NodeLifecycleController {
    /// Runs until `token` is cancelled.
    async fn run(self: Box<Self>, token: CancellationToken) -> Result<()> {
        let passes = async {
            self.nodes.synced().await;
            let watch = Watch::new(self.settings.guard, self.held.clone());
            let mut memory = Memory { gone_since: HashMap::new(), watch };
            loop {
                let started = Instant::now();
                self.pass(&mut memory).await;
                self.duration.observe(started.elapsed().as_secs_f64());
                tokio::time::sleep(self.settings.monitor_period).await;
            }
        };
        tokio::select! {
            () = token.cancelled() => {}
            () = passes => {}
        }
        Ok(())
    }

    /// What the controller would do now. A run would wait for the grace periods before it deletes.
    async fn plan(&self) -> Plan {
        let mut plan = Plan::default();
        let taint = format!("{}:NoSchedule", taints::SHUTDOWN);
        let findings = self.find(Freshness::Live).await;
        for node in &findings.back {
            plan.cluster(plan::node(node), format!("remove taint {taint}: the node is ready"));
        }
        for node in &findings.stopped {
            plan.cluster(plan::node(node), format!("add taint {taint}: its instance is stopped"));
        }
        let (gone, population) = (findings.gone.len(), findings.population);
        let holds = self.settings.guard.holds(gone, population, false);
        for node in &findings.gone {
            if holds && !guard::may_go(node) {
                plan.note(plan::node(node), guard::explanation(node, gone, population));
            } else {
                plan.cluster(plan::node(node), "delete: its instance does not exist");
            }
        }
        for (node, error) in findings.unknown {
            plan.error(plan::node(&node), error.context("find out whether the instance exists"));
        }
        plan
    }
}

impl Memory {
    /// Keeps the clocks of nodes whose instance is still gone, and starts new ones. An error says nothing: the clock of a
    /// node that was gone goes on, and a live read decides.
    fn note(&mut self, findings: &Findings) {
        let mut since = HashMap::new();
        for node in &findings.gone {
            let start = self.gone_since.get(node.uid()).copied().unwrap_or_else(Instant::now);
            since.insert(node.uid().to_owned(), start);
        }
        for (node, _) in &findings.unknown {
            if let Some(start) = self.gone_since.get(node.uid()) {
                since.insert(node.uid().to_owned(), *start);
            }
        }
        self.gone_since = since;
    }

    fn gone_for(&self, node: &Node) -> Duration {
        self.gone_since.get(node.uid()).map(Instant::elapsed).unwrap_or_default()
    }
}
