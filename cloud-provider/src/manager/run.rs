//! The life of the process: parse, elect, run, end.

mod dry_run;
mod lead;

use std::{process::ExitCode, sync::Arc, time::Duration};

use kube::{Api, Client};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    Built, Context, Parts, Provider, cli::Task, controllers::CORE, debugging::About, healthz::Checks, names,
    options::Settings, report, secure_port, webhook,
};
use crate::{
    Error,
    cloud::Gate,
    cluster::{
        client::{self, Clients, Policy},
        events::Sink,
        objects::{Node, Service},
        store::Store,
    },
    config::leader_migration::Owner,
    controllers::Managed,
    error::Result,
    manager::logging,
    metrics::Metrics,
};

/// The name of the main client, and the source of events about leases.
const MANAGER: &str = "cloud-controller-manager";
/// How long controllers get to end after a signal before the lease is released all the same.
const SHUTDOWN: Duration = Duration::from_secs(5);
/// The exit status after a panic, as Go's.
const PANIC_EXIT: i32 = 2;
/// The exit status when leadership is lost.
const LOST_EXIT: u8 = 1;

/// Runs the cloud controller manager of provider `P`: all of a provider's `main`.
///
/// Exit status: 0 after SIGTERM or SIGINT (the lease is released), and for `--help` and `--version`;
/// [`FAILURE_EXIT`](Provider::FAILURE_EXIT) for wrong flags and failures before the controllers run; 1 when leadership is
/// lost; 2 after a panic. Of [`Task::Plan`] and [`Task::Audit`]: 0 when there is nothing to tell, 2 when there is, 1 on any
/// error.
pub fn run<P: Provider>() -> ExitCode {
    let program = P::program();
    let parsed = match program.parse::<P::Flags>(std::env::args_os()) {
        Ok(parsed) => parsed,
        Err(exit) => return exit.report(),
    };
    let is_run = parsed.task == Task::Run;
    // In a dry run every other status says something else.
    let program = if is_run { program } else { program.with_usage_error_code(report::ERROR) };
    let failure = ExitCode::from(if is_run { P::FAILURE_EXIT } else { report::ERROR });
    let settings = match parsed.options.validate(&program) {
        Ok(settings) => settings,
        Err(errors) => return program.usage_error(errors).report(),
    };
    let verbosity = match logging::init(&settings.logging) {
        Ok(verbosity) => verbosity,
        Err(error) => return program.usage_error(error).report(),
    };
    end_on_panic(if is_run { PANIC_EXIT } else { report::ERROR.into() });
    for warning in &parsed.warnings {
        tracing::warn!("{warning}");
    }
    for gate in settings.feature_gates.ending() {
        tracing::warn!(gate = gate.name, stage = ?gate.stage, "this feature gate will be removed in a future release");
    }
    logging::log_flags(&parsed.flags, &verbosity);
    let about = About::new(P::COMMAND, &parsed.version, &parsed.flags, &parsed.options, &settings, verbosity);
    tracing::info!(program = P::COMMAND, version = %parsed.version, "starting");
    // A provider is installed once per process; a second one cannot be here before main.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(threads()).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "cannot start the runtime");
            return failure;
        }
    };
    if !is_run {
        let exit = runtime.block_on(Process::<P>::dry_run(settings, parsed.provider, about, &parsed.task));
        runtime.shutdown_background();
        return ExitCode::from(exit);
    }
    let end = runtime.block_on(Process::<P>::run(settings, parsed.provider, about));
    // Nothing that still runs holds up the end.
    runtime.shutdown_background();
    match end {
        Ok(End::Asked) => ExitCode::SUCCESS,
        Ok(End::Lost) => ExitCode::from(LOST_EXIT),
        Err(error) => {
            tracing::error!(error = %error.chain(), "cannot go on");
            failure
        }
    }
}

/// A few threads serve a controller that waits for networks; more only cost memory.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 4)
}

/// A panic anywhere ends the process: nothing runs on half alive, and the lease expires for the next one.
fn end_on_panic(exit: i32) {
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        told(panic);
        std::process::exit(exit);
    }));
}

enum End {
    /// By a signal.
    Asked,
    /// Leadership went to somebody else, or could not be renewed.
    Lost,
}

