//! Going easy on a server that fails.
//!
//! Back-off per object bounds what one object costs, but not what a thousand of them cost together. So after a few failures
//! in a row, whatever they were about, calls to the same server are spaced, until one of them succeeds; then all that wait
//! go at once.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// The time between two calls while a server fails: with those that are not spaced, such as renewing a lease, at most five
/// a second.
const SPACING: Duration = Duration::from_millis(400);

/// What is known about one server.
#[derive(Debug)]
pub struct Outage {
    threshold: u32,
    state: Mutex<State>,
    over: Notify,
}

#[derive(Debug)]
struct State {
    /// In a row.
    failures: u32,
    /// When the next call may go.
    next: Instant,
}

impl Outage {
    /// So many failures in a row are an outage.
    pub fn after(threshold: u32) -> Self {
        let state = State { failures: 0, next: Instant::now() };
        Self { threshold, state: Mutex::new(state), over: Notify::new() }
    }

    /// Waits for the turn of a call; at once while all is well. A turn is taken when it has come: whoever gives up waiting
    /// takes none.
    pub async fn turn(&self) {
        loop {
            let mut over = std::pin::pin!(self.over.notified());
            over.as_mut().enable();
            let at = {
                let mut state = self.lock();
                let now = Instant::now();
                if state.failures < self.threshold {
                    return;
                }
                if state.next <= now {
                    state.next = now + SPACING;
                    return;
                }
                state.next
            };
            tokio::select! {
                () = sleep_until(at) => {}
                () = over => {}
            }
        }
    }

    /// Notes how a call ended. True when this one ended an outage.
    pub fn note(&self, success: bool) -> bool {
        let mut state = self.lock();
        if !success {
            state.failures = state.failures.saturating_add(1);
            return false;
        }
        let ended = state.failures >= self.threshold;
        *state = State { failures: 0, next: Instant::now() };
        drop(state);
        if ended {
            self.over.notify_waiters();
        }
        ended
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn calls_are_spaced_only_while_a_server_fails() {
        let outage = Outage::after(3);
        let begun = Instant::now();
        for _ in 0..3 {
            outage.turn().await;
            outage.note(false);
        }
        assert_eq!(begun.elapsed(), Duration::ZERO, "the failures that tell");
        outage.turn().await;
        outage.turn().await;
        outage.turn().await;
        assert_eq!(begun.elapsed(), 2 * SPACING);
        assert!(outage.note(true) && !outage.note(true));
        outage.turn().await;
        assert_eq!(begun.elapsed(), 2 * SPACING);
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_gave_up_waiting_hold_nobody_back() {
        let outage = Outage::after(1);
        outage.note(false);
        outage.turn().await;
        let begun = Instant::now();
        for _ in 0..100 {
            assert!(tokio::time::timeout(Duration::from_millis(1), outage.turn()).await.is_err());
        }
        outage.turn().await;
        assert_eq!(begun.elapsed(), SPACING);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_success_lets_all_that_wait_go() {
        let outage = Arc::new(Outage::after(1));
        outage.note(false);
        let waiting: Vec<_> = (0..100)
            .map(|_| {
                let outage = outage.clone();
                tokio::spawn(async move { outage.turn().await })
            })
            .collect();
        let begun = Instant::now();
        tokio::time::sleep(SPACING / 2).await;
        outage.note(true);
        for waiter in waiting {
            waiter.await.unwrap();
        }
        assert_eq!(begun.elapsed(), SPACING / 2);
    }
}
