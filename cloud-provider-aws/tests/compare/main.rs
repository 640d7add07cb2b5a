//! Our controller beside upstream's on the simulator or on moto: `cargo xtask compare`. Without arguments, as among the other
//! tests, it compares with what is recorded on the simulator.

mod account;
mod fields;
mod moto;

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
    fields::each_is_compared(&files).await?;
    cli.run(&Accounts, "aws", ours, upstream::AWS, &files).await
}
