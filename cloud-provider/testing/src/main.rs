//! What the front door (`cargo xtask`) runs: the demo, and a control plane to play with.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use cloud_provider_testing::control_plane::{ControlPlane, Finder, Minor, Options, Program};
use cloud_provider_testing::progress::Progress;
use cloud_provider_testing::{bench, demo, load};

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
    /// Measure our controller and upstream's side by side.
    Bench(bench::Args),
    /// Run a controller against a cluster full of nodes and a simulated cloud.
    Demo(demo::Args),
    /// Measure what a large cluster costs the controller, on the cloud in memory.
    Load(load::Args),
}

#[derive(Debug, Args)]
struct ControlPlaneArgs {
    /// The Kubernetes minor release.
    #[arg(long, value_name = "MINOR", global = true)]
    kubernetes: Option<Minor>,
    #[command(subcommand)]
    command: Option<ControlPlaneCommand>,
}

#[derive(Debug, Subcommand)]
enum ControlPlaneCommand {
    /// Only find, download or build etcd and kube-apiserver, and print where they are, one path a line.
    Fetch,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            Progress::stderr().note(&format!("Error: start the runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(run(cli.command));
    // A build of the control plane may still go on in a thread; it ends with this process.
    runtime.shutdown_background();
    code
}

async fn run(command: Command) -> ExitCode {
    let result = match command {
        Command::Demo(args) => match demo::run(args).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(anyhow::anyhow!("not everything converged")),
            Err(error) => Err(error),
        },
        Command::Bench(args) => bench::run(args).await,
        Command::Load(args) => load::run(args).await,
        Command::ControlPlane(ControlPlaneArgs { kubernetes, command: None }) => control_plane(kubernetes).await,
        Command::ControlPlane(ControlPlaneArgs { kubernetes, command: Some(ControlPlaneCommand::Fetch) }) => {
            fetch(kubernetes).await
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            Progress::stderr().note(&format!("Error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn control_plane(kubernetes: Option<Minor>) -> anyhow::Result<()> {
    let progress = Progress::stderr();
    let options = Options { kubernetes, progress: progress.clone(), ..Options::default() };
    let control_plane = ControlPlane::start(options).await?;
    let kubeconfig = control_plane.write_kubeconfig("admin", &control_plane.kubeconfig())?;
    progress.note(&format!("export KUBECONFIG={}\nCtrl-C ends it.", kubeconfig.display()));
    tokio::signal::ctrl_c().await.context("wait for Ctrl-C")
}

async fn fetch(kubernetes: Option<Minor>) -> anyhow::Result<()> {
    const WANTED: [Program; 2] = [Program::Etcd, Program::ApiServer];
    let finder = Finder::from_env(kubernetes, Progress::stderr())?;
    let programs = tokio::task::spawn_blocking(move || finder.find(&WANTED)).await.context("find the programs")??;
    let mut stdout = std::io::stdout().lock();
    for program in WANTED {
        writeln!(stdout, "{}", programs.path(program)?.display())?;
    }
    Ok(())
}
