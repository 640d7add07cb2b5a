//! Calls that wait for their turn after the cloud refused some of their kind for their rate.
//!
//! Clouds count calls by kind, with a budget that fills again at a rate that they do not tell. Once a call was refused, tries
//! without a pace would mostly be refused too, and each of them may count against the budget.

use std::{
    collections::HashMap,
    fmt::Debug,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

/// Between two calls after the first refusal.
const FIRST_INTERVAL: Duration = Duration::from_millis(100);
const LONGEST_INTERVAL: Duration = Duration::from_secs(10);
/// At shorter intervals there is no pace any more.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);
/// What an interval is multiplied with when calls are refused, and when none was for a [`STEP`]; each once in a step at most.
const SLOWER: f64 = 1.5;
const FASTER: f64 = 0.9;
const STEP: Duration = Duration::from_secs(1);
/// After this time without a call there is no pace any more: the budget has filled again.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// The paces of all kinds of calls, `K`; a kind has one from its first refusal until its calls are answered at a good rate again.
#[derive(Debug)]
pub struct Paces<K>(Mutex<HashMap<K, Arc<Pace>>>);

#[derive(Debug)]
struct Pace {
    /// Held by the first in line while it waits.
    line: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    interval: Duration,
    /// When the next call may be sent.
    next: Instant,
    /// When the interval last became longer.
    slower: Instant,
    /// When it last became shorter, or a call was refused.
    faster: Instant,
}

impl<K> Default for Paces<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Clone + Debug + Eq + Hash> Paces<K> {
    /// Waits for the turn of a call, in the order of arrival, and says how long that took. Who stops waiting takes no turn.
    pub async fn turn(&self, kind: &K) -> Duration {
        let began = Instant::now();
        let Some(pace) = self.pace(kind) else { return Duration::ZERO };
        let _first = pace.line.lock().await;
        loop {
            let next = {
                let (mut state, now) = (lock(&pace.state), Instant::now());
                if state.next <= now {
                    state.next = now + state.interval;
                    return now - began;
                }
                state.next
            };
            // Then again: a refusal may have put it off.
            sleep_until(next).await;
        }
    }

    /// The cloud refused a call for the rate of its kind, and asked to wait for a time if it named one.
    pub fn refused(&self, kind: &K, asked: Option<Duration>) {
        let now = Instant::now();
        let mut paces = lock(&self.0);
        let pace = paces.entry(kind.clone()).or_insert_with(|| {
            tracing::warn!(calls = ?kind, interval = ?FIRST_INTERVAL, "the cloud refuses calls for their rate: each waits for its turn");
            let state = State { interval: FIRST_INTERVAL, next: now + FIRST_INTERVAL, slower: now, faster: now };
            Arc::new(Pace { line: tokio::sync::Mutex::default(), state: Mutex::new(state) })
        });
        let mut state = lock(&pace.state);
        if now - state.slower >= STEP {
            state.interval = state.interval.mul_f64(SLOWER).min(LONGEST_INTERVAL);
            state.slower = now;
        }
        state.faster = now;
        // A date in the far future is no reason to stop for ever.
        state.next = state.next.max(now + asked.unwrap_or_default().min(FORGOTTEN));
    }

    /// The cloud answered a call, whatever it said.
    pub fn answered(&self, kind: &K) {
        let mut paces = lock(&self.0);
        let Some(pace) = paces.get(kind) else { return };
        let over = {
            let (mut state, now) = (lock(&pace.state), Instant::now());
            if now - state.faster >= STEP {
                state.interval = state.interval.mul_f64(FASTER);
                state.faster = now;
            }
            state.interval < SHORTEST_INTERVAL
        };
        if over {
            tracing::info!(calls = ?kind, "calls need not wait for their turn any more");
            paces.remove(kind);
        }
    }

    fn pace(&self, kind: &K) -> Option<Arc<Pace>> {
        let mut paces = lock(&self.0);
        let pace = paces.get(kind)?.clone();
        let forgotten = lock(&pace.state).next + FORGOTTEN < Instant::now();
        if forgotten {
            paces.remove(kind);
        }
        (!forgotten).then_some(pace)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::token_bucket::TokenBucket;

    const KIND: &str = "DescribeTargetHealth";

    #[tokio::test(start_paused = true)]
    async fn what_was_never_refused_never_waits() {
        let paces = Paces::default();
        paces.refused(&"another", None);
        for _ in 0..1000 {
            assert_eq!(paces.turn(&KIND).await, Duration::ZERO);
            paces.answered(&KIND);
        }
    }

    /// Until `calls` were answered by a cloud with a budget, and how many it took.
    async fn until_answered(paces: &Arc<Paces<&'static str>>, budget: TokenBucket, calls: usize) -> (Duration, usize) {
        let (began, budget) = (Instant::now(), Arc::new(budget));
        let tasks: Vec<_> = (0..calls)
            .map(|_| {
                let (paces, budget) = (paces.clone(), budget.clone());
                tokio::spawn(async move {
                    let mut sent = 0;
                    loop {
                        paces.turn(&KIND).await;
                        sent += 1;
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        if budget.try_take() {
                            paces.answered(&KIND);
                            return sent;
                        }
                        paces.refused(&KIND, None);
                    }
                })
            })
            .collect();
        let mut sent = 0;
        for task in tasks {
            sent += task.await.unwrap();
        }
        (began.elapsed(), sent)
    }

    #[tokio::test(start_paused = true)]
    async fn the_budget_of_the_cloud_is_nearly_used_up_and_few_calls_are_refused() {
        for (rate, calls) in [(10.0, 400), (20.0, 600), (2.0, 150)] {
            let paces = Arc::new(Paces::default());
            // All at once: what goes beyond the burst is refused once, and then waits.
            let (took, sent) = until_answered(&paces, TokenBucket::new(rate, 40), calls).await;
            let least = Duration::from_secs_f64((calls - 40) as f64 / rate);
            assert!(took < least.mul_f64(1.5), "{rate}/s: {took:?}, at least {least:?}");
            let refused = sent - calls;
            assert!(refused < calls - 40 + calls / 4, "{rate}/s: {refused} of {sent} refused");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pace_ends_when_all_is_answered_or_nothing_is_sent() {
        let paces = Paces::default();
        paces.refused(&KIND, None);
        assert_eq!(paces.turn(&KIND).await, FIRST_INTERVAL);
        let began = Instant::now();
        while paces.pace(&KIND).is_some() {
            paces.turn(&KIND).await;
            paces.answered(&KIND);
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());

        paces.refused(&KIND, None);
        tokio::time::advance(FORGOTTEN + STEP).await;
        assert_eq!(paces.turn(&KIND).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_cloud_asks_for_is_waited_for_and_no_longer_than_a_minute() {
        let paces = Paces::default();
        paces.refused(&KIND, Some(Duration::from_secs(7)));
        paces.refused(&KIND, Some(Duration::from_secs(3)));
        assert_eq!(paces.turn(&KIND).await, Duration::from_secs(7));
        paces.refused(&KIND, Some(Duration::from_secs(86_400)));
        assert_eq!(paces.turn(&KIND).await, FORGOTTEN);
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_gave_up_waiting_take_no_turn() {
        let paces = Paces::default();
        paces.refused(&KIND, None);
        for _ in 0..50 {
            assert!(tokio::time::timeout(Duration::from_millis(1), paces.turn(&KIND)).await.is_err());
        }
        assert!(paces.turn(&KIND).await <= FIRST_INTERVAL);
    }
}
