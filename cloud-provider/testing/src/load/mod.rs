//! The load run: a large cluster with heartbeats on a real API server, the cloud in memory, and the controller as the
//! process that operators run. What it costs is counted by the cloud, by the API server's audit log and by the kernel.

mod kubelets;
mod meter;
mod report;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, DeleteParams};
use kube::{Client, ResourceExt as _};
use tokio::time::Instant;

use crate::cloud::{Backend, Operation, Served, controller};
use crate::control_plane::{ControlPlane, Options};
use crate::demo::convergence::Convergence;
use crate::objects::{Heartbeats, KubeletNode, LoadBalancerService, Pace, register_nodes};
use crate::process::Process;
use crate::progress::Progress;
use crate::rbac::{self, ACCOUNT};
use meter::{Meter, Phase};
use report::Report;

/// How long the cluster is watched at rest.
const REST: Duration = Duration::from_secs(60);
/// How long a standby is given to read the cluster before it has to take over.
const WARM: Duration = Duration::from_secs(20);
/// Events and the last writes are on their way for so long after everything else is done.
const AFTERMATH: Duration = Duration::from_secs(5);
/// Where the API server and thousands of kubelets share few cores, it may not answer for seconds; that is not what is
/// measured.
const PATIENCE: [&str; 2] = ["--leader-elect-lease-duration=60s", "--leader-elect-renew-deadline=45s"];
/// How often it is looked whether a phase is done.
const POLL: Duration = Duration::from_millis(250);
/// Services created at the same time.
const CONCURRENCY: usize = 8;

/// Flags of the load run.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The binary `memory-cloud-controller-manager`.
    #[arg(long, value_name = "PATH")]
    controller: PathBuf,
    /// Nodes of the cluster.
    #[arg(long, default_value_t = 5000)]
    nodes: usize,
    /// Services of type LoadBalancer.
    #[arg(long, default_value_t = 500)]
    services: usize,
    /// Seconds over which the nodes register.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    over: u64,
    /// Latency of the cloud's answers in milliseconds.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 20)]
    latency: u64,
    /// Seconds between two renewals of a node's lease.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    lease: u64,
    /// Seconds between two writes of a node's status.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    status: u64,
    /// Print the figures as JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Give up when a phase takes longer than so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    timeout: u64,
}

/// Runs it and prints the figures.
///
/// # Errors
/// When a program ends by itself, or a phase does not end in time.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let mut stage = Stage::set(&args).await?;
    let result = stage.play().await;
    if result.is_err() {
        stage.progress.note(&format!("The controllers' last words:\n{}", stage.last_words()));
    }
    result?;
    let report = Report::new(&args, &stage).await?;
    let text = if args.json { serde_json::to_string_pretty(&report)? } else { report.table() };
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush()).context("write to standard output")
}

/// Everything that runs.
struct Stage<'a> {
    args: &'a Args,
    // Ended in this order.
    controllers: Vec<Process>,
    heartbeats: Option<Heartbeats>,
    cloud: Served,
    backend: Arc<Backend>,
    convergence: Convergence,
    client: Client,
    plane: ControlPlane,
    kubeconfig: PathBuf,
    phases: Vec<Phase>,
    progress: Progress,
}

impl<'a> Stage<'a> {
    async fn set(args: &'a Args) -> anyhow::Result<Self> {
        let progress = Progress::stderr();
        let options = Options { audit_reads: true, progress: progress.clone(), ..Options::default() };
        let plane = ControlPlane::start(options).await?;
        let client = plane.client().await?;
        rbac::grant(&client, Vec::new()).await?;
        let kubeconfig = plane.kubeconfig_for_service_account("kube-system", ACCOUNT).await?;
        let kubeconfig = plane.write_kubeconfig(ACCOUNT, &kubeconfig)?;
        let backend = Backend::new();
        for nth in 0..args.nodes {
            backend.start_machine(name(nth));
        }
        backend.set_latency(Duration::from_millis(args.latency));
        let cloud = backend.serve(0).await?;
        let convergence = Convergence::watch(&client, args.nodes, args.services);
        Ok(Self {
            args,
            controllers: Vec::new(),
            heartbeats: None,
            cloud,
            backend,
            convergence,
            client,
            plane,
            kubeconfig,
            phases: Vec::new(),
            progress,
        })
    }

    async fn play(&mut self) -> anyhow::Result<()> {
        let nodes = self.args.nodes;
        self.start_controller()?;
        let meter = self.begin("initialise");
        self.fill().await?;
        self.done(nodes).await?;
        self.end(meter, None).await?;

        let meter = self.begin("rest with heartbeats");
        tokio::time::sleep(REST).await;
        self.end(meter, None).await?;

        let meter = self.begin("one node added");
        let told = self.add_node(nodes).await?;
        self.end(meter, Some(told)).await?;

        let meter = self.begin("one node removed");
        let told = self.remove_node(nodes).await?;
        self.end(meter, Some(told)).await?;

        let meter = self.begin("a standby starts");
        self.start_controller()?;
        tokio::time::sleep(WARM).await;
        self.end(meter, None).await?;

        let meter = self.begin("leader changed");
        let told = self.change_leader().await?;
        self.end(meter, Some(told)).await
    }

