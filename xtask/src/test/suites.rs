//! Running the tests that were built.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::services::REAL;
use super::{Activity, Count, Run};
use crate::cargo::{BUILD_LIMIT, Executable, Kind};
use crate::tool::Tool;

/// In the names of conformance tests that need moto; without it they say so and do nothing.
pub(super) const MOTO: &str = "moto";

/// How long one test program may take.
pub(super) const TEST_LIMIT: Duration = Duration::from_secs(20 * 60);
/// How long a suite may take on what others wrote.
const SLOW_LIMIT: Duration = Duration::from_secs(120 * 60);

/// They wait for the control plane and for time to pass, and leave half of two cores idle when they run one by one.
const INTEGRATION_LANES: usize = 2;

/// The program in `tests/` that runs the conformance suite, in every cloud's crate.
const CONFORMANCE: &str = "conformance";

pub(super) fn unit(run: &Run, at: &Activity<'_>) -> anyhow::Result<String> {
    all(run, at, &[], 1, |one| one.kind == Kind::UnitTests)
}

pub(super) fn integration(run: &Run, at: &Activity<'_>) -> anyhow::Result<String> {
    all(run, at, &[], INTEGRATION_LANES, |one| one.kind == Kind::IntegrationTest && !is_conformance(one))
}

/// The suites start their simulators, and wait for most of the time: all at once.
pub(super) fn conformance(run: &Run, at: &Activity<'_>) -> anyhow::Result<String> {
    all(run, at, &["--skip", MOTO, "--skip", REAL], usize::MAX, is_conformance)
}

fn is_conformance(one: &Executable) -> bool {
    one.kind == Kind::IntegrationTest && one.target == CONFORMANCE
}

/// Runs test programs, all of them and at most so many at a time, and adds up what they say.
fn all(
    run: &Run,
    at: &Activity<'_>,
    args: &[&str],
    lanes: usize,
    which: impl Fn(&Executable) -> bool,
) -> anyhow::Result<String> {
    let tools: Vec<Tool> =
        run.executables.iter().filter(|one| which(one)).map(|one| test(run, one).args(args)).collect();
    let lanes = lanes.min(tools.len());
    let tools = Mutex::new(tools.into_iter());
    let next = || tools.lock().ok()?.next();
    let lane = || {
        let (mut count, mut failure) = (Count::default(), None);
        while let Some(tool) = next() {
            let outcome = at.run_one_of_many(tool, TEST_LIMIT, |line| count.add(line));
            failure = failure.or(outcome.err());
        }
        failure.map_or(Ok(count), Err)
    };
    let ended: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..lanes).map(|_| scope.spawn(lane)).collect();
        running
            .into_iter()
            .map(|lane| lane.join().unwrap_or_else(|_| bail!("running tests ended in a panic")))
            .collect()
    });
    let sum = ended.into_iter().try_fold(Count::default(), |sum, count| anyhow::Ok(sum.plus(count?)))?;
    sum.describe()
}

/// A test program as cargo runs it.
pub(super) fn test(run: &Run, one: &Executable) -> Tool {
    let tool = Tool::new(&one.path).dir(&one.folder).env("CARGO_MANIFEST_DIR", &one.folder);
    match &run.assets {
        Some(assets) => tool.env("KUBEBUILDER_ASSETS", assets),
        None => tool,
    }
}

/// The conformance tests of the crate in `folder` with `name` in theirs, which need what `env` tells them.
pub(super) fn conformance_on(
    run: &Run,
    at: &Activity<'_>,
    folder: PathBuf,
    name: &str,
    env: &[(&str, &OsStr)],
) -> anyhow::Result<String> {
    let suite = run.executables.iter().find(|one| is_conformance(one) && one.folder == folder);
    let suite = suite.with_context(|| format!("{} has no tests/{CONFORMANCE}", folder.display()))?;
    let mut count = Count::default();
    let tool = env.iter().fold(test(run, suite).arg(name), |tool, (name, value)| tool.env(name, value));
    at.run_lines(tool, SLOW_LIMIT, |line| count.add(line))?;
    count.describe()
}

pub(super) fn doc_tests(run: &Run, at: &Activity<'_>) -> anyhow::Result<String> {
    let mut count = Count::default();
    let tool = Tool::cargo().args(["test", "--workspace", "--doc"]).dir(&run.workspace.root);
    at.run_lines(tool, BUILD_LIMIT, |line| count.add(line))?;
    count.describe()
}
