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
use sha2::{Digest as _, Sha256};

use crate::demo::cloud::{self, Programs};
use crate::demo::duration;
use crate::measure::Machine;
use crate::progress::Progress;
use cell::{Cell, Subject};
use figures::{Build, Figures, Terms};

/// Of the cloud's answers, where no other is asked for.
const LATENCY: Duration = Duration::from_millis(50);
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
    #[command(flatten)]
    programs: Programs,
    /// The binary of upstream's controller; without it the pinned version is found in the cache or built.
    #[arg(long, value_name = "PATH")]
    upstream: Option<PathBuf>,
    /// Sizes as NODESxSERVICES.
    #[arg(long, value_delimiter = ',', default_value = "100x10,1000x100,5000x500")]
    sizes: Vec<Size>,
    /// Controllers to measure.
    #[arg(long, value_delimiter = ',', default_value = "ours,upstream,upstream-tuned")]
    controllers: Vec<String>,
    /// The period of `--node-status-update-frequency`, of which three are watched at rest.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    period: Duration,
    /// A phase that takes longer ends its cell.
    #[arg(long, value_name = "DURATION", default_value = "20m", value_parser = duration)]
    limit: Duration,
    /// The folder of the figures: CLOUD.json, CLOUD.md and the curves.
    #[arg(long, value_name = "PATH", default_value = "docs/benchmarks")]
    out: PathBuf,
    /// Measure what stands in the file already, too, and throw away what other builds of these controllers did.
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
pub async fn run(mut args: Args) -> anyhow::Result<()> {
    let progress = Progress::stderr();
    let cloud = args.programs.cloud.clone();
    let latency = *args.programs.latency.get_or_insert(LATENCY);
    args.programs.pending = args.programs.pending.or_else(|| cloud::pending(&cloud));
    let path = args.out.join(format!("{cloud}.json"));
    let terms = Terms {
        latency_ms: latency.as_millis(),
        pending_ms: args.programs.pending.map(|pending| pending.as_millis()),
        period_seconds: args.period.as_secs(),
        limit_seconds: args.limit.as_secs(),
    };
    let mut subjects = Vec::new();
    for name in &args.controllers {
        subjects.push(subject(&args, name, &progress).await?);
    }
    let mut figures = Figures::open(&path, &cloud, Machine::here(), terms, args.fresh)?;
    figures.refuse_other_builds(&subjects, args.fresh).with_context(|| format!("go on with {}", path.display()))?;
    for size in &args.sizes {
        for subject in &subjects {
            let cell = format!("{} at {}x{}", subject.name, size.nodes, size.services);
            if !args.fresh && figures.has(subject, size.nodes, size.services) {
                progress.note(&format!("{cell}: there already"));
                continue;
            }
            progress.note(&format!("{cell} ..."));
            let measured = Cell::set(&args, subject, *size, &progress).await?.measure().await?;
            figures.put(measured);
            figures.save(&path)?;
        }
    }
    let text = table::markdown(&figures);
    let write = |name: String, text: &str| {
        let path = args.out.join(name);
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    };
    let mut page = text.clone();
    for (nth, (name, svg)) in plot::curves(&figures)?.into_iter().enumerate() {
        let (heading, file) = (if nth == 0 { "\n## Curves\n" } else { "" }, format!("{cloud}-{name}.svg"));
        page.push_str(&format!("{heading}\n![{name}]({file})\n"));
        write(file, &svg)?;
    }
    write(format!("{cloud}.md"), &page)?;
    use std::io::Write as _;
    let text = if args.json { serde_json::to_string(&figures)? } else { text };
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}", text.trim_end()).and_then(|()| stdout.flush()).context("write to standard output")
}

async fn subject(args: &Args, name: &str, progress: &Progress) -> anyhow::Result<Subject> {
    let pinned = cloud::upstream(&args.programs.cloud)?;
    let upstream = async || match args.upstream.clone() {
        Some(path) => anyhow::Ok((path.clone(), file_name(&path))),
        None => {
            let progress = progress.clone();
            let found = tokio::task::spawn_blocking(move || pinned.find_or_build(&progress)).await??;
            Ok((found, format!("{} {}", pinned.program, pinned.version)))
        }
    };
    let ((program, version), flags) = match name {
        "ours" => ((args.programs.controller.clone(), format!("ours {}", env!("CARGO_PKG_VERSION"))), &[][..]),
        "upstream" => (upstream().await?, &[][..]),
        "upstream-tuned" => (upstream().await?, &TUNED[..]),
        other => bail!("no controller {other:?}; known: ours, upstream, upstream-tuned"),
    };
    let simulator = args.programs.simulator.as_ref().context("--simulator is needed")?;
    let build = Build {
        program: digest(&program)?,
        simulator: digest(simulator)?,
        flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
    };
    Ok(Subject { name: name.to_owned(), version, program, build })
}

/// Of a program: two builds of one version are told apart.
fn digest(program: &Path) -> anyhow::Result<String> {
    let bytes = std::fs::read(program).with_context(|| format!("read {}", program.display()))?;
    Ok(hex::encode(&Sha256::digest(bytes)[..8]))
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
