//! The `process_*` metrics, read from `/proc` when they are asked for.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::Gauge;

use super::{Metrics, valid};

/// The name of the metric of [`start_time`].
const START: &str = "process_start_time_seconds";

/// Clock ticks per second in `/proc/*/stat`: fixed to 100 for user space on every Linux architecture.
const TICKS: f64 = 100.0;

/// Registers the metrics; on a system without `/proc` they stay 0.
pub(super) fn register(metrics: &Metrics) {
    let cpu = metrics.float_counter("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.");
    let open = metrics.gauge("process_open_fds", "Number of open file descriptors.");
    let max = metrics.gauge("process_max_fds", "Maximum number of open file descriptors.");
    let resident = metrics.gauge("process_resident_memory_bytes", "Resident memory size in bytes.");
    let virt = metrics.gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.");
    metrics.register(START, start_time());
    if let Some(limit) =
        fs::read_to_string("/proc/self/limits").ok().and_then(|text| soft_limit(&text, "Max open files"))
    {
        max.set(limit);
    }
    metrics.on_render(move || {
        if let Some(seconds) = cpu_seconds() {
            cpu.inc_by((seconds - cpu.get()).max(0.0));
        }
        if let Ok(entries) = fs::read_dir("/proc/self/fd") {
            // One of them is the directory that is being read.
            open.set(i64::try_from(entries.count().saturating_sub(1)).unwrap_or(i64::MAX));
        }
        if let Ok(status) = fs::read_to_string("/proc/self/status") {
            resident.set(kibibytes(&status, "VmRSS:").unwrap_or_default());
            virt.set(kibibytes(&status, "VmSize:").unwrap_or_default());
        }
        true
    });
}

/// A field of `/proc/self/stat`, counted from 1 as in proc(5). The second may hold spaces and brackets.
fn stat_field(stat: &str, number: usize) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    Some((stat_field(&stat, 14)? + stat_field(&stat, 15)?) / TICKS)
}

/// When the process started, as a metric of its own: `/metrics` and `/metrics/slis` both have it.
pub(super) fn start_time() -> Gauge {
    let gauge = valid(Gauge::new(START, "[ALPHA] Start time of the process since unix epoch in seconds."));
    gauge.set(started().unwrap_or_else(now));
    gauge
}

fn started() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let system = fs::read_to_string("/proc/stat").ok()?;
    let boot: f64 = system.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(boot + stat_field(&stat, 22)? / TICKS)
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// The value in bytes of a line such as `VmRSS:     1234 kB`.
fn kibibytes(status: &str, key: &str) -> Option<i64> {
    let value = status.lines().find_map(|line| line.strip_prefix(key))?;
    value.split_whitespace().next()?.parse::<i64>().ok().map(|kib| kib * 1024)
}

/// The soft limit in a line such as `Max open files   1024   4096   files`; none when unlimited.
fn soft_limit(limits: &str, key: &str) -> Option<i64> {
    limits.lines().find_map(|line| line.strip_prefix(key))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_fields_are_counted_after_a_name_with_spaces_and_brackets() {
        let stat = "42 (a b) c) S 1 42 42 0 -1 4194560 10 0 0 0 250 50 0 0 20 0 3 0 12345 1 2";
        assert_eq!(stat_field(stat, 14), Some(250.0));
        assert_eq!(stat_field(stat, 15), Some(50.0));
        assert_eq!(stat_field(stat, 22), Some(12345.0));
    }

    #[test]
    fn sizes_and_limits_are_parsed_with_their_units() {
        assert_eq!(kibibytes("VmPeak:\t 9 kB\nVmRSS:\t   1234 kB\n", "VmRSS:"), Some(1234 * 1024));
        assert_eq!(
            soft_limit("Max open files            1024                 4096                 files\n", "Max open files"),
            Some(1024)
        );
        assert_eq!(
            soft_limit("Max open files            unlimited            unlimited            files\n", "Max open files"),
            None
        );
    }
}
