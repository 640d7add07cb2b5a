//! Allocation by the cloud: what it assigned to an instance is copied to the node.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::StreamExt;
use ipnet::IpNet;
use jiff::Timestamp;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{NOT_ASSIGNED, NOT_AVAILABLE, announce, settings::Stack};
use crate::{
    Error, Kind,
    cloud::{Assignment, Freshness, PodRanges},
    cluster::{
        events::Recorder,
        objects::{Key, NETWORK_UNAVAILABLE, Node, Object},
        patch,
        store::{Change, Store},
        workqueue::{Backoff, Bucket, Gather, Taken, WorkQueue},
    },
    controllers::{
        Managed,
        plan::{self, Plan},
        rethrow,
    },
    error::{Result, warn_of},
    metrics::Metrics,
};

/// How nodes are gathered into batches.
const GATHER: Gather = Gather { idle: Duration::from_millis(100), max_wait: Duration::from_secs(1), max_items: 500 };
/// How many batches are worked on at the same time.
const BATCHES: usize = 4;
/// Nodes of one batch that are written at the same time.
const WRITES: usize = 16;
/// How old an answer may be: as long as a batch gathers.
const FRESH: Duration = Duration::from_secs(1);
/// Upstream gives a node up after 20 tries of 250 ms to 15 s, until it changes; here it is tried on, ever more slowly.
const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(250),
    max: Duration::from_secs(300),
    bucket: Some(Bucket { qps: 10.0, burst: 100 }),
};

const NETWORK_UNAVAILABLE_TAINT: &str = "node.kubernetes.io/network-unavailable";
const REASON: &str = "RouteCreated";
/// Visible to CNI plugins, so it keeps upstream's words.
const MESSAGE: &str = "NodeController create implicit route";

/// Copies the ranges that the cloud assigned to instances to their nodes, and tells that their network is available, since
/// a cloud that assigns ranges routes to them too. Releases nothing: that is the cloud's business.
pub struct CloudAllocator {
    ranges: Arc<dyn PodRanges>,
    nodes: Store<Node>,
    api: Api<Node>,
    recorder: Recorder,
    queue: WorkQueue<Key>,
    stack: Stack,
}

/// Why a node got nothing, and the reason of the event that says so.
struct Failure {
    error: Error,
    reason: Option<&'static str>,
}

/// What to write to a node.
struct Wanted {
    /// `None` where the node has them already.
    cidrs: Option<Vec<String>>,
    network_available: bool,
}

impl CloudAllocator {
    /// An allocator over `nodes`, which somebody else feeds.
    pub fn new(
        ranges: Arc<dyn PodRanges>,
        nodes: Store<Node>,
        client: Client,
        recorder: Recorder,
        stack: Stack,
        metrics: &Metrics,
    ) -> Self {
        let queue = WorkQueue::new("cloudCIDRAllocator", BACKOFF, metrics);
        Self { ranges, nodes, api: Api::all(client), recorder, queue, stack }
    }

    async fn work(self: Arc<Self>) {
        self.nodes.synced().await;
        let mut batches = JoinSet::new();
        while let Some(batch) = self.queue.next_batch(GATHER).await {
            while batches.len() >= BATCHES {
                if let Some(finished) = batches.join_next().await {
                    rethrow(finished);
                }
            }
            while let Some(finished) = batches.try_join_next() {
                rethrow(finished);
            }
            batches.spawn(self.clone().work_on(batch));
        }
    }

    async fn work_on(self: Arc<Self>, batch: Vec<Taken<Key>>) {
        let mut nodes = Vec::new();
        for key in &batch {
            match self.nodes.get(key).filter(|node| wants_work(node)) {
                Some(node) => nodes.push(node),
                None => self.queue.forget(key),
            }
        }
        let answers = self.ask(nodes).await;
        futures::stream::iter(answers)
            .for_each_concurrent(WRITES, |(node, answer)| {
                let this = &self;
                async move {
                    match this.assign(&node, answer).await {
                        Ok(()) => this.queue.forget(&node.key()),
                        Err(failure) => this.try_again(&node, failure),
                    }
                }
            })
            .await;
    }

    /// What the cloud says about each of `nodes`; only those with a provider ID are asked for.
    async fn ask(&self, nodes: Vec<Arc<Node>>) -> Vec<(Arc<Node>, Result<Assignment, Failure>)> {
        let (known, nameless): (Vec<_>, Vec<_>) = nodes.into_iter().partition(|node| node.provider_id().is_some());
        let mut answers = Vec::new();
        for node in nameless {
            let problem = format!("node {} doesn't have providerID", node.name());
            answers.push((node, Err(Failure { error: Error::transient(problem), reason: None })));
        }
        if known.is_empty() {
            return answers;
        }
        let assigned = self.ranges.assigned(&known, Freshness::Within(FRESH)).await;
        debug_assert_eq!(assigned.len(), known.len(), "one answer per node is the trait's contract");
        let assigned = assigned.into_iter().map(|answer| {
            answer.map_err(|error| {
                let error = error.context("failed to get instance from provider");
                // A cloud that is asked too much says nothing about the node.
                let throttled = matches!(error.kind(), Kind::Throttled { .. });
                Failure { error, reason: (!throttled).then_some(NOT_AVAILABLE) }
            })
        });
        answers.extend(known.into_iter().zip(assigned));
        answers
    }

