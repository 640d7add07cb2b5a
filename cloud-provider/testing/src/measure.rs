//! What figures are measured on, and how.

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::process::Process;

/// The kernel counts processor time in hundredths of a second.
const TICKS: f64 = 100.0;

/// What the figures were measured on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: u64,
    pub(crate) kernel: String,
}

impl Machine {
    pub(crate) fn here() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal").unwrap_or_default();
        let kib: u64 = memory.trim_end_matches("kB").trim().parse().unwrap_or_default();
        Self {
            processor: field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown".to_owned()),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_gib: (kib + (1 << 19)) >> 20,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        }
    }
}

/// User and system time of a process, in seconds.
pub(crate) fn cpu_seconds(process: &Process) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid())).context("read processor time")?;
    // The name in parentheses may hold anything; user and system time are the 12th and 13th field after it.
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks = |nth: usize| fields.get(nth).and_then(|field| field.parse::<f64>().ok());
    let (user, system) = ticks(11).zip(ticks(12)).context("the kernel tells processor time in another form")?;
    Ok((user + system) / TICKS)
}

pub(crate) fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

pub(crate) fn mib(bytes: u64) -> f64 {
    tenths(bytes as f64 / f64::from(1 << 20))
}
