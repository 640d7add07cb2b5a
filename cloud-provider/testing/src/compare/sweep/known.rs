//! Ends that are another on purpose: exact entries with a reason.

use std::path::Path;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use super::Disturbance;

/// One path that may be another after one disturbance of one scenario.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    scenario: String,
    disturbance: Disturbance,
    path: String,
    reason: String,
}

impl Entry {
    pub(super) fn explains(&self, scenario: &str, disturbance: Disturbance, path: &str) -> bool {
        (self.scenario.as_str(), self.disturbance, self.path.as_str()) == (scenario, disturbance, path)
    }
}

/// Reads the entries; a file that is not there has none.
pub(super) fn load(file: &Path) -> anyhow::Result<Vec<Entry>> {
    if !file.exists() {
        return Ok(Vec::new());
    }
    let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    parse(&text).with_context(|| format!("read {}", file.display()))
}

fn parse(text: &str) -> anyhow::Result<Vec<Entry>> {
    let entries: Vec<Entry> = serde_saphyr::from_str(text).context("no list of entries")?;
    for Entry { scenario, path, reason, .. } in &entries {
        ensure!(reason.trim().len() > 10, "{scenario}, {path}: there is no reason");
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_explains_one_path_of_one_scenario_after_one_disturbance() {
        let text = "- {scenario: one, disturbance: lost-answer, path: cloud / x, reason: a long enough reason}";
        let [entry] = parse(text).unwrap().try_into().unwrap();
        assert!(entry.explains("one", Disturbance::LostAnswer, "cloud / x"));
        assert!(!entry.explains("two", Disturbance::LostAnswer, "cloud / x"));
        assert!(!entry.explains("one", Disturbance::Crash, "cloud / x"));
        assert!(!entry.explains("one", Disturbance::LostAnswer, "cloud"));
        assert!(parse(&text.replace("a long enough reason", "''")).is_err());
    }
}
