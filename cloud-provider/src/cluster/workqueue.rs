//! A queue of keys for workers, with the guarantees of client-go's `workqueue`:
//!
//! * a key waits at most once, however often it is added;
//! * a key is handed to one worker at a time; added while it is worked on, it runs once more afterwards;
//! * failures of a key are retried with a back-off of its own, until [`WorkQueue::forget`].
//!
//! Two differences, both on purpose: after [`WorkQueue::shut_down`] nothing is handed out any more (client-go
//! drains first, but a leader that is stopping must not start new work), and [`WorkQueue::add`] takes the
//! place of a delayed entry of the same key, instead of running the key a second time later. A reconciler
//! that still needs its timer sets it again in the run that comes.
//!
//! The queue needs no task of its own: delayed keys become ready inside [`WorkQueue::next`].

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::hash::Hash;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::token_bucket::TokenBucket;
use crate::Error;
use crate::metrics::Metrics;

mod metrics;
#[cfg(test)]
mod tests;

use metrics::QueueMetrics;

/// The least wait after a failure whose error names one: zero would be a loop.
const SOONEST: Duration = Duration::from_secs(1);

/// How the retries of [`WorkQueue::add_rate_limited`] are spaced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// Delay of a key's first retry; it doubles with each further one.
    pub base: Duration,
    /// Longest delay of this kind.
    pub max: Duration,
    /// A limit on the retries of all keys together: the longer of the two delays counts.
    pub bucket: Option<Bucket>,
}

/// The overall limit of a [`Backoff`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Retries per second.
    pub qps: f64,
    /// Retries at once.
    pub burst: u32,
}

impl Backoff {
    /// client-go's default, which upstream's node controller uses: 5 ms to 1000 s, and 10 per second with a burst of 100.
    pub const NODES: Backoff = Backoff {
        base: Duration::from_millis(5),
        max: Duration::from_secs(1000),
        bucket: Some(Bucket { qps: 10.0, burst: 100 }),
    };
    /// Upstream's service controller: 5 s to 300 s, no overall limit.
    pub const SERVICES: Backoff = Backoff { base: Duration::from_secs(5), max: Duration::from_secs(300), bucket: None };

    /// The delay after `failures` earlier failures.
    pub(crate) fn delay(&self, failures: u32) -> Duration {
        2u32.checked_pow(failures)
            .and_then(|factor| self.base.checked_mul(factor))
            .map_or(self.max, |delay| delay.min(self.max))
    }
}

/// When [`WorkQueue::next_batch`] stops gathering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gather {
    /// Stop when no key has become ready for this long.
    pub idle: Duration,
    /// Stop this long after the first key.
    pub max_wait: Duration,
    /// Stop at this many keys.
    pub max_items: usize,
}

/// A cheap handle to one queue.
pub struct WorkQueue<K: Eq + Hash + Clone + Send> {
    inner: Arc<Inner<K>>,
}

struct Inner<K> {
    state: Mutex<State<K>>,
    /// One permit per key that became ready, and per change of the earliest delayed key.
    wake: Notify,
    backoff: Backoff,
    bucket: Option<TokenBucket>,
    metrics: QueueMetrics,
}

struct State<K> {
    /// Keys in the order in which workers get them. Each is in `dirty` too.
    ready: VecDeque<K>,
    /// Keys that have to run, and since when. Those also in `processing` wait for their worker.
    dirty: HashMap<K, Instant>,
    /// Keys that a worker holds, and since when.
    processing: HashMap<K, Instant>,
    /// Delayed keys by their time; the number keeps those of one instant apart and in order.
    delayed: BTreeMap<(Instant, u64), K>,
    /// Where each delayed key is in `delayed`.
    due: HashMap<K, (Instant, u64)>,
    serial: u64,
    failures: HashMap<K, u32>,
    shut_down: bool,
}

impl<K: Eq + Hash + Clone + Send> Clone for WorkQueue<K> {
    fn clone(&self) -> Self {
        WorkQueue { inner: Arc::clone(&self.inner) }
    }
}

