//! What one phase costs.

use std::collections::BTreeMap;

use anyhow::Context as _;
use jiff::Timestamp;
use serde::Serialize;
use tokio::time::Instant;

use super::Stage;
use crate::process::Process;

/// The kernel counts processor time in hundredths of a second.
const TICKS: f64 = 100.0;

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

fn cpu_seconds(process: &Process) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid())).context("read processor time")?;
    // The name in parentheses may hold anything; user and system time are the 12th and 13th field after it.
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks = |nth: usize| fields.get(nth).and_then(|field| field.parse::<f64>().ok());
    let (user, system) = ticks(11).zip(ticks(12)).context("the kernel tells processor time in another form")?;
    Ok((user + system) / TICKS)
}

pub(super) fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

fn mib(bytes: u64) -> f64 {
    tenths(bytes as f64 / f64::from(1 << 20))
}
