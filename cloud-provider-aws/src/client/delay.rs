//! The delay that one throttled call puts on the calls after it.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

const DECAY_INTERVAL: Duration = Duration::from_secs(20);
const DECAY: f64 = 0.8;
const MAX_DELAY: Duration = Duration::from_secs(60);
/// Below this share of throttled calls nothing is delayed, so that old errors can run out.
const IGNORED_SHARE: f64 = 0.1;

/// Slows all calls of a process in proportion to the share of calls that were throttled lately, up to a minute per call.
/// Upstream's numbers: both counts lose a fifth every 20 seconds.
#[derive(Debug)]
pub struct CrossRequestDelay(Mutex<Counts>);

#[derive(Debug)]
struct Counts {
    throttled: f64,
    requests: f64,
    decayed: Instant,
}

impl Default for CrossRequestDelay {
    fn default() -> Self {
        // A few requests to start with, so that one early error does not weigh too much.
        Self(Mutex::new(Counts { throttled: 0.0, requests: 4.0, decayed: Instant::now() }))
    }
}

impl CrossRequestDelay {
    /// Counts one request that is about to be sent at `now`, and gives the wait before it, in whole seconds.
    pub fn before_request(&self, now: Instant) -> Duration {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = now.saturating_duration_since(counts.decayed);
        if elapsed > DECAY_INTERVAL {
            let factor = DECAY.powf(elapsed.as_secs_f64() / DECAY_INTERVAL.as_secs_f64());
            counts.throttled *= factor;
            counts.requests *= factor;
            counts.decayed = now;
        }
        counts.requests += 1.0;
        let share = (counts.throttled / counts.requests).min(1.0);
        if share < IGNORED_SHARE {
            return Duration::ZERO;
        }
        Duration::from_secs(MAX_DELAY.mul_f64(share).as_secs())
    }

    /// Counts one call that failed for good with `RequestLimitExceeded`.
    pub fn throttled(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).throttled += 1.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[tokio::test(start_paused = true)]
    async fn without_errors_nothing_is_delayed() {
        let delay = CrossRequestDelay::default();
        let start = Instant::now();
        for second in 0..10_000 {
            assert_eq!(delay.before_request(start + seconds(second)), Duration::ZERO);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn errors_alone_reach_nearly_the_longest_delay_and_clean_requests_end_it() {
        let delay = CrossRequestDelay::default();
        let start = Instant::now();
        let mut last = Duration::ZERO;
        for second in 0..100 {
            last = delay.before_request(start + seconds(second));
            if second >= 5 {
                assert!(last >= seconds(5), "{second}: {last:?}");
            }
            delay.throttled();
        }
        assert!(last >= MAX_DELAY.mul_f64(0.95), "{last:?}");
        for request in 1..=100 {
            last = delay.before_request(start + seconds(100 + 3 * request));
        }
        assert_eq!(last, Duration::ZERO);
    }
}