impl<K: Eq + Hash + Clone + Send> fmt::Debug for WorkQueue<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkQueue").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl<K: Eq + Hash + Clone + Send + 'static> WorkQueue<K> {
    /// An empty queue, shown in the `workqueue_*` metrics under `name`.
    pub fn new(name: &'static str, backoff: Backoff, metrics: &Metrics) -> Self {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashMap::new(),
            processing: HashMap::new(),
            delayed: BTreeMap::new(),
            due: HashMap::new(),
            serial: 0,
            failures: HashMap::new(),
            shut_down: false,
        };
        let inner = Arc::new(Inner {
            state: Mutex::new(state),
            wake: Notify::new(),
            bucket: backoff.bucket.map(|bucket| TokenBucket::new(bucket.qps, bucket.burst)),
            backoff,
            metrics: QueueMetrics::new(name, metrics),
        });
        inner.metrics.watch(metrics, &inner, |inner| {
            let now = Instant::now();
            let state = inner.lock();
            state.processing.values().map(|since| now.saturating_duration_since(*since).as_secs_f64()).collect()
        });
        WorkQueue { inner }
    }
}

impl<K: Eq + Hash + Clone + Send> WorkQueue<K> {
    /// Asks for a run of `key` as soon as possible; a delayed entry of the key is withdrawn.
    pub fn add(&self, key: K) {
        let mut state = self.inner.lock();
        if let Some(place) = state.due.remove(&key) {
            state.delayed.remove(&place);
        }
        self.inner.make_ready(&mut state, key);
    }

    /// Asks for a run of `key` after `delay`. Of several such entries the earliest counts.
    pub fn add_after(&self, key: K, delay: Duration) {
        let mut state = self.inner.lock();
        if state.shut_down {
            return;
        }
        self.inner.metrics.retries.inc();
        let now = Instant::now();
        let Some(at) = now.checked_add(delay) else { return };
        if at <= now {
            return self.inner.make_ready(&mut state, key);
        }
        if let Some(place) = state.due.get(&key).copied() {
            if place.0 <= at {
                return;
            }
            state.delayed.remove(&place);
        }
        state.serial += 1;
        let place = (at, state.serial);
        state.delayed.insert(place, key.clone());
        state.due.insert(key, place);
        let earliest = state.delayed.first_key_value().is_some_and(|(first, _)| *first == place);
        drop(state);
        if earliest {
            self.inner.wake.notify_one();
        }
    }

    /// Counts a failure of `key`, asks for a run after its back-off, and says how long that is.
    pub fn add_rate_limited(&self, key: K) -> Duration {
        let failures = {
            let mut state = self.inner.lock();
            let failures = state.failures.entry(key.clone()).or_default();
            *failures = failures.saturating_add(1);
            *failures - 1
        };
        let overall = self.inner.bucket.as_ref().map_or(Duration::ZERO, TokenBucket::reserve);
        let delay = self.inner.backoff.delay(failures).max(overall);
        self.add_after(key, delay);
        delay
    }

    /// Forgets the failures of `key`: its next back-off starts at the base. Pending runs stay.
    pub fn forget(&self, key: &K) {
        self.inner.lock().failures.remove(key);
    }

    /// Puts `key` back after a failure: after the wait that the error names, and a second at least, else with back-off. Says
    /// after how long. It counts as failed either way, though a wait that was asked for does not make the back-off grow.
    pub fn retry(&self, key: K, error: &Error) -> Duration {
        let Some(wait) = error.retry_after() else { return self.add_rate_limited(key) };
        let wait = wait.max(SOONEST);
        self.inner.lock().failures.entry(key.clone()).or_insert(1);
        self.add_after(key, wait);
        wait
    }

    /// How often `key` failed since it was last forgotten.
    pub fn failures(&self, key: &K) -> u32 {
        self.inner.lock().failures.get(key).copied().unwrap_or_default()
    }

    /// Waits for a key. None once the queue is shut down. Dropping the future loses nothing.
    pub async fn next(&self) -> Option<Taken<K>> {
        let _hand_over = HandOver(&self.inner);
        loop {
            let mut woken = std::pin::pin!(self.inner.wake.notified());
            woken.as_mut().enable();
            let until = {
                let mut state = self.inner.lock();
                if state.shut_down {
                    return None;
                }
                if let Some(key) = self.inner.take(&mut state) {
                    drop(state);
                    return Some(self.taken(key));
                }
                state.delayed.first_key_value().map(|((at, _), _)| *at)
            };
            match until {
                Some(at) => drop(timeout_at(at, woken).await),
                None => woken.await,
            }
        }
    }

