//! Assembles and pushes images of controllers; `cargo xtask image` and `cargo xtask push` build it and hand over to it.

mod image;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use xtask_release::push;

#[derive(Debug, Parser)]
#[command(name = "xtask-release", about = "Assembles and pushes images of controllers")]
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
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Image(args) => image::run(&args),
        Command::Push(args) => push(args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn push(args: push::Args) -> anyhow::Result<()> {
    // Fails only when there is one already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(push::run(args))
}
