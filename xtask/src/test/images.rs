//! An image that runs: its program is a release build, which takes minutes, so that the step runs only when named.

use anyhow::Context as _;

use super::{Activity, Count, Run, suites};
use crate::cargo::{self, Kind};
use crate::image::{self, ASSEMBLER};
use crate::workspace;

/// The cloud in memory: quick to build, and its image is like every other.
const CLOUD: &str = "memory";
/// The test in the assembler's crate that runs an image.
const TEST: &str = "runs";
/// Tells it where the layout is.
const LAYOUT: &str = "IMAGE_LAYOUT";

pub(super) fn run(run: &Run, at: &Activity<'_>) -> anyhow::Result<String> {
    let assembler = cargo::binary(&run.executables, ASSEMBLER)?;
    let assemble = image::make(&run.workspace.root, CLOUD, assembler, at.task)?;
    at.run(assemble, suites::TEST_LIMIT)?;
    let is_test = |one: &&cargo::Executable| one.kind == Kind::IntegrationTest && one.target == TEST;
    let test = run.executables.iter().find(is_test).with_context(|| format!("there is no test {TEST}"))?;
    let layout = workspace::target()?.join("image").join(CLOUD);
    let mut count = Count::default();
    let tool = suites::test(run, test).arg("--ignored").env(LAYOUT, layout);
    at.run_lines(tool, suites::TEST_LIMIT, |line| count.add(line))?;
    count.describe()
}
