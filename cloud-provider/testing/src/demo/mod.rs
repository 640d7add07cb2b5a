//! The main job, to watch: a real API server fills with nodes and services, and a real controller serves them.

mod aws;
mod aws_account;
pub(crate) mod cloud;
pub(crate) mod convergence;
mod openstack;
mod screen;
mod simulator;
mod stage;
mod summary;

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use kube::Client;
use tokio::signal::unix::{SignalKind, signal};

use crate::control_plane::{ControlPlane, Minor, Options};
use crate::objects::{KubeletNode, register_nodes};
use crate::process::Process;
use crate::rbac::{self, ACCOUNT};
use cloud::{Cloud, Programs, Setup};
use convergence::{Convergence, Counts};
use screen::Screen;
pub use stage::Stage;
use summary::Summary;

/// Nodes register over this time.
const REGISTRATION: Duration = Duration::from_secs(10);

/// Events and the last writes are on their way for so long after everything else is done.
const AFTERMATH: Duration = Duration::from_secs(3);

/// Flags of the demo.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    programs: Programs,
    /// Nodes to register over ten seconds.
    #[arg(long, default_value_t = 100)]
    nodes: usize,
    /// Services of type LoadBalancer to create, of each kind in turn.
    #[arg(long, default_value_t = 4)]
    services: usize,
    /// Stay up, print KUBECONFIG and what to try, end on Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// Print a summary as the last line of standard output; all else goes to standard error.
    #[arg(long)]
    json: bool,
    /// Instead of the simulator, use another endpoint (AWS: moto, LocalStack) or the services that keep their state in a folder
    /// (OpenStack).
    #[arg(long, value_name = "URL_OR_FOLDER", conflicts_with_all = ["latency", "pending"])]
    cloud_api: Option<String>,
    /// The Kubernetes minor release.
    #[arg(long, value_name = "MINOR")]
    kubernetes: Option<Minor>,
    /// Give up after this time.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    timeout: Duration,
}

impl Args {
    fn setup(&self) -> Setup {
        Setup {
            programs: self.programs.clone(),
            cloud_api: self.cloud_api.clone(),
            nodes: self.nodes,
            services: self.services,
            backends: self.nodes,
        }
    }
}

/// Reads `50ms`, `10s`, `2m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| format!("{text:?} is no duration such as 50ms or 2s"))?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number * 60)),
        _ => Err(format!("{text:?} has no unit; wanted is something like 50ms, 2s or 5m")),
    }
}

/// Runs the demo. Returns whether everything converged.
///
/// # Errors
/// When a program cannot be started or ends by itself.
pub async fn run(args: Args) -> anyhow::Result<bool> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let outcome = OnceLock::new();
    // Whatever ends this function drops the programs, which ends them.
    tokio::select! {
        converged = show(&args, &outcome) => return converged,
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
    // With `--keep` a signal is the way to end.
    outcome.get().copied().context("ended by a signal before it was done")
}

/// Everything that runs.
struct Show {
    // Ended in this order.
    controller: Process,
    cloud: Box<dyn Cloud>,
    plane: ControlPlane,
    client: Client,
}

impl Show {
    async fn set(args: &Args, screen: &Screen) -> anyhow::Result<Self> {
        let progress = screen.progress();
        let options = Options { kubernetes: args.kubernetes, progress: progress.clone(), ..Options::default() };
        let plane = ControlPlane::start(options).await?;
        let cloud = progress
            .step_async("start the cloud", |cloud| cloud.describe(), cloud::start(&args.setup(), plane.dir()))
            .await?;
        let client = plane.client().await?;
        rbac::grant(&client, cloud.roles()).await?;
        let controller =
            cloud::controller(&args.programs.controller, "controller", cloud.as_ref(), &plane).await?.spawn()?;
        Ok(Self { controller, cloud, plane, client })
    }

    /// Fails when a program has ended by itself.
    fn check(&self) -> anyhow::Result<()> {
        self.plane.check_running()?;
        self.cloud.check()?;
        self.controller.check_running()
    }
}