    /// Waits for a first key, then gathers more as `gather` says. None once the queue is shut down,
    /// also while gathering: the keys gathered so far are given up then.
    pub async fn next_batch(&self, gather: Gather) -> Option<Vec<Taken<K>>> {
        let mut batch = vec![self.next().await?];
        let end = Instant::now() + gather.max_wait;
        while batch.len() < gather.max_items {
            if let Some(key) = self.try_next() {
                batch.push(key);
                continue;
            }
            let idle = Instant::now() + gather.idle;
            tokio::select! {
                biased;
                more = self.next() => batch.push(more?),
                () = sleep_until(idle.min(end)) => break,
            }
        }
        Some(batch)
    }

    /// Adds to `batch` what is ready or becomes ready until `end` is over or the batch holds `max_items`. None once the
    /// queue is shut down: the batch is to be given up then.
    pub async fn gather(
        &self,
        batch: &mut Vec<Taken<K>>,
        end: impl Future<Output = ()>,
        max_items: usize,
    ) -> Option<()> {
        let mut end = std::pin::pin!(end);
        while batch.len() < max_items {
            if let Some(key) = self.try_next() {
                batch.push(key);
                continue;
            }
            tokio::select! {
                biased;
                more = self.next() => batch.push(more?),
                () = &mut end => break,
            }
        }
        Some(())
    }

    /// A key that is ready now.
    fn try_next(&self) -> Option<Taken<K>> {
        let mut state = self.inner.lock();
        let key = if state.shut_down { None } else { self.inner.take(&mut state) }?;
        drop(state);
        Some(self.taken(key))
    }

    /// Ends all waits and hands nothing out any more.
    pub fn shut_down(&self) {
        self.inner.lock().shut_down = true;
        self.inner.wake.notify_waiters();
    }

    /// How many keys are ready and not yet taken; delayed ones do not count.
    pub fn len(&self) -> usize {
        self.inner.lock().ready.len()
    }

    /// Whether no key is ready.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn taken(&self, key: K) -> Taken<K> {
        Taken { key, queue: self.clone() }
    }
}

impl<K> Inner<K> {
    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash + Clone + Send> Inner<K> {
    fn make_ready(&self, state: &mut State<K>, key: K) {
        if state.shut_down || state.dirty.contains_key(&key) {
            return;
        }
        self.metrics.adds.inc();
        self.metrics.depth.inc();
        state.dirty.insert(key.clone(), Instant::now());
        if !state.processing.contains_key(&key) {
            state.ready.push_back(key);
            self.wake.notify_one();
        }
    }

    /// Takes the first ready key, after making ready what is due.
    fn take(&self, state: &mut State<K>) -> Option<K> {
        let now = Instant::now();
        while let Some(entry) = state.delayed.first_entry().filter(|entry| entry.key().0 <= now) {
            let key = entry.remove();
            state.due.remove(&key);
            self.make_ready(state, key);
        }
        let key = state.ready.pop_front()?;
        if let Some(since) = state.dirty.remove(&key) {
            self.metrics.queue_duration.observe(now.saturating_duration_since(since).as_secs_f64());
        }
        self.metrics.depth.dec();
        state.processing.insert(key.clone(), now);
        Some(key)
    }

    fn done(&self, key: &K) {
        let mut state = self.lock();
        if let Some(since) = state.processing.remove(key) {
            self.metrics.work_duration.observe(since.elapsed().as_secs_f64());
        }
        if state.dirty.contains_key(key) {
            state.ready.push_back(key.clone());
            self.wake.notify_one();
        }
    }
}

/// Whoever stops waiting may have been the only one to watch the clock for the delayed keys: another
/// worker, if one waits, takes that over.
struct HandOver<'a, K>(&'a Inner<K>);

impl<K> Drop for HandOver<'_, K> {
    fn drop(&mut self) {
        if !self.0.lock().delayed.is_empty() {
            self.0.wake.notify_one();
        }
    }
}

/// A key that its holder works on; the work ends when this is dropped.
pub struct Taken<K: Eq + Hash + Clone + Send> {
    key: K,
    queue: WorkQueue<K>,
}

impl<K: Eq + Hash + Clone + Send> Deref for Taken<K> {
    type Target = K;

    fn deref(&self) -> &K {
        &self.key
    }
}

impl<K: Eq + Hash + Clone + Send + fmt::Debug> fmt::Debug for Taken<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Taken").field(&self.key).finish()
    }
}

impl<K: Eq + Hash + Clone + Send> Drop for Taken<K> {
    fn drop(&mut self) {
        self.queue.inner.done(&self.key);
    }
}
