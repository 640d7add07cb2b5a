//! What the demo needs of a cloud.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use async_trait::async_trait;
use kube::Client;
use serde_json::Value;

use super::{aws, duration, openstack};
use crate::control_plane::ControlPlane;
use crate::objects::LoadBalancerService;
use crate::process::Program;
use crate::rbac::ACCOUNT;
use crate::upstream::{self, Upstream};

/// The name of the cloud config in a folder.
pub(super) const CONFIG: &str = "cloud.conf";
/// The environment of controllers, as our images set it. What is written in Go takes no notice.
const ALLOCATOR: (&str, &str) = ("MALLOC_ARENA_MAX", "1");

/// What runs against which cloud: flags of the demo and of the bench.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Programs {
    /// The cloud.
    #[arg(long, default_value = "aws")]
    pub(crate) cloud: String,
    /// The binary of our controller; for figures, a release build.
    #[arg(long, value_name = "PATH")]
    pub(crate) controller: PathBuf,
    /// The simulator's binary.
    #[arg(long, value_name = "PATH")]
    pub(crate) simulator: Option<PathBuf>,
    /// Latency of the simulated cloud's answers, such as 50ms, which is the bench's; the demo's is none.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) latency: Option<Duration>,
    /// OpenStack: how long simulated load balancers are pending after each change; 2s in the bench, 500ms in the demo.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) pending: Option<Duration>,
}

/// Which cloud, and how large.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) programs: Programs,
    /// Another endpoint instead of the simulator.
    pub(crate) cloud_api: Option<String>,
    /// Instances.
    pub(crate) nodes: usize,
    /// Services that quotas have to suffice for.
    pub(crate) services: usize,
    /// Backends of one load balancer that quotas have to suffice for.
    pub(crate) backends: usize,
}

/// A kind of load balancer, and how a service asks for it.
pub(crate) struct Kind {
    /// The first part of its services' names.
    pub(crate) name: &'static str,
    pub(crate) annotations: Vec<(&'static str, &'static str)>,
}

/// A load balancer as its owner sees it.
#[derive(Debug)]
pub(crate) struct Balancer {
    /// `namespace/name` of the service that has it.
    pub(crate) service: String,
    /// What calls about it name.
    pub(crate) name: String,
    /// The nodes that it leads to.
    pub(crate) backends: BTreeSet<String>,
}

/// A cloud with instances for all nodes, simulated or mocked.
#[async_trait]
pub(crate) trait Cloud: Send + Sync {
    /// The value of `--cloud-provider`.
    fn name(&self) -> &'static str;

    /// Where it is, in a few words.
    fn describe(&self) -> String;

    /// The names that the nodes have.
    fn nodes(&self) -> &[String];

    /// The kinds of load balancers that it has.
    fn services(&self) -> Vec<Kind>;

    /// The roles that operators grant its controller.
    fn roles(&self) -> Vec<Value>;

    /// Adds the cloud's configuration, credentials and flags to the controller's.
    fn configure(&self, controller: Program, dir: &Path) -> anyhow::Result<Program>;

    /// How often each action was called; empty where nobody counts.
    async fn calls(&self) -> anyhow::Result<BTreeMap<String, u64>>;

    /// Whether an action, as [`calls`](Self::calls) names it, is about load balancers.
    fn is_about_load_balancers(&self, action: &str) -> bool;

    /// The load balancers that there are. Not counted as a call.
    async fn balancers(&self) -> anyhow::Result<Vec<Balancer>>;

    /// How many backends a load balancer can have without asking for more.
    fn backends_at_most(&self) -> usize;

    /// How a service asks for the nodes with this label only.
    fn only_nodes_with(&self, key: &str, value: &str) -> (String, String);

    /// Counts calls from zero again.
    async fn forget_calls(&self) -> anyhow::Result<()>;

    /// What the calls named, each parameter of each, since they were last forgotten.
    async fn named(&self) -> anyhow::Result<BTreeSet<String>>;

    /// Refuses calls from now on that come faster than the cloud allows its customers.
    async fn limit_rates(&self) -> anyhow::Result<()>;

    /// What to try while it is up.
    fn hints(&self) -> Vec<String>;

    /// Fails when it has ended by itself.
    fn check(&self) -> anyhow::Result<()>;
}

/// The controller that ours replaces.
pub(crate) fn upstream(cloud: &str) -> anyhow::Result<Upstream> {
    match cloud {
        "aws" => Ok(upstream::AWS),
        "openstack" => Ok(upstream::OPENSTACK),
        other => bail!("nothing is known of upstream's controller for cloud {other:?}"),
    }
}

/// How long load balancers are pending after each change in the bench, unless something else is asked for; `None` for clouds that
/// take every change at once.
pub(crate) fn pending(cloud: &str) -> Option<Duration> {
    (cloud == "openstack").then_some(Duration::from_secs(2))
}

/// Starts the cloud that was asked for.
pub(crate) async fn start(setup: &Setup, dir: &Path) -> anyhow::Result<Box<dyn Cloud>> {
    let cloud = setup.programs.cloud.as_str();
    ensure!(
        setup.programs.pending.is_none() || pending(cloud).is_some(),
        "load balancers of {cloud} are never pending"
    );
    match cloud {
        "aws" => Ok(Box::new(aws::Aws::start(setup, dir).await?)),
        "openstack" => Ok(Box::new(openstack::OpenStack::start(setup, dir).await?)),
        other => bail!("there is no demo for cloud {other:?}"),
    }
}

/// A controller manager on this cloud and this control plane, as operators run it, ready to be started.
pub(crate) async fn controller(
    path: &Path,
    name: &str,
    cloud: &dyn Cloud,
    plane: &ControlPlane,
) -> anyhow::Result<Program> {
    let kubeconfig = plane.kubeconfig_for_service_account("kube-system", ACCOUNT).await?;
    let kubeconfig = plane.write_kubeconfig(ACCOUNT, &kubeconfig)?;
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).context("find a port")?;
    let flag = |name: &str| format!("--{name}={}", kubeconfig.display());
    let program = Program::new(path)
        .named(name)
        .log_dir(plane.dir())
        .arg(format!("--cloud-provider={}", cloud.name()))
        .args([flag("kubeconfig"), flag("authentication-kubeconfig"), flag("authorization-kubeconfig")])
        .args(["--cluster-name=demo", "--bind-address=127.0.0.1", "--v=2"])
        .arg(format!("--secure-port={}", port.port()))
        .env(ALLOCATOR.0, ALLOCATOR.1);
    cloud.configure(program, plane.dir())
}

/// Services, of each kind in turn.
pub(crate) fn services(cloud: &dyn Cloud, count: usize) -> anyhow::Result<Vec<LoadBalancerService>> {
    let kinds = cloud.services();
    ensure!(count == 0 || !kinds.is_empty(), "{} has no load balancers", cloud.name());
    let service = |nth: usize| {
        let kind = &kinds[nth % kinds.len()];
        let service = LoadBalancerService::new("default", format!("{}-{}", kind.name, nth / kinds.len() + 1)).tcp(80);
        kind.annotations.iter().fold(service, |service, (key, value)| service.annotation(*key, *value))
    };
    Ok((0..count).map(service).collect())
}

/// Creates services, of each kind in turn.
pub(crate) async fn create_services(cloud: &dyn Cloud, client: &Client, count: usize) -> anyhow::Result<()> {
    for service in services(cloud, count)? {
        service.create(client).await?;
    }
    Ok(())
}