    fn start_controller(&mut self) -> anyhow::Result<()> {
        let name = format!("controller-{}", self.controllers.len());
        let program = controller(&self.args.controller, &name, &self.cloud, &self.plane, &self.kubeconfig)?;
        self.controllers.push(program.args(PATIENCE).spawn()?);
        Ok(())
    }

    /// Nodes register and services come, both at once; every kubelet reports from then on.
    async fn fill(&mut self) -> anyhow::Result<()> {
        let names: Vec<String> = (0..self.args.nodes).map(name).collect();
        let nodes = names.iter().map(|name| KubeletNode::new(name).with_images()).collect();
        let clients = kubelets::clients(&self.plane).await?;
        let services = stream::iter(0..self.args.services)
            .map(|nth| {
                let service = LoadBalancerService::new("default", format!("service-{nth}")).tcp(80).tcp(443);
                let client = self.client.clone();
                async move { service.create(&client).await.map(|_| ()) }
            })
            .buffer_unordered(CONCURRENCY)
            .try_collect::<()>();
        let register = register_nodes(&self.client, nodes, Duration::from_secs(self.args.over));
        let (took, ()) = tokio::try_join!(register, services)?;
        self.progress.note(&format!("{} nodes registered in {:.0} s", names.len(), took.as_secs_f64()));
        let pace = Pace { status: Duration::from_secs(self.args.status), lease: Duration::from_secs(self.args.lease) };
        self.heartbeats = Some(Heartbeats::start_over(&clients, &names, pace));
        Ok(())
    }

    /// Waits until every node is initialised and every load balancer has all of them, and fails when somebody died.
    async fn done(&self, nodes: usize) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(self.args.timeout);
        loop {
            self.plane.check_running()?;
            self.controllers.iter().try_for_each(|controller| controller.check_running())?;
            let (seen, ready, balanced) = self.convergence.counts();
            let told = self.backend.balanced(nodes);
            if seen == nodes
                && ready.ready == nodes
                && balanced.ready == self.args.services
                && told == self.args.services
            {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!(
                    "{seen} nodes, {} ready; {} services with an address, {told} load balancers with {nodes} backends",
                    ready.ready,
                    balanced.ready
                );
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Seconds from the event to the last load balancer told.
    async fn add_node(&self, nth: usize) -> anyhow::Result<f64> {
        let name = name(nth);
        self.backend.start_machine(&name);
        let begun = Instant::now();
        register_nodes(&self.client, vec![KubeletNode::new(&name).with_images()], Duration::ZERO).await?;
        self.done(nth + 1).await?;
        self.last_told(begun)
    }

    async fn remove_node(&self, nodes: usize) -> anyhow::Result<f64> {
        let api: Api<Node> = Api::all(self.client.clone());
        let begun = Instant::now();
        api.delete(&name(nodes), &DeleteParams::default()).await.context("delete a node")?;
        self.done(nodes).await?;
        self.last_told(begun)
    }

    /// The leader ends, the standby takes over, and proves it with a node that comes meanwhile.
    async fn change_leader(&mut self) -> anyhow::Result<f64> {
        let nodes = self.args.nodes;
        let begun = Instant::now();
        let first = self.controllers.remove(0);
        first.terminate(Duration::from_secs(20)).await?;
        let name = name(nodes + 1);
        self.backend.start_machine(&name);
        register_nodes(&self.client, vec![KubeletNode::new(&name).with_images()], Duration::ZERO).await?;
        self.done(nodes + 1).await?;
        self.last_told(begun)
    }

    fn last_told(&self, begun: Instant) -> anyhow::Result<f64> {
        let told = |call: &crate::cloud::Call| call.operation == Operation::SetBackends && call.begun >= begun;
        let last = self.backend.calls().into_iter().filter(told).map(|call| call.at).max();
        Ok((last.context("no load balancer was told")? - begun).as_secs_f64())
    }

    fn begin(&self, name: &'static str) -> Meter {
        self.progress.note(&format!("{name} ..."));
        Meter::begin(name, self)
    }

    async fn end(&mut self, meter: Meter, told: Option<f64>) -> anyhow::Result<()> {
        let took = meter.elapsed();
        tokio::time::sleep(AFTERMATH).await;
        let phase = meter.end(self, took, told)?;
        self.progress.note(&phase.line());
        self.phases.push(phase);
        Ok(())
    }

    fn last_words(&self) -> String {
        self.controllers.iter().map(|controller| controller.log_tail(20)).collect::<Vec<_>>().join("\n---\n")
    }

    /// How large a node is, as the API server sends it to those who watch.
    async fn node_bytes(&self) -> anyhow::Result<usize> {
        let api: Api<Node> = Api::all(self.client.clone());
        let node = api.get(&name(0)).await.context("get a node")?;
        tracing::debug!(node = node.name_any(), "measured");
        Ok(serde_json::to_vec(&node).context("print a node")?.len())
    }

    fn dir(&self) -> &Path {
        self.plane.dir()
    }
}

fn name(nth: usize) -> String {
    format!("node-{nth:05}.load.memory.internal")
}
