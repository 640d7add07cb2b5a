//! The cloud node lifecycle controller: removes nodes whose instance is gone, taints those whose instance is stopped.
//!
//! Only nodes that are not Ready are looked at. A look-up of all of them together nominates; a node is deleted only after
//! its instance was gone for a grace period and a live read of that very instance says *gone* once more. An error, an
//! empty page or a stale answer is never *gone*.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use futures::StreamExt;
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use prometheus::{Histogram, IntCounterVec};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Managed, about_node, is_virtual, some_names};
use crate::{
    Error,
    cloud::{Freshness, Instance, Instances, Power, Want},
    cluster::{
        events::{Recorder, Severity},
        objects::{Node, Object},
        patch,
        store::Store,
    },
    error::Result,
    metrics::{Metrics, exponential_buckets},
    node::taints,
};

/// Nodes written at the same time where the flag does not say.
const AUTOMATIC_WRITES: usize = 8;
/// How often a write is tried anew when the node changed meanwhile.
const CONFLICT_TRIES: usize = 5;

/// How the controller paces itself.
#[derive(Debug, Clone, Copy)]
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
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            monitor_period: Duration::from_secs(5),
            concurrent_syncs: None,
            grace: Duration::from_secs(10),
            grace_young: Duration::from_secs(60),
            young: Duration::from_secs(300),
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
}

