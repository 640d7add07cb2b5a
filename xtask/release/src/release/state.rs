//! What earlier runs of a release have done.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

const FILE: &str = "state.json";

/// What is done of a release of a commit to a place; what was done for another commit counts for nothing.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct State {
    commit: String,
    to: String,
    done: BTreeSet<String>,
    /// The digest of the image.
    pub(super) digest: Option<String>,
}

impl State {
    /// # Errors
    /// When the file cannot be read, or is not valid.
    pub(super) fn load(folder: &Path, commit: &str, to: &str) -> anyhow::Result<Self> {
        let path = folder.join(FILE);
        let new = Self { commit: commit.to_owned(), to: to.to_owned(), done: BTreeSet::new(), digest: None };
        if !path.exists() {
            return Ok(new);
        }
        let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        let old: Self = serde_json::from_slice(&text).with_context(|| format!("read {}", path.display()))?;
        Ok(if old.commit == new.commit && old.to == new.to { old } else { new })
    }

    /// In one step: a run that is ended leaves the file from before.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn save(&self, folder: &Path) -> anyhow::Result<()> {
        let (path, new) = (folder.join(FILE), folder.join("state.json.new"));
        let text = serde_json::to_vec_pretty(self).context("write the state of the release")?;
        fs::write(&new, text).with_context(|| format!("write {}", new.display()))?;
        fs::rename(&new, &path).with_context(|| format!("move it to {}", path.display()))
    }

    pub(super) fn is_done(&self, step: &str) -> bool {
        self.done.contains(step)
    }

    pub(super) fn done(&mut self, step: &str) {
        self.done.insert(step.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_counts_for_the_same_commit_and_place_only() {
        let folder = tempfile::tempdir().unwrap();
        let load = |commit, to| State::load(folder.path(), commit, to).unwrap();
        let mut state = load("c1", "r/a:v1");
        state.done("tests");
        state.save(folder.path()).unwrap();
        assert!(load("c1", "r/a:v1").is_done("tests"));
        assert!(!load("c2", "r/a:v1").is_done("tests"));
        assert!(!load("c1", "r/b:v1").is_done("tests"));
    }
}