/// Notes in `outcome` whether everything converged as soon as that is known.
async fn show(args: &Args, outcome: &OnceLock<bool>) -> anyhow::Result<bool> {
    let screen = Screen::new();
    let stage = Show::set(args, &screen).await?;
    let begun = Instant::now();
    let (nodes, services) = converge(args, &stage, &screen).await?;
    let seconds = begun.elapsed().as_secs_f64();
    tokio::time::sleep(AFTERMATH).await;
    stage.check()?;
    let writes = kubernetes_writes(&stage.plane)?;
    let summary = Summary {
        cloud: stage.cloud.name(),
        nodes: nodes.wanted,
        nodes_ready: nodes.ready,
        services: services.wanted,
        load_balancers_ready: services.ready,
        cloud_calls: stage.cloud.calls().await?,
        kubernetes_writes: writes.values().sum(),
        seconds: (seconds * 10.0).round() / 10.0,
        peak_rss_mib: (stage.controller.memory()?.peak as f64 / f64::from(1 << 20) * 10.0).round() / 10.0,
    };
    let converged = summary.converged();
    let addresses = convergence::addresses(&stage.client).await?;
    let text = summary.table(&addresses, &writes);
    if !converged {
        screen
            .progress()
            .note(&format!("Not converged. The controller's last words:\n{}", stage.controller.log_tail(30)));
    }
    if args.json {
        screen.progress().note(&text);
        print(&serde_json::to_string(&summary).context("print the summary")?)?;
    } else {
        print(&text)?;
    }
    let _ = outcome.set(converged);
    if args.keep {
        keep(&stage, &screen).await?;
    }
    Ok(converged)
}

/// Registers nodes, creates services and waits until the controller has done its work, or the time is over.
async fn converge(args: &Args, stage: &Show, screen: &Screen) -> anyhow::Result<(Counts, Counts)> {
    let convergence = Convergence::watch(&stage.client, args.nodes, args.services);
    let (registered, ready, balanced) = (
        screen.bar("nodes registered", args.nodes),
        screen.bar("nodes ready", args.nodes),
        screen.bar("load balancers ready", args.services),
    );
    let input = async {
        let nodes = stage.cloud.nodes().iter().map(|name| KubeletNode::new(name).with_images()).collect();
        let register = register_nodes(&stage.client, nodes, REGISTRATION);
        let (took, created) =
            tokio::join!(register, cloud::create_services(stage.cloud.as_ref(), &stage.client, args.services));
        took.and(created)
    };
    let watch = async {
        let deadline = Instant::now() + args.timeout;
        loop {
            stage.check()?;
            let (seen, nodes, services) = convergence.counts();
            registered.set(seen);
            ready.set(nodes.ready);
            balanced.set(services.ready);
            let done = nodes.ready == nodes.wanted && services.ready == services.wanted;
            if done || Instant::now() > deadline {
                return anyhow::Ok((nodes, services));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let mut input = std::pin::pin!(input);
    let mut watch = std::pin::pin!(watch);
    let counts = tokio::select! {
        failed = async {
            match input.as_mut().await {
                Ok(()) => std::future::pending().await,
                Err(error) => error,
            }
        } => return Err(failed),
        counts = &mut watch => counts?,
    };
    screen.finish();
    Ok(counts)
}

/// Accepted writes of the controller by verb and resource, its events and leases among them; questions about permissions
/// are no writes.
fn kubernetes_writes(plane: &ControlPlane) -> anyhow::Result<BTreeMap<String, usize>> {
    let user = format!("system:serviceaccount:kube-system:{ACCOUNT}");
    let mut writes = BTreeMap::new();
    plane.audit().visit(|request| {
        if request.user == user && request.is_write() && request.accepted() && !request.resource.ends_with("reviews") {
            *writes.entry(format!("{} {}", request.verb, request.resource)).or_default() += 1;
        }
    })?;
    Ok(writes)
}

async fn keep(stage: &Show, screen: &Screen) -> anyhow::Result<()> {
    let kubeconfig = stage.plane.write_kubeconfig("admin", &stage.plane.kubeconfig())?;
    let mut lines = vec![
        String::new(),
        format!("export KUBECONFIG={}", kubeconfig.display()),
        "kubectl get nodes -L topology.kubernetes.io/zone,node.kubernetes.io/instance-type -o wide".to_owned(),
        "kubectl get services".to_owned(),
        "kubectl get events --sort-by=.lastTimestamp".to_owned(),
    ];
    lines.extend(stage.cloud.hints());
    lines.push(format!("tail -f {}", stage.controller.log_path().display()));
    lines.push("Ctrl-C ends everything.".to_owned());
    screen.progress().note(&lines.join("\n"));
    loop {
        stage.check()?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Writes to standard output and lets it out at once.
fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush()).context("write to standard output")
}

fn interactive() -> bool {
    std::io::stderr().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("50ms").unwrap(), Duration::from_millis(50));
        assert_eq!(duration("2m").unwrap(), Duration::from_secs(120));
        assert!(duration("50").is_err() && duration("").is_err() && duration("ms").is_err());
    }
}
