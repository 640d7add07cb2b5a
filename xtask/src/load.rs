//! `cargo xtask load`: builds the controller manager on the cloud in memory and measures it on a large cluster.

use std::process::ExitCode;

use crate::driver::{self, DRIVER};
use crate::report::Report;
use crate::workspace;

const CONTROLLER: &str = "memory-cloud-controller-manager";

const AFTER_HELP: &str = "\
Passed on to the load run:
      --nodes N        Nodes of the cluster [default: 5000]
      --services N     Services of type LoadBalancer [default: 500]
      --over SECONDS   The nodes register over this time [default: 60]
      --latency MS     Latency of the cloud's answers [default: 20]
      --lease SECONDS  Time between two renewals of a node's lease [default: 10]
      --status SECONDS Time between two writes of a node's status [default: 300]
      --json           The figures as JSON instead of a table

Figures of the release build count; it takes some minutes and gigabytes.";

/// What to measure.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP, override_usage = "cargo xtask load [FLAGS]...")]
pub(crate) struct Args {
    /// Flags of the load run
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    flags: Vec<String>,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    // Without the cloud crates, whose SDKs take half an hour to optimise.
    let command = ["build", "--release", "--package", DRIVER, "--bin", DRIVER, "--bin", CONTROLLER];
    let built = driver::compile(&Report::default(), &workspace::root()?, &command, "build the controller")?;
    driver::hand_over(&built, "load", &[("--controller", CONTROLLER)], args.flags)
}
