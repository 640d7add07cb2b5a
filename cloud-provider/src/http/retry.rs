//! Which failures are tried again, and when.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};

use super::{HeaderMap, Request, StatusCode, header, transport::Stage};

/// How often and how long a request is tried.
///
/// What is safe to repeat is tried again: anything that the cloud has not carried out (no connection, `429`, `503` with
/// `Retry-After`, what [`Request::busy`] names), and what may be repeated after other failures of the server (5xx, broken
/// connections, no answer in time). `Retry-After` is obeyed where it fits into the total, and else handed to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Attempts of one request; 1 means none is tried again.
    pub attempts: usize,
    /// The pause before the second attempt. Each pause is twice the one before, plus up to as much again by chance.
    pub first_pause: Duration,
    /// The longest pause, before chance is added.
    pub longest_pause: Duration,
    /// No attempt begins after this time.
    pub total: Duration,
}

impl Default for Retry {
    /// Four attempts within a minute, with pauses from half a second.
    fn default() -> Self {
        Self {
            attempts: 4,
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(10),
            total: Duration::from_secs(60),
        }
    }
}

impl Retry {
    /// One attempt.
    pub const fn never() -> Self {
        Self { attempts: 1, first_pause: Duration::ZERO, longest_pause: Duration::ZERO, total: Duration::ZERO }
    }

    pub(super) fn pauses(&self) -> impl Iterator<Item = Duration> + use<> {
        ExponentialBuilder::new()
            .with_factor(2.0)
            .with_min_delay(self.first_pause)
            .with_max_delay(self.longest_pause)
            .with_max_times(self.attempts.saturating_sub(1))
            .with_jitter()
            .build()
    }
}

/// Whether a status may be tried again for this request.
pub(super) fn may_repeat_status(request: &Request, status: StatusCode, headers: &HeaderMap) -> bool {
    match status.as_u16() {
        429 => true,
        503 if headers.contains_key(header::RETRY_AFTER) => true,
        500 | 502 | 503 | 504 => request.idempotent,
        // Old services of several clouds say so when they have enough.
        413 | 498 if headers.contains_key(header::RETRY_AFTER) => true,
        _ => request.busy.contains(&status),
    }
}

/// Whether a request may be tried again after it got so far.
pub(super) fn may_repeat_stage(request: &Request, stage: Stage) -> bool {
    match stage {
        Stage::Connect => true,
        Stage::Broken | Stage::TimedOut => request.idempotent,
        Stage::Unusable | Stage::TooLarge => false,
    }
}

/// `Retry-After` in both its forms: seconds, and a date, which needs the machine's clock.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    let wait = date.timestamp().duration_since(jiff::Timestamp::now());
    Some(Duration::try_from(wait).unwrap_or(Duration::ZERO))
}
