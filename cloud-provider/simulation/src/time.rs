//! Times in the future.

use jiff::{SignedDuration, Timestamp};

/// The time `milliseconds` after `from`.
pub fn later(from: Timestamp, milliseconds: u64) -> Timestamp {
    let milliseconds = i64::try_from(milliseconds).unwrap_or(i64::MAX);
    from.saturating_add(SignedDuration::from_millis(milliseconds)).unwrap_or(Timestamp::MAX)
}
