//! Our controller beside upstream's on the simulator: `cargo xtask compare --cloud openstack`. Without arguments, as among the
//! other tests, it compares with what is recorded.

mod account;
mod names;

use std::process::ExitCode;

use clap::Parser as _;
use cloud_provider_testing::{
    compare::{Candidate, Cli, Files, Simulations, each_field_is_compared, program},
    upstream,
};

use crate::account::Account;

/// Compared where they are used: hardware addresses of ports, which get names.
const GENERATED: &str = "mac_address";

fn main() -> ExitCode {
    program(compare(Cli::parse()))
}

async fn compare(cli: Cli) -> anyhow::Result<bool> {
    anyhow::ensure!(cli.cloud_api.is_none(), "--cloud-api: the comparison for OpenStack runs on its simulator only");
    let ours = Candidate::ours(env!("CARGO_BIN_EXE_openstack-cloud-controller-manager"));
    let files = Files::of_crate(env!("CARGO_MANIFEST_DIR"));
    let accounts = Simulations::<Account>::default();
    each_field_is_compared(&accounts, &files, &[&names::CHANCE[..], &[GENERATED]].concat()).await?;
    cli.run(&accounts, "openstack", ours, upstream::OPENSTACK, &files).await
}
