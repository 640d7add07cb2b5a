//! The front door: `cargo xtask <command>` builds what is needed and executes it.
//!
//! It depends on no other member and on few crates, so that it compiles in seconds.

mod bench;
mod cargo;
mod cloud;
mod codegen;
mod compare;
mod demo;
mod driver;
mod image;
mod load;
mod moto;
mod new_provider;
mod python;
mod release;
mod report;
mod test;
mod tidy;
mod tool;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Builds, runs and checks the workspace")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure our controller and upstream's side by side on a simulated cloud
    Bench(bench::Args),
    /// Start or end the services of a cloud itself on this machine
    Cloud(cloud::Args),
    /// Bring generated files up to date: reference pages, manifests, snapshots of charts
    Codegen(codegen::Args),
    /// Compare our controller with upstream's, scenario by scenario
    Compare(compare::Args),
    /// Run a controller on a real control plane and a simulated cloud, and show what it does
    Demo(demo::Args),
    /// Put a controller into an image: program, certificates and licences, nothing else
    Image(image::Args),
    /// Measure what a large cluster costs a controller, on the cloud in memory
    Load(load::Args),
    /// Make a crate for a cloud, in the shape of those that there are
    NewProvider(new_provider::Args),
    /// Push an image to a registry
    Push(image::PushArgs),
    /// Release a version of a cloud's crate: checks, image, signatures, tags
    Release(release::Args),
    /// Disturb our controller at each single write to a simulated cloud, scenario by scenario
    Sweep(compare::SweepArgs),
    /// Run what CI runs: formatting, lints, tests, conformance, licences
    Test(test::Args),
    /// Check the tree: who depends on whom, file sizes, links between pages, what each crate must have
    Tidy,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Bench(args) => bench::run(args),
        Command::Cloud(args) => cloud::run(args),
        Command::Codegen(args) => codegen::run(&args),
        Command::Compare(args) => compare::run(args),
        Command::Demo(args) => demo::run(args),
        Command::Image(args) => image::run(&args),
        Command::Load(args) => load::run(args),
        Command::NewProvider(args) => new_provider::run(&args),
        Command::Push(args) => image::push(args),
        Command::Release(args) => release::run(args),
        Command::Sweep(args) => compare::sweep(args),
        Command::Test(args) => test::run(&args),
        Command::Tidy => tidy::run(),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("Error: {error:#}");
        ExitCode::FAILURE
    })
}
