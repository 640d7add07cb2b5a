//! Our controller beside upstream's on the simulator or on moto: `cargo xtask compare`. Without arguments, as among the other
//! tests, it compares with what is recorded on the simulator.

mod account;
mod moto;

use std::process::ExitCode;

use clap::Parser as _;
use cloud_provider_testing::{
    compare::{Candidate, Cli, Files, Simulations, each_field_is_compared, program},
    upstream,
};

use crate::account::{Account, TIMES};

/// What is different in each run, and compared where it is used: the host name in the status of services.
const GENERATED: &str = "dns_name";

fn main() -> ExitCode {
    program(compare(Cli::parse()))
}

async fn compare(cli: Cli) -> anyhow::Result<bool> {
    let ours = Candidate::ours(env!("CARGO_BIN_EXE_aws-cloud-controller-manager"));
    let files = Files::of_crate(env!("CARGO_MANIFEST_DIR"));
    if let Some(url) = &cli.cloud_api {
        return cli.run(&moto::Accounts::new(url), "aws", ours, upstream::AWS, &files).await;
    }
    let accounts = Simulations::<Account>::default();
    each_field_is_compared(&accounts, &files, &[&TIMES[..], &[GENERATED]].concat()).await?;
    cli.run(&accounts, "aws", ours, upstream::AWS, &files).await
}
