//! Allocation by this process, from ranges of its own.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use ipnet::IpNet;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use tokio::{task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    NOT_ASSIGNED, NOT_AVAILABLE, announce,
    ledger::{Ledger, Misfit},
    settings::RangeSettings,
};
use crate::{
    Error,
    cluster::{
        events::Recorder,
        objects::{Key, Node, Object},
        patch,
        store::{Change, Store},
        workqueue::{Backoff, Taken, WorkQueue},
    },
    controllers::{
        Managed,
        plan::{self, Plan},
        rethrow,
    },
    error::{Result, warn_of},
    metrics::Metrics,
};

/// Nodes written at the same time: as many as upstream has workers.
const WRITES: usize = 30;
/// How often a write is tried before the queue's back-off takes over.
const TRIES: usize = 3;
/// How long writes that are under way may take after cancellation, so that a successor sees what they did.
const DRAIN: Duration = Duration::from_secs(3);
/// How many misfits an error names.
const NAMED: usize = 5;

/// Gives every node without pod ranges one block of each range of the cluster.
///
/// One task decides, since it is the only writer of the blocks' ledger; the writes to nodes run side by side. It begins when
/// the first list of nodes is complete and the ranges of all of them are taken. The blocks of a node are free again
/// when its object is gone, not while it is terminating. A write whose outcome is not known keeps its blocks, and is
/// repeated with the same ones.
pub struct RangeAllocator {
    nodes: Store<Node>,
    api: Api<Node>,
    recorder: Recorder,
    settings: RangeSettings,
    shared: Arc<Shared>,
}

/// What the store's handler uses too.
struct Shared {
    ledger: Mutex<Ledger>,
    queue: WorkQueue<Key>,
    /// Whether all nodes of the first list were observed.
    started: AtomicBool,
}

/// What became of a write.
enum Written {
    Done,
    /// The node is gone, or has ranges that somebody else wrote: ours are free again, and there is nothing left to do.
    Needless,
    /// It was refused.
    Refused(Error),
    /// Nobody knows.
    Unknown(Error),
}

impl RangeAllocator {
    /// An allocator over `nodes`, which somebody else feeds.
    ///
    /// # Errors
    ///
    /// A range that cannot be cut into blocks of that size.
    pub fn new(
        nodes: Store<Node>,
        client: Client,
        recorder: Recorder,
        settings: RangeSettings,
        metrics: &Metrics,
    ) -> Result<Self> {
        let ledger = ledger(&settings, metrics)?;
        let queue = WorkQueue::new("cidrallocator_node", Backoff::NODES, metrics);
        let shared = Shared { ledger: Mutex::new(ledger), queue, started: AtomicBool::new(false) };
        Ok(Self { nodes, api: Api::all(client), recorder, settings, shared: Arc::new(shared) })
    }

    /// Subscribes to the nodes. Those that are there already are observed before this returns.
    fn follow_nodes(&self) -> Result<()> {
        let misfits: Arc<Mutex<Vec<Misfit>>> = Arc::default();
        let (shared, found) = (self.shared.clone(), misfits.clone());
        self.nodes.subscribe(move |change| {
            if let Some(misfit) = shared.hear(change) {
                if shared.started.load(Ordering::Relaxed) {
                    tracing::error!(node = misfit.node, error = %misfit, "a node's pod range is not one of this cluster");
                } else {
                    lock(&found).push(misfit);
                }
            }
        });
        self.shared.started.store(true, Ordering::Relaxed);
        let misfits = lock(&misfits);
        if misfits.is_empty() {
            return Ok(());
        }
        let named: Vec<String> = misfits.iter().take(NAMED).map(ToString::to_string).collect();
        let more = misfits.len().saturating_sub(NAMED);
        let more = if more > 0 { format!("; and {more} more nodes") } else { String::new() };
        Err(Error::invalid("--cluster-cidr", format!("{}{more}", named.join("; "))))
    }

