//! The tagging controller: the instances of nodes get tags, and a label on each node says which.
//!
//! What has to be done for an instance follows from the nodes that there are: one with its provider ID means tags, none
//! means that they go. Work is therefore queued by instance, and a node that comes back while its tags are taken away is
//! tagged afterwards.

mod settings;
mod verdict;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use cloud_provider::{
    cluster::{
        objects::{Key, Node, Object as _},
        patch,
        store::{Change, Store},
        workqueue::{Gather, Taken, WorkQueue},
    },
    controllers::{
        Managed,
        plan::{self, Plan},
        rethrow,
    },
    error::Result,
    metrics::Metrics,
};
use futures::{StreamExt as _, future::join, stream};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use prometheus::{Histogram, IntCounterVec};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use settings::{Flags, Settings};
use verdict::{Action, Verdict};

use crate::{
    client::{self, Client},
    provider_id::{InstanceId, ProviderId},
};

/// The label on nodes whose instances were tagged; its value says with what.
const LABEL: &str = "k8s.io/cloud-provider-aws";
/// How instances are gathered into one call, as upstream with batching.
const GATHER: Gather = Gather { idle: Duration::from_millis(100), max_wait: Duration::from_secs(1), max_items: 50 };
/// Nodes of one batch that are labelled at the same time.
const WRITES: usize = 8;
/// So many retries come before an instance is given up until its node changes.
const RETRIES: u32 = 9;
/// Until what age of a node its instance may not be visible everywhere yet.
const YOUNG: Duration = Duration::from_secs(300);

/// The controller.
pub struct TaggingController {
    client: Client,
    nodes: Store<Node>,
    api: Api<Node>,
    settings: Settings,
    checksum: String,
    young: Duration,
    queue: WorkQueue<InstanceId>,
    /// The nodes of instances.
    names: Arc<Mutex<HashMap<InstanceId, Key>>>,
    errors: IntCounterVec,
    delay: Histogram,
}

impl TaggingController {
    /// A controller over `nodes`, which somebody else feeds; it labels them with `kubernetes`.
    pub fn new(
        client: Client,
        nodes: Store<Node>,
        kubernetes: kube::Client,
        settings: Settings,
        metrics: &Metrics,
    ) -> Self {
        Self {
            client,
            nodes,
            api: Api::all(kubernetes),
            checksum: settings.checksum(),
            young: YOUNG,
            queue: WorkQueue::new("tagging-controller", settings.backoff(), metrics),
            settings,
            names: Arc::default(),
            errors: metrics.counter_vec(
                "cloudprovider_aws_tagging_controller_work_item_errors_total",
                "[ALPHA] Failed attempts of the tagging controller, and instances that it gave up",
                &["error_type", "instance_id"],
            ),
            delay: metrics.histogram(
                "tagging_controller_inital_node_tagging_delay_seconds",
                "[ALPHA] Time from a node's creation until its instance was tagged first",
                &[1.0, 4.0, 16.0, 64.0, 256.0, 1024.0],
            ),
        }
    }

    /// Changes until what age of a node "not found" may pass by itself.
    #[must_use]
    pub fn with_young(mut self, young: Duration) -> Self {
        self.young = young;
        self
    }

    fn watch(self: &Arc<Self>) {
        let controller = self.clone();
        self.nodes.subscribe(move |change| {
            let (Change::Added(node) | Change::Updated { new: node, .. } | Change::Deleted(node)) = change;
            let Some(id) = instance_of(node) else { return };
            if matches!(change, Change::Deleted(_)) {
                controller.names().remove(&id);
                controller.enqueue(id);
            } else {
                controller.names().insert(id.clone(), node.key());
                if !controller.is_current(node) {
                    controller.enqueue(id);
                }
            }
        });
    }

    /// Work that the flags limit waits for its turn, whatever it is; else only retries do.
    fn enqueue(&self, id: InstanceId) {
        match self.settings.rate {
            Some(_) => drop(self.queue.add_rate_limited(id)),
            None => self.queue.add(id),
        }
    }

