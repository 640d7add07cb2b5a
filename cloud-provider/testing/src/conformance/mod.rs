//! One set of scenarios that every cloud passes for what it declares: from cluster input to the state of the cloud to
//! status.
//!
//! A cloud's tests implement [`Factory`] and [`Subject`] over its simulator, or over another double of its API, and call
//! [`run`]. Each scenario gets a cloud and a control plane of its own. The controller runs with the roles that its
//! operators grant; a refused request fails the scenario.

mod bench;
mod lifecycle;
mod nodes;
mod pod_ranges;
mod restarts;
mod routes;
mod services;
mod volumes;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use async_trait::async_trait;
use futures::{StreamExt as _, stream};
use serde_json::Value;

pub use bench::{Bench, eventually};
pub use pod_ranges::Allocator;

use crate::process::{Process, describe};
use crate::progress::Progress;

/// Makes a fresh cloud for each scenario.
#[async_trait]
pub trait Factory: Send + Sync {
    /// A cloud with a network to put things in, and nothing else.
    async fn subject(&self) -> anyhow::Result<Box<dyn Subject>>;
}

/// One cloud with its controller, as the scenarios see it.
#[async_trait]
pub trait Subject: Send + Sync {
    /// What this cloud can do, and so what is tested.
    fn declared(&self) -> Declared;

    /// The roles and bindings that operators grant the service account [`ACCOUNT`](crate::rbac::ACCOUNT) in `kube-system`, as objects; empty
    /// for `cluster-admin`.
    fn roles(&self) -> Vec<Value> {
        Vec::new()
    }

    /// Starts a controller.
    async fn start(&self, start: Start<'_>) -> anyhow::Result<Box<dyn Controller>>;

    /// Starts instances and returns the names that their nodes have.
    async fn add_instances(&self, count: usize) -> anyhow::Result<Vec<String>>;

    /// Makes a disk, for clouds that declare volumes.
    async fn add_disk(&self) -> anyhow::Result<Disk> {
        bail!("this cloud declares no volumes")
    }

    /// Changes what runs behind a node.
    async fn set_instance(&self, node: &str, state: InstanceState) -> anyhow::Result<()>;

    /// All load balancers of the cluster.
    async fn load_balancers(&self) -> anyhow::Result<Vec<LoadBalancer>>;

    /// Removes a load balancer as somebody with a web console would: it alone.
    async fn remove_load_balancer(&self, id: &str) -> anyhow::Result<()>;

    /// Everything in the cloud that a controller can make or change for services, in words that are equal when nothing
    /// differs: load balancers, groups, rules, addresses. A scenario ends with what it began with.
    async fn belongings(&self) -> anyhow::Result<BTreeSet<String>>;

    /// Makes the cloud's API misbehave until [`Subject::heal`].
    async fn disturb(&self, disturbance: Disturbance) -> anyhow::Result<()>;

    /// Makes it behave again.
    async fn heal(&self) -> anyhow::Result<()>;

    /// The cluster's routes, and those of others in the same table. Asked only where routes are declared.
    async fn routes(&self) -> anyhow::Result<BTreeSet<Route>> {
        bail!("this cloud declares no routes")
    }

    /// Adds a route to the instance of a node as somebody else would, to a destination that is not the cluster's.
    async fn add_foreign_route(&self, destination: &str, node: &str) -> anyhow::Result<()> {
        bail!("this cloud declares no routes, so none to {destination} by {node}")
    }

    /// The IPv4 range that the cloud assigned to the instance of a node. Asked only where [`Allocator::Cloud`] is declared.
    async fn pod_range(&self, node: &str) -> anyhow::Result<String> {
        bail!("this cloud assigns no pod ranges, so none to {node}")
    }

    /// How often each call was made so far.
    async fn calls(&self) -> anyhow::Result<BTreeMap<String, u64>>;

    /// What has to hold at the end of every scenario, such as that the cloud refused no call for lack of a permission.
    ///
    /// # Errors
    /// Says what does not hold; the scenario fails.
    fn conclude(&self) -> anyhow::Result<()> {
        Ok(())
    }
}

/// How a controller is to be started.
#[derive(Debug, Clone, Copy)]
pub struct Start<'a> {
    /// The file with its credentials.
    pub kubeconfig: &'a Path,
    /// Where its logs go.
    pub dir: &'a Path,
    /// A name for its logs that no other start has.
    pub name: &'a str,
    /// How it takes part in leader election.
    pub election: Election,
    /// Who allocates ranges of pods' addresses; `None` where nobody does.
    pub allocator: Option<Allocator>,
}

