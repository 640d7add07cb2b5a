//! How nodes are gathered into batches, so that one look-up serves many.
//!
//! A node that comes alone is looked up almost at once. Where more follow, a look-up begins no earlier than a second after the one
//! before, up to four in a burst; and while one is in flight, the next batch gathers. So nodes that trickle in cost one
//! look-up a second, not one each, and the cloud's own slowness makes batches larger. While look-ups fail as a whole, there
//! is one in four seconds.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout_at},
};

use crate::cluster::{
    objects::Key,
    workqueue::{Backoff, Taken, WorkQueue},
};

/// Nodes of one batch at most.
const LARGEST: usize = 500;
/// Even a node that comes alone waits so long for company.
const TOGETHER: Duration = Duration::from_millis(100);
/// The time from the start of a look-up to the start of the next.
const PACE: Duration = Duration::from_secs(1);
/// A batch of so many nodes doubles that time for the next one …
const BURST: usize = 50;
/// … up to this. A batch waits no longer than this for a look-up in flight either.
const SLOWEST: Duration = Duration::from_secs(4);

/// How nodes are tried again. Since look-ups are paced here, all nodes together need no further limit, and none has to wait
/// long for a cloud that is back.
pub(super) const RETRIES: Backoff =
    Backoff { base: Duration::from_millis(250), max: Duration::from_secs(60), bucket: None };

/// The batches of one queue.
pub(super) struct Batches {
    queue: WorkQueue<Key>,
    in_flight: Arc<InFlight>,
    pace: Duration,
    /// When the batch before was handed out.
    last: Option<Instant>,
}

/// Look-ups that were begun and are not answered yet.
#[derive(Default)]
pub(super) struct InFlight {
    number: AtomicUsize,
    ended: Notify,
    /// Whether the last one failed for all its nodes.
    failing: AtomicBool,
}

/// One look-up; it ends when this is dropped.
pub(super) struct LookUp(Arc<InFlight>);

impl LookUp {
    /// Notes whether it gave nothing at all.
    pub(super) fn answered(self, failed: bool) {
        self.0.failing.store(failed, Ordering::Relaxed);
    }
}

impl Drop for LookUp {
    fn drop(&mut self) {
        self.0.number.fetch_sub(1, Ordering::Relaxed);
        self.0.ended.notify_one();
    }
}

impl InFlight {
    async fn none(&self) {
        while self.number.load(Ordering::Relaxed) > 0 {
            // Keeps a permit of an end that nobody awaited: looking once too often does no harm.
            self.ended.notified().await;
        }
    }
}

impl Batches {
    pub(super) fn new(queue: WorkQueue<Key>) -> Self {
        Self { queue, in_flight: Arc::default(), pace: PACE, last: None }
    }

    /// Waits for the next batch. Its look-up counts as in flight until the [`LookUp`] is dropped. `None` once the queue is
    /// shut down.
    pub(super) async fn next(&mut self) -> Option<(Vec<Taken<Key>>, LookUp)> {
        let mut batch = vec![self.queue.next().await?];
        let begun = Instant::now();
        let paced = self.last.map_or(begun, |last| last + self.pace);
        let free = async {
            sleep_until(paced.max(begun + TOGETHER)).await;
            // A look-up that hangs holds up nobody for long.
            let _ = timeout_at(begun + SLOWEST, self.in_flight.none()).await;
        };
        self.queue.gather(&mut batch, free, LARGEST).await?;
        if let Some(last) = self.last
            && self.in_flight.failing.load(Ordering::Relaxed)
        {
            sleep_until(last + SLOWEST).await;
        }
        self.pace = if batch.len() < BURST { PACE } else { (self.pace * 2).min(SLOWEST) };
        self.last = Some(Instant::now());
        self.in_flight.number.fetch_add(1, Ordering::Relaxed);
        Some((batch, LookUp(self.in_flight.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    fn queue() -> WorkQueue<Key> {
        WorkQueue::new("Nodes", RETRIES, &Metrics::new())
    }

    /// Sizes of the batches and when each was handed out, in milliseconds; a look-up takes `look_up`.
    async fn run(gap: Duration, nodes: usize, look_up: Duration) -> Vec<(usize, u128)> {
        let queue = queue();
        let mut batches = Batches::new(queue.clone());
        let begun = Instant::now();
        tokio::spawn(async move {
            for nth in 0..nodes {
                queue.add(Key::cluster(format!("n{nth}")));
                tokio::time::sleep(gap).await;
            }
        });
        let (mut handed_out, mut seen) = (Vec::new(), 0);
        while seen < nodes {
            let (batch, in_flight) = batches.next().await.unwrap();
            seen += batch.len();
            handed_out.push((batch.len(), begun.elapsed().as_millis()));
            tokio::spawn(async move {
                tokio::time::sleep(look_up).await;
                drop((batch, in_flight));
            });
        }
        handed_out
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_alone_does_not_wait_for_more_than_company() {
        assert_eq!(run(Duration::from_secs(60), 2, Duration::ZERO).await, [(1, 100), (1, 60_100)]);
    }

    #[tokio::test(start_paused = true)]
    async fn nodes_that_trickle_in_cost_one_look_up_a_second() {
        let handed_out = run(Duration::from_millis(180), 100, Duration::from_millis(50)).await;
        assert!(handed_out.len() <= 20, "{handed_out:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_makes_batches_larger() {
        let handed_out = run(Duration::from_millis(10), 3000, Duration::from_millis(50)).await;
        assert!(handed_out.len() <= 12, "{handed_out:?}");
        assert!(handed_out.iter().all(|(size, _)| *size <= LARGEST));
    }

    #[tokio::test(start_paused = true)]
    async fn while_look_ups_fail_there_is_one_in_four_seconds_even_for_full_batches() {
        let queue = queue();
        let mut batches = Batches::new(queue.clone());
        (0..5 * LARGEST).for_each(|nth| queue.add(Key::cluster(format!("n{nth}"))));
        let begun = Instant::now();
        for _ in 0..4 {
            let (_, look_up) = batches.next().await.unwrap();
            look_up.answered(true);
        }
        assert_eq!(begun.elapsed(), 3 * SLOWEST);
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_batch_gathers_while_a_slow_cloud_answers_but_not_for_ever() {
        let handed_out = run(Duration::from_millis(180), 100, Duration::from_secs(3)).await;
        assert_eq!(handed_out[..3].iter().map(|(size, _)| *size).collect::<Vec<_>>(), [1, 17, 16], "{handed_out:?}");
        let hanging = run(Duration::from_millis(180), 100, Duration::from_secs(600)).await;
        assert!(hanging[1].1 <= 4_400 && hanging.len() <= 6, "{hanging:?}");
    }
}