    /// What to write to a node, by the cloud's answer; `None` for a node that is left alone.
    fn wanted(&self, node: &Node, answer: Result<Assignment, Failure>) -> Result<Option<Wanted>, Failure> {
        let name = node.name();
        let none = || format!("failed to allocate cidr: Node {name} has no ranges from which CIDRs can be allocated");
        let ranges = match answer? {
            Assignment::Ranges(ranges) => ranges,
            Assignment::Pending => {
                let error = Error::transient(format!("the cloud has assigned no pod ranges to node {name} yet"));
                return Err(Failure { error, reason: None });
            }
            Assignment::None => {
                return Err(Failure { error: Error::transient(none()), reason: Some(NOT_AVAILABLE) });
            }
            Assignment::Unknown => {
                let error =
                    Error::not_found(format!("failed to get instance from provider: there is none of node {name}"));
                return Err(Failure { error, reason: Some(NOT_AVAILABLE) });
            }
            Assignment::Foreign => return Ok(None),
        };
        let Some(chosen) = self.stack.choose(&ranges) else {
            let problem = format!("{} for the cluster stack family {}", none(), self.stack);
            return Err(Failure { error: Error::transient(problem), reason: None });
        };
        let cidrs: Vec<String> = chosen.iter().map(|range: &IpNet| range.trunc().to_string()).collect();
        let has = &node.spec.pod_cidrs;
        if !has.is_empty() && *has != cidrs {
            let (has, cidrs) = (has.join(", "), cidrs.join(", "));
            let problem = format!(
                "node {name} has podCIDRs {has}, which cannot be changed, but the cloud assigned {cidrs}: delete the node \
                 object so that its kubelet registers it anew"
            );
            return Err(Failure { error: Error::invalid("spec.podCIDRs", problem), reason: Some(NOT_ASSIGNED) });
        }
        Ok(Some(Wanted { cidrs: has.is_empty().then_some(cidrs), network_available: network_is_available(node) }))
    }

    async fn assign(&self, node: &Node, answer: Result<Assignment, Failure>) -> Result<(), Failure> {
        let Some(wanted) = self.wanted(node, answer)? else { return Ok(()) };
        let params = PatchParams::default();
        if let Some(cidrs) = wanted.cidrs {
            let patch = Patch::Strategic(patch::pod_ranges(node.uid(), &cidrs));
            match self.api.patch(node.name(), &params, &patch).await {
                Ok(_) => tracing::info!(node = %node.name(), cidrs = cidrs.join(","), "set pod ranges of a node"),
                Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
                Err(error) => return Err(Failure { error: error.into(), reason: Some(NOT_ASSIGNED) }),
            }
        }
        if !wanted.network_available {
            let condition = patch::node_condition(NETWORK_UNAVAILABLE, "False", REASON, MESSAGE, Timestamp::now());
            match self.api.patch_status(node.name(), &params, &Patch::Strategic(condition)).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(Failure { error: error.into(), reason: None }),
            }
        }
        Ok(())
    }

    fn try_again(&self, node: &Node, failure: Failure) {
        if let Some(reason) = failure.reason {
            announce(&self.recorder, node, reason);
        }
        let retry_in = self.queue.retry(node.key(), &failure.error);
        warn_of!(failure.error, node = %node.name(), error = %failure.error.chain(), ?retry_in, "node has no pod ranges of the cloud");
    }
}

#[async_trait]
impl Managed for CloudAllocator {
    /// Runs until `token` is cancelled; what is being worked on then is finished up to its next write.
    async fn run(self: Box<Self>, token: CancellationToken) -> Result<()> {
        let queue = self.queue.clone();
        self.nodes.subscribe(move |change| {
            let (before, node) = match change {
                Change::Added(node) => (None, node),
                Change::Updated { old, new } => (Some(old), new),
                Change::Deleted(node) => return queue.forget(&node.key()),
            };
            // Heartbeats must not cut the back-off of a node short, and what we write is no cause to look again.
            if wants_work(node) && before.is_none_or(|before| is_cause(before, node)) {
                queue.add(node.key());
            }
        });
        let allocator = Arc::new(*self);
        tokio::select! {
            () = token.cancelled() => {}
            () = allocator.clone().work() => {}
        }
        allocator.queue.shut_down();
        Ok(())
    }

    /// What it would write now. The store is complete when this is called.
    async fn plan(&self) -> Plan {
        let mut plan = Plan::default();
        let nodes: Vec<_> = self.nodes.list().into_iter().filter(|node| wants_work(node)).collect();
        for (node, answer) in self.ask(nodes).await {
            match self.wanted(&node, answer) {
                Ok(Some(wanted)) => {
                    if let Some(cidrs) = wanted.cidrs {
                        plan.cluster(plan::node(&node), format!("set podCIDRs to {}", cidrs.join(", ")));
                    }
                    if !wanted.network_available {
                        plan.cluster(plan::node(&node), format!("set condition {NETWORK_UNAVAILABLE} to False"));
                    }
                }
                Ok(None) => {}
                Err(failure) => plan.error(plan::node(&node), failure.error),
            }
        }
        plan
    }
}

/// Whether there may be something to write to a node.
fn wants_work(node: &Node) -> bool {
    !node.is_terminating() && (node.spec.pod_cidrs.is_empty() || !network_is_available(node) || is_tainted(node))
}

/// Whether a change makes a node worth another look.
fn is_cause(before: &Node, node: &Node) -> bool {
    before.provider_id() != node.provider_id()
        || network_is_available(before) && !network_is_available(node)
        || !is_tainted(before) && is_tainted(node)
}

/// Whoever said it: a CNI plugin's own reason is left alone.
fn network_is_available(node: &Node) -> bool {
    node.condition(NETWORK_UNAVAILABLE).is_some_and(|condition| condition.status == "False")
}

fn is_tainted(node: &Node) -> bool {
    node.spec.taints.iter().any(|taint| taint.key == NETWORK_UNAVAILABLE_TAINT && taint.effect == "NoSchedule")
}
