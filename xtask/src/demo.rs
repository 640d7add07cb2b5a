//! `cargo xtask demo`: builds what the demo is made of and hands over to it.

use std::process::ExitCode;

use crate::cloud;
use crate::driver::{self, Given};
use crate::workspace;

const AFTER_HELP: &str = "\
Passed on to the demo:
      --nodes N            Nodes to register over ten seconds [default: 100]
      --services N         Services of type LoadBalancer, of each of the cloud's kinds in turn [default: 4]
      --latency DURATION   Latency of the simulated cloud's answers, such as 50ms
      --pending DURATION   OpenStack: how long load balancers are pending after each change [default: 500ms]
      --keep               Stay up, print KUBECONFIG and what to try, end on Ctrl-C
      --json               A summary as the last line of standard output
      --cloud-api URL      AWS: another endpoint instead of the simulator (moto, LocalStack)
      --cloud-api real     OpenStack: its own services, which are started first as `cargo xtask cloud up openstack` does, and
                           stay; what an earlier run left in their project is removed
      --kubernetes MINOR   The Kubernetes minor release, such as 1.34
      --timeout DURATION   Give up after this time [default: 10m]

It exits with 0 only when everything converged.";

/// What to show.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP, override_usage = "cargo xtask demo [--cloud CLOUD] [--release] [FLAGS]...")]
pub(crate) struct Args {
    /// Build with optimisations, for figures
    #[arg(long)]
    release: bool,
    #[command(flatten)]
    given: Given,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { mut release, given } = args;
    let mut given = given.separate(&mut [("--release", &mut release)])?;
    if driver::wants_api(&mut given.flags, "real") {
        let services = cloud::start(&workspace::root()?, &given.cloud)?;
        given.flags.extend(["--cloud-api".to_owned(), services.display().to_string()]);
    }
    driver::run("demo", given, release)
}