impl Start<'_> {
    /// The flags that every controller has for how it is to be started.
    pub fn flags(&self) -> Vec<String> {
        let election = self.election.flags().iter().map(|flag| (*flag).to_owned());
        election.chain(self.allocator.into_iter().flat_map(Allocator::flags)).collect()
    }
}

/// How a controller takes part in leader election.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Election {
    /// Not at all: it acts at once.
    Off,
    /// With default flags.
    Default,
    /// Trying every second.
    EverySecond,
}

impl Election {
    /// The flags that every controller has for it.
    pub fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Off => &["--leader-elect=false"],
            Self::Default => &["--leader-elect=true"],
            Self::EverySecond => &["--leader-elect=true", "--leader-elect-retry-period=1s"],
        }
    }
}

/// A running controller. Dropping it kills it.
#[async_trait]
pub trait Controller: Send + Sync {
    /// Ends it without any chance to tidy up (`SIGKILL`).
    async fn kill(&self) -> anyhow::Result<()>;

    /// Asks it to end (`SIGTERM`) and waits.
    async fn terminate(&self) -> anyhow::Result<()>;

    /// Fails when it has ended by itself, with the end of its log.
    fn check(&self) -> anyhow::Result<()>;
}

/// A controller as it runs in production.
#[async_trait]
impl Controller for Process {
    async fn kill(&self) -> anyhow::Result<()> {
        Self::kill(self).map(|_| ())
    }

    async fn terminate(&self) -> anyhow::Result<()> {
        let status = Self::terminate(self, Duration::from_secs(20)).await?;
        ensure!(status.success(), "{} ended with {} when asked to end", self.name(), describe(status));
        Ok(())
    }

    fn check(&self) -> anyhow::Result<()> {
        self.check_running()
    }
}

/// What a cloud declares.
#[derive(Debug, Clone)]
pub struct Declared {
    /// Whether nodes get a zone label.
    pub zones: bool,
    /// Whether nodes get an instance type label.
    pub instance_types: bool,
    /// Whether instances can be stopped without being terminated.
    pub stopping: bool,
    /// The call that looks instances up, as [`Subject::calls`] names it, and how many instances one can name.
    pub look_up: Option<(String, usize)>,
    /// The kinds of services whose load balancers are tested; none where the cloud has no load balancers.
    pub services: Vec<ServiceKind>,
    /// Whether persistent volumes are labelled. The controllers are started with `persistent-volume-label-controller` on.
    pub volumes: bool,
    /// The names of calls that change the cloud, for "a second run changes nothing".
    pub writes: fn(&str) -> bool,
    /// What its API can be made to do wrong.
    pub disturbances: Vec<Disturbance>,
    /// Whether controllers elect a leader.
    pub leader_election: bool,
    /// How long a young node's instance has to be gone before the node is deleted.
    pub grace: Duration,
    /// What its routes can do; `None` where it has none.
    pub routes: Option<RouteSupport>,
    /// Who can allocate ranges of pods' addresses.
    pub allocators: Vec<Allocator>,
}

/// What the routes of a cloud can do. Its controllers run with `--cluster-cidr` as [`RouteSupport::cluster_cidr`] says, in
/// all scenarios.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteSupport {
    /// Whether there are IPv6 routes.
    pub ipv6: bool,
}

impl RouteSupport {
    /// The value of `--cluster-cidr`.
    pub fn cluster_cidr(self) -> &'static str {
        if self.ipv6 { "10.200.0.0/16,fd00:200::/48" } else { "10.200.0.0/16" }
    }
}

