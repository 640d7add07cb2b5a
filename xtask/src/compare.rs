//! `cargo xtask compare` and `cargo xtask sweep`: build a cloud's comparison with upstream's controller, or its crash sweep, and
//! hand over to it.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use crate::cargo::{Executable, Kind};
use crate::driver::{self, Given};
use crate::moto;
use crate::report::Report;
use crate::tool::Tool;
use crate::workspace;

/// The programs in `tests/`, in every cloud's crate that has them.
pub(crate) const COMPARE: &str = "compare";
pub(crate) const SWEEP: &str = "sweep";

const AFTER_HELP: &str = "\
Passed on to the comparison:
      --live           Run upstream's controller too (built from its Go module the first time), and swap the
                       controllers at the end of each scenario; without it recorded results are taken
      --record         The same, and record its results
      --upstream PATH  Run this controller manager in upstream's place
      --cloud-api moto Take moto, a public mock of AWS, in the simulator's place; both controllers run
      --filter TEXT    Only scenarios with this text in their name; may be given several times
      --lanes N        So many scenarios at a time, each with a control plane of its own [default: 4]
      --list           List the scenarios
      --json           {\"scenarios\":…,\"equal\":…,\"accepted\":…,\"unexplained\":…,…} as the last line of standard output

Scenarios, accepted differences and recorded results are in cloud-provider-<cloud>/compare.
It exits with 0 only when no difference is unexplained.";

const AFTER_SWEEP_HELP: &str = "\
Passed on to the sweep:
      --all               Every point, and docs/reference/<cloud>-sweep.* are brought up to date;
                          without it a sample, drawn by a seed
      --filter TEXT       Only scenarios with this text in their name; several times too
      --disturbance NAME  Only crash, lost-answer, false-error, failure or stale-reads;
                          may be given several times
      --step N, --write N Only this step, only this write in each step
      --seed N            What the sample is drawn by [default: SWEEP_SEED, or the time]
      --minutes N         After so long no further point of the sample is begun [default: 2]
      --points N          So many points of each scenario are in the sample [default: 5]
      --lanes N           So many scenarios at a time, each with its control plane [default: 3]
      --json              The figures as the last line of standard output

It exits with 0 only when every end was that of the undisturbed run.";

/// What to sweep.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_SWEEP_HELP, override_usage = "cargo xtask sweep --cloud CLOUD [FLAGS]...")]
pub(crate) struct SweepArgs {
    #[command(flatten)]
    given: Given,
}

/// What to compare.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP, override_usage = "cargo xtask compare --cloud CLOUD [FLAGS]...")]
pub(crate) struct Args {
    #[command(flatten)]
    given: Given,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Given { cloud, mut flags } = args.given.separate(&mut [])?;
    let wants_moto = driver::wants_api(&mut flags, "moto");
    let root = workspace::root()?;
    let report = Report::default();
    let program = build(&report, &root, &cloud, COMPARE)?.args(flags);
    if !wants_moto {
        // Ctrl-C and the exit status are the comparison's.
        return Err(program.exec());
    }
    let task = report.task("start moto");
    let started = moto::start(&root, |tool, limit| tool.lines(limit, |_, line| task.at(line)));
    task.end(if started.is_ok() { "done" } else { "failed" });
    let (_moto, url) = started?;
    program.args(["--cloud-api", &url]).status()
}

pub(crate) fn sweep(args: SweepArgs) -> anyhow::Result<ExitCode> {
    let Given { cloud, flags } = args.given.separate(&mut [])?;
    let program = build(&Report::default(), &workspace::root()?, &cloud, SWEEP)?;
    // Ctrl-C and the exit status are the sweep's.
    Err(program.args(flags).exec())
}

fn build(report: &Report, root: &Path, cloud: &str, test: &str) -> anyhow::Result<Tool> {
    // Always the whole workspace: features, and so artifacts, stay the same.
    let command = ["test", "--workspace", "--no-run", "--test", test];
    let built = driver::compile(report, root, &command, &format!("build the {test}"))?;
    Ok(Tool::new(program(&built, root, cloud, test)?))
}

fn program(built: &[Executable], root: &Path, cloud: &str, test: &str) -> anyhow::Result<std::path::PathBuf> {
    let folder = root.join(format!("cloud-provider-{cloud}"));
    let mut programs = built.iter().filter(|one| one.kind == Kind::IntegrationTest && one.target == test);
    if !folder.is_dir() {
        bail!("there is no cloud {cloud:?}");
    }
    let program = programs.find(|one| one.folder == folder);
    program.map(|one| one.path.clone()).with_context(|| format!("{} has no tests/{test}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cloud_has_a_comparison_of_its_own() {
        let root = workspace::root().unwrap();
        let built = |crate_name: &str, kind| Executable {
            folder: root.join(crate_name),
            target: COMPARE.to_owned(),
            kind,
            path: format!("/{crate_name}").into(),
        };
        let programs = [built("cloud-provider-aws", Kind::IntegrationTest)];
        assert_eq!(program(&programs, &root, "aws", COMPARE).unwrap(), Path::new("/cloud-provider-aws"));
        assert!(program(&programs, &root, "tape", COMPARE).unwrap_err().to_string().contains("tape"));
        assert!(program(&[built("cloud-provider-aws", Kind::Binary)], &root, "aws", COMPARE).is_err());
    }
}
