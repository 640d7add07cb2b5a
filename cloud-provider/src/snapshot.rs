//! What was read from a cloud, and how old that is.
//!
//! Many callers ask for the same things, each with a highest age of its own. A [`Snapshot`] keeps answers with the time at
//! which their reads began, and lets one caller read at a time: who waited looks first at what the others brought meanwhile,
//! so that nothing is read twice for the same question.

use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::error::Failure;

/// The moment that lies `age` back: what was read since is young enough.
pub fn since(age: Duration) -> Instant {
    let now = Instant::now();
    now.checked_sub(age).unwrap_or(now)
}

/// What has a name, by its ID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named<I> {
    /// One thing alone.
    One(I),
    /// Several, so that nobody can say which is meant.
    Many,
    /// Nothing.
    None,
}

impl<I> Named<I> {
    /// The answer where these have the name.
    pub fn of(mut ids: Vec<I>) -> Self {
        match (ids.pop(), ids.is_empty()) {
            (Some(id), true) => Self::One(id),
            (Some(_), false) => Self::Many,
            (None, _) => Self::None,
        }
    }
}

/// What could not be found out.
#[derive(Debug)]
pub struct Failures<I> {
    /// By ID.
    pub ids: HashMap<I, Failure>,
    /// By name.
    pub names: HashMap<String, Failure>,
}

impl<I> Default for Failures<I> {
    fn default() -> Self {
        Self { ids: HashMap::new(), names: HashMap::new() }
    }
}

impl<I: Eq + Hash> Failures<I> {
    /// The same failure for all of these.
    pub fn all(ids: Vec<I>, names: Vec<String>, failure: &Failure) -> Self {
        Self {
            ids: ids.into_iter().map(|id| (id, failure.clone())).collect(),
            names: names.into_iter().map(|name| (name, failure.clone())).collect(),
        }
    }
}

/// Answers by key. Clones of the answers are handed out, so they should be cheap to clone.
pub struct Snapshot<K, V> {
    answers: Mutex<HashMap<K, (Instant, V)>>,
    reading: tokio::sync::Mutex<()>,
    forget: Duration,
}

/// The right to read; it ends when this is dropped.
#[derive(Debug)]
pub struct Turn<'a>(#[expect(dead_code, reason = "held until it is dropped")] tokio::sync::MutexGuard<'a, ()>);

impl<K: Eq + Hash + Clone, V: Clone> Snapshot<K, V> {
    /// An empty snapshot that forgets answers after a time.
    pub fn new(forget: Duration) -> Self {
        Self { answers: Mutex::default(), reading: tokio::sync::Mutex::default(), forget }
    }

    /// Waits for the right to read.
    pub async fn turn(&self) -> Turn<'_> {
        Turn(self.reading.lock().await)
    }

    /// The answer for `key` from a read that began at `oldest` or later.
    pub fn get(&self, key: &K, oldest: Instant) -> Option<V> {
        self.get_if(key, |began, _| began >= oldest)
    }

    /// The answer for `key`, where `is_fresh` takes it for young enough by the start of its read.
    pub fn get_if(&self, key: &K, is_fresh: impl FnOnce(Instant, &V) -> bool) -> Option<V> {
        self.answers().get(key).filter(|(began, answer)| is_fresh(*began, answer)).map(|(_, answer)| answer.clone())
    }

    /// Those keys for which there is no answer from a read that began at `oldest` or later.
    pub fn missing<'k>(&self, keys: impl IntoIterator<Item = &'k K>, oldest: Instant) -> Vec<K>
    where
        K: 'k,
    {
        let answers = self.answers();
        let known = |key: &K| answers.get(key).is_some_and(|(began, _)| *began >= oldest);
        keys.into_iter().filter(|key| !known(key)).cloned().collect()
    }

    /// Takes the answers of a read that began at `began`, and forgets old ones.
    pub fn insert(&self, began: Instant, answers: impl IntoIterator<Item = (K, V)>) {
        let forgotten = since(self.forget);
        let mut all = self.answers();
        all.retain(|_, (began, _)| *began >= forgotten);
        all.extend(answers.into_iter().map(|(key, answer)| (key, (began, answer))));
    }

    /// How many answers there are, of any age.
    pub fn len(&self) -> usize {
        self.answers().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.answers().is_empty()
    }

    fn answers(&self) -> MutexGuard<'_, HashMap<K, (Instant, V)>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, V> fmt::Debug for Snapshot<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("forget", &self.forget).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_caller_has_a_highest_age_of_its_own_and_old_answers_are_forgotten() {
        let snapshot = Snapshot::new(Duration::from_secs(60));
        snapshot.insert(Instant::now(), [("a", 1)]);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(snapshot.get(&"a", since(Duration::from_secs(10))), Some(1));
        assert_eq!(snapshot.get(&"a", since(Duration::from_secs(9))), None);
        assert_eq!(snapshot.missing(&["a", "b"], since(Duration::from_secs(10))), ["b"]);
        tokio::time::advance(Duration::from_secs(51)).await;
        snapshot.insert(Instant::now(), [("b", 2)]);
        assert_eq!(snapshot.len(), 1);
    }
}
