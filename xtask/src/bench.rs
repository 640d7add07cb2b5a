//! `cargo xtask bench`: builds our controller and measures it beside upstream's.

use std::process::ExitCode;

use crate::cargo;
use crate::demo::{self, DRIVER};
use crate::tool::Tool;
use crate::workspace;

const AFTER_HELP: &str = "\
Passed on to the bench:
      --sizes N            Sizes as NODESxSERVICES,... [default: 10x2,100x10,1000x100]
      --controllers NAMES  Of ours, upstream, upstream-tuned [default: all]
      --upstream PATH      The binary of upstream's controller instead of the pinned one
      --latency DURATION   Latency of the cloud's answers [default: 50ms]
      --period DURATION    The period of passes over the addresses of nodes [default: 60s]
      --limit DURATION     A phase that takes longer ends its cell [default: 20m]
      --out PATH           The folder of table, figures and curves [default: docs/benchmarks]
      --fresh              Measure again what stands in the file already
      --json               The figures as JSON instead of the table

Cells run one by one; a run that was ended goes on where it was. Nothing else should run on the machine.
The release build takes half an hour the first time.";

/// What to measure.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP, override_usage = "cargo xtask bench [--cloud CLOUD] [FLAGS]...")]
pub(crate) struct Args {
    /// The cloud
    #[arg(long, default_value = "aws")]
    cloud: String,
    /// Flags of the bench
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    flags: Vec<String>,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let cloud = demo::cloud(&args.cloud)?;
    let root = workspace::root()?;
    let executables = demo::build(&root, cloud, true)?;
    let bench = Tool::new(cargo::binary(&executables, DRIVER)?)
        .args(["bench", "--cloud", cloud.name])
        .arg("--controller")
        .arg(cargo::binary(&executables, cloud.controller)?)
        .arg("--simulator")
        .arg(cargo::binary(&executables, cloud.simulator)?)
        .args(args.flags)
        .dir(&root);
    // Ctrl-C and the exit status are the bench's.
    Err(bench.exec())
}
