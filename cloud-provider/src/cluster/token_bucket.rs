//! The token bucket of client-go (`rate.Limiter`): a rate, a burst, and debts that are paid by waiting.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Grants `rate` tokens per second, up to `burst` at once. Clock is tokio's, so that tests can move it.
#[derive(Debug)]
pub struct TokenBucket {
    rate: f64,
    burst: f64,
    state: Mutex<(f64, Instant)>,
}

impl TokenBucket {
    /// A full bucket. `rate` must be above 0.
    pub fn new(rate: f64, burst: u32) -> Self {
        let burst = f64::from(burst);
        TokenBucket { rate, burst, state: Mutex::new((burst, Instant::now())) }
    }

    /// Takes a token now or from the future, and says how long the taker has to wait for it.
    pub fn reserve(&self) -> Duration {
        let mut state = self.refilled();
        state.0 -= 1.0;
        // Whole nanoseconds: a difference in the last bit of a fraction is not a debt.
        Duration::try_from_secs_f64((-state.0).max(0.0) / self.rate).unwrap_or(Duration::MAX)
    }

    /// Takes a token if there is one.
    pub fn try_take(&self) -> bool {
        let mut state = self.refilled();
        let granted = state.0 >= 1.0;
        if granted {
            state.0 -= 1.0;
        }
        granted
    }

    /// Takes a token, waiting for it; gives it back when the wait is abandoned.
    pub async fn take(&self) -> Duration {
        struct Reserved<'a>(Option<&'a TokenBucket>);
        impl Drop for Reserved<'_> {
            fn drop(&mut self) {
                if let Some(bucket) = self.0 {
                    bucket.refilled().0 += 1.0;
                }
            }
        }
        let wait = self.reserve();
        if !wait.is_zero() {
            let mut reserved = Reserved(Some(self));
            tokio::time::sleep(wait).await;
            reserved.0 = None;
        }
        wait
    }

    fn refilled(&self) -> std::sync::MutexGuard<'_, (f64, Instant)> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let earned = now.saturating_duration_since(state.1).as_secs_f64() * self.rate;
        *state = ((state.0 + earned).min(self.burst), now);
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_free_and_what_follows_waits_for_its_turn() {
        let bucket = TokenBucket::new(10.0, 3);
        let waits: Vec<_> = (0..5).map(|_| bucket.reserve().as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 100, 200]);
        tokio::time::advance(Duration::from_millis(300)).await;
        assert!(bucket.try_take(), "two debts are paid, one token is earned");
        assert!(!bucket.try_take());
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_bucket_holds_no_more_than_its_burst() {
        let bucket = TokenBucket::new(1.0 / 300.0, 25);
        tokio::time::advance(Duration::from_secs(1_000_000)).await;
        assert_eq!((0..30).filter(|_| bucket.try_take()).count(), 25);
        tokio::time::advance(Duration::from_secs(301)).await;
        assert!(bucket.try_take(), "one token per 300 s");
        assert!(!bucket.try_take());
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_gave_up_waiting_leave_no_debt() {
        let bucket = TokenBucket::new(1.0, 1);
        assert!(bucket.try_take());
        for _ in 0..50 {
            assert!(tokio::time::timeout(Duration::from_millis(1), bucket.take()).await.is_err());
        }
        let start = Instant::now();
        bucket.take().await;
        assert!(start.elapsed() <= Duration::from_secs(1), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn takers_are_slowed_to_the_rate() {
        let bucket = TokenBucket::new(20.0, 1);
        let start = Instant::now();
        for _ in 0..21 {
            bucket.take().await;
        }
        let spent = start.elapsed();
        assert!(spent >= Duration::from_millis(999) && spent < Duration::from_millis(1050), "{spent:?}");
    }
}