    /// What is to be written for a key, if anything.
    fn decide(&self, key: &Key) -> Option<(Arc<Node>, Vec<IpNet>)> {
        let shared = &self.shared;
        let Some(node) = self.nodes.get(key).filter(|node| wants_ranges(node)) else {
            shared.queue.forget(key);
            // It may have been called since a block was free, which somebody else can have then.
            shared.wake();
            return None;
        };
        let reserved = lock(&shared.ledger).reserve(&node);
        match reserved {
            Ok(Some(cidrs)) => Some((node, cidrs)),
            Ok(None) => {
                shared.queue.forget(key);
                None
            }
            Err(starved) => {
                announce(&self.recorder, &node, NOT_AVAILABLE);
                let retry_in = shared.queue.add_rate_limited(key.clone());
                tracing::warn!(node = %key, error = %starved, ?retry_in, "no pod range left for a node");
                None
            }
        }
    }

    async fn assign(self: Arc<Self>, key: Taken<Key>, node: Arc<Node>, cidrs: Vec<IpNet>) {
        let texts = texts(&cidrs);
        let shared = &self.shared;
        let error = match self.write(&node, &texts).await {
            Written::Done => {
                lock(&shared.ledger).written(node.uid());
                shared.queue.forget(&key);
                return tracing::info!(node = %node.name(), cidrs = texts.join(","), "set pod ranges of a node");
            }
            Written::Needless => {
                shared.queue.forget(&key);
                return shared.wake();
            }
            Written::Refused(error) => {
                lock(&shared.ledger).release(node.uid());
                shared.wake();
                error
            }
            Written::Unknown(error) => error,
        };
        announce(&self.recorder, &node, NOT_ASSIGNED);
        let retry_in = shared.queue.add_rate_limited(key.clone());
        warn_of!(error, node = %node.name(), cidrs = texts.join(","), error = %error.chain(), ?retry_in, "pod ranges of a node not written");
    }

    async fn write(&self, node: &Node, cidrs: &[String]) -> Written {
        let patch = Patch::Strategic(patch::pod_ranges(node.uid(), cidrs));
        // Whether a try before may have been carried out, whatever a later one is answered.
        let mut unsure = false;
        let refused = |error: kube::Error, unsure| {
            if unsure { Written::Unknown(error.into()) } else { Written::Refused(error.into()) }
        };
        for tries in 1.. {
            // The store may have heard meanwhile that somebody else was quicker.
            let current = self.nodes.get(&node.key()).filter(|current| current.uid() == node.uid());
            if !current.is_some_and(|current| current.spec.pod_cidrs.is_empty()) {
                return self.settle(node, self.nodes.get(&node.key()).as_deref());
            }
            let error = match self.api.patch(node.name(), &PatchParams::default(), &patch).await {
                Ok(_) => return Written::Done,
                Err(error) => error,
            };
            let kube::Error::Api(status) = &error else {
                if tries < TRIES {
                    unsure = true;
                    continue;
                }
                return Written::Unknown(error.into());
            };
            match status.code {
                404 => return self.settle(node, None),
                // The node has ranges, or another UID.
                409 | 422 => match self.api.get_opt(node.name()).await {
                    Ok(live) if live.as_ref().is_none_or(|live| has_moved_on(node, live)) => {
                        return self.settle(node, live.as_ref());
                    }
                    _ => return refused(error, unsure),
                },
                400..500 => return refused(error, unsure),
                _ if tries < TRIES => unsure = true,
                _ => return Written::Unknown(error.into()),
            }
        }
        Written::Needless
    }

    /// The node is another one now or is gone, or has ranges by somebody else: ours are free.
    fn settle(&self, node: &Node, current: Option<&Node>) -> Written {
        let mut ledger = lock(&self.shared.ledger);
        match current.filter(|current| current.uid() == node.uid()) {
            None => ledger.release(node.uid()),
            Some(current) => self.shared.note(ledger.observe(current), current),
        }
        Written::Needless
    }
}

#[async_trait]
impl Managed for RangeAllocator {
    /// Runs until `token` is cancelled; writes under way then are given three seconds to end.
    ///
    /// # Errors
    ///
    /// At the start, when a node has a range that lies in none of the cluster's: allocating beside it could hand out
    /// addresses that are in use. The error names node, range and remedy.
    async fn run(self: Box<Self>, token: CancellationToken) -> Result<()> {
        tokio::select! {
            () = token.cancelled() => return Ok(()),
            () = self.nodes.synced() => {}
        }
        self.follow_nodes()?;
        let allocator = Arc::new(*self);
        let mut writes = JoinSet::new();
        loop {
            tokio::select! {
                () = token.cancelled() => break,
                Some(finished) = writes.join_next() => rethrow(finished),
                Some(key) = allocator.shared.queue.next(), if writes.len() < WRITES => {
                    if let Some((node, cidrs)) = allocator.decide(&key) {
                        writes.spawn(allocator.clone().assign(key, node, cidrs));
                    }
                }
            }
        }
        allocator.shared.queue.shut_down();
        let drained = async {
            while let Some(finished) = writes.join_next().await {
                rethrow(finished)
            }
        };
        if timeout(DRAIN, drained).await.is_err() {
            tracing::warn!("stopped before it was known whether all pod ranges were written");
        }
        Ok(())
    }

