//! Assembles, pushes and releases images of controllers; `cargo xtask image`, `push` and `release` build it and hand over.

mod image;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use xtask_release::{push, release};

#[derive(Debug, Parser)]
#[command(name = "xtask-release", about = "Assembles, pushes and releases images of controllers")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Assemble the image of a controller from its program
    Image(image::Args),
    /// Push an image that was assembled
    Push(push::Args),
    /// Release a version of a cloud's crate
    Release(release::Args),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Image(args) => image::run(&args),
        Command::Push(args) => block_on(push::run(args)),
        Command::Release(args) => block_on(release::run(args)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    // Fails only when there is one already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(work)
}
