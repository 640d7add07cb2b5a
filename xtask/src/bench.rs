//! `cargo xtask bench`: builds our controller and measures it beside upstream's.

use std::process::ExitCode;

use crate::driver::{self, Given};

const AFTER_HELP: &str = "\
Passed on to the bench:
      --sizes N            Sizes as NODESxSERVICES,... [default: 100x10,1000x100,5000x500]
      --controllers NAMES  Of ours, upstream, upstream-tuned [default: all]
      --upstream PATH      The binary of upstream's controller instead of the pinned one
      --latency DURATION   Latency of the cloud's answers [default: 50ms]
      --pending DURATION   OpenStack: how long load balancers are pending after each change [default: 2s]
      --period DURATION    The period of passes over the addresses of nodes [default: 60s]
      --limit DURATION     A phase that takes longer ends its cell [default: 20m]
      --out PATH           The folder of table, figures and curves [default: docs/benchmarks]
      --fresh              Measure again what stands in the file already; drop what other builds did
      --json               The figures as JSON instead of the table

Cells run one by one; a run that was ended goes on where it was, with the same programs. Nothing else should run
on the machine.
The release build takes half an hour the first time for AWS, with its SDK, and minutes for OpenStack.";

/// What to measure.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP, override_usage = "cargo xtask bench [--cloud CLOUD] [FLAGS]...")]
pub(crate) struct Args {
    #[command(flatten)]
    given: Given,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    driver::run("bench", args.given.separate(&mut [])?, true)
}
