//! From changes of nodes to the load balancers that they concern.
//!
//! A change that comes alone reaches the load balancers half a second later. Where changes go on, there are at least five
//! seconds from one pass over the load balancers to the next, and twice as many each time, up to thirty: a cluster that
//! grows for minutes costs few updates. A backend that has to go is not kept waiting longer than the five seconds.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::FutureExt;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout_at},
};

use super::ServiceController;
use crate::{cluster::objects::Object, service::predicates};

/// A burst of node changes counts as one change until nothing has happened for this long …
const QUIET: Duration = Duration::from_millis(500);
/// … or this long after its first one. Also the time between two passes of a burst, at first …
const LONGEST: Duration = Duration::from_secs(5);
/// … and at last.
const SLOWEST: Duration = Duration::from_secs(30);

/// Changes of nodes that no pass has seen yet.
#[derive(Debug, Default)]
pub(super) struct Changes {
    any: Notify,
    /// Whether a backend has to go.
    urgent: AtomicBool,
    urged: Notify,
    count: AtomicU64,
}

impl Changes {
    /// Notes a change; `urgent` where a backend has to go.
    pub(super) fn note(&self, urgent: bool) {
        self.count.fetch_add(1, Ordering::Relaxed);
        if urgent && !self.urgent.swap(true, Ordering::Relaxed) {
            self.urged.notify_one();
        }
        self.any.notify_one();
    }

    /// How many there were, to be compared with [`look_again_since`](Self::look_again_since).
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Asks for another pass where there were changes since `count` was taken: by a round that read the nodes then, and whose
    /// result no pass in between could compare with.
    pub(super) fn look_again_since(&self, count: u64) {
        if self.count() != count {
            self.any.notify_one();
        }
    }
}

/// When passes are made.
struct Pace {
    pause: Duration,
    last: Option<Instant>,
}

impl Pace {
    /// Waits until a pass is due.
    async fn next(&mut self, changes: &Changes) {
        changes.any.notified().await;
        let first = Instant::now();
        let goes_on = self.last.is_some_and(|last| first < last + self.pause);
        while timeout_at((first + LONGEST).min(Instant::now() + QUIET), changes.any.notified()).await.is_ok()
            && Instant::now() < first + LONGEST
        {}
        if let Some(last) = self.last.filter(|_| goes_on) {
            let urgent = async {
                while !changes.urgent.load(Ordering::Relaxed) {
                    changes.urged.notified().await;
                }
                sleep_until(last + LONGEST).await;
            };
            tokio::select! {
                () = sleep_until(last + self.pause) => {}
                () = urgent => {}
            }
        }
        self.pause = if goes_on { (self.pause * 2).min(SLOWEST) } else { LONGEST };
        self.last = Some(Instant::now());
        // What was noted while this waited is seen by the pass that comes now.
        let _ = changes.any.notified().now_or_never();
        changes.urgent.store(false, Ordering::Relaxed);
    }
}

impl ServiceController {
    /// Waits for changes of nodes and puts those services into the queue whose set of backends differs from what their
    /// load balancer was last told.
    pub(super) async fn fan_out(self: Arc<Self>) {
        tokio::join!(self.services.synced(), self.nodes.synced());
        let mut pace = Pace { pause: LONGEST, last: None };
        loop {
            pace.next(&self.nodes_changed).await;
            self.enqueue_concerned();
        }
    }

    fn enqueue_concerned(&self) {
        let started = Instant::now();
        let nodes = self.eligible_nodes();
        let mut concerned = 0;
        for service in self.services.list() {
            let key = service.key();
            // A service without a finished round is in the queue, or looks again when its round ends; one that failed waits for
            // its turn, and reads the nodes then.
            if !predicates::wants_load_balancer(&service) || self.queue.failures(&key) > 0 {
                continue;
            }
            let told = self.state().told.get(&key).copied();
            if told.is_some_and(|told| told != self.backends(&service, &nodes)) {
                concerned += 1;
                self.queue.add(key);
            }
        }
        self.metrics.node_sync_latency.observe(started.elapsed().as_secs_f64());
        if concerned > 0 {
            tracing::info!(nodes = nodes.len(), load_balancers = concerned, "nodes changed, updating load balancers");
        }
    }

    /// After an outage of the cloud: whoever failed need not wait for its back-off.
    pub(super) fn enqueue_failed(&self) {
        let services = self.services.list().into_iter().map(|service| service.key());
        let failed: Vec<_> = services.filter(|key| self.queue.failures(key) > 0).collect();
        tracing::info!(services = failed.len(), "the cloud answers again");
        failed.into_iter().for_each(|key| self.queue.add(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When passes are made, in milliseconds, while nodes change every `gap` for a time.
    async fn passes(gap: Duration, time: Duration, urgent: bool) -> Vec<u128> {
        let changes = Arc::new(Changes::default());
        let begun = Instant::now();
        let writer = changes.clone();
        tokio::spawn(async move {
            while begun.elapsed() <= time {
                writer.note(urgent);
                tokio::time::sleep(gap).await;
            }
        });
        let mut pace = Pace { pause: LONGEST, last: None };
        let mut passes = Vec::new();
        while timeout_at(begun + time + 2 * SLOWEST, pace.next(&changes)).await.is_ok() {
            passes.push(begun.elapsed().as_millis());
        }
        passes
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_alone_waits_half_a_second() {
        assert_eq!(passes(Duration::from_secs(60), Duration::ZERO, false).await, [500]);
        assert_eq!(passes(Duration::from_secs(60), Duration::from_secs(60), false).await, [500, 60_500]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cluster_that_grows_for_two_minutes_costs_few_passes() {
        for gap in [180, 700] {
            let passes = passes(Duration::from_millis(gap), Duration::from_secs(120), false).await;
            assert!(passes.len() <= 8, "{passes:?}");
            assert!(*passes.last().unwrap() >= 120_000, "the last change is seen: {passes:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_backend_that_has_to_go_does_not_wait_long() {
        let passes = passes(Duration::from_millis(180), Duration::from_secs(120), true).await;
        assert!(passes.windows(2).all(|pair| pair[1] - pair[0] <= 5_600), "{passes:?}");
    }
}
