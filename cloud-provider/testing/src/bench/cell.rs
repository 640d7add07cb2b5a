//! One controller at one size: a cluster's life in phases.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::api::{Api, DeleteParams};
use tokio::time::Instant;

use super::figures::{Build, Measured, Phase, Unfinished, today};
use super::{Args, Size};
use crate::control_plane::{ControlPlane, Options};
use crate::demo::cloud::{self, Cloud, Setup};
use crate::demo::convergence::Convergence;
use crate::measure::{cpu_seconds, mib, tenths};
use crate::objects::{KubeletNode, register_nodes};
use crate::process::Process;
use crate::progress::Progress;
use crate::rbac;

/// Load balancers are done when nothing was asked about them for so long, and they are as they should be.
const QUIET: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(200);
/// Whether they are is asked no more often than so: the answer is a large one.
const LOOK: Duration = Duration::from_secs(3);
/// A restart is timed from the moment at which it leads.
const POLL_LEASE: Duration = Duration::from_millis(50);
/// How long a standby is given to get ready.
const WARM: Duration = Duration::from_secs(15);
const LEASE: &str = "cloud-controller-manager";
/// The label that says which services a node serves.
const POOL: &str = "pool";

/// A controller that is measured.
pub(super) struct Subject {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) program: PathBuf,
    pub(super) build: Build,
}

/// Everything that runs.
pub(super) struct Cell<'a> {
    // Ended in this order.
    controller: Option<Process>,
    cloud: Box<dyn Cloud>,
    convergence: Convergence,
    client: Client,
    plane: ControlPlane,
    started: usize,
    args: &'a Args,
    subject: &'a Subject,
    size: Size,
    pools: Pools,
    progress: Progress,
    lease_seconds: Option<f64>,
    phases: BTreeMap<String, Phase>,
}

/// Nodes are in pools, none of which has more than a load balancer can lead to, and each service has one of them.
#[derive(Clone, Copy)]
struct Pools(usize);

impl Pools {
    fn new(nodes: usize, at_most: usize) -> Self {
        Self(nodes.div_ceil(at_most).max(1))
    }

    /// The pool of the node, or the service, of this number.
    fn of(self, nth: usize) -> usize {
        nth % self.0
    }

    fn name(pool: usize) -> String {
        format!("pool-{pool}")
    }
}

/// A phase that runs.
struct Meter {
    begun: Instant,
    calls: BTreeMap<String, u64>,
    cpu: f64,
}

/// How a phase ended: how long it took, or how far it came.
type Outcome = Result<f64, String>;

impl<'a> Cell<'a> {
    /// A cluster whose nodes have registered, with an account that has one instance more; no controller yet.
    pub(super) async fn set(
        args: &'a Args,
        subject: &'a Subject,
        size: Size,
        progress: &Progress,
    ) -> anyhow::Result<Self> {
        let plane = ControlPlane::start(Options { progress: progress.clone(), ..Options::default() }).await?;
        let setup = Setup {
            programs: args.programs.clone(),
            cloud_api: None,
            nodes: size.nodes + 1,
            services: size.services,
            // Pools hold them within the quotas.
            backends: 0,
        };
        let cloud = cloud::start(&setup, plane.dir()).await?;
        cloud.limit_rates().await?;
        let client = plane.client().await?;
        rbac::grant(&client, cloud.roles()).await?;
        let convergence = Convergence::watch(&client, size.nodes, size.services);
        let pools = Pools::new(size.nodes + 1, cloud.backends_at_most());
        let nodes = (0..size.nodes).map(|nth| kubelet(cloud.as_ref(), pools, nth)).collect();
        register_nodes(&client, nodes, Duration::ZERO).await?;
        let progress = progress.clone();
        let phases = BTreeMap::new();
        Ok(Self {
            controller: None,
            cloud,
            convergence,
            client,
            plane,
            started: 0,
            args,
            subject,
            size,
            pools,
            progress,
            lease_seconds: None,
            phases,
        })
    }

    /// Runs all phases. One that does not end in time is the last.
    pub(super) async fn measure(mut self) -> anyhow::Result<Measured> {
        let result = self.play().await;
        if result.is_err()
            && let Some(controller) = &self.controller
        {
            self.progress.note(&format!("The controller's last words:\n{}", controller.log_tail(20)));
        }
        let unfinished = result?;
        if let Some(Unfinished { phase, reached }) = &unfinished {
            self.progress.note(&format!("  {phase} was given up: {reached}"));
        }
        let metadata = std::fs::metadata(&self.subject.program).context("look at the program")?;
        Ok(Measured {
            controller: self.subject.name.clone(),
            version: self.subject.version.clone(),
            build: self.subject.build.clone(),
            date: today(),
            binary_bytes: metadata.len(),
            kubernetes: self.client.apiserver_version().await.context("ask for the version")?.git_version,
            nodes: self.size.nodes,
            services: self.size.services,
            unfinished,
            lease_seconds: self.lease_seconds,
            phases: self.phases,
        })
    }

