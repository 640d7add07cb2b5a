//! OpenStack on loopback, as a program: prints one JSON line with its endpoint and serves until it is told to end.

use std::{fs, net::SocketAddr, path::PathBuf};

use anyhow::Context as _;
use clap::Parser;
use cloud_provider_openstack_simulator::{Ids, Latency, Options, PASSWORD, Policy, Seed, Simulator};
use cloud_provider_simulation::program;
use serde_json::json;
use tracing_subscriber::{Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// The part of OpenStack that a Kubernetes cloud controller uses, on loopback.
#[derive(Parser)]
#[command(name = "openstack-simulator", version)]
struct Arguments {
    /// Address to serve; only loopback is accepted, port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Servers to make.
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// Name of the cluster, which begins the servers' names.
    #[arg(long, default_value = "demo")]
    cluster: String,
    /// Give the network and the servers IPv6 addresses as well.
    #[arg(long)]
    dual_stack: bool,
    /// Time before every answer, such as 50ms or 1s.
    #[arg(long, value_parser = program::milliseconds, default_value = "0ms")]
    latency: u64,
    /// How long load balancers are pending after each change, such as 500ms or 2s.
    #[arg(long, value_parser = program::milliseconds, default_value = "0ms")]
    pending: u64,
    /// A JSON file with changes of the services' default policies: `{"deny":[…],"require":{…}}`.
    #[arg(long)]
    policy: Option<PathBuf>,
    /// A JSON file with the whole cloud, instead of --cluster, --nodes and --dual-stack.
    #[arg(long, conflicts_with_all = ["nodes", "cluster", "dual_stack"])]
    seed: Option<PathBuf>,
    /// End when standard input closes, so that it does not outlive the process that started it.
    #[arg(long)]
    exit_with_parent: bool,
}

fn read<T: serde::de::DeserializeOwned>(path: &PathBuf, what: &str) -> anyhow::Result<T> {
    let text = fs::read(path).with_context(|| format!("read the {what} {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("parse the {what} {}", path.display()))
}

impl Arguments {
    fn options(&self) -> anyhow::Result<Options> {
        let seed = match &self.seed {
            None if self.dual_stack => Seed::dual_stack_cluster(&self.cluster, self.nodes),
            None => Seed::cluster(&self.cluster, self.nodes),
            Some(path) => read(path, "seed")?,
        };
        let policy = self.policy.as_ref().map_or(Ok(Policy::default()), |path| read(path, "policy"))?;
        let mut options = Options { listen: self.listen, seed, policy, ..Options::default() };
        if self.latency > 0 {
            options.knobs.latency.push(Latency { action: "*".into(), fixed_ms: self.latency, jitter_ms: 0 });
        }
        options.knobs.delays.load_balancer_create_ms = self.pending;
        options.knobs.delays.load_balancer_update_ms = self.pending;
        options.knobs.delays.load_balancer_delete_ms = self.pending;
        Ok(options)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let logs = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    tracing_subscriber::registry().with(logs.with_filter(tracing_subscriber::filter::LevelFilter::INFO)).init();
    let arguments = Arguments::parse();
    let simulator = Simulator::start(arguments.options()?).await.context("start the simulator")?;
    let ready = json!({
        "url": simulator.url(), "auth_url": simulator.auth_url(), "region": "RegionOne", "user": "demo",
        "password": PASSWORD, "project": "demo", "ids": Ids::default(), "cloud_conf": simulator.cloud_conf(),
        "control": format!("{}/_simulator", simulator.url()), "pid": std::process::id(),
    });
    program::serve(&ready, arguments.exit_with_parent).await?;
    drop(simulator);
    Ok(())
}
