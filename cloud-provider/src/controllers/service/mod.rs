//! The service controller: gives services of type LoadBalancer their load balancers.
//!
//! ```text
//! service changes ─► queue ─► scope of the service ─► LoadBalancers::sync ─► status, finalizer, events
//! node changes ─► coalesced ─► services whose set of backends really changes ─┘
//! ```
//!
//! The queue holds services; a worker takes one and works on its whole scope. Rounds of one scope never overlap. What a
//! service needs is remembered nowhere but in the cluster: a restart puts every service through a round, and a round that
//! finds nothing to change writes nothing.

mod backends;
mod fan_out;
mod outcome;
mod periodic;
mod plan;
mod sync;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use kube::{Api, Client};
use prometheus::{Histogram, IntCounter};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use backends::Backends;
use fan_out::Changes;

use super::{Managed, plan::Plan, rethrow};
use crate::{
    cloud::{KeyedLocks, LoadBalancers},
    cluster::{
        events::Recorder,
        objects::{Key, Node, Object, Service},
        outage::Outage,
        store::{Change, Store},
        workqueue::{Backoff, WorkQueue},
    },
    error::Result,
    metrics::{Metrics, exponential_buckets},
    service::{nodes, pause, predicates},
};

/// So many rounds in a row that the cloud failed mean that it fails for everybody.
const OUTAGE: u32 = 5;

/// How the controller paces itself.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `--cluster-name`.
    pub cluster_name: Arc<str>,
    /// Services worked on at the same time; `None` means automatic.
    pub concurrent_service_syncs: Option<usize>,
    /// Every load balancer is compared with what it should be once in this time, and repaired; `None`: only when its
    /// service or its nodes change.
    pub reconciliation_period: Option<Duration>,
    /// How rounds that failed are tried again.
    pub backoff: Backoff,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cluster_name: "kubernetes".into(),
            concurrent_service_syncs: None,
            reconciliation_period: None,
            backoff: Backoff::SERVICES,
        }
    }
}

/// The controller.
pub struct ServiceController {
    load_balancers: Arc<dyn LoadBalancers>,
    services: Store<Service>,
    nodes: Store<Node>,
    client: Client,
    recorder: Recorder,
    queue: WorkQueue<Key>,
    settings: Settings,
    scopes: KeyedLocks,
    state: Mutex<State>,
    nodes_changed: Changes,
    outage: Outage,
    metrics: ServiceMetrics,
}

/// What is known beyond the store. Small, and rebuilt from the cluster after a restart.
#[derive(Default)]
struct State {
    /// Services that changed themselves; others are in the queue only because their backends did.
    changed: HashSet<Key>,
    /// Services that are due for a periodic check.
    checked: HashSet<Key>,
    /// Services that stopped wanting a load balancer of ours (another type, a class) while this process watched, until
    /// theirs is gone. Their finalizer says the same, unless somebody took it off.
    released: HashSet<Key>,
    /// Services that were told of a pause.
    paused: HashSet<Key>,
    /// Services that are gone from the cluster, in their last known form, until nothing of them is left in the cloud.
    orphans: HashMap<Key, Vec<Arc<Service>>>,
    /// The backends that each service's load balancer was last told.
    told: HashMap<Key, Backends>,
    /// Annotations that were written on services, until the watch shows them.
    written: HashMap<Key, BTreeMap<String, Option<String>>>,
}

struct ServiceMetrics {
    host_updates: IntCounter,
    host_update_latency: Histogram,
    node_sync_latency: Histogram,
    node_sync_errors: IntCounter,
}

impl ServiceController {
    /// A controller over `services` and `nodes`, which somebody else feeds.
    pub fn new(
        load_balancers: Arc<dyn LoadBalancers>,
        services: Store<Service>,
        nodes: Store<Node>,
        client: Client,
        recorder: Recorder,
        settings: Settings,
        metrics: &Metrics,
    ) -> Self {
        let buckets = exponential_buckets(1.0, 2.0, 15);
        Self {
            load_balancers,
            services,
            nodes,
            client,
            recorder,
            queue: WorkQueue::new("service", settings.backoff, metrics),
            settings,
            scopes: KeyedLocks::default(),
            state: Mutex::default(),
            nodes_changed: Changes::default(),
            outage: Outage::after(OUTAGE),
            metrics: ServiceMetrics {
                host_updates: metrics.counter(
                    "service_controller_loadbalancer_sync_total",
                    "Load balancers whose backends were brought up to date after a change of nodes.",
                ),
                host_update_latency: metrics.histogram(
                    "service_controller_update_loadbalancer_host_latency_seconds",
                    "Time to bring the backends of one load balancer up to date.",
                    &buckets,
                ),
                node_sync_latency: metrics.histogram(
                    "service_controller_nodesync_latency_seconds",
                    "Time to find the load balancers that a change of nodes concerns.",
                    &buckets,
                ),
                node_sync_errors: metrics.counter(
                    "service_controller_nodesync_error_total",
                    "Load balancers whose backends could not be brought up to date.",
                ),
            },
        }
    }