    async fn play(&mut self) -> anyhow::Result<Option<Unfinished>> {
        let meter = self.begin().await?;
        let first = self.start().await?;
        self.controller = Some(first);
        let outcome = self.initialised(&meter).await?;
        if let Some(unfinished) = self.end("initialise", meter, outcome).await? {
            return Ok(Some(unfinished));
        }

        let meter = self.begin().await?;
        tokio::time::sleep(self.args.period * 3).await;
        self.end("idle", meter, Ok(self.args.period.as_secs_f64() * 3.0)).await?;

        if self.size.services > 0 {
            let meter = self.begin().await?;
            self.create_services().await?;
            let outcome = self.balanced(&meter, false).await?;
            if let Some(unfinished) = self.end("provision", meter, outcome).await? {
                return Ok(Some(unfinished));
            }
            for (name, added) in [("node added", true), ("node removed", false)] {
                let meter = self.begin().await?;
                self.change_node(added).await?;
                let outcome = self.balanced(&meter, added).await?;
                if let Some(unfinished) = self.end(name, meter, outcome).await? {
                    return Ok(Some(unfinished));
                }
            }
        }

        self.running()?.terminate(Duration::from_secs(30)).await?;
        let before = self.leader().await?;
        self.controller = None;
        self.cloud.forget_calls().await?;
        let mut meter = self.begin().await?;
        self.controller = Some(self.start().await?);
        let waited = self.leads_instead_of(&before).await?;
        self.lease_seconds = Some(tenths(waited));
        // What it called before counts too.
        meter.begun = Instant::now();
        let outcome = self.quiet(&meter, async || self.asked_about().await).await?;
        if let Some(unfinished) = self.end("restart", meter, outcome).await? {
            return Ok(Some(unfinished));
        }

        let standby = self.start().await?;
        tokio::time::sleep(WARM).await;
        let before = self.leader().await?;
        let meter = self.begin().await?;
        self.running()?.kill()?;
        self.controller = Some(standby);
        let seconds = self.leads_instead_of(&before).await?;
        self.end("failover", Meter { cpu: 0.0, ..meter }, Ok(seconds)).await
    }

    async fn start(&mut self) -> anyhow::Result<Process> {
        self.started += 1;
        let name = format!("controller-{}", self.started);
        let program = cloud::controller(&self.subject.program, &name, self.cloud.as_ref(), &self.plane).await?;
        program
            .arg(format!("--node-status-update-frequency={}s", self.args.period.as_secs()))
            .args(&self.subject.build.flags)
            .spawn()
    }

    fn running(&self) -> anyhow::Result<&Process> {
        self.controller.as_ref().context("no controller runs")
    }

    async fn begin(&self) -> anyhow::Result<Meter> {
        let cpu = self.controller.as_ref().map_or(Ok(0.0), cpu_seconds)?;
        Ok(Meter { begun: Instant::now(), calls: self.cloud.calls().await?, cpu })
    }

    /// Notes a phase. Where it did not end in time, says what to tell of it.
    async fn end(&mut self, name: &str, meter: Meter, outcome: Outcome) -> anyhow::Result<Option<Unfinished>> {
        let controller = self.running()?;
        let memory = controller.memory()?;
        let mut calls = self.cloud.calls().await?;
        for (action, before) in &meter.calls {
            if let Some(now) = calls.get_mut(action) {
                *now -= before;
            }
        }
        calls.retain(|_, count| *count > 0);
        let phase = Phase {
            seconds: tenths(outcome.as_ref().copied().unwrap_or(meter.begun.elapsed().as_secs_f64())),
            cloud_calls: calls,
            cpu_seconds: tenths(cpu_seconds(controller)? - meter.cpu),
            peak_rss_mib: mib(memory.peak),
            resident_mib: mib(memory.resident),
        };
        self.progress.note(&format!(
            "  {name}: {:.1} s, {} cloud calls, {:.1} s of CPU, {:.1} MiB",
            phase.seconds,
            phase.calls(),
            phase.cpu_seconds,
            phase.peak_rss_mib
        ));
        self.phases.insert(name.to_owned(), phase);
        let limit = self.args.limit.as_secs();
        let unfinished = |far: String| Unfinished { phase: name.to_owned(), reached: format!("{far} after {limit} s") };
        Ok(outcome.err().map(unfinished))
    }

    fn check(&self) -> anyhow::Result<()> {
        self.plane.check_running()?;
        self.cloud.check()?;
        self.running()?.check_running()
    }

