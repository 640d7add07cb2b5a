//! `cargo xtask compare`: builds a cloud's comparison with upstream's controller and hands over to it.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use crate::cargo::{self, Executable, Kind};
use crate::report::Report;
use crate::tool::Tool;
use crate::workspace;

/// The program in `tests/` that compares, in every cloud's crate that has one.
const COMPARE: &str = "compare";

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

/// What to compare.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP, override_usage = "cargo xtask compare --cloud CLOUD [FLAGS]...")]
pub(crate) struct Args {
    /// The cloud whose controllers are compared
    #[arg(long, default_value = "aws")]
    cloud: String,
    /// Flags of the comparison
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    flags: Vec<String>,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let root = workspace::root()?;
    let report = Report::default();
    let task = report.task("build the comparison");
    // Always the whole workspace: features, and so artifacts, stay the same.
    let built = cargo::build(&root, &["test", "--workspace", "--no-run", "--test", COMPARE], &task);
    task.end(if built.is_ok() { "done" } else { "failed" });
    let program = Tool::new(program(&built?, &root, &args.cloud)?).args(args.flags);
    // Ctrl-C and the exit status are the comparison's.
    Err(program.exec())
}

fn program(built: &[Executable], root: &Path, cloud: &str) -> anyhow::Result<std::path::PathBuf> {
    let folder = root.join(format!("cloud-provider-{cloud}"));
    let mut programs = built.iter().filter(|one| one.kind == Kind::IntegrationTest && one.target == COMPARE);
    if !folder.is_dir() {
        bail!("there is no cloud {cloud:?}");
    }
    let program = programs.find(|one| one.folder == folder);
    program.map(|one| one.path.clone()).with_context(|| format!("{} has no tests/{COMPARE}", folder.display()))
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
        assert_eq!(program(&programs, &root, "aws").unwrap(), Path::new("/cloud-provider-aws"));
        assert!(program(&programs, &root, "tape").unwrap_err().to_string().contains("tape"));
        assert!(program(&[built("cloud-provider-aws", Kind::Binary)], &root, "aws").is_err());
    }
}