/// A kind of load balancer, and how a service asks for it.
#[derive(Debug, Clone)]
pub struct ServiceKind {
    /// For reports.
    pub name: String,
    /// What the service carries.
    pub annotations: BTreeMap<String, String>,
}

/// What runs behind a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstanceState {
    /// It runs.
    Running,
    /// It is shut down and can be started again.
    Stopped,
    /// It is gone for good.
    Terminated,
}

/// A load balancer as it stands in the cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadBalancer {
    /// What [`Subject::remove_load_balancer`] takes.
    pub id: String,
    /// The address or host name that its service's status shows.
    pub ingress: String,
    /// The ports that it listens on.
    pub ports: BTreeSet<i32>,
    /// The names of the nodes behind it.
    pub backends: BTreeSet<String>,
}

/// A route as it stands in the cloud.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// The network that it is for.
    pub destination: String,
    /// The name of the node that it leads to; `None` where that is gone.
    pub node: Option<String>,
}

/// A disk as it stands in the cloud.
#[derive(Debug, Clone, PartialEq)]
pub struct Disk {
    /// The part of a persistent volume's spec that names it: `{"gcePersistentDisk": {"pdName": "disk-1"}}`.
    pub source: Value,
    /// The zones that it is in.
    pub zones: BTreeSet<String>,
    /// The region that it is in.
    pub region: String,
}

/// How an API misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disturbance {
    /// It refuses every call, asking for fewer.
    Throttling,
    /// It fails every call with its own kind of internal error.
    Errors,
    /// Its reads show the past.
    StaleReads,
    /// It answers after two seconds.
    Slow,
    /// It carries every call out, but every other answer is lost.
    LostAnswers,
}

impl fmt::Display for Disturbance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Throttling => "throttling",
            Self::Errors => "failing",
            Self::StaleReads => "stale",
            Self::Slow => "slow",
            Self::LostAnswers => "answer-losing",
        })
    }
}

type Running<'a> = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send + 'a>>;

/// One scenario.
struct Scenario {
    name: &'static str,
    applies: fn(&Declared) -> bool,
    run: for<'a> fn(&'a Bench) -> Running<'a>,
}

/// Wraps an async function into a table entry.
macro_rules! scenario {
    ($name:literal, $applies:expr, $run:path) => {
        Scenario { name: $name, applies: $applies, run: |bench| Box::pin($run(bench)) }
    };
}

fn has_instances(declared: &Declared) -> bool {
    declared.look_up.is_some()
}

fn has_volumes(declared: &Declared) -> bool {
    declared.volumes
}

fn has_services(declared: &Declared) -> bool {
    !declared.services.is_empty()
}

fn has_routes(declared: &Declared) -> bool {
    declared.routes.is_some()
}

fn allocates_itself(declared: &Declared) -> bool {
    declared.allocators.contains(&Allocator::Cluster)
}

fn assigns_ranges(declared: &Declared) -> bool {
    declared.allocators.contains(&Allocator::Cloud)
}

const SCENARIOS: &[Scenario] = &[
    scenario!("nodes-initialise-in-batches", has_instances, nodes::initialise_in_batches),
    scenario!("nodes-initialise-through-disturbances", has_instances, nodes::initialise_through_disturbances),
    scenario!("foreign-node-is-left-alone", has_instances, nodes::foreign_is_left_alone),
    scenario!("node-follows-its-instance", has_instances, lifecycle::node_follows_its_instance),
    scenario!("service-comes-changes-and-goes", has_services, services::come_change_and_go),
    scenario!("service-type-change-removes-load-balancer", has_services, services::type_change),
    scenario!("load-balancer-removed-by-hand", has_services, services::removed_by_hand),
    scenario!("services-through-disturbances", has_services, services::through_disturbances),
    scenario!("volumes-are-labelled", has_volumes, volumes::labelled),
    scenario!("volumes-are-labelled-through-disturbances", has_volumes, volumes::through_disturbances),
    scenario!("restart-changes-nothing", has_services, restarts::changes_nothing),
    scenario!("routes-follow-nodes", has_routes, routes::follow_nodes),
    scenario!("routes-of-vanished-nodes-are-removed", has_routes, routes::of_vanished_nodes),
    scenario!("routes-through-disturbances", has_routes, routes::through_disturbances),
    scenario!("restart-leaves-routes-alone", has_routes, routes::restart_changes_nothing),
    scenario!("killed-at-20-points", has_services, restarts::killed_at_points),
    scenario!("pod-ranges-of-the-cluster", allocates_itself, pod_ranges::of_the_cluster),
    scenario!("pod-ranges-of-the-cloud", assigns_ranges, pod_ranges::of_the_cloud),
    scenario!("standby-takes-over", |declared| declared.leader_election, restarts::standby_takes_over),
];

