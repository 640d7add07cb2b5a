//! The cloud node controller: tells new nodes what their instances are, and keeps addresses and labels true.
//!
//! A node that registers with the uninitialized taint is gathered with its like into a batch, and one look-up serves the
//! batch. Each node then gets, in this order: its addresses (status), then provider ID and labels together with the
//! removal of the taint, in one conditional write. So a node is never schedulable before its addresses are known.

mod batches;
mod decide;
mod initialize;
mod plan;
mod refresh;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures::StreamExt;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use prometheus::Histogram;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::decide::stale_labels;
use batches::{Batches, LookUp};

use super::{Managed, plan::Plan, rethrow};
use crate::{
    cloud::Instances,
    cluster::{
        events::Recorder,
        objects::{Key, Node, Object},
        patch,
        store::{Change, Store},
        workqueue::{Taken, WorkQueue},
    },
    error::{Result, warn_of},
    metrics::Metrics,
    node::{taints, unmanaged::Unmanaged},
};

/// How many batches are worked on at the same time.
const BATCHES: usize = 4;
/// Writes at the same time where the flags do not say.
const AUTOMATIC_WRITES: usize = 16;

/// How the controller paces itself.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Nodes of one batch that are written at the same time; `None` means automatic.
    pub concurrent_node_syncs: Option<usize>,
    /// Nodes whose status is written at the same time in the periodic pass; `None` means as above.
    pub concurrent_node_status_updates: Option<usize>,
    /// The time between two passes over all addresses, from the end of one to the start of the next.
    pub status_update_frequency: Duration,
    /// Nodes that are left alone.
    pub unmanaged: Unmanaged,
    /// Whether the periodic pass also writes instance type, zone and region anew where the cloud says otherwise.
    pub refresh_labels: bool,
    /// The same for the cloud's additional labels (gate `CloudNodeAdditionalLabelsReconciliation`).
    pub refresh_additional_labels: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            concurrent_node_syncs: None,
            concurrent_node_status_updates: None,
            status_update_frequency: Duration::from_secs(300),
            unmanaged: Unmanaged::default(),
            refresh_labels: false,
            refresh_additional_labels: false,
        }
    }
}

/// The controller.
pub struct NodeController {
    instances: Arc<dyn Instances>,
    nodes: Store<Node>,
    api: Api<Node>,
    recorder: Recorder,
    queue: WorkQueue<Key>,
    /// Nodes, by UID, whose taint was taken and that the store still shows tainted: it lags behind our own writes.
    untainted: Arc<Mutex<HashSet<String>>>,
    settings: Settings,
    taint_removal_delay: Histogram,
    initial_sync_delay: Histogram,
}

impl NodeController {
    /// A controller over `nodes`, which somebody else feeds.
    pub fn new(
        instances: Arc<dyn Instances>,
        nodes: Store<Node>,
        client: Client,
        recorder: Recorder,
        settings: Settings,
        metrics: &Metrics,
    ) -> Self {
        const BUCKETS: &[f64] = &[1.0, 4.0, 16.0, 64.0, 256.0, 1024.0];
        Self {
            instances,
            nodes,
            api: Api::all(client),
            recorder,
            queue: WorkQueue::new("Nodes", batches::RETRIES, metrics),
            untainted: Arc::default(),
            settings,
            taint_removal_delay: metrics.histogram(
                "node_controller_cloud_provider_taint_removal_delay_seconds",
                "Time from a node's creation to the removal of its uninitialized taint.",
                BUCKETS,
            ),
            initial_sync_delay: metrics.histogram(
                "node_controller_initial_node_sync_delay_seconds",
                "Time from a node's creation to its first complete synchronisation.",
                BUCKETS,
            ),
        }
    }

