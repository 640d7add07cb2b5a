//! CPU profiles in pprof's format, for `go tool pprof` and what else reads it.
//!
//! A timer of the kernel interrupts whichever thread uses the CPU, 100 times per second of CPU time, and the stack at that
//! moment is counted. Names of functions are in the profile where the program has symbols; a stripped one gives addresses,
//! which pprof turns into names with a copy of the program that has them (`go tool pprof PROGRAM PROFILE`).
//!
//! The samples stand in memory and in a temporary file: a profile is refused where the container's limit leaves too little
//! memory, since a debugging aid that gets the leader killed is none.

mod format;

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    time::Duration,
};

use http::{
    StatusCode,
    header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderValue},
};
use pprof::{ProfilerGuard, ProfilerGuardBuilder};
use tokio::{task::spawn_blocking, time::sleep};

use self::format::{Location, Profile};
use super::LONGEST_PROFILE;
use crate::manager::serving::{Answer, text};

/// Samples per second of CPU time, as Go's.
const FREQUENCY: i32 = 100;
/// When the request does not say, as Go's.
const DEFAULT: Duration = Duration::from_secs(30);
/// What collecting samples takes at its peak, measured, with a reserve.
const MEMORY: u64 = 192 << 20;
/// Where the kernel may be inside of something that a look at the stack needs too.
const SKIPPED: &[&str] = &["libc", "libgcc", "pthread", "vdso"];

/// The answer for everything below `/debug/pprof/` but the CPU profile.
pub(super) fn index(path: &str) -> Answer {
    let have = "/debug/pprof/profile?seconds=30  CPU profile, for go tool pprof";
    match path.rsplit('/').next() {
        None | Some("") => text(StatusCode::OK, format!("{have}\n")),
        Some(name) => text(StatusCode::NOT_FOUND, format!("Unknown profile {name:?}. There is only:\n{have}\n")),
    }
}

/// How long to profile: `seconds` of a query, 30 where it says nothing useful, 600 at most.
pub(super) fn seconds(query: Option<&str>) -> Duration {
    let value = query.unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("seconds="));
    let seconds = value.and_then(|value| value.parse().ok()).filter(|seconds| *seconds > 0);
    seconds.map_or(DEFAULT, Duration::from_secs).min(LONGEST_PROFILE)
}

/// Profiles this process. A client that goes away ends it.
pub(super) async fn serve(duration: Duration) -> Answer {
    if let Some(left) = memory_left().filter(|left| *left < MEMORY) {
        let (need, left) = (MEMORY >> 20, left >> 20);
        let problem = format!("a profile takes {need} MiB of memory, the limit of this container leaves {left} MiB");
        return failure(StatusCode::SERVICE_UNAVAILABLE, &problem);
    }
    let profiled = async {
        let guard = spawn_blocking(|| ProfilerGuardBuilder::default().frequency(FREQUENCY).blocklist(SKIPPED).build());
        let guard = guard.await.map_err(|error| error.to_string())?.map_err(|error| describe(&error))?;
        tracing::info!(?duration, "profiling");
        sleep(duration).await;
        spawn_blocking(move || report(&guard)).await.map_err(|error| error.to_string())?
    };
    match profiled.await {
        Ok(profile) => {
            let mut answer = Answer::new(profile.into());
            let headers = answer.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
            headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"profile\""));
            answer
        }
        Err(problem) => failure(StatusCode::INTERNAL_SERVER_ERROR, &problem),
    }
}

fn failure(status: StatusCode, problem: &str) -> Answer {
    text(status, format!("Could not enable CPU profiling: {problem}\n"))
}

fn describe(error: &pprof::Error) -> String {
    match error {
        pprof::Error::Running => "cpu profiling already in use".to_owned(),
        pprof::Error::CreatingError => {
            format!("a temporary file is needed, is {} writable? (TMPDIR)", std::env::temp_dir().display())
        }
        other => other.to_string(),
    }
}

/// A stack as the addresses of its calls, the innermost first. What was interrupted itself is not in it: stacks are walked by frame
/// pointers (see `.cargo/config.toml`), which lead to callers.
type Stack = Vec<usize>;

fn report(guard: &ProfilerGuard<'_>) -> Result<Vec<u8>, String> {
    let report = guard.report().build_unresolved().map_err(|error| error.to_string())?;
    let mut stacks: HashMap<Stack, i64> = HashMap::new();
    for (frames, count) in &report.data {
        // A frame has the address that its call returns to.
        let stack = frames.frames.iter().filter_map(|frame| frame.ip.checked_sub(1)).collect();
        *stacks.entry(stack).or_default() += i64::try_from(*count).unwrap_or(i64::MAX);
    }
    let mut locations = BTreeMap::new();
    for address in stacks.keys().flatten() {
        locations.entry(*address).or_insert_with(|| resolve(*address));
    }
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let profile = Profile {
        stacks: &stacks,
        locations: &locations,
        mappings: &format::mappings(&maps),
        start: report.timing.start_time,
        duration: report.timing.duration,
        period: Duration::from_secs(1) / FREQUENCY.unsigned_abs(),
    };
    Ok(profile.encode())
}

/// The functions at an address, the innermost first: more than one where calls are inlined, none without symbols.
fn resolve(address: usize) -> Location {
    let mut functions = Vec::new();
    // Looks up the byte before.
    backtrace::resolve((address + 1) as *mut _, |symbol| {
        let Some(name) = symbol.name() else { return };
        let file = symbol.filename().map(|path| path.display().to_string()).unwrap_or_default();
        functions.push((format!("{name:#}"), file, symbol.lineno().unwrap_or_default()));
    });
    functions
}

/// What the container's memory limit leaves; none without a limit.
fn memory_left() -> Option<u64> {
    let files = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let limit: u64 = files.iter().find_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok())?;
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let used: u64 = resident.split_whitespace().next()?.parse().ok()?;
    Some(limit.saturating_sub(used << 10))
}