    fn names(&self) -> MutexGuard<'_, HashMap<InstanceId, Key>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_current(&self, node: &Node) -> bool {
        node.label(LABEL) == Some(self.checksum.as_str())
    }

    async fn work(self: Arc<Self>) {
        self.nodes.synced().await;
        while let Some(batch) = self.queue.next_batch(GATHER).await {
            self.work_on(batch).await;
        }
    }

    async fn work_on(&self, batch: Vec<Taken<InstanceId>>) {
        let (mut tag, mut untag) = (HashMap::new(), HashMap::new());
        for id in batch {
            let key = self.names().get(&*id).cloned();
            match key.and_then(|key| self.nodes.get(&key)) {
                Some(node) if self.is_current(&node) => self.queue.forget(&id),
                Some(node) => _ = tag.insert(id.clone(), (id, node)),
                None => _ = untag.insert(id.clone(), id),
            }
        }
        join(self.tag(tag), self.untag(untag)).await;
    }

    async fn tag(&self, batch: HashMap<InstanceId, (Taken<InstanceId>, Arc<Node>)>) {
        let (done, failed) = self.each(Action::Tag, batch.keys().cloned().collect()).await;
        for (id, error) in failed {
            let young = batch.get(&id).is_some_and(|(_, node)| age(node) < self.young);
            self.judge(Action::Tag, &id, &error, young);
        }
        let tagged = done.iter().filter_map(|id| batch.get(id));
        stream::iter(tagged).for_each_concurrent(WRITES, |(id, node)| self.label(id, node)).await;
    }

    async fn untag(&self, batch: HashMap<InstanceId, Taken<InstanceId>>) {
        let (done, failed) = self.each(Action::Untag, batch.keys().cloned().collect()).await;
        for id in done {
            tracing::info!(instance = %id, "took the tags off the instance of a deleted node");
            self.queue.forget(&id);
        }
        for (id, error) in failed {
            self.judge(Action::Untag, &id, &error, false);
        }
    }

    /// One call for all; where an instance among them is the reason of a failure, it is found by halving.
    async fn each(
        &self,
        action: Action,
        ids: Vec<InstanceId>,
    ) -> (Vec<InstanceId>, Vec<(InstanceId, Arc<client::Error>)>) {
        let (mut done, mut failed) = (Vec::new(), Vec::new());
        let mut waiting = VecDeque::from([ids.as_slice()]);
        while let Some(ids) = waiting.pop_front().filter(|ids| !ids.is_empty()) {
            let resources: Vec<&str> = ids.iter().map(InstanceId::as_str).collect();
            let result = match action {
                Action::Tag => self.client.create_tags(&resources, &self.settings.tags).await,
                Action::Untag => self.client.delete_tags(&resources, &self.settings.tags).await,
            };
            match result {
                Ok(()) => done.extend_from_slice(ids),
                Err(error) if ids.len() > 1 && verdict::is_about_one(&error) => {
                    let (left, right) = ids.split_at(ids.len() / 2);
                    waiting.extend([left, right]);
                }
                Err(error) => {
                    let error = Arc::new(error);
                    failed.extend(ids.iter().map(|id| (id.clone(), error.clone())));
                }
            }
        }
        (done, failed)
    }

    async fn label(&self, id: &InstanceId, node: &Node) {
        let labels = BTreeMap::from([(LABEL.to_owned(), self.checksum.clone())]);
        let written =
            self.api.patch(node.name(), &PatchParams::default(), &Patch::Strategic(patch::labels(&labels))).await;
        match written {
            Ok(_) => {
                tracing::info!(node = node.name(), instance = %id, "tagged the instance of a node");
                if node.label(LABEL).is_none() {
                    self.delay.observe(age(node).as_secs_f64());
                }
                self.queue.forget(id);
            }
            Err(kube::Error::Api(status)) if status.code == 404 => self.queue.forget(id),
            Err(error) => {
                let error = cloud_provider::Error::from(error);
                self.retry(id, "label the node", &error.chain(), true);
            }
        }
    }

    fn judge(&self, action: Action, id: &InstanceId, error: &client::Error, young: bool) {
        match verdict::of(action, error, young) {
            Verdict::Done => self.queue.forget(id),
            Verdict::Drop => {
                tracing::warn!(instance = %id, %error, request_id = error.request_id(), "{action} is given up");
                self.queue.forget(id);
            }
            Verdict::Retry { limited } => self.retry(id, &action.to_string(), &error.to_string(), limited),
        }
    }

    /// A failure that will pass is retried until it does, any other nine times, and again when the node changes.
    fn retry(&self, id: &InstanceId, what: &str, error: &str, limited: bool) {
        if limited && self.queue.failures(id) >= RETRIES {
            self.errors.with_label_values(&["errors_after_retries_exhausted", id.as_str()]).inc();
            tracing::error!(instance = %id, error, "{what} is given up after {RETRIES} retries");
            return self.queue.forget(id);
        }
        self.errors.with_label_values(&["total_errors", id.as_str()]).inc();
        let retry_in = self.queue.add_rate_limited(id.clone());
        tracing::warn!(instance = %id, error, ?retry_in, "{what} failed");
    }
}

#[async_trait]
impl Managed for TaggingController {
    /// Runs until `token` is cancelled; what is being worked on then is given up.
    async fn run(self: Box<Self>, token: CancellationToken) -> Result<()> {
        let controller = Arc::new(*self);
        controller.watch();
        let mut workers = JoinSet::new();
        for _ in 0..controller.settings.workers {
            workers.spawn(controller.clone().work());
        }
        tokio::select! {
            () = token.cancelled() => {}
            // Workers do not end by themselves: this is a panic, which goes on here and ends the process.
            Some(ended) = workers.join_next() => rethrow(ended),
        }
        controller.queue.shut_down();
        Ok(())
    }

    /// What would be changed now, see [`Managed::plan`].
    async fn plan(&self) -> Plan {
        let mut plan = Plan::default();
        for node in self.nodes.list() {
            let Some(id) = instance_of(&node) else { continue };
            if !self.is_current(&node) {
                let tags: Vec<String> =
                    self.settings.tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
                plan.cloud(plan::node(&node), format!("set tags {} on instance {id}", tags.join(",")));
                plan.cluster(plan::node(&node), format!("set label {LABEL}={}", self.checksum));
            }
        }
        plan
    }
}

/// The EC2 instance of a node. Nodes on Fargate and of other clouds are left alone.
fn instance_of(node: &Node) -> Option<InstanceId> {
    match ProviderId::parse(node.provider_id()?) {
        Ok(ProviderId::Instance(id)) => Some(id),
        Ok(ProviderId::Fargate(_) | ProviderId::Foreign) => None,
        Err(error) => {
            tracing::debug!(node = node.name(), %error, "a node is not tagged, since its provider ID cannot be read");
            None
        }
    }
}

fn age(node: &Node) -> Duration {
    let created = node.metadata.creation_timestamp.as_ref();
    created.and_then(|created| SystemTime::now().duration_since(SystemTime::from(created.0)).ok()).unwrap_or_default()
}