/// Since when the instances of nodes have been gone, by the nodes' UIDs.
type GoneSince = HashMap<String, Instant>;

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
        }
    }

    /// Runs until `token` is cancelled.
    pub async fn run(self, token: CancellationToken) {
        let passes = async {
            self.nodes.synced().await;
            let mut gone_since = GoneSince::new();
            loop {
                let started = Instant::now();
                self.pass(&mut gone_since).await;
                self.duration.observe(started.elapsed().as_secs_f64());
                tokio::time::sleep(self.settings.monitor_period).await;
            }
        };
        tokio::select! {
            () = token.cancelled() => {}
            () = passes => {}
        }
    }

    async fn pass(&self, gone_since: &mut GoneSince) {
        let nodes: Vec<_> = self.nodes.list().into_iter().filter(|node| !is_virtual(node)).collect();
        let (ready, unready): (Vec<_>, Vec<_>) = nodes.into_iter().partition(|node| node.ready() == Some("True"));
        let back: Vec<_> =
            ready.into_iter().filter(|node| taints::has(&node.spec.taints, &taints::shutdown())).collect();
        self.each(back, |node| async move { self.set_shutdown(&node, false).await }).await;
        if unready.is_empty() {
            return gone_since.clear();
        }

        let answers = self.look_up(&unready, Freshness::Within(self.settings.monitor_period)).await;
        let mut stopped = Vec::new();
        let mut nominated = GoneSince::new();
        let mut due = Vec::new();
        for (node, answer) in unready.iter().zip(answers) {
            match answer {
                Ok(Instance::Present { power: Power::Stopped, .. }) => stopped.push(node.clone()),
                Ok(Instance::Gone) => {
                    let since = gone_since.get(node.uid()).copied().unwrap_or_else(Instant::now);
                    nominated.insert(node.uid().to_owned(), since);
                    if since.elapsed() >= self.grace(node) {
                        due.push(node.clone());
                    }
                }
                Ok(_) => {}
                // An error says nothing: the clock of a node that was gone goes on, and a live read decides.
                Err(_) => {
                    if let Some(since) = gone_since.get(node.uid()) {
                        nominated.insert(node.uid().to_owned(), *since);
                    }
                }
            }
        }
        *gone_since = nominated;
        let untainted: Vec<_> =
            stopped.into_iter().filter(|node| !taints::has(&node.spec.taints, &taints::shutdown())).collect();
        self.each(untainted, |node| async move { self.set_shutdown(&node, true).await }).await;
        if !due.is_empty() {
            self.confirm_and_delete(due, gone_since).await;
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
            let result = match answer {
                Ok(Instance::Gone) => "instance_not_found",
                Ok(_) => "success",
                Err(error) => {
                    failed.push((node.clone(), error.chain()));
                    "error"
                }
            };
            self.calls.with_label_values(&["instance_exists", result]).inc();
        }
        if let Some((_, error)) = failed.first() {
            let nodes: Vec<_> = failed.iter().map(|(node, _)| node.clone()).collect();
            tracing::warn!(nodes = %some_names(&nodes), %error, "instances not found out about, nodes are kept");
        }
        answers
    }

    /// The nodes whose grace period is over: only a live read of their instances lets them go.
    async fn confirm_and_delete(&self, due: Vec<Arc<Node>>, gone_since: &mut GoneSince) {
        let answers = self.look_up(&due, Freshness::Live).await;
        let mut confirmed = Vec::new();
        for (node, answer) in due.into_iter().zip(answers) {
            match answer {
                Ok(Instance::Gone) => confirmed.push(node),
                Ok(_) => {
                    tracing::info!(node = %node.name(), "instance is there after all, the node is kept");
                    gone_since.remove(node.uid());
                }
                Err(_) => {}
            }
        }
        self.each(confirmed, |node| async move { self.delete(&node).await }).await;
    }

    async fn delete(&self, node: &Node) {
        // The store may lag: a node that came back meanwhile stays.
        let still =
            self.nodes.get(&node.key()).is_some_and(|now| now.uid() == node.uid() && now.ready() != Some("True"));
        if !still {
            return;
        }
        let name = node.name();
        tracing::info!(node = %name, provider_id = node.provider_id(), "deleting node, its instance does not exist any more");
        let message = format!("Deleting node {name} because it does not exist in the cloud provider");
        self.recorder.event(&about_node(node), Severity::Normal, "DeletingNode", message);
        let preconditions = Preconditions { uid: Some(node.uid().to_owned()), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        match self.api.delete(name, &params).await {
            Ok(_) => {}
            // Gone already, or another node has this name now.
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => {}
            Err(error) => {
                let error = Error::from(error).chain();
                tracing::warn!(node = %name, %error, "failed deleting node, next try in the next pass");
                let message = format!("Failed deleting node {name}: {error}");
                self.recorder.event(&about_node(node), Severity::Warning, "DeletingNodeFailed", message);
            }
        }
    }

    /// Adds or removes the shutdown taint; conditional on the node being unchanged since it was read.
    async fn set_shutdown(&self, node: &Node, stopped: bool) {
        let result = self.write_shutdown(node, stopped).await;
        match result {
            Ok(()) => tracing::info!(node = %node.name(), stopped, "set the shutdown taint by the instance's state"),
            Err(error) if error.is_not_found() => {}
            Err(error) => {
                tracing::warn!(node = %node.name(), stopped, error = %error.chain(), "shutdown taint not written, next try in the next pass");
            }
        }
    }

    async fn write_shutdown(&self, node: &Node, stopped: bool) -> Result<()> {
        let mut live = None;
        for tries in 1.. {
            let node: &Node = live.as_ref().unwrap_or(node);
            let current = &node.spec.taints;
            let change = if stopped { taints::with } else { taints::without };
            let wanted = change(current, &taints::shutdown());
            if wanted == *current {
                break;
            }
            let version = node.metadata.resource_version.as_deref().unwrap_or_default();
            let patch = Patch::Strategic(patch::node_taints(version, &wanted));
            match self.api.patch(node.name(), &PatchParams::default(), &patch).await {
                Ok(_) => break,
                Err(kube::Error::Api(status)) if status.code == 409 && tries < CONFLICT_TRIES => {}
                Err(error) => return Err(error.into()),
            }
            live = Some(self.api.get(node.name()).await?);
        }
        Ok(())
    }

    async fn each<F: Future<Output = ()>>(&self, nodes: Vec<Arc<Node>>, work: impl FnMut(Arc<Node>) -> F) {
        let limit = self.settings.concurrent_syncs.unwrap_or(AUTOMATIC_WRITES).max(1);
        futures::stream::iter(nodes).for_each_concurrent(limit, work).await;
    }
}

#[async_trait]
impl Managed for NodeLifecycleController {
    async fn run(self: Box<Self>, token: CancellationToken) -> Result<()> {
        Self::run(*self, token).await;
        Ok(())
    }
}
