//! What came out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Serialize;

use super::accepted::{Accepted, Used};
use super::difference::Difference;
use super::scenario::Scenario;

/// What came out of one scenario.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    scenario: String,
    /// Entries that explained something.
    entries: Used,
    /// With the checkpoints.
    unexplained: Vec<(Difference, Vec<String>)>,
    /// What a takeover changed.
    findings: Vec<String>,
    takeovers: usize,
    failure: Option<String>,
}

impl Outcome {
    pub(super) fn failed(scenario: &Scenario, failure: String) -> Self {
        Self {
            scenario: scenario.name.clone(),
            entries: Used::new(),
            unexplained: Vec::new(),
            findings: Vec::new(),
            takeovers: 0,
            failure: Some(failure),
        }
    }

    pub(super) fn of(
        scenario: &Scenario,
        accepted: &Accepted,
        differences: Vec<(String, Difference)>,
        takeovers: Takeovers,
    ) -> Self {
        let mut outcome = Self::failed(scenario, String::new());
        outcome.failure = None;
        outcome.findings = takeovers.findings;
        outcome.takeovers = takeovers.count;
        for (checkpoint, difference) in differences {
            let sorted = accepted.sort(&scenario.name, &checkpoint, vec![difference]);
            outcome.entries.extend(sorted.entries);
            for difference in sorted.unexplained {
                match outcome.unexplained.iter_mut().find(|(known, _)| *known == difference) {
                    Some((_, checkpoints)) => checkpoints.push(checkpoint.clone()),
                    None => outcome.unexplained.push((difference, vec![checkpoint.clone()])),
                }
            }
        }
        outcome
    }

    fn accepted(&self) -> usize {
        self.entries.iter().map(|(nth, _)| nth).collect::<BTreeSet<_>>().len()
    }

    fn is_explained(&self) -> bool {
        self.failure.is_none() && self.unexplained.is_empty() && self.findings.is_empty()
    }

    /// One line, and one more for each thing that nothing explains.
    pub(super) fn line(&self) -> String {
        let mut text = match (&self.failure, self.is_explained(), self.accepted()) {
            (Some(failure), ..) => format!("{}: FAILED: {failure}", self.scenario),
            (None, true, 0) => format!("{}: equal", self.scenario),
            (None, true, accepted) => format!("{}: equal but for {accepted} accepted differences", self.scenario),
            (None, false, _) => format!("{}: DIFFERENT", self.scenario),
        };
        for (difference, checkpoints) in &self.unexplained {
            // Writing to a string does not fail.
            let _ = write!(text, "\n  after {}: {difference}", checkpoints.join(", "));
        }
        for finding in &self.findings {
            let _ = write!(text, "\n  takeover: {finding}");
        }
        text
    }
}

/// How often one controller took over what the other had left, and what happened.
#[derive(Debug, Clone, Default)]
pub(super) struct Takeovers {
    pub(super) count: usize,
    pub(super) findings: Vec<String>,
}

/// What came out of all.
#[derive(Debug, Clone)]
pub struct Report {
    outcomes: Vec<Outcome>,
    /// Entries that explain nothing any more, in words.
    stale: Vec<String>,
}

/// The figures. The names are an interface: scripts read them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// Scenarios that were played.
    pub scenarios: usize,
    /// Those without any difference.
    pub equal: usize,
    /// Accepted differences.
    pub accepted: usize,
    /// What nothing explains: differences, changes by a takeover, failures, entries that explain nothing.
    pub unexplained: usize,
    /// How often ours took over what upstream's had left.
    pub swaps: usize,
    /// By scenario: what nothing explains.
    pub findings: BTreeMap<String, Vec<String>>,
}

impl Report {
    pub(super) fn new(outcomes: Vec<Outcome>, accepted: &Accepted, played: &BTreeSet<String>) -> Self {
        let used = outcomes.iter().flat_map(|outcome| outcome.entries.iter().cloned()).collect();
        // Where something failed it is not known what the entries would have explained.
        let ended: BTreeSet<_> = outcomes
            .iter()
            .filter(|outcome| outcome.failure.is_none())
            .map(|outcome| outcome.scenario.clone())
            .filter(|name| played.contains(name))
            .collect();
        let stale = accepted.unused(&used, &ended).into_iter().map(|(entry, after)| {
            format!(
                "{} after {after}: {}: the accepted difference is not there any more, or its values are others",
                entry.scenario, entry.path
            )
        });
        let mut outcomes = outcomes;
        outcomes.sort_by(|a, b| a.scenario.cmp(&b.scenario));
        Self { stale: stale.collect(), outcomes }
    }

    /// Adds what is wrong about the files.
    pub fn add(&mut self, problem: String) {
        self.stale.push(problem);
    }

    /// The figures.
    pub fn figures(&self) -> Figures {
        let count = |outcome: &Outcome| {
            outcome.unexplained.len() + outcome.findings.len() + usize::from(outcome.failure.is_some())
        };
        let findings = self.outcomes.iter().filter(|outcome| !outcome.is_explained()).map(|outcome| {
            let differences = outcome.unexplained.iter().map(|(difference, _)| difference.path.clone());
            let list = differences.chain(outcome.findings.iter().cloned()).chain(outcome.failure.clone());
            (outcome.scenario.clone(), list.collect())
        });
        Figures {
            scenarios: self.outcomes.len(),
            equal: self.outcomes.iter().filter(|one| one.is_explained() && one.entries.is_empty()).count(),
            accepted: self.outcomes.iter().map(Outcome::accepted).sum(),
            unexplained: self.outcomes.iter().map(count).sum::<usize>() + self.stale.len(),
            swaps: self.outcomes.iter().map(|outcome| outcome.takeovers).sum(),
            findings: findings.collect(),
        }
    }

    /// Whether everything is explained.
    pub fn is_explained(&self) -> bool {
        self.figures().unexplained == 0
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for outcome in self.outcomes.iter().filter(|outcome| !outcome.is_explained()) {
            let _ = writeln!(text, "{}", outcome.line());
        }
        for stale in &self.stale {
            let _ = writeln!(text, "{stale}");
        }
        let Figures { scenarios, equal, accepted, unexplained, swaps, .. } = self.figures();
        let _ = write!(
            text,
            "{scenarios} scenarios: {equal} equal, {accepted} accepted differences, {unexplained} unexplained; {swaps} takeovers"
        );
        text
    }
}
