//! Our controller beside upstream's on the simulator or on moto: `cargo xtask compare`. Without arguments, as among the other
//! tests, it compares with what is recorded on the simulator.

mod account;
mod moto;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser as _;
use cloud_provider_testing::{
    compare::{Candidate, Cli, Files, each_field_is_compared, program},
    upstream,
};

use crate::account::{Accounts, TIMES};

/// What is different in each run, and compared where it is used: the host name in the status of services.
const GENERATED: &str = "dns_name";

fn main() -> ExitCode {
    program(compare(Cli::parse()))
}

async fn compare(cli: Cli) -> anyhow::Result<bool> {
    let ours = Candidate {
        name: "ours",
        program: PathBuf::from(env!("CARGO_BIN_EXE_aws-cloud-controller-manager")),
        // Upstream's has no such grace.
        flags: ["--node-deletion-grace-period=0s", "--new-node-deletion-grace-period=0s"].map(str::to_owned).into(),
    };
    let files = Files { folder: PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("compare") };
    if let Some(url) = &cli.cloud_api {
        return cli.run(&moto::Accounts::new(url), "aws", ours, upstream::AWS, &files).await;
    }
    each_field_is_compared(&Accounts, &files, &[&TIMES[..], &[GENERATED]].concat()).await?;
    cli.run(&Accounts, "aws", ours, upstream::AWS, &files).await
}
