//! What upstream's controller did, kept in files.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::ser::{PrettyFormatter, Serializer};

use super::document::{merge, patch};
use super::scenario::Scenario;

/// A run of a scenario with upstream's controller. In its file each checkpoint is a merge patch of the one before.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recording {
    /// Name and version of the controller.
    pub upstream: String,
    /// The [digest](Scenario::digest) of the scenario.
    pub scenario: String,
    /// The normalised state at each checkpoint.
    pub checkpoints: Vec<Checkpoint>,
    /// What was there at each swap, before each step that takes a load balancer away, and at the end, as it was.
    pub left: Vec<Left>,
}

/// The state of a world at rest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// The number and the title of the step before.
    pub title: String,
    /// The document.
    pub state: Value,
}

/// An account and a cluster as a controller left them, with all that was generated, so that another can take over.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Left {
    /// The number of the step, or one more than there are at the end.
    pub at: usize,
    /// What is not as in the fresh account.
    pub cloud: Value,
    /// Nodes and services.
    pub objects: Value,
}

impl Recording {
    fn file(folder: &Path, scenario: &str) -> PathBuf {
        folder.join(format!("{scenario}.json"))
    }

    /// Reads the recording of a scenario.
    ///
    /// # Errors
    /// When there is none, it is of another form, or the scenario has changed since.
    pub fn load(folder: &Path, scenario: &Scenario) -> anyhow::Result<Self> {
        let file = Self::file(folder, &scenario.name);
        let text = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let mut recording: Self = serde_json::from_str(&text).with_context(|| format!("read {}", file.display()))?;
        let mut state = Value::Null;
        for checkpoint in &mut recording.checkpoints {
            merge(&mut state, &checkpoint.state);
            checkpoint.state = state.clone();
        }
        ensure!(recording.scenario == scenario.digest, "the scenario has changed since it was recorded");
        Ok(recording)
    }

    /// Writes it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, folder: &Path, scenario: &str) -> anyhow::Result<()> {
        let file = Self::file(folder, scenario);
        std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        let mut recording = self.clone();
        let mut before = Value::Object(serde_json::Map::new());
        for checkpoint in &mut recording.checkpoints {
            let change = patch(&before, &checkpoint.state);
            before = std::mem::replace(&mut checkpoint.state, change);
        }
        // Thousands of lines: one blank for each level.
        let mut text = Vec::new();
        let formatter = PrettyFormatter::with_indent(b" ");
        recording.serialize(&mut Serializer::with_formatter(&mut text, formatter)).context("print a recording")?;
        text.push(b'\n');
        std::fs::write(&file, text).with_context(|| format!("write {}", file.display()))
    }

    /// The recording's files that belong to no scenario.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn orphans(folder: &Path, scenarios: &[Scenario]) -> anyhow::Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
        let mut files = entries.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<Vec<_>>>()?;
        let known = |file: &PathBuf| scenarios.iter().any(|one| *file == Self::file(folder, &one.name));
        files.retain(|file| !known(file));
        files.sort();
        Ok(files)
    }
}
