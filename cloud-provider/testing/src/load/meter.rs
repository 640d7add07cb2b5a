//! What one phase costs.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use tokio::time::Instant;

use super::Stage;
use crate::measure::{cpu_seconds, mib, tenths};

/// A phase that runs.
pub(super) struct Meter {
    name: &'static str,
    begun: Instant,
    at: Timestamp,
    /// Processor time of each controller that ran at the beginning, by process.
    cpu: BTreeMap<u32, f64>,
}

/// A phase that has ended.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Phase {
    pub(super) name: &'static str,
    /// How long it took.
    pub(super) seconds: f64,
    /// From the event to the last load balancer told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last_told_seconds: Option<f64>,
    pub(super) cloud_calls: BTreeMap<String, u64>,
    /// Answered requests of the controllers, by verb and resource; filled in at the end.
    pub(super) kubernetes_reads: BTreeMap<String, u64>,
    pub(super) kubernetes_writes: BTreeMap<String, u64>,
    /// Of all controllers that still run.
    pub(super) cpu_seconds: f64,
    /// The most that any of them ever held resident.
    pub(super) peak_rss_mib: f64,
    /// What the first of them holds resident at the end.
    pub(super) resident_mib: f64,
    #[serde(skip)]
    pub(super) window: (Timestamp, Timestamp),
}

impl Meter {
    pub(super) fn begin(name: &'static str, stage: &Stage<'_>) -> Self {
        stage.backend.forget_calls();
        let cpu = stage.controllers.iter().filter_map(|process| Some((process.pid(), cpu_seconds(process).ok()?)));
        Self { name, begun: Instant::now(), at: Timestamp::now(), cpu: cpu.collect() }
    }

    pub(super) fn elapsed(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    pub(super) fn end(self, stage: &Stage<'_>, seconds: f64, told: Option<f64>) -> anyhow::Result<Phase> {
        let (mut cpu, mut peak, mut resident) = (0.0, 0, 0);
        for process in &stage.controllers {
            let memory = process.memory()?;
            cpu += cpu_seconds(process)? - self.cpu.get(&process.pid()).copied().unwrap_or_default();
            peak = peak.max(memory.peak);
            if resident == 0 {
                resident = memory.resident;
            }
        }
        let calls = stage.backend.counts().into_iter().map(|(operation, count)| (operation.to_string(), count));
        Ok(Phase {
            name: self.name,
            seconds: tenths(seconds),
            last_told_seconds: told.map(tenths),
            cloud_calls: calls.collect(),
            kubernetes_reads: BTreeMap::new(),
            kubernetes_writes: BTreeMap::new(),
            cpu_seconds: tenths(cpu),
            peak_rss_mib: mib(peak),
            resident_mib: mib(resident),
            window: (self.at, Timestamp::now()),
        })
    }
}

impl Phase {
    pub(super) fn line(&self) -> String {
        format!(
            "{}: {:.1} s, {} cloud calls, {:.1} s of CPU, {:.1} MiB at most",
            self.name,
            self.seconds,
            self.cloud_calls.values().sum::<u64>(),
            self.cpu_seconds,
            self.peak_rss_mib
        )
    }
}
