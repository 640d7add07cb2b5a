//! What was measured, as it stands in the file.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::cell::Subject;
use crate::measure::Machine;

/// Everything that was measured on one cloud.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Figures {
    pub(super) cloud: String,
    pub(super) machine: Machine,
    pub(super) terms: Terms,
    pub(super) cells: Vec<Measured>,
}

/// What is the same for all cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Terms {
    /// Of the cloud's answers.
    pub(super) latency_ms: u128,
    /// Of load balancers after each change, where the cloud takes its time for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) pending_ms: Option<u128>,
    /// Of the pass over the addresses of all nodes.
    pub(super) period_seconds: u64,
    /// Of a phase.
    pub(super) limit_seconds: u64,
}

/// One controller at one size.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Measured {
    pub(super) controller: String,
    pub(super) version: String,
    pub(super) build: Build,
    pub(super) date: String,
    pub(super) binary_bytes: u64,
    pub(super) kubernetes: String,
    pub(super) nodes: usize,
    pub(super) services: usize,
    /// What was given up; later phases were not tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unfinished: Option<Unfinished>,
    /// How long the process that was started again waited for the lease of the one before, ahead of the phase `restart`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lease_seconds: Option<f64>,
    pub(super) phases: BTreeMap<String, Phase>,
}

/// What exactly ran. Figures of two builds do not belong into one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Build {
    /// The digest of the controller's program.
    pub(super) program: String,
    /// The digest of the simulator's.
    pub(super) simulator: String,
    pub(super) flags: Vec<String>,
}

/// A phase that did not end in time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Unfinished {
    pub(super) phase: String,
    /// How far it came.
    pub(super) reached: String,
}

/// One phase.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Phase {
    /// From the event to the last thing done.
    pub(super) seconds: f64,
    /// By action.
    pub(super) cloud_calls: BTreeMap<String, u64>,
    pub(super) cpu_seconds: f64,
    /// The most that the controller held resident since it started.
    pub(super) peak_rss_mib: f64,
    /// What it holds at the end.
    pub(super) resident_mib: f64,
}

impl Phase {
    pub(super) fn calls(&self) -> u64 {
        self.cloud_calls.values().sum()
    }
}

impl Figures {
    /// Those of the file, where it is there and was measured on the same terms and machine; else none.
    pub(super) fn open(path: &Path, cloud: &str, machine: Machine, terms: Terms, fresh: bool) -> anyhow::Result<Self> {
        if path.is_file() {
            let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
            let found: Self = serde_json::from_str(&text).with_context(|| format!("read {}", path.display()))?;
            if found.machine == machine && found.terms == terms {
                return Ok(found);
            }
            anyhow::ensure!(
                fresh,
                "{} was measured on other terms or another machine; --fresh begins anew",
                path.display()
            );
        }
        Ok(Self { cloud: cloud.to_owned(), machine, terms, cells: Vec::new() })
    }

    pub(super) fn has(&self, subject: &Subject, nodes: usize, services: usize) -> bool {
        self.cells.iter().any(|cell| {
            (&cell.controller, &cell.build, cell.nodes, cell.services)
                == (&subject.name, &subject.build, nodes, services)
        })
    }

    /// Fails where a cell of one of these controllers was measured with another program, simulator or other flags than now; with
    /// `fresh` such cells go.
    pub(super) fn refuse_other_builds(&mut self, subjects: &[Subject], fresh: bool) -> anyhow::Result<()> {
        let is_other = |cell: &Measured| {
            let subject = subjects.iter().find(|subject| subject.name == cell.controller);
            subject.is_some_and(|subject| subject.build != cell.build)
        };
        if fresh {
            self.cells.retain(|cell| !is_other(cell));
        }
        match self.cells.iter().find(|cell| is_other(cell)) {
            Some(Measured { controller, date, nodes, services, .. }) => bail!(
                "{controller} at {nodes}x{services} was measured on {date} with another build of it or of the simulator, or with \
                 other flags; --fresh begins anew, --out takes another folder"
            ),
            None => Ok(()),
        }
    }

    pub(super) fn put(&mut self, measured: Measured) {
        let key = |cell: &Measured| (cell.nodes, cell.services, cell.controller.clone());
        self.cells.retain(|cell| key(cell) != key(&measured));
        self.cells.push(measured);
        self.cells.sort_by_key(key);
    }

    /// In one step, so that an end in the middle leaves what was there.
    pub(super) fn save(&self, path: &Path) -> anyhow::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        let new = path.with_extension("json.new");
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(&new, text).with_context(|| format!("write {}", new.display()))?;
        std::fs::rename(&new, path).with_context(|| format!("write {}", path.display()))
    }
}

pub(super) fn today() -> String {
    Timestamp::now().strftime("%Y-%m-%d").to_string()
}