    /// What it would do now, were it started anew; nodes may get their blocks in another order. The store is complete when
    /// this is called.
    async fn plan(&self) -> Plan {
        let mut plan = Plan::default();
        let nodes = self.nodes.list();
        // Apart from the ledger of a run, and from its metrics.
        let mut ledger = match ledger(&self.settings, &Metrics::new()) {
            Ok(ledger) => ledger,
            Err(error) => {
                plan.error("--cluster-cidr", error);
                return plan;
            }
        };
        for node in nodes.iter().filter(|node| !node.spec.pod_cidrs.is_empty()) {
            match ledger.observe(node) {
                Ok(others) if others.is_empty() => {}
                Ok(others) => plan.note(plan::node(node), format!("shares its pod ranges with {}", names(&others))),
                Err(misfit) => plan.error(plan::node(node), Error::invalid("--cluster-cidr", misfit.to_string())),
            }
        }
        if !plan.errors.is_empty() {
            return plan;
        }
        for node in nodes.iter().filter(|node| wants_ranges(node)) {
            match ledger.reserve(node) {
                Ok(cidrs) => {
                    let texts = texts(&cidrs.unwrap_or_default());
                    plan.cluster(plan::node(node), format!("set podCIDRs to {}", texts.join(", ")));
                }
                Err(starved) => plan.error(plan::node(node), Error::transient(starved.to_string())),
            }
        }
        plan
    }
}

impl Shared {
    /// Takes in one change of the nodes.
    fn hear(&self, change: &Change<Node>) -> Option<Misfit> {
        let (before, node) = match change {
            Change::Added(node) => (None, node),
            Change::Updated { old, new } => (Some(old), new),
            Change::Deleted(node) => {
                lock(&self.ledger).forget(node);
                self.wake();
                return None;
            }
        };
        let ranges = &node.spec.pod_cidrs;
        if before.is_some_and(|before| before.spec.pod_cidrs == *ranges) {
            return None;
        }
        if ranges.is_empty() {
            self.queue.add(node.key());
            return None;
        }
        let observed = lock(&self.ledger).observe(node);
        self.wake();
        match observed {
            Ok(others) => {
                tell_shared(node, &others);
                None
            }
            Err(misfit) => Some(misfit),
        }
    }

    fn note(&self, observed: std::result::Result<Vec<Key>, Misfit>, node: &Node) {
        match observed {
            Ok(others) => tell_shared(node, &others),
            Err(misfit) => {
                tracing::error!(node = misfit.node, error = %misfit, "a node's pod range is not one of this cluster")
            }
        }
    }

    /// Calls a node that waits for a block, where there is one.
    fn wake(&self) {
        let next = lock(&self.ledger).next_starved();
        if let Some(key) = next {
            self.queue.add(key);
        }
    }
}

fn ledger(settings: &RangeSettings, metrics: &Metrics) -> Result<Ledger> {
    Ledger::new(settings, metrics).map_err(|error| Error::invalid("--cluster-cidr", error.to_string()))
}

fn wants_ranges(node: &Node) -> bool {
    node.spec.pod_cidrs.is_empty() && !node.is_terminating()
}

fn has_moved_on(node: &Node, live: &Node) -> bool {
    live.uid() != node.uid() || !live.spec.pod_cidrs.is_empty()
}

fn texts(cidrs: &[IpNet]) -> Vec<String> {
    cidrs.iter().map(ToString::to_string).collect()
}

fn names(keys: &[Key]) -> String {
    keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn tell_shared(node: &Node, others: &[Key]) {
    if !others.is_empty() {
        let (cidrs, others) = (node.spec.pod_cidrs.join(","), names(others));
        tracing::error!(node = %node.name(), cidrs, others, "nodes share pod ranges; delete all but one of them");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
