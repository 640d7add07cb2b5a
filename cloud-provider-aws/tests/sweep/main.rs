//! The crash sweep on the simulator: `cargo xtask sweep`. Without arguments, as among the other tests, a sample of its points.

#[path = "../compare/account.rs"]
mod account;
mod subject;

use std::{path::Path, process::ExitCode};

use clap::Parser as _;
use cloud_provider_testing::compare::{
    Files, program,
    sweep::{Providers, Sweep},
};

use crate::subject::Maker;

fn main() -> ExitCode {
    let files = Files::of_crate(env!("CARGO_MANIFEST_DIR"));
    let report = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/aws-sweep.json");
    let sweep = Sweep::parse();
    program(async { sweep.run(&Providers::<Maker>::default(), &files, &report).await })
}
