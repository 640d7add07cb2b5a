//! AWS on loopback, as a program: prints one JSON line with its endpoint and serves until it is told to end.

use std::{fs, net::SocketAddr, path::PathBuf};

use anyhow::{Context as _, bail};
use clap::Parser;
use cloud_provider_aws_simulator::{ACCESS_KEY, Latency, Options, Policy, SECRET_KEY, Seed, Simulator};
use cloud_provider_simulation::program;
use serde_json::json;
use tracing_subscriber::{Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// The part of AWS that a Kubernetes cloud controller uses, on loopback.
#[derive(Parser)]
#[command(name = "aws-simulator", version)]
struct Arguments {
    /// Address to serve; only loopback is accepted, port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Instances to make.
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// Name of the cluster that the network and the instances are tagged for.
    #[arg(long, default_value = "demo")]
    cluster: String,
    /// Region.
    #[arg(long, default_value = "us-east-1")]
    region: String,
    /// Time before every answer, such as 50ms or 1s.
    #[arg(long, value_parser = program::milliseconds, default_value = "0ms")]
    latency: u64,
    /// What callers may do: `documented`, `all`, or a file with an IAM policy document.
    #[arg(long, default_value = "documented")]
    policy: String,
    /// A JSON file with the whole account, instead of --cluster, --nodes and --region.
    #[arg(long, conflicts_with_all = ["nodes", "cluster", "region"])]
    seed: Option<PathBuf>,
    /// End when standard input closes, so that it does not outlive the process that started it.
    #[arg(long)]
    exit_with_parent: bool,
}

impl Arguments {
    fn options(&self) -> anyhow::Result<Options> {
        let seed = match &self.seed {
            None => Seed::cluster_in(&self.region, &self.cluster, self.nodes),
            Some(path) => {
                let text = fs::read(path).with_context(|| format!("read the seed {}", path.display()))?;
                serde_json::from_slice(&text).with_context(|| format!("parse the seed {}", path.display()))?
            }
        };
        let policy = match self.policy.as_str() {
            "documented" => Policy::documented(),
            "all" => Policy::all(),
            path => {
                let text = fs::read_to_string(path).with_context(|| format!("read the policy {path}"))?;
                match Policy::from_document(&text) {
                    Ok(policy) => policy,
                    Err(reason) => bail!("the policy {path} is not usable: {reason}"),
                }
            }
        };
        let mut options = Options { listen: self.listen, seed, policy, ..Options::default() };
        if self.latency > 0 {
            options.knobs.latency.push(Latency { action: "*".into(), fixed_ms: self.latency, jitter_ms: 0 });
        }
        Ok(options)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let logs = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    tracing_subscriber::registry().with(logs.with_filter(tracing_subscriber::filter::LevelFilter::INFO)).init();
    let arguments = Arguments::parse();
    let options = arguments.options()?;
    let region = options.seed.region.clone();
    let simulator = Simulator::start(options).await.context("start the simulator")?;
    let ready = json!({
        "url": simulator.url(), "region": region, "access_key": ACCESS_KEY, "secret_key": SECRET_KEY,
        "control": format!("{}/_simulator", simulator.url()), "pid": std::process::id(),
    });
    program::serve(&ready, arguments.exit_with_parent).await?;
    drop(simulator);
    Ok(())
}