    fn watch_services(self: Arc<Self>) {
        let services = self.services.clone();
        services.subscribe(move |change| match change {
            Change::Added(service) => {
                if predicates::wants_load_balancer(service) || predicates::needs_cleanup(service) {
                    self.enqueue_changed(service.key());
                }
            }
            Change::Updated { old, new } => {
                if predicates::wants_load_balancer(new) {
                    self.state().released.remove(&new.key());
                } else if predicates::wants_load_balancer(old) {
                    self.state().released.insert(new.key());
                }
                // It moves from one load balancer to another.
                if self.takes_part(old) && self.load_balancers.scope(old) != self.load_balancers.scope(new) {
                    self.adopt(old);
                }
                let resumed = pause::is_paused(old) && !pause::is_paused(new) && self.takes_part(new);
                let begins = predicates::needs_cleanup(new) && !predicates::needs_cleanup(old);
                let before = self.before_own_write(old, new);
                let changed = predicates::needs_update(before.as_ref().unwrap_or(old), new);
                if changed || begins || resumed {
                    self.enqueue_changed(new.key());
                }
            }
            Change::Deleted(service) => {
                // Usually we took its finalizer off ourselves, after its load balancer was gone. Where somebody else did,
                // the load balancer that this process knows of would be forgotten.
                let key = service.key();
                let held = predicates::has_finalizer(service) && !service.is_terminating();
                let known = self.state().told.contains_key(&key);
                let wanted = predicates::wants_load_balancer(service) && (held || known);
                if wanted || self.state().released.remove(&key) {
                    self.adopt(service);
                } else {
                    self.forget(&key);
                }
            }
        });
    }

    fn watch_nodes(self: Arc<Self>) {
        let store = self.nodes.clone();
        store.subscribe(move |change| match change {
            Change::Added(_) => self.nodes_changed.note(false),
            Change::Deleted(_) => self.nodes_changed.note(true),
            Change::Updated { old, new } if nodes::matters(old, new) => {
                self.nodes_changed.note(nodes::is_eligible(old) && !nodes::is_eligible(new));
            }
            Change::Updated { .. } => {}
        });
    }

    /// `old` with the annotations that this process wrote on it, where `new` is what came of that: no change by anybody else.
    fn before_own_write(&self, old: &Service, new: &Service) -> Option<Service> {
        let mut state = self.state();
        let written = state.written.get(&new.key())?;
        if !written.iter().all(|(key, value)| new.annotation(key) == value.as_deref()) {
            return None;
        }
        let written = state.written.remove(&new.key())?;
        let mut service = old.clone();
        let annotations = service.metadata.annotations.get_or_insert_default();
        for (key, value) in written {
            match value {
                Some(value) => _ = annotations.insert(key, value),
                None => _ = annotations.remove(&key),
            }
        }
        Some(service)
    }

    fn enqueue_changed(&self, key: Key) {
        self.state().changed.insert(key.clone());
        self.queue.add(key);
    }

    fn forget(&self, key: &Key) {
        self.queue.forget(key);
        let mut state = self.state();
        state.told.remove(key);
        state.changed.remove(key);
        state.checked.remove(key);
        state.released.remove(key);
        state.paused.remove(key);
        state.written.remove(key);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn api(&self, key: &Key) -> Api<Service> {
        Api::namespaced(self.client.clone(), &key.namespace)
    }

    async fn work(self: Arc<Self>) {
        // Without all nodes a round would take backends away.
        tokio::join!(self.services.synced(), self.nodes.synced());
        while let Some(key) = self.queue.next().await {
            self.sync(&key).await;
        }
    }

    /// The nodes that are eligible as backends in general, sorted by name.
    fn eligible_nodes(&self) -> Arc<[Arc<Node>]> {
        self.nodes.list().into_iter().filter(|node| nodes::is_eligible(node)).collect()
    }

    /// A service's backends among `nodes`.
    fn backends(&self, service: &Service, nodes: &[Arc<Node>]) -> Backends {
        Backends::of(nodes.iter().filter_map(|node| self.load_balancers.backend(service, node)))
    }
}

#[async_trait]
impl Managed for ServiceController {
    /// Runs until `token` is cancelled; rounds in flight then end at their next step.
    async fn run(self: Box<Self>, token: CancellationToken) -> Result<()> {
        let controller = Arc::new(*self);
        controller.clone().watch_services();
        controller.clone().watch_nodes();
        let mut workers = JoinSet::new();
        let automatic = controller.load_balancers.concurrency();
        for _ in 0..controller.settings.concurrent_service_syncs.unwrap_or(automatic).max(1) {
            workers.spawn(controller.clone().work());
        }
        workers.spawn(controller.clone().fan_out());
        workers.spawn(controller.clone().check_periodically());
        tokio::select! {
            () = token.cancelled() => {}
            // Workers do not end by themselves: this is a panic, which goes on here and ends the process.
            Some(ended) = workers.join_next() => rethrow(ended),
        }
        controller.queue.shut_down();
        Ok(())
    }

    async fn plan(&self) -> Plan {
        self.planned().await
    }
}