/// What lives as long as the process.
struct Process<P> {
    settings: Arc<Settings>,
    clients: Clients,
    built: Built,
    gate: Gate,
    metrics: Metrics,
    checks: Checks,
    nodes: Store<Node>,
    services: Store<Service>,
    tasks: JoinSet<Ended>,
    token: CancellationToken,
    provider: std::marker::PhantomData<P>,
}

/// A task that ended: its name and how.
type Ended = (&'static str, Result<()>);

impl<P: Provider> Process<P> {
    async fn run(settings: Settings, flags: P::Flags, about: About) -> Result<End> {
        let mut signals = Signals::new()?;
        let metrics = Metrics::new();
        about.measure(&metrics);
        let clients = Clients::new(client_settings::<P>(&settings), &metrics);
        let gate = Gate::open();
        let starting = Self::start(settings, flags, about, clients, gate, metrics);
        let mut process = tokio::select! {
            process = starting => process?,
            () = signals.next() => return Ok(End::Asked),
        };
        process.lead(&mut signals).await
    }

    /// Gets the cloud ready and starts to watch: a process that does not lead yet is warm when it does.
    async fn start(
        settings: Settings,
        flags: P::Flags,
        about: About,
        clients: Clients,
        gate: Gate,
        metrics: Metrics,
    ) -> Result<Self> {
        if settings.cloud.provider != P::NAME {
            let problem =
                format!("unknown cloud provider {:?}, this program is for {:?}", settings.cloud.provider, P::NAME);
            return Err(Error::invalid("--cloud-provider", problem));
        }
        let built = P::build(&flags, Self::context(&settings, &gate, &metrics)?)
            .await
            .map_err(|error| error.context(format!("could not init cloud provider {:?}", P::NAME)))?;
        if !built.cloud.has_cluster_id() && !settings.cloud.allow_untagged {
            let problem = "no cluster ID found: a cluster ID is required for this provider to function properly; \
                           --allow-untagged-cloud lifts this";
            return Err(Error::invalid("--allow-untagged-cloud", problem));
        }
        let (nodes, services, token, mut tasks) =
            (Store::default(), Store::default(), CancellationToken::new(), JoinSet::new());
        let checks = Checks::new(&metrics);
        let agent = user_agent::<P>();
        if let Some((server, lookup)) =
            secure_port::open(&settings, &agent, &clients, &checks, &metrics, &about).await?
        {
            tasks.spawn(named("secure port", server.run(token.clone())));
            tasks.spawn(named("settings of authentication", lookup.run(token.clone())));
        }
        if let Some(server) = webhook::open(&settings, &built, &metrics)? {
            tasks.spawn(named("webhooks", server.run(token.clone())));
        }
        let client = open(&clients, "shared-informers").await?;
        let feed = Store::<Node>::run(Store::clone(&nodes), Api::all(client.clone()), token.clone());
        tasks.spawn(named("node watch", feed));
        if gate.is_dry_run() || Self::needs_services(&settings) {
            let feed = Store::<Service>::run(Store::clone(&services), Api::all(client), token.clone());
            tasks.spawn(named("service watch", feed));
        }
        Ok(Self {
            settings: Arc::new(settings),
            clients,
            built,
            gate,
            metrics,
            checks,
            nodes,
            services,
            tasks,
            token,
            provider: std::marker::PhantomData,
        })
    }

    /// Whether a controller is enabled that looks at services: who runs only those of nodes has no role for them.
    fn needs_services(settings: &Settings) -> bool {
        let core = names::Registry::default();
        let program = P::program();
        let mut enabled =
            program.registry().controllers().iter().filter(|controller| settings.controllers.is_enabled(controller));
        enabled.any(|controller| *controller == names::SERVICE_LB || !core.controllers().contains(controller))
    }

    fn context(settings: &Settings, gate: &Gate, metrics: &Metrics) -> Result<Context> {
        let cloud_config = match &settings.cloud.config_file {
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| {
                    Error::invalid(
                        "--cloud-config",
                        format!("couldn't open cloud provider configuration {}", path.display()),
                    )
                    .with_source(error)
                })?;
                Some(text.into())
            }
            None => None,
        };
        let registry = P::program().registry().clone();
        let own = registry.controllers().iter().filter(|controller| {
            !names::Registry::default().controllers().contains(controller)
                && settings.controllers.is_enabled(controller)
        });
        Ok(Context {
            cloud_config,
            cluster_name: settings.cloud.cluster_name.as_str().into(),
            gate: gate.clone(),
            metrics: metrics.clone(),
            provider_controllers: own.map(|controller| controller.name.to_owned()).collect(),
        })
    }

    /// Starts every controller of `owner` that is enabled and that has something to do.
    async fn start_controllers(&mut self, clients: Clients, owner: Owner) -> Result<()> {
        let events = Sink::counting(open(&clients, MANAGER).await?, &self.metrics);
        let started = self.build_controllers(&clients, &events, owner).await?;
        self.tasks.spawn(named("events", events.run(self.token.clone())));
        let pause = self.settings.controller_start_interval;
        for (names, controller) in started {
            tracing::info!(controller = names.name, "starting");
            self.metrics.controller_running(names.metric, true);
            self.checks.add_ping(names.name);
            let run = controller.run(self.token.clone());
            self.tasks.spawn(async move { (names.name, run.await) });
            if !pause.is_zero() {
                tokio::time::sleep(pause.mul_f64(1.0 + rand::random::<f64>())).await;
            }
        }
        Ok(())
    }

    async fn build_controllers(
        &self,
        clients: &Clients,
        events: &Sink,
        owner: Owner,
    ) -> Result<Vec<(names::Controller, Box<dyn Managed>)>> {
        let is_due = |names: &names::Controller| {
            self.settings.controllers.is_enabled(names) && self.settings.owner(names) == owner
        };
        let mut built = Vec::new();
        for (names, build) in CORE.iter().filter(|(names, _)| is_due(names)) {
            let controller = build(self.parts(names, clients, events).await?)?;
            built.extend(controller.map(|controller| (*names, controller)));
        }
        let program = P::program();
        for (name, start) in &self.built.controllers {
            let Some(names) = program.registry().find(name) else {
                return Err(Error::invalid("--controllers", format!("{name} is built but not registered")));
            };
            if is_due(names) {
                let controller = start(self.parts(names, clients, events).await?)?;
                built.extend(controller.map(|controller| (*names, controller)));
            }
        }
        Ok(built)
    }

    async fn parts(&self, names: &names::Controller, clients: &Clients, events: &Sink) -> Result<Parts> {
        Ok(Parts {
            cloud: self.built.cloud.clone(),
            nodes: self.nodes.clone(),
            services: self.services.clone(),
            settings: self.settings.clone(),
            metrics: self.metrics.clone(),
            client: clients.controller(names.client, Policy::CONTROLLER).await.map_err(no_client)?,
            recorder: events.recorder(names.event_source),
        })
    }

    /// Ends all tasks; what does not end in time is dropped at its next await.
    async fn stop(&mut self) {
        self.token.cancel();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(SHUTDOWN, all).await.is_err() {
            tracing::warn!("not everything ended in time");
        }
        self.tasks.abort_all();
    }
}

