//! Answers that are remembered for a while, with one question at a time per key.
//!
//! Keys are kept as their hash: tokens, which are secrets, and paths may be long, and anybody can ask.

use std::collections::HashMap;
use std::fmt::Debug;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::sync::OnceCell;
use tokio::time::Instant;

/// Keys that are remembered at once; beyond that, everything is forgotten.
const LIMIT: usize = 1024;

pub(super) struct Cache<V> {
    good_ttl: Duration,
    bad_ttl: Duration,
    entries: Mutex<HashMap<Digest, Entry<V>>>,
}

/// SHA-256, so that nobody finds two keys of one hash.
type Digest = [u8; 32];

struct Entry<V> {
    answer: Arc<OnceCell<(V, Instant)>>,
}

impl<V: Clone> Cache<V> {
    /// Remembers good answers and bad ones for different times; 0 for not at all.
    pub(super) fn new(good_ttl: Duration, bad_ttl: Duration) -> Self {
        Cache { good_ttl, bad_ttl, entries: Mutex::default() }
    }

    /// The answer that is remembered, or that of `ask`, which runs once for all that wait for the same key. Failures are
    /// not remembered.
    pub(super) async fn get<E, F>(
        &self,
        key: &(impl Debug + ?Sized),
        good: impl Fn(&V) -> bool,
        ask: impl FnOnce() -> F,
    ) -> Result<V, E>
    where
        F: Future<Output = Result<V, E>>,
    {
        let cell = self.cell(Sha256::digest(format!("{key:?}")).into(), good);
        let (answer, _) = cell.get_or_try_init(|| async { ask().await.map(|answer| (answer, Instant::now())) }).await?;
        Ok(answer.clone())
    }

    fn cell(&self, key: Digest, good: impl Fn(&V) -> bool) -> Arc<OnceCell<(V, Instant)>> {
        let fresh = |entry: &Entry<V>| match entry.answer.get() {
            Some((answer, since)) => since.elapsed() < if good(answer) { self.good_ttl } else { self.bad_ttl },
            // Somebody is asking.
            None => Arc::strong_count(&entry.answer) > 1,
        };
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get(&key).filter(|entry| fresh(entry)) {
            return Arc::clone(&entry.answer);
        }
        if entries.len() >= LIMIT {
            entries.retain(|_, entry| fresh(entry));
            if entries.len() >= LIMIT {
                entries.clear();
            }
        }
        let answer = Arc::new(OnceCell::new());
        entries.insert(key, Entry { answer: Arc::clone(&answer) });
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const S: Duration = Duration::from_secs(1);

    struct Asked(AtomicUsize);

    impl Asked {
        async fn answer(&self, answer: bool) -> Result<bool, ()> {
            self.0.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(S).await;
            Ok(answer)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn answers_are_remembered_for_their_time_and_asked_for_once() {
        let cache = Cache::new(10 * S, 5 * S);
        let asked = &Asked(AtomicUsize::new(0));
        let get = |key: &'static str, answer| cache.get(key, |good| *good, move || asked.answer(answer));
        let count = || asked.0.load(Ordering::SeqCst);
        let (one, two) = tokio::join!(get("a", true), get("a", true));
        assert_eq!((one, two, count()), (Ok(true), Ok(true), 1));
        assert_eq!(get("b", false).await, Ok(false));
        tokio::time::advance(6 * S).await;
        assert_eq!(get("a", false).await, Ok(true), "remembered");
        assert_eq!(count(), 2);
        assert_eq!(get("b", true).await, Ok(true), "bad answers are forgotten earlier");
        tokio::time::advance(5 * S).await;
        assert_eq!(get("a", false).await, Ok(false));
        assert_eq!(count(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_not_remembered_and_the_cache_is_bounded() {
        let cache: Cache<bool> = Cache::new(1000 * S, 1000 * S);
        assert_eq!(cache.get(&1, |_| true, || async { Err("down") }).await, Err("down"));
        assert_eq!(cache.get(&1, |_| true, || async { Ok::<_, &str>(true) }).await, Ok(true));
        for key in 0..5000 {
            let _ = cache.get(&key, |_| true, || async { Ok::<_, &str>(true) }).await;
        }
        assert!(cache.entries.lock().unwrap().len() <= LIMIT);
    }
}