    /// Takes batches from the queue, a few at a time.
    async fn work(self: Arc<Self>) {
        self.nodes.synced().await;
        let mut working = JoinSet::new();
        let mut batches = Batches::new(self.queue.clone());
        while let Some((batch, look_up)) = batches.next().await {
            while working.len() >= BATCHES {
                if let Some(finished) = working.join_next().await {
                    rethrow(finished);
                }
            }
            while let Some(finished) = working.try_join_next() {
                rethrow(finished);
            }
            working.spawn(self.clone().work_on(batch, look_up));
        }
    }

    async fn work_on(self: Arc<Self>, batch: Vec<Taken<Key>>, look_up: LookUp) {
        let mut fresh = Vec::new();
        for key in batch {
            match self.nodes.get(&key) {
                Some(node) if self.waits(&node) && lock(&self.untainted).contains(node.uid()) => {
                    self.queue.forget(&key);
                }
                Some(node) if self.waits(&node) => fresh.push((key, node)),
                Some(node) => self.follow_older_labels(&key, &node).await,
                None => self.queue.forget(&key),
            }
        }
        if !fresh.is_empty() {
            self.initialize(fresh, look_up).await;
        }
    }

    /// All nodes but those that are left alone.
    fn managed_nodes(&self) -> Vec<Arc<Node>> {
        self.nodes.list().into_iter().filter(|node| !self.settings.unmanaged.matches(node)).collect()
    }

    /// Whether a node waits for its initialisation by this process.
    fn waits(&self, node: &Node) -> bool {
        taints::is_uninitialized(node) && !self.settings.unmanaged.matches(node)
    }

    /// For an initialised node whose current labels differ from the older ones.
    async fn follow_older_labels(&self, key: &Key, node: &Node) {
        let labels = stale_labels(node);
        if labels.is_empty() {
            return self.queue.forget(key);
        }
        let written =
            self.api.patch(node.name(), &PatchParams::default(), &Patch::Strategic(patch::labels(&labels))).await;
        match written {
            Ok(_) => self.queue.forget(key),
            Err(kube::Error::Api(status)) if status.code == 404 => self.queue.forget(key),
            Err(error) => {
                let retry_in = self.queue.add_rate_limited(key.clone());
                let error = crate::Error::from(error);
                warn_of!(error, node = %key, error = %error.chain(), ?retry_in, "failed update labels for node");
            }
        }
    }

    /// Bounded concurrency for writes of `T`s.
    async fn each<T, F: Future<Output = ()>>(&self, limit: Option<usize>, items: Vec<T>, work: impl FnMut(T) -> F) {
        let limit = limit.unwrap_or(AUTOMATIC_WRITES).max(1);
        futures::stream::iter(items).for_each_concurrent(limit, work).await;
    }
}

#[async_trait]
impl Managed for NodeController {
    /// Runs until `token` is cancelled; what is being worked on then is finished up to its next write.
    async fn run(self: Box<Self>, token: CancellationToken) -> Result<()> {
        let (queue, untainted, unmanaged) =
            (self.queue.clone(), self.untainted.clone(), self.settings.unmanaged.clone());
        self.nodes.subscribe(move |change| {
            let (Change::Added(node) | Change::Updated { new: node, .. } | Change::Deleted(node)) = change;
            let gone = matches!(change, Change::Deleted(_));
            if gone || !taints::is_uninitialized(node) {
                lock(&untainted).remove(node.uid());
            }
            if gone || unmanaged.matches(node) {
                return;
            }
            if taints::is_uninitialized(node) || !stale_labels(node).is_empty() {
                queue.add(node.key());
            }
        });
        let controller = Arc::new(*self);
        tokio::select! {
            () = token.cancelled() => {}
            () = controller.clone().work() => {}
            () = controller.refresh_all() => {}
        }
        controller.queue.shut_down();
        Ok(())
    }

    async fn plan(&self) -> Plan {
        self.planned().await
    }
}

fn lock(set: &Mutex<HashSet<String>>) -> MutexGuard<'_, HashSet<String>> {
    set.lock().unwrap_or_else(PoisonError::into_inner)
}