async fn named<F: Future<Output = ()>>(name: &'static str, future: F) -> Ended {
    future.await;
    (name, Ok(()))
}

/// Waits until a task ends that should run as long as the process.
async fn ended(tasks: &mut JoinSet<Ended>) -> Error {
    match tasks.join_next().await {
        Some(Ok((name, Ok(())))) => Error::transient(format!("{name} ended unexpectedly")),
        Some(Ok((name, Err(error)))) => error.context(name),
        Some(Err(error)) => Error::transient("a task ended unexpectedly").with_source(error),
        None => std::future::pending().await,
    }
}

async fn open(clients: &Clients, name: &str) -> Result<Client> {
    clients.client(name, Policy::CONTROLLER).await.map_err(no_client)
}

fn no_client(error: client::Error) -> Error {
    Error::transient("make a client of the Kubernetes API").with_source(error)
}

fn client_settings<P: Provider>(settings: &Settings) -> client::Settings {
    client::Settings {
        kubeconfig: settings.client.kubeconfig.clone(),
        master: settings.client.master.clone(),
        user_agent: user_agent::<P>(),
        limit: settings.client.limit,
        access: client::Access::ReadWrite,
        service_accounts: settings.use_service_account_credentials,
    }
}

fn user_agent<P: Provider>() -> String {
    client::user_agent(P::COMMAND, P::VERSION)
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let listen = |kind| signal(kind).map_err(|error| Error::transient("listen for signals").with_source(error));
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => tracing::info!("SIGTERM, ending"),
            _ = self.interrupt.recv() => tracing::info!("SIGINT, ending"),
        }
    }
}
