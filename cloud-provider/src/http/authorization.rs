//! Tokens: fetched once for all who need one, renewed before they end, given up when the cloud refuses them.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;

use crate::{Error, Kind, error::Result};

/// How long before its end a token is renewed.
const EARLY: Duration = Duration::from_secs(120);
/// The first and the longest time for which a failed fetch is not tried again.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Proves to the cloud who we are.
#[async_trait]
pub trait Authorization: Send + Sync {
    /// Adds the proof to a request, and says which one it was.
    ///
    /// # Errors
    ///
    /// Where there is none to be had.
    async fn authorize(&self, request: &mut ::http::Request<Bytes>) -> Result<u64>;

    /// The cloud answered 401 to this proof. The next request gets another one.
    fn refused(&self, proof: u64);

    /// Values that must not be shown where a server repeats them.
    fn secrets(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Where tokens come from.
#[async_trait]
pub trait Fetch: Send + Sync {
    /// What comes with a token: the token itself, and what else the cloud says with it.
    type Value: Send + Sync;

    /// Fetches one.
    ///
    /// # Errors
    ///
    /// Where the cloud gives none.
    async fn fetch(&self) -> Result<Token<Self::Value>>;
}

/// A fetched token.
#[derive(Debug)]
pub struct Token<T> {
    /// The token.
    pub value: T,
    /// How long it is good for; `None` where that is not known.
    pub lifetime: Option<Duration>,
}

/// A token to be used now.
#[derive(Debug)]
pub struct Lease<T> {
    /// Which of the tokens that were fetched it is.
    pub number: u64,
    /// The token.
    pub value: Arc<T>,
}

impl<T> Clone for Lease<T> {
    fn clone(&self) -> Self {
        Self { number: self.number, value: self.value.clone() }
    }
}

/// Keeps a token and fetches another one when it is needed.
///
/// Whoever needs a token while one is being fetched waits for that one. A token that is near its end is renewed by one caller
/// while the others go on with it; where that fails it stays in use until its end. A failed fetch is not tried again for a
/// pause that grows from one second to a minute, so that a wrong password does not lock an account.
pub struct TokenCache<F: Fetch> {
    source: F,
    state: Mutex<State<F::Value>>,
    fetching: tokio::sync::Mutex<()>,
}

struct State<T> {
    current: Option<Kept<T>>,
    fetched: u64,
    failure: Option<Failed>,
}

struct Kept<T> {
    lease: Lease<T>,
    renew: Option<Instant>,
    end: Option<Instant>,
}

#[derive(Clone)]
struct Failed {
    kind: Kind,
    text: String,
    request_id: Option<String>,
    pause: Duration,
    until: Instant,
}

impl<F: Fetch> TokenCache<F> {
    /// An empty cache.
    pub fn new(source: F) -> Self {
        let state = State { current: None, fetched: 0, failure: None };
        Self { source, state: Mutex::new(state), fetching: tokio::sync::Mutex::default() }
    }

    /// Where the tokens come from.
    pub fn source(&self) -> &F {
        &self.source
    }

    /// The token to use now.
    ///
    /// # Errors
    ///
    /// That of the fetch; again without a fetch, while the pause after it lasts.
    pub async fn get(&self) -> Result<Lease<F::Value>> {
        match self.usable() {
            Some((lease, false)) => return Ok(lease),
            // One renews, the others go on with what there is.
            Some((lease, true)) => match self.fetching.try_lock() {
                Ok(_fetching) if self.paused().is_none() => return Ok(self.fetch().await.unwrap_or(lease)),
                _ => return Ok(lease),
            },
            None => {}
        }
        let _fetching = self.fetching.lock().await;
        if let Some((lease, _)) = self.usable() {
            return Ok(lease);
        }
        match self.paused() {
            Some(failed) => {
                let wait = failed.until.saturating_duration_since(Instant::now());
                let text = format!("no token; not tried again for {:.1} s", wait.as_secs_f64());
                Err(Error::new(failed.kind, text).with_request_id(failed.request_id).with_source(failed.text))
            }
            None => self.fetch().await,
        }
    }

    /// The token that is there already, whether it is still good or not.
    pub fn current(&self) -> Option<Lease<F::Value>> {
        self.state().current.as_ref().map(|kept| kept.lease.clone())
    }

    /// Gives the token with this number up; a newer one stays.
    pub fn refuse(&self, number: u64) {
        let mut state = self.state();
        if state.current.as_ref().is_some_and(|kept| kept.lease.number == number) {
            state.current = None;
        }
    }

    /// A token that has not ended, and whether it is time to renew it.
    fn usable(&self) -> Option<(Lease<F::Value>, bool)> {
        let state = self.state();
        let kept = state.current.as_ref()?;
        let now = Instant::now();
        let passed = |end: Option<Instant>| end.is_some_and(|end| end <= now);
        (!passed(kept.end)).then(|| (kept.lease.clone(), passed(kept.renew)))
    }

    fn paused(&self) -> Option<Failed> {
        self.state().failure.clone().filter(|failed| Instant::now() < failed.until)
    }

    async fn fetch(&self) -> Result<Lease<F::Value>> {
        let began = Instant::now();
        let result = self.source.fetch().await;
        let mut state = self.state();
        match result {
            Ok(token) => {
                state.fetched += 1;
                state.failure = None;
                let lease = Lease { number: state.fetched, value: Arc::new(token.value) };
                let after = |time: Duration| began.checked_add(time);
                state.current = Some(Kept {
                    lease: lease.clone(),
                    // A token that lives shortly is renewed in the last fifth of its life.
                    renew: token.lifetime.and_then(|time| after(time.saturating_sub(EARLY).max(time.mul_f64(0.8)))),
                    end: token.lifetime.and_then(after),
                });
                Ok(lease)
            }
            Err(error) => {
                let longer = state.failure.as_ref().map(|failed| (failed.pause * 2).min(LONGEST_PAUSE));
                let pause = longer.unwrap_or(FIRST_PAUSE).max(error.retry_after().unwrap_or_default());
                state.failure = Some(Failed {
                    kind: error.kind().clone(),
                    text: error.chain(),
                    request_id: error.request_id().map(str::to_owned),
                    pause: pause.min(LONGEST_PAUSE),
                    until: Instant::now() + pause,
                });
                Err(error)
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State<F::Value>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F: Fetch> fmt::Debug for TokenCache<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCache").field("fetched", &self.state().fetched).finish_non_exhaustive()
    }
}
