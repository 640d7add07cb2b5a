//! The bench: our controller and upstream's on the same cluster and the same simulated cloud, one after the other, and what
//! each costs: time, cloud calls, memory and processor time for what happens in the life of a cluster.
//!
//! Each cell, a controller at a size, has a control plane and an account of its own. Cells run one by one; those whose figures
//! stand in the file already are not run again.

mod cell;
mod figures;
mod plot;
mod table;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::demo::{cloud, duration};
use crate::measure::Machine;
use crate::progress::Progress;
use cell::{Cell, Subject};
use figures::{Figures, Terms};

/// Flags of upstream's controller that make it as quick as it can be.
const TUNED: [&str; 5] = [
    "--concurrent-node-syncs=20",
    "--concurrent-node-status-updates=20",
    "--concurrent-service-syncs=20",
    "--kube-api-qps=1000",
    "--kube-api-burst=2000",
];

/// Flags of the bench.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The cloud.
    #[arg(long, default_value = "aws")]
    cloud: String,
    /// The binary of our controller, a release build.
    #[arg(long, value_name = "PATH")]
    controller: PathBuf,
    /// The simulator's binary.
    #[arg(long, value_name = "PATH")]
    simulator: PathBuf,
    /// The binary of upstream's controller; without it the pinned version is found in the cache or built.
    #[arg(long, value_name = "PATH")]
    upstream: Option<PathBuf>,
    /// Sizes as NODESxSERVICES.
    #[arg(long, value_delimiter = ',', default_value = "10x2,100x10,1000x100")]
    sizes: Vec<Size>,
    /// Controllers to measure.
    #[arg(long, value_delimiter = ',', default_value = "ours,upstream,upstream-tuned")]
    controllers: Vec<String>,
    /// Latency of the cloud's answers.
    #[arg(long, value_name = "DURATION", default_value = "50ms", value_parser = duration)]
    latency: Duration,
    /// The period of `--node-status-update-frequency`, of which three are watched at rest.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    period: Duration,
    /// A phase that takes longer ends its cell.
    #[arg(long, value_name = "DURATION", default_value = "20m", value_parser = duration)]
    limit: Duration,
    /// The folder of the figures: CLOUD.json, CLOUD.md and the curves.
    #[arg(long, value_name = "PATH", default_value = "docs/benchmarks")]
    out: PathBuf,
    /// Measure what stands in the file already, too.
    #[arg(long)]
    fresh: bool,
    /// Print the figures as JSON when all is done.
    #[arg(long)]
    json: bool,
}

/// Nodes and services.
#[derive(Debug, Clone, Copy)]
struct Size {
    nodes: usize,
    services: usize,
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers =
            text.split_once('x').and_then(|(nodes, services)| Some((nodes.parse().ok()?, services.parse().ok()?)));
        match numbers {
            Some((nodes, services)) if nodes > 0 => Ok(Self { nodes, services }),
            _ => Err(format!("{text:?} is no size such as 100x10")),
        }
    }
}

/// Runs the cells that have no figures yet, and writes those of all.
///
/// # Errors
/// When a program cannot be started or ends by itself. What was measured before stays.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let progress = Progress::stderr();
    let path = args.out.join(format!("{}.json", args.cloud));
    let terms = Terms {
        latency_ms: args.latency.as_millis(),
        period_seconds: args.period.as_secs(),
        limit_seconds: args.limit.as_secs(),
    };
    let mut figures = Figures::open(&path, &args.cloud, Machine::here(), terms, args.fresh)?;
    for size in &args.sizes {
        for name in &args.controllers {
            let subject = subject(&args, name, &progress).await?;
            if !args.fresh && figures.has(&subject, size.nodes, size.services) {
                progress.note(&format!("{name} at {}x{}: there already", size.nodes, size.services));
                continue;
            }
            progress.note(&format!("{name} at {}x{} ...", size.nodes, size.services));
            let measured = Cell::set(&args, &subject, *size, &progress).await?.measure().await?;
            figures.put(measured);
            figures.save(&path)?;
        }
    }
    let text = table::markdown(&figures);
    let write = |name: String, text: &str| {
        let path = args.out.join(name);
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    };
    write(format!("{}.md", args.cloud), &text)?;
    for (name, svg) in plot::curves(&figures)? {
        write(format!("{}-{name}.svg", args.cloud), &svg)?;
    }
    use std::io::Write as _;
    let text = if args.json { serde_json::to_string(&figures)? } else { text };
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}", text.trim_end()).and_then(|()| stdout.flush()).context("write to standard output")
}

async fn subject(args: &Args, name: &str, progress: &Progress) -> anyhow::Result<Subject> {
    let pinned = cloud::upstream(&args.cloud)?;
    let upstream = async || match args.upstream.clone() {
        Some(path) => anyhow::Ok((path.clone(), file_name(&path))),
        None => {
            let progress = progress.clone();
            let found = tokio::task::spawn_blocking(move || pinned.find_or_build(&progress)).await??;
            Ok((found, format!("{} {}", pinned.program, pinned.version)))
        }
    };
    let ((program, version), flags) = match name {
        "ours" => ((args.controller.clone(), format!("ours {}", env!("CARGO_PKG_VERSION"))), &[][..]),
        "upstream" => (upstream().await?, &[][..]),
        "upstream-tuned" => (upstream().await?, &TUNED[..]),
        other => bail!("no controller {other:?}; known: ours, upstream, upstream-tuned"),
    };
    Ok(Subject { name: name.to_owned(), version, program, flags: flags.to_vec() })
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_nodes_and_services() {
        let size: Size = "1000x100".parse().unwrap();
        assert_eq!((size.nodes, size.services), (1000, 100));
        for wrong in ["", "10", "x", "0x1", "10x-1", "tenx1"] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
    }
}
