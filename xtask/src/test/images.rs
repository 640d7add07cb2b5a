//! Images that run: their programs are release builds, which take minutes, so that the step runs only when named.

use std::path::PathBuf;

use anyhow::Context as _;

use super::{Activity, Count, Run, suites};
use crate::cargo::{self, Kind};
use crate::driver;
use crate::image::{self, ASSEMBLER};
use crate::workspace;

/// The cloud in memory: quick to build, and its image is like every other.
const MEMORY: &str = "memory";
/// The test in the assembler's crate that runs an image.
const TEST: &str = "runs";
/// Tell it what to run: the cloud, the layout of its image, and its simulator, where it is not in the test itself.
const CLOUD: &str = "IMAGE_CLOUD";
const LAYOUT: &str = "IMAGE_LAYOUT";
const SIMULATOR: &str = "IMAGE_SIMULATOR";

pub(super) fn run(run: &Run, at: &Activity<'_>) -> anyhow::Result<String> {
    let assembler = cargo::binary(&run.executables, ASSEMBLER)?;
    let is_test = |one: &&cargo::Executable| one.kind == Kind::IntegrationTest && one.target == TEST;
    let test = run.executables.iter().find(is_test).with_context(|| format!("there is no test {TEST}"))?;
    let mut count = Count::default();
    let memory = [MEMORY.to_owned()];
    let clouds = if run.images.is_empty() { &memory[..] } else { &run.images[..] };
    for cloud in clouds {
        let simulator = simulator(run, cloud)?;
        let assemble = image::make(&run.workspace.root, cloud, assembler, at.task)?;
        at.run(assemble, suites::TEST_LIMIT)?;
        let layout = workspace::target()?.join("image").join(cloud);
        let tool = suites::test(run, test).arg("--ignored").env(CLOUD, cloud).env(LAYOUT, layout);
        let tool = simulator.iter().fold(tool, |tool, path| tool.env(SIMULATOR, path));
        at.run_lines(tool, suites::TEST_LIMIT, |line| count.add(line))?;
    }
    count.describe()
}

fn simulator(run: &Run, cloud: &str) -> anyhow::Result<Option<PathBuf>> {
    if cloud == MEMORY {
        return Ok(None);
    }
    Ok(Some(cargo::binary(&run.executables, driver::cloud(cloud)?.simulator)?.to_owned()))
}