/// How long the cluster and a cloud that is quick may take to agree.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a run tests.
#[derive(Debug, Clone)]
pub struct Run {
    /// Scenarios to leave out, each with the reason: what this double of the cloud cannot do.
    pub skip: BTreeMap<String, String>,
    /// Only scenarios whose names contain this.
    pub only: Option<String>,
    /// Scenarios at the same time; they wait more than they work.
    pub concurrency: usize,
    /// How long the cluster and the cloud may take to agree when nothing is wrong.
    pub patience: Duration,
    /// Where it is told what happens.
    pub progress: Progress,
}

impl Default for Run {
    fn default() -> Self {
        // The same for all clouds: a failure can be looked at alone, and what is slow gets more time.
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let only = variable("CONFORMANCE");
        let seconds = variable("CONFORMANCE_PATIENCE").and_then(|seconds| seconds.parse().ok());
        let patience = seconds.map_or(PATIENCE, Duration::from_secs);
        Self { skip: BTreeMap::new(), only, concurrency: 2, patience, progress: Progress::stderr() }
    }
}

/// Reads a committed skip list: `scenario: reason` in each line that is not empty and does not begin with `#`.
pub fn skip_list(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.filter_map(|line| line.split_once(": ")).map(|(name, reason)| (name.to_owned(), reason.to_owned())).collect()
}

/// Runs every scenario that applies.
///
/// # Errors
/// Names every scenario that failed and why. Also when an entry of the skip list names no scenario.
pub async fn run(factory: &dyn Factory, run: Run) -> anyhow::Result<()> {
    if let Some(unknown) = run.skip.keys().find(|name| SCENARIOS.iter().all(|scenario| scenario.name != *name)) {
        bail!("the skip list names {unknown:?}, which is no scenario");
    }
    let declared = factory.subject().await?.declared();
    let chosen = SCENARIOS.iter().filter(|scenario| {
        if let Some(reason) = run.skip.get(scenario.name) {
            run.progress.note(&format!("{}: skipped, {reason}", scenario.name));
            return false;
        }
        (scenario.applies)(&declared) && run.only.as_ref().is_none_or(|only| scenario.name.contains(only.as_str()))
    });
    let failures: Vec<String> = stream::iter(chosen)
        .map(|scenario| one(factory, scenario, &run))
        .buffer_unordered(run.concurrency.max(1))
        .filter_map(|failure| async { failure })
        .collect()
        .await;
    if failures.is_empty() {
        return Ok(());
    }
    bail!("{} scenarios failed:\n\n{}", failures.len(), failures.join("\n\n"))
}

/// Runs one scenario and tells what went wrong, if anything did.
async fn one(factory: &dyn Factory, scenario: &Scenario, run: &Run) -> Option<String> {
    let begun = Instant::now();
    let result = async {
        let bench = Bench::new(factory.subject().await?, scenario.name, run.patience).await?;
        let result = (scenario.run)(&bench).await;
        bench.conclude(result)
    }
    .await;
    let seconds = begun.elapsed().as_secs_f64();
    match result {
        Ok(()) => {
            run.progress.note(&format!("{}: passed ({seconds:.1} s)", scenario.name));
            None
        }
        Err(error) => {
            run.progress.note(&format!("{}: FAILED ({seconds:.1} s): {error:#}", scenario.name));
            Some(format!("{}: {error:#}", scenario.name))
        }
    }
}
