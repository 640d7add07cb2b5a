//! Differences that are on purpose: exact entries with a reason.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::Value;

use super::difference::Difference;

/// The file of what differs on the simulator.
pub(super) const FILE: &str = "accepted.yaml";

/// An accepted difference. It holds at the checkpoints that it names, where path and both values are these.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The name of the scenario.
    pub scenario: String,
    /// The titles of the checkpoints: `1 create web`.
    pub after: BTreeSet<String>,
    /// See [`Difference::path`].
    pub path: String,
    /// What upstream's controller left; null for nothing.
    pub upstream: Value,
    /// What ours left; null for nothing.
    pub ours: Value,
    /// Why it is so.
    pub reason: String,
}

/// All of them.
#[derive(Debug, Clone, Default)]
pub struct Accepted(Vec<Entry>);

/// Places of entries that held, and after which step.
pub type Used = BTreeSet<(usize, String)>;

/// Differences sorted by whether they are accepted.
#[derive(Debug, Clone, Default)]
pub struct Sorted {
    /// What held.
    pub entries: Used,
    /// What no entry explains.
    pub unexplained: Vec<Difference>,
}

impl Accepted {
    /// Reads the entries of a YAML file; a file that is not there has none.
    ///
    /// # Errors
    /// When the file cannot be read, is of another form, an entry has no reason or no step, or two entries are the same.
    pub fn load(file: &Path) -> anyhow::Result<Self> {
        if !file.exists() {
            return Ok(Self::default());
        }
        let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        Self::parse(&text).with_context(|| format!("read {}", file.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        if text.lines().all(|line| line.trim().is_empty() || line.starts_with('#')) {
            return Ok(Self::default());
        }
        let entries: Vec<Entry> = serde_saphyr::from_str(text).context("no list of entries")?;
        for (nth, entry) in entries.iter().enumerate() {
            let Entry { scenario, path, .. } = entry;
            ensure!(!entry.after.is_empty(), "{scenario}, {path}: it holds after no step");
            ensure!(entry.reason.trim().len() > 10, "{scenario}, {path}: there is no reason");
            let same = |other: &&Entry| {
                other.scenario == *scenario
                    && other.path == *path
                    && (&other.upstream, &other.ours) == (&entry.upstream, &entry.ours)
            };
            ensure!(entries[..nth].iter().find(same).is_none(), "{scenario}, {path}: stands there twice");
        }
        Ok(Self(entries))
    }

    /// Sorts the differences of a scenario at the checkpoint with this title.
    pub fn sort(&self, scenario: &str, after: &str, differences: Vec<Difference>) -> Sorted {
        let mut sorted = Sorted::default();
        for difference in differences {
            let holds = |entry: &Entry| {
                entry.scenario == scenario
                    && entry.after.contains(after)
                    && entry.path == difference.path
                    && (&entry.upstream, &entry.ours) == (&difference.upstream, &difference.ours)
            };
            match self.0.iter().position(holds) {
                Some(nth) => {
                    sorted.entries.insert((nth, after.to_owned()));
                }
                None => sorted.unexplained.push(difference),
            }
        }
        sorted
    }

    /// Entries of the scenarios `among`, each with a step after which it did not hold: what they explained is gone.
    pub fn unused(&self, used: &Used, among: &BTreeSet<String>) -> Vec<(&Entry, &str)> {
        let entries = self.0.iter().enumerate().filter(|(_, entry)| among.contains(&entry.scenario));
        let each = entries.flat_map(|(nth, entry)| entry.after.iter().map(move |after| (nth, entry, after)));
        let unused = each.filter(|(nth, _, after)| !used.contains(&(*nth, (*after).clone())));
        unused.map(|(_, entry, after)| (entry, after.as_str())).collect()
    }

    /// Entries whose scenario is not among those given.
    pub fn unknown(&self, scenarios: &BTreeSet<String>) -> Vec<&Entry> {
        self.0.iter().filter(|entry| !scenarios.contains(&entry.scenario)).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TEXT: &str = "
- {scenario: one, after: [1 step, 2 step], path: services / web, upstream: 1, ours: null, reason: a long enough reason}
- {scenario: two, after: [1 step], path: services / web, upstream: 1, ours: null, reason: a long enough reason}
";

    #[test]
    fn an_entry_holds_only_with_its_scenario_step_path_and_values() {
        let accepted = Accepted::parse(TEXT).unwrap();
        let difference = |path: &str, ours: Value| Difference { path: path.to_owned(), upstream: json!(1), ours };
        let fits = |scenario: &str, after: &str, difference: Difference| {
            let sorted = accepted.sort(scenario, after, vec![difference]);
            assert_eq!(sorted.entries.len() + sorted.unexplained.len(), 1);
            sorted.unexplained.is_empty()
        };
        assert!(fits("one", "2 step", difference("services / web", Value::Null)));
        assert!(!fits("one", "2 step", difference("services / web", json!(2))));
        assert!(!fits("one", "2 step", difference("services", Value::Null)));
        assert!(!fits("one", "3 step", difference("services / web", Value::Null)));
        assert!(!fits("three", "2 step", difference("services / web", Value::Null)));
    }

    #[test]
    fn entries_that_explain_nothing_are_found() {
        let accepted = Accepted::parse(TEXT).unwrap();
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let used = |steps: &[&str]| steps.iter().map(|step| (0, (*step).to_owned())).collect::<Used>();
        assert_eq!(accepted.unused(&used(&["1 step", "2 step"]), &names(&["one", "two"])).len(), 1);
        assert!(accepted.unused(&used(&["1 step", "2 step"]), &names(&["one"])).is_empty());
        assert_eq!(accepted.unused(&used(&["1 step"]), &names(&["one"]))[0].1, "2 step");
        assert_eq!(accepted.unknown(&names(&["one"])).len(), 1);
    }

    #[test]
    fn an_entry_needs_a_reason_and_stands_once() {
        assert!(Accepted::parse(TEXT).is_ok());
        for (part, without) in [("a long enough reason", "''"), ("two", "one"), ("[1 step]", "[]")] {
            assert!(Accepted::parse(&TEXT.replace(part, without)).is_err(), "{part}");
        }
        assert!(Accepted::parse("# nothing\n").unwrap().0.is_empty());
    }
}
