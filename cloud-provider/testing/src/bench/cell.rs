//! One controller at one size: a cluster's life in phases.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::api::{Api, DeleteParams};
use tokio::time::Instant;

use super::figures::{Measured, Phase};
use super::{Args, Size};
use crate::control_plane::{ControlPlane, Options};
use crate::demo::cloud::{self, Cloud, Setup};
use crate::demo::convergence::Convergence;
use crate::measure::{cpu_seconds, mib, tenths};
use crate::objects::{KubeletNode, register_nodes};
use crate::process::Process;
use crate::progress::Progress;
use crate::rbac;

/// Load balancers are done when nothing was asked about them for so long.
const QUIET: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(200);
/// How long a standby is given to get ready.
const WARM: Duration = Duration::from_secs(15);
const LEASE: &str = "cloud-controller-manager";

/// A controller that is measured.
pub(super) struct Subject {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) program: PathBuf,
    pub(super) flags: Vec<&'static str>,
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
    progress: Progress,
    phases: BTreeMap<String, Phase>,
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
            cloud: args.cloud.clone(),
            simulator: Some(args.simulator.clone()),
            cloud_api: None,
            nodes: size.nodes + 1,
            services: size.services,
            latency: args.latency,
        };
        let cloud = cloud::start(&setup, plane.dir()).await?;
        cloud.limit_rates().await?;
        let client = plane.client().await?;
        rbac::grant(&client, cloud.roles()).await?;
        let convergence = Convergence::watch(&client, size.nodes, size.services);
        let nodes = cloud.nodes().iter().take(size.nodes).map(|name| KubeletNode::new(name).with_images()).collect();
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
            progress,
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
        if let Some(unfinished) = &unfinished {
            self.progress.note(unfinished);
        }
        let metadata = std::fs::metadata(&self.subject.program).context("look at the program")?;
        Ok(Measured {
            controller: self.subject.name.clone(),
            version: self.subject.version.clone(),
            flags: self.subject.flags.iter().map(|flag| (*flag).to_owned()).collect(),
            binary_bytes: metadata.len(),
            kubernetes: self.client.apiserver_version().await.context("ask for the version")?.git_version,
            nodes: self.size.nodes,
            services: self.size.services,
            unfinished,
            phases: self.phases,
        })
    }

    async fn play(&mut self) -> anyhow::Result<Option<String>> {
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
            cloud::create_services(self.cloud.as_ref(), &self.client, self.size.services).await?;
            let outcome = self.balanced(&meter).await?;
            if let Some(unfinished) = self.end("provision", meter, outcome).await? {
                return Ok(Some(unfinished));
            }
            for (name, added) in [("node added", true), ("node removed", false)] {
                let meter = self.begin().await?;
                self.change_node(added).await?;
                let outcome = self.balanced(&meter).await?;
                if let Some(unfinished) = self.end(name, meter, outcome).await? {
                    return Ok(Some(unfinished));
                }
            }
        }

        self.running()?.terminate(Duration::from_secs(30)).await?;
        let before = self.leader().await?;
        self.controller = None;
        let meter = self.begin().await?;
        self.controller = Some(self.start().await?);
        self.leads_instead_of(&before).await?;
        let outcome = self.quiet(&meter, false, || true).await?;
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
            .args(&self.subject.flags)
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
    async fn end(&mut self, name: &str, meter: Meter, outcome: Outcome) -> anyhow::Result<Option<String>> {
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
        Ok(outcome.err().map(|far| format!("{name}: {far} after {} s", self.args.limit.as_secs())))
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

    /// Until every service has an address and nothing more is asked about load balancers.
    async fn balanced(&self, meter: &Meter) -> anyhow::Result<Outcome> {
        self.quiet(meter, true, || self.convergence.counts().2.ready == self.size.services).await
    }

    /// The time until the last call about load balancers, after which there were none for a while. With `some` there is
    /// one at least.
    async fn quiet(&self, meter: &Meter, some: bool, done: impl Fn() -> bool) -> anyhow::Result<Outcome> {
        let count = |calls: &BTreeMap<String, u64>| {
            let about = calls.iter().filter(|(action, _)| self.cloud.is_about_load_balancers(action));
            about.map(|(_, count)| *count).sum::<u64>()
        };
        let first = count(&meter.calls);
        let (mut seen, mut last, mut looked) = (first, Instant::now(), Instant::now());
        loop {
            self.check()?;
            let now = count(&self.cloud.calls().await?);
            if now != seen {
                (seen, last) = (now, looked);
            }
            if (!some || seen > first) && done() && last.elapsed() > QUIET {
                return Ok(Ok((last - meter.begun).as_secs_f64().max(0.0)));
            }
            if meter.begun.elapsed() > self.args.limit {
                let (_, _, services) = self.convergence.counts();
                return Ok(Err(format!("{} of {} services", services.ready, services.wanted)));
            }
            tokio::time::sleep(POLL).await;
            looked = Instant::now();
        }
    }

    /// The node of the instance that is left joins, or leaves.
    async fn change_node(&self, added: bool) -> anyhow::Result<()> {
        let name = self.cloud.nodes().last().context("the cloud has no instance")?;
        if added {
            return register_nodes(&self.client, vec![KubeletNode::new(name).with_images()], Duration::ZERO)
                .await
                .map(|_| ());
        }
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
            tokio::time::sleep(POLL).await;
        }
    }
}
