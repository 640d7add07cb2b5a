//! Running the tests that were built.

use std::time::Duration;

use anyhow::Context as _;

use super::{Activity, Count, Run};
use crate::cargo::{BUILD_LIMIT, Executable, Kind};
use crate::tool::Tool;

/// In the names of conformance tests that need moto; without it they say so and do nothing.
pub(super) const MOTO: &str = "moto";

/// How long one test program may take.
pub(super) const TEST_LIMIT: Duration = Duration::from_secs(20 * 60);

/// The program in `tests/` that runs the conformance suite, in every cloud's crate.
const CONFORMANCE: &str = "conformance";

pub(super) fn unit(run: &Run, at: &Activity<'_>) -> anyhow::Result<String> {
    all(run, at, &[], |one| one.kind == Kind::UnitTests)
}

pub(super) fn integration(run: &Run, at: &Activity<'_>) -> anyhow::Result<String> {
    all(run, at, &[], |one| one.kind == Kind::IntegrationTest && !is_conformance(one))
}

/// The suites start their simulators.
pub(super) fn conformance(run: &Run, at: &Activity<'_>) -> anyhow::Result<String> {
    all(run, at, &["--skip", MOTO], is_conformance)
}

fn is_conformance(one: &Executable) -> bool {
    one.kind == Kind::IntegrationTest && one.target == CONFORMANCE
}

/// Runs test programs one after the other, all of them, and adds up what they say.
fn all(run: &Run, at: &Activity<'_>, args: &[&str], which: impl Fn(&Executable) -> bool) -> anyhow::Result<String> {
    let mut count = Count::default();
    let mut failure = None;
    for one in run.executables.iter().filter(|one| which(one)) {
        let outcome = at.run_one_of_many(test(run, one).args(args), TEST_LIMIT, |line| count.add(line));
        failure = failure.or(outcome.err());
    }
    failure.map_or_else(|| count.describe(), Err)
}

/// A test program as cargo runs it.
pub(super) fn test(run: &Run, one: &Executable) -> Tool {
    let tool = Tool::new(&one.path).dir(&one.folder).env("CARGO_MANIFEST_DIR", &one.folder);
    match &run.assets {
        Some(assets) => tool.env("KUBEBUILDER_ASSETS", assets),
        None => tool,
    }
}

/// The conformance tests of the crate in `folder` that run on moto, with `env` set.
pub(super) fn conformance_on_moto(
    run: &Run,
    at: &Activity<'_>,
    folder: &str,
    env: (&str, &str),
) -> anyhow::Result<String> {
    let folder = run.workspace.root.join(folder);
    let suite = run.executables.iter().find(|one| is_conformance(one) && one.folder == folder);
    let suite = suite.with_context(|| format!("{} has no tests/{CONFORMANCE}", folder.display()))?;
    let mut count = Count::default();
    at.run_lines(test(run, suite).arg(MOTO).env(env.0, env.1), TEST_LIMIT, |line| count.add(line))?;
    count.describe()
}

pub(super) fn doc_tests(run: &Run, at: &Activity<'_>) -> anyhow::Result<String> {
    let mut count = Count::default();
    let tool = Tool::cargo().args(["test", "--workspace", "--doc"]).dir(&run.workspace.root);
    at.run_lines(tool, BUILD_LIMIT, |line| count.add(line))?;
    count.describe()
}
