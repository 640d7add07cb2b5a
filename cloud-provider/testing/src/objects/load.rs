//! What kubelets write: registrations, heartbeats.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

use super::nodes::{KubeletNode, Ready, conditions};

/// Requests in flight at most; more only makes an API server on two cores slower.
const CONCURRENCY: usize = 16;

/// Registers nodes, spread evenly over a time, and returns how long it took, which is longer where the API server is the
/// slower one.
///
/// # Errors
/// When the API server refuses one.
pub async fn register_nodes(client: &Client, nodes: Vec<KubeletNode>, over: Duration) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let count = u32::try_from(nodes.len()).context("too many nodes")?.max(1);
    let api: Api<Node> = Api::all(client.clone());
    stream::iter(nodes.into_iter().zip(0_u32..))
        .map(|(node, nth)| {
            let api = api.clone();
            async move {
                sleep_until(begun + over * nth / count).await;
                let create = api.create(&PostParams::default(), &node.build()?).await;
                create.with_context(|| format!("register node {}", node.name()))?;
                anyhow::Ok(())
            }
        })
        .buffer_unordered(CONCURRENCY)
        .try_collect::<()>()
        .await?;
    Ok(begun.elapsed())
}

/// How often each kubelet writes.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// The node's conditions (`nodeStatusReportFrequency`, 5 minutes, when nothing changes).
    pub status: Duration,
    /// The node's lease (`nodeLeaseDurationSeconds` / 4).
    pub lease: Duration,
}

impl Default for Pace {
    /// As kubelets do by default.
    fn default() -> Self {
        Self { status: Duration::from_secs(300), lease: Duration::from_secs(10) }
    }
}

/// Kubelets that keep writing until this is dropped. Nodes that are gone are left alone; other failures are counted.
#[derive(Debug)]
pub struct Heartbeats {
    tasks: Vec<JoinHandle<()>>,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    written: AtomicU64,
    failed: AtomicU64,
}

impl Heartbeats {
    /// Starts them, each at its own moment of the interval.
    pub fn start(client: &Client, names: &[String], pace: Pace) -> Self {
        Self::start_over(std::slice::from_ref(client), names, pace)
    }

    /// The same over several connections in turn: thousands of kubelets are too many for one. Without any nothing starts.
    pub fn start_over(clients: &[Client], names: &[String], pace: Pace) -> Self {
        let counters = Arc::new(Counters::default());
        let count = u32::try_from(names.len()).unwrap_or(u32::MAX).max(1);
        let mut tasks = Vec::new();
        for ((name, nth), client) in names.iter().zip(0_u32..).zip(clients.iter().cycle()) {
            let kubelet = Kubelet { client: client.clone(), name: name.clone(), counters: Arc::clone(&counters) };
            tasks.push(tokio::spawn(kubelet.clone().report(first(pace.status, nth, count), pace.status)));
            tasks.push(tokio::spawn(kubelet.renew(first(pace.lease, nth, count), pace.lease)));
        }
        Self { tasks, counters }
    }

    /// Writes that the API server accepted so far.
    pub fn written(&self) -> u64 {
        self.counters.written.load(Ordering::Relaxed)
    }

    /// Writes that failed so far.
    pub fn failed(&self) -> u64 {
        self.counters.failed.load(Ordering::Relaxed)
    }
}

impl Drop for Heartbeats {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn first(every: Duration, nth: u32, count: u32) -> Instant {
    Instant::now() + every * nth / count
}

#[derive(Clone)]
struct Kubelet {
    client: Client,
    name: String,
    counters: Arc<Counters>,
}

impl Kubelet {
    async fn report(self, first: Instant, every: Duration) {
        let api: Api<Node> = Api::all(self.client.clone());
        let mut ticks = interval_at(first, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let mut conditions = conditions(Ready::Yes, Timestamp::now());
            for condition in &mut conditions {
                // Nothing has changed but the time.
                if let Some(fields) = condition.as_object_mut() {
                    fields.remove("lastTransitionTime");
                }
            }
            let patch = Patch::Strategic(json!({ "status": { "conditions": conditions } }));
            self.count(api.patch_status(&self.name, &PatchParams::default(), &patch).await);
        }
    }

    async fn renew(self, first: Instant, every: Duration) {
        let api: Api<Lease> = Api::namespaced(self.client.clone(), "kube-node-lease");
        let mut ticks = interval_at(first, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut held: Option<Lease> = None;
        loop {
            ticks.tick().await;
            let written = match held.take() {
                Some(lease) => api.replace(&self.name, &PostParams::default(), &renewed(lease)).await,
                None => match api.get_opt(&self.name).await {
                    Ok(Some(lease)) => api.replace(&self.name, &PostParams::default(), &renewed(lease)).await,
                    Ok(None) => api.create(&PostParams::default(), &renewed(self.lease())).await,
                    Err(error) => Err(error),
                },
            };
            held = self.count(written);
        }
    }

    fn lease(&self) -> Lease {
        let mut lease = Lease::default();
        lease.metadata.name = Some(self.name.clone());
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(self.name.clone());
        spec.lease_duration_seconds = Some(40);
        lease
    }

    fn count<T>(&self, result: Result<T, kube::Error>) -> Option<T> {
        match result {
            Ok(value) => {
                self.counters.written.fetch_add(1, Ordering::Relaxed);
                Some(value)
            }
            Err(kube::Error::Api(status)) if status.code == 404 => None,
            Err(error) => {
                self.counters.failed.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(node = %self.name, %error, "heartbeat failed");
                None
            }
        }
    }
}

fn renewed(mut lease: Lease) -> Lease {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
    lease.spec.get_or_insert_default().renew_time = Some(MicroTime(Timestamp::now()));
    lease
}
