//! `cargo xtask compare` and `cargo xtask sweep`: build a cloud's comparison with upstream's controller, or its crash sweep, and
//! hand over to it.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use crate::cargo::{self, Executable, Kind};
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
      --minutes N         After so long no further point of the sample is begun [default: 4]
      --points N          So many points of each scenario are in the sample [default: 5]
      --lanes N           So many scenarios at a time, each with its control plane [default: 3]
      --json              The figures as the last line of standard output

It exits with 0 only when every end was that of the undisturbed run.";

/// What to sweep.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_SWEEP_HELP, override_usage = "cargo xtask sweep --cloud CLOUD [FLAGS]...")]
pub(crate) struct SweepArgs {
    /// The cloud of the controller
    #[arg(long, default_value = "aws")]
    cloud: String,
    /// Flags of the sweep
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    flags: Vec<String>,
}

impl From<SweepArgs> for Args {
    fn from(SweepArgs { cloud, flags }: SweepArgs) -> Self {
        Self { cloud, flags }
    }
}

/// What to compare.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP, override_usage = "cargo xtask compare --cloud CLOUD [FLAGS]...")]
pub(crate) struct Args {
    /// The cloud of the controllers
    #[arg(long, default_value = "aws")]
    cloud: String,
    /// Flags of the comparison
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    flags: Vec<String>,
}

pub(crate) fn run(args: Args, test: &str) -> anyhow::Result<ExitCode> {
    let root = workspace::root()?;
    let report = Report::default();
    let task = report.task(&format!("build the {test}"));
    // Always the whole workspace: features, and so artifacts, stay the same.
    let built = cargo::build(&root, &["test", "--workspace", "--no-run", "--test", test], &task);
    task.end(if built.is_ok() { "done" } else { "failed" });
    let program = Tool::new(program(&built?, &root, &args.cloud, test)?).args(args.flags);
    // Ctrl-C and the exit status are the program's.
    Err(program.exec())
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
