//! What the front door (`cargo xtask`) runs: a control plane to play with.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use cloud_provider_testing::control_plane::{ControlPlane, Minor, Options};
use cloud_provider_testing::progress::Progress;

#[derive(Debug, Parser)]
#[command(about, version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run etcd and kube-apiserver on loopback until Ctrl-C.
    ControlPlane(ControlPlaneArgs),
}

#[derive(Debug, Args)]
struct ControlPlaneArgs {
    /// The Kubernetes minor release.
    #[arg(long, value_name = "MINOR")]
    kubernetes: Option<Minor>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::ControlPlane(args) => control_plane(args).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            Progress::stderr().note(&format!("Error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn control_plane(args: ControlPlaneArgs) -> anyhow::Result<()> {
    let progress = Progress::stderr();
    let options = Options { kubernetes: args.kubernetes, progress: progress.clone(), ..Options::default() };
    let control_plane = ControlPlane::start(options).await?;
    let kubeconfig = control_plane.write_kubeconfig("admin", &control_plane.kubeconfig())?;
    progress.note(&format!("export KUBECONFIG={}\nCtrl-C ends it.", kubeconfig.display()));
    tokio::signal::ctrl_c().await.context("wait for Ctrl-C")
}
