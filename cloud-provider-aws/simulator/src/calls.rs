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
    /// `EC2`, `ELB`, `ELBv2`, `STS`, `ECR`, `ECRPublic` or `IMDS`.
    pub service: String,
    /// The action, or method and path for `IMDS`.
    pub action: String,
    /// Parameters as sent, without `Action` and `Version`. Tokens are left out.
    pub parameters: BTreeMap<String, String>,
    /// Who called: the access key ID.
    pub access_key: Option<String>,
    /// `ok`, or the code of the error answer, or `Disconnect`, `Hang`, `Truncate` when a fault took the answer away.
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

#[derive(Debug, Default)]
pub(crate) struct CallLog {
    number: u64,
    calls: VecDeque<Call>,
    counts: Counts,
}

impl CallLog {
    pub(crate) fn add(&mut self, mut call: Call) {
        self.number += 1;
        call.number = self.number;
        call.parameters.retain(|name, _| !matches!(name.as_str(), "Action" | "Version" | "WebIdentityToken"));
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

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.iter().cloned().collect()
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }
}
