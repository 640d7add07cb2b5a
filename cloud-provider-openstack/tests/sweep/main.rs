//! The crash sweep on the simulator: `cargo xtask sweep --cloud openstack`. Without arguments, as among the other tests, a sample
//! of its points.

#[path = "../compare/account.rs"]
mod account;
#[path = "../compare/names.rs"]
mod names;
mod subject;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser as _;
use cloud_provider_testing::compare::{Files, program, sweep::Sweep};

use crate::account::Accounts;

fn main() -> ExitCode {
    let crate_folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let files = Files { folder: crate_folder.join("compare") };
    let report = crate_folder.join("../docs/reference/openstack-sweep.json");
    let sweep = Sweep::parse();
    program(async { sweep.run(&Accounts, &files, &report).await })
}
