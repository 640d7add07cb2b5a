//! `plan`: the same process without lease, events, server and writes, that says what a run would change.

use std::{
    io::{self, Write},
    time::{Duration, Instant},
};

use futures::future::join_all;
use ipnet::IpNet;
use kube::{Api, api::ListParams};

use super::{Process, Signals, client_settings, open};
use crate::{
    Error,
    cloud::Gate,
    cluster::{
        client::{self, Clients},
        events::Sink,
        objects::{Node, Service},
    },
    config::leader_migration::Owner,
    controllers::Managed,
    error::Result,
    manager::{
        Provider,
        cli::{Output, Task},
        debugging::About,
        names::Controller,
        options::Settings,
        report::{self, Audit, Report},
    },
    metrics::Metrics,
};

/// How long the first list of nodes and services may take.
const LIST: Duration = Duration::from_secs(300);
/// A look takes at most one part in so many of the time: the cloud has other callers.
const SHARE: u32 = 10;
/// The clients of a dry run end their user agents like those of the controllers, which they are.
const CLIENT: &str = "cloud-controller-manager";

impl<P: Provider> Process<P> {
    /// Carries out a task that changes nothing, and gives the exit status.
    pub(super) async fn dry_run(settings: Settings, flags: P::Flags, about: About, task: &Task) -> u8 {
        let examine = async {
            let mut signals = Signals::new()?;
            tokio::select! {
                process = Self::start_dry(settings, flags, about) => process?.examine(task, &mut signals).await,
                () = signals.next() => Err(Error::transient("interrupted")),
            }
        };
        examine.await.unwrap_or_else(|error: Error| {
            eprintln!("Error: {}", error.chain());
            report::ERROR
        })
    }

    async fn start_dry(mut settings: Settings, flags: P::Flags, about: About) -> Result<Self> {
        // Nobody is served.
        settings.serving = None;
        settings.webhook = None;
        // To ask for the token of a service account is a write.
        settings.use_service_account_credentials = false;
        let metrics = Metrics::new();
        let access = client::Access::ReadOnly;
        let clients = Clients::new(client::Settings { access, ..client_settings::<P>(&settings) }, &metrics);
        let process = Self::start(settings, flags, about, clients, Gate::dry_run(), metrics).await?;
        process.synced().await?;
        Ok(process)
    }

    /// Waits until all nodes and services are known. The watches try for ever, so what is wrong is found out beforehand.
    async fn synced(&self) -> Result<()> {
        let client = open(&self.clients, CLIENT).await?;
        let one = ListParams::default().limit(1);
        Api::<Node>::all(client.clone()).list(&one).await.map_err(|error| Error::from(error).context("list nodes"))?;
        Api::<Service>::all(client).list(&one).await.map_err(|error| Error::from(error).context("list services"))?;
        let lists = async { tokio::join!(self.nodes.synced(), self.services.synced()) };
        match tokio::time::timeout(LIST, lists).await {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::transient(format!("no complete list of nodes and services after {LIST:?}"))),
        }
    }

    async fn examine(&self, task: &Task, signals: &mut Signals) -> Result<u8> {
        match *task {
            Task::Plan { output, watch: Some(pause) } => {
                watch(&self.all_controllers().await?, output, pause, signals).await
            }
            Task::Plan { output, watch: None } => {
                let controllers = self.all_controllers().await?;
                let report = tokio::select! {
                    report = look(&controllers) => report,
                    () = signals.next() => return Err(Error::transient("interrupted")),
                };
                print(&report.render(output, false));
                Ok(report.exit())
            }
            Task::Audit { output } => {
                let audit = tokio::select! {
                    audit = self.audit() => audit,
                    () = signals.next() => return Err(Error::transient("interrupted")),
                };
                print(&audit.render(output));
                Ok(audit.exit())
            }
            Task::Run => Err(Error::transient("a run is no dry run")),
        }
    }

    /// Builds the controllers of both leases. Their events are never written: plans record none, and the client refuses.
    async fn all_controllers(&self) -> Result<Vec<(Controller, Box<dyn Managed>)>> {
        let events = Sink::new(open(&self.clients, CLIENT).await?);
        let mut controllers = self.build_controllers(&self.clients, &events, Owner::Main).await?;
        controllers.extend(self.build_controllers(&self.clients, &events, Owner::Shared).await?);
        Ok(controllers)
    }

    /// Lists the cloud first: what is made meanwhile has a service that is known already.
    async fn audit(&self) -> Audit {
        let mut audit = Audit::default();
        match self.built.cloud.load_balancers() {
            None => audit.note("the cloud has no load balancers"),
            Some(load_balancers) => match load_balancers.owned(&self.settings.cloud.cluster_name).await {
                Ok(Some(owned)) => audit.of_services(owned, &self.services.list(), &*load_balancers),
                Ok(None) => audit.note("this provider cannot list the resources of load balancers"),
                Err(error) => audit.error(&error.context("list the resources of load balancers")),
            },
        }
        self.audit_routes(&mut audit).await;
        audit
    }

    async fn audit_routes(&self, audit: &mut Audit) {
        let Some(routes) = self.built.cloud.routes().filter(|_| self.settings.cloud.configure_routes) else { return };
        let ranges =
            self.settings.cloud.cluster_cidrs.iter().map(|range| range.parse()).collect::<Result<Vec<IpNet>, _>>();
        match ranges {
            Ok(ranges) if !ranges.is_empty() => match routes.list(&self.nodes.list()).await {
                Ok(routes) => audit.of_routes(routes, &self.nodes.list(), &ranges),
                Err(error) => audit.error(&error.context("list routes")),
            },
            _ => audit.note("routes were not looked at: --cluster-cidr does not say which are this cluster's"),
        }
    }
}

type Controllers = [(Controller, Box<dyn Managed>)];

/// Asks all controllers for their plans.
async fn look(controllers: &Controllers) -> Report {
    let plans = join_all(controllers.iter().map(async |(names, controller)| (names.name, controller.plan().await)));
    Report::of(plans.await)
}

/// Prints a report whenever it differs from the last one, until a signal; the exit status is that of the last one.
async fn watch(controllers: &Controllers, output: Output, pause: Duration, signals: &mut Signals) -> Result<u8> {
    let mut last: Option<Report> = None;
    let looks = async {
        loop {
            let started = Instant::now();
            let report = look(controllers).await;
            let took = started.elapsed();
            if last.as_ref() != Some(&report) {
                if output == Output::Table {
                    print(&format!("--- {}\n", jiff::Timestamp::now().round(jiff::Unit::Second).unwrap_or_default()));
                }
                print(&report.render(output, true));
                last = Some(report);
            }
            tokio::time::sleep(pause.max(took * SHARE)).await;
        }
    };
    tokio::select! {
        () = looks => {}
        () = signals.next() => {}
    }
    last.map(|report| report.exit()).ok_or_else(|| Error::transient("interrupted"))
}

fn print(text: &str) {
    let mut out = io::stdout().lock();
    // Nobody is left to tell when the stream is closed.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
