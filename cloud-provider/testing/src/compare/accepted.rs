//! Differences that are on purpose: exact entries with a reason.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::Value;

use super::difference::Difference;

/// An accepted difference. It holds at every checkpoint of its scenario where path and both values are these.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The name of the scenario.
    pub scenario: String,
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

/// Differences sorted by whether they are accepted.
#[derive(Debug, Clone, Default)]
pub struct Sorted {
    /// Places of the entries that hold.
    pub entries: BTreeSet<usize>,
    /// What no entry explains.
    pub unexplained: Vec<Difference>,
}

impl Accepted {
    /// Reads the entries of a YAML file; a file that is not there has none.
    ///
    /// # Errors
    /// When the file cannot be read, is of another form, an entry has no reason, or two entries are the same.
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

    /// Sorts the differences of a scenario.
    pub fn sort(&self, scenario: &str, differences: Vec<Difference>) -> Sorted {
        let mut sorted = Sorted::default();
        for difference in differences {
            let holds = |entry: &Entry| {
                entry.scenario == scenario
                    && entry.path == difference.path
                    && (&entry.upstream, &entry.ours) == (&difference.upstream, &difference.ours)
            };
            match self.0.iter().position(holds) {
                Some(nth) => {
                    sorted.entries.insert(nth);
                }
                None => sorted.unexplained.push(difference),
            }
        }
        sorted
    }

    /// Entries of the scenarios `among` that are not in `used`: what they explained is gone.
    pub fn unused(&self, used: &BTreeSet<usize>, among: &BTreeSet<String>) -> Vec<&Entry> {
        let unused =
            self.0.iter().enumerate().filter(|(nth, entry)| !used.contains(nth) && among.contains(&entry.scenario));
        unused.map(|(_, entry)| entry).collect()
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
- {scenario: one, path: services / web, upstream: 1, ours: null, reason: a long enough reason}
- {scenario: two, path: services / web, upstream: 1, ours: null, reason: a long enough reason}
";

    #[test]
    fn an_entry_holds_only_with_its_scenario_path_and_values() {
        let accepted = Accepted::parse(TEXT).unwrap();
        let difference = |path: &str, ours: Value| Difference { path: path.to_owned(), upstream: json!(1), ours };
        let sorted = accepted.sort("one", vec![difference("services / web", Value::Null)]);
        assert_eq!((sorted.entries.len(), sorted.unexplained.len()), (1, 0));
        for other in [difference("services / web", json!(2)), difference("services", Value::Null)] {
            assert_eq!(accepted.sort("one", vec![other]).unexplained.len(), 1);
        }
        assert_eq!(accepted.sort("three", vec![difference("services / web", Value::Null)]).unexplained.len(), 1);
    }

    #[test]
    fn entries_that_explain_nothing_are_found() {
        let accepted = Accepted::parse(TEXT).unwrap();
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(accepted.unused(&BTreeSet::from([0]), &names(&["one", "two"])).len(), 1);
        assert!(accepted.unused(&BTreeSet::from([0]), &names(&["one"])).is_empty());
        assert_eq!(accepted.unknown(&names(&["one"])).len(), 1);
    }

    #[test]
    fn an_entry_needs_a_reason_and_stands_once() {
        assert!(Accepted::parse("- {scenario: a, path: b, upstream: 1, ours: 2, reason: ''}").is_err());
        assert!(Accepted::parse(&TEXT.replace("two", "one")).is_err());
        assert!(Accepted::parse("# nothing\n").unwrap().0.is_empty());
    }
}