    async fn initialised(&self, meter: &Meter) -> anyhow::Result<Outcome> {
        loop {
            self.check()?;
            let (_, nodes, _) = self.convergence.counts();
            if nodes.ready == self.size.nodes {
                return Ok(Ok(meter.begun.elapsed().as_secs_f64()));
            }
            if meter.begun.elapsed() > self.args.limit {
                return Ok(Err(format!("{} of {} nodes", nodes.ready, nodes.wanted)));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn create_services(&self) -> anyhow::Result<()> {
        for (nth, service) in cloud::services(self.cloud.as_ref(), self.size.services)?.into_iter().enumerate() {
            let pool = Pools::name(self.pool_of_service(nth));
            let (key, value) = self.cloud.only_nodes_with(POOL, &pool);
            service.annotation(key, value).create(&self.client).await?;
        }
        Ok(())
    }

    /// Each pool has services of all kinds, which come in turn.
    fn pool_of_service(&self, nth: usize) -> usize {
        self.pools.of(nth / self.cloud.services().len().max(1))
    }

    /// Until every service has an address, its load balancer leads to all nodes of its pool and to no other, and nothing more
    /// is asked about load balancers. `one_more`: with the node that joins.
    async fn balanced(&self, meter: &Meter, one_more: bool) -> anyhow::Result<Outcome> {
        let names = self.cloud.nodes();
        let mut pools = vec![BTreeSet::new(); self.pools.0];
        for (nth, name) in names.iter().enumerate().take(self.size.nodes + usize::from(one_more)) {
            pools[self.pools.of(nth)].insert(name.clone());
        }
        let services = cloud::services(self.cloud.as_ref(), self.size.services)?;
        let wanted: BTreeMap<String, &BTreeSet<String>> = services
            .iter()
            .enumerate()
            .map(|(nth, service)| {
                (format!("{}/{}", service.namespace(), service.name()), &pools[self.pool_of_service(nth)])
            })
            .collect();
        self.quiet(meter, async || {
            let balancers = self.cloud.balancers().await?;
            let right = balancers.iter().filter(|one| wanted.get(&one.service).is_some_and(|it| **it == one.backends));
            Ok(right.count().min(self.convergence.counts().2.ready))
        })
        .await
    }

    /// About how many load balancers something was asked.
    async fn asked_about(&self) -> anyhow::Result<usize> {
        let (balancers, named) = (self.cloud.balancers().await?, self.cloud.named().await?);
        let is_named = |name: &str| named.iter().any(|parameter| parameter.contains(name));
        Ok(balancers.iter().filter(|balancer| is_named(&balancer.name)).count())
    }

    /// The time until the last call about load balancers, after which there were none for a while, and `done` says that it is
    /// all of them that are done.
    async fn quiet(&self, meter: &Meter, done: impl AsyncFn() -> anyhow::Result<usize>) -> anyhow::Result<Outcome> {
        let count = |calls: &BTreeMap<String, u64>| {
            let about = calls.iter().filter(|(action, _)| self.cloud.is_about_load_balancers(action));
            about.map(|(_, count)| *count).sum::<u64>()
        };
        let begun = Instant::now();
        let (mut seen, mut last, mut looked, mut judged) = (count(&meter.calls), begun, begun, begun);
        loop {
            self.check()?;
            let now = count(&self.cloud.calls().await?);
            if now != seen {
                (seen, last) = (now, looked);
            }
            let given_up = meter.begun.elapsed() > self.args.limit;
            let is_quiet = last.elapsed() > QUIET;
            if (is_quiet && judged.elapsed() > LOOK) || given_up {
                let (done, all) = (done().await?, self.size.services);
                judged = Instant::now();
                if done == all && is_quiet {
                    return Ok(Ok(last.saturating_duration_since(meter.begun).as_secs_f64()));
                }
                if given_up {
                    return Ok(Err(format!("{done} of {all} load balancers")));
                }
            }
            tokio::time::sleep(POLL).await;
            looked = Instant::now();
        }
    }

    /// The node of the instance that is left joins, or leaves.
    async fn change_node(&self, added: bool) -> anyhow::Result<()> {
        if added {
            let node = kubelet(self.cloud.as_ref(), self.pools, self.size.nodes);
            return register_nodes(&self.client, vec![node], Duration::ZERO).await.map(|_| ());
        }
        let name = self.cloud.nodes().last().context("the cloud has no instance")?;
        let nodes: Api<Node> = Api::all(self.client.clone());
        nodes.delete(name, &DeleteParams::default()).await.context("delete a node").map(|_| ())
    }

    /// Who holds the lease; empty for nobody.
    async fn leader(&self) -> anyhow::Result<String> {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), "kube-system");
        let lease = leases.get(LEASE).await.context("get the lease")?;
        Ok(lease.spec.and_then(|spec| spec.holder_identity).unwrap_or_default())
    }

    /// Waits until somebody else leads; returns after how many seconds.
    async fn leads_instead_of(&self, before: &str) -> anyhow::Result<f64> {
        let begun = Instant::now();
        loop {
            self.check()?;
            let leader = self.leader().await?;
            if !leader.is_empty() && leader != before {
                return Ok(begun.elapsed().as_secs_f64());
            }
            anyhow::ensure!(begun.elapsed() < Duration::from_secs(120), "nobody leads after {before}");
            tokio::time::sleep(POLL_LEASE).await;
        }
    }
}

/// The node of the instance of this number, in its pool.
fn kubelet(cloud: &dyn Cloud, pools: Pools, nth: usize) -> KubeletNode {
    KubeletNode::new(&cloud.nodes()[nth]).with_images().label(POOL, Pools::name(pools.of(nth)))
}
