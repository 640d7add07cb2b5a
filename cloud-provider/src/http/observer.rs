//! Where calls are counted.

use std::time::Duration;

use super::StatusCode;

/// What is told of attempts and calls: the place for a cloud's metrics.
pub trait Observer: Send + Sync {
    /// One attempt has ended.
    fn attempt(&self, _attempt: &Observed<'_>) {}

    /// One call has ended, with all its attempts and pauses.
    fn call(&self, _call: &Observed<'_>) {}
}

/// One attempt, or one call.
#[derive(Debug, Clone, Copy)]
pub struct Observed<'a> {
    /// The operation, as [`Request::new`](super::Request::new) was told.
    pub operation: &'a str,
    /// How long it took.
    pub took: Duration,
    /// The status of the last answer, where one came.
    pub status: Option<StatusCode>,
    /// Whether it failed. A tolerated status is no failure.
    pub failed: bool,
    /// How many attempts there were; for an attempt, which one it is, from 1.
    pub attempts: u32,
}
