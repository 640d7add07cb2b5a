//! Our controller beside upstream's on the simulator: `cargo xtask compare --cloud openstack`. Without arguments, as among the
//! other tests, it compares with what is recorded.

mod account;
mod names;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser as _;
use cloud_provider_testing::{
    compare::{Candidate, Cli, Files},
    upstream,
};

use crate::account::Accounts;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("Error: start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(compare(&cli)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn compare(cli: &Cli) -> anyhow::Result<bool> {
    anyhow::ensure!(cli.cloud_api.is_none(), "--cloud-api: the comparison for OpenStack runs on its simulator only");
    let ours = Candidate {
        name: account::OURS,
        program: PathBuf::from(env!("CARGO_BIN_EXE_openstack-cloud-controller-manager")),
        // Upstream's has no such grace.
        flags: ["--node-deletion-grace-period=0s", "--new-node-deletion-grace-period=0s"].map(str::to_owned).into(),
    };
    let files = Files { folder: PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("compare") };
    cli.run(&Accounts, "openstack", ours, upstream::OPENSTACK, &files).await
}
