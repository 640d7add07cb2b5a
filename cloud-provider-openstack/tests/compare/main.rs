//! Our controller beside upstream's on the simulator: `cargo xtask compare --cloud openstack`. Without arguments, as among the
//! other tests, it compares with what is recorded.

mod account;
mod names;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser as _;
use cloud_provider_testing::{
    compare::{Candidate, Cli, Files, each_field_is_compared, program},
    upstream,
};

use crate::account::Accounts;

/// Compared where they are used: hardware addresses of ports, which get names.
const GENERATED: &str = "mac_address";

fn main() -> ExitCode {
    program(compare(Cli::parse()))
}

async fn compare(cli: Cli) -> anyhow::Result<bool> {
    anyhow::ensure!(cli.cloud_api.is_none(), "--cloud-api: the comparison for OpenStack runs on its simulator only");
    let ours = Candidate {
        name: account::OURS,
        program: PathBuf::from(env!("CARGO_BIN_EXE_openstack-cloud-controller-manager")),
        // Upstream's has no such grace.
        flags: ["--node-deletion-grace-period=0s", "--new-node-deletion-grace-period=0s"].map(str::to_owned).into(),
    };
    let files = Files { folder: PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("compare") };
    each_field_is_compared(&Accounts, &files, &[&names::CHANCE[..], &[GENERATED]].concat()).await?;
    cli.run(&Accounts, "openstack", ours, upstream::OPENSTACK, &files).await
}
