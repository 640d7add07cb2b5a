//! What to do about a lease: pure.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

/// The election record, as it stands in the `spec` of the Lease.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    /// Empty: released.
    pub(super) holder: String,
    /// Whole seconds.
    pub(super) duration: i32,
    pub(super) acquired: Option<Timestamp>,
    pub(super) renewed: Option<Timestamp>,
    pub(super) transitions: i32,
}

/// A record, and since when we have seen exactly it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Observed {
    pub(super) record: Record,
    pub(super) since: Instant,
}

impl Observed {
    /// Whether its holder may still act, as far as we can know: the time on the record is of another clock, so it
    /// is only compared for change.
    pub(super) fn is_valid(&self, now: Instant) -> bool {
        let duration = Duration::from_secs(u64::try_from(self.record.duration).unwrap_or_default());
        self.since + duration > now
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// Another holds the lease.
    Wait,
    /// There is no lease: create it.
    Create(Record),
    /// Write this over the lease that was observed.
    Update(Record),
}

/// A candidate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'a> {
    pub(super) identity: &'a str,
    pub(super) lease_duration: Duration,
}

impl Candidate<'_> {
    /// The next step towards leading, or towards leading on.
    pub(super) fn decide(&self, observed: Option<&Observed>, now: Instant, wall: Timestamp) -> Step {
        let mine = Record {
            holder: self.identity.to_owned(),
            duration: seconds(self.lease_duration),
            acquired: Some(wall),
            renewed: Some(wall),
            transitions: 0,
        };
        let Some(observed) = observed else { return Step::Create(mine) };
        let Record { holder, acquired, transitions, .. } = &observed.record;
        if holder == self.identity {
            return Step::Update(Record { acquired: *acquired, transitions: *transitions, ..mine });
        }
        if !holder.is_empty() && observed.is_valid(now) {
            return Step::Wait;
        }
        Step::Update(Record { transitions: transitions.saturating_add(1), ..mine })
    }

    /// What to leave behind: a lease without a holder that anyone may take.
    pub(super) fn release(&self, record: &Record, wall: Timestamp) -> Option<Record> {
        (record.holder == self.identity).then(|| Record {
            holder: String::new(),
            duration: 1,
            acquired: Some(wall),
            renewed: Some(wall),
            transitions: record.transitions,
        })
    }
}

fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)
}
