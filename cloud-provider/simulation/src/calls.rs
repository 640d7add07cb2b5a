//! The log of every call, refused ones included.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use serde::Serialize;

/// So many calls are kept in full; counts are never cut.
const KEPT: usize = 100_000;

/// A call as it arrived and what became of it.
#[derive(Clone, Debug, Serialize)]
pub struct Call {
    /// Counts from 1 since the start or the last reset.
    pub number: u64,
    /// When it was decided, after any latency.
    pub at: Timestamp,
    /// The service, as the simulator names it.
    pub service: String,
    /// The action, as the simulator names it.
    pub action: String,
    /// Parameters as sent, without what only names the action. Secrets and tokens are left out.
    pub parameters: BTreeMap<String, String>,
    /// Who called: the access key ID, or the ID of the user.
    pub access_key: Option<String>,
    /// `ok`, or the code of the error answer (the status where errors have no codes), or `Disconnect`, `Hang`, `Truncate` when a fault took the answer away.
    pub outcome: String,
    /// Whether the action was carried out. True with another outcome than `ok` means that the answer was lost.
    pub executed: bool,
}

/// How often an action was called.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// All calls.
    pub calls: u64,
    /// Those that did not end with `ok`, by outcome.
    pub failures: BTreeMap<String, u64>,
}

/// Counts by `SERVICE.Action`.
pub type Counts = BTreeMap<String, Count>;

/// All calls since the start or the last reset.
#[derive(Debug, Default)]
pub struct CallLog {
    number: u64,
    calls: VecDeque<Call>,
    counts: Counts,
}

impl CallLog {
    /// Adds a call; its number is given here.
    pub fn add(&mut self, mut call: Call) {
        self.number += 1;
        call.number = self.number;
        let count = self.counts.entry(format!("{}.{}", call.service, call.action)).or_default();
        count.calls += 1;
        if call.outcome != "ok" {
            *count.failures.entry(call.outcome.clone()).or_default() += 1;
        }
        if self.calls.len() == KEPT {
            self.calls.pop_front();
        }
        self.calls.push_back(call);
    }

    /// The calls that are kept, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.iter().cloned().collect()
    }

    /// Counts of all calls.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }
}
