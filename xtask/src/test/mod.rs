//! `cargo xtask test`: what CI runs, step by step, to the end also after a failure.

mod build;
mod images;
mod lints;
mod moto;
mod new_provider;
mod policy;
mod reproducible;
mod services;
mod suites;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::ValueEnum;

use crate::cargo::Executable;
use crate::report::{self, Report, Task};
use crate::tool::Tool;
use crate::workspace::Workspace;

/// What to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Leave out what takes long: each member alone, documentation, moto, licences
    #[arg(long)]
    quick: bool,
    /// The Kubernetes minor release of the control plane, such as 1.34
    #[arg(long, value_name = "MINOR")]
    kubernetes: Option<String>,
    /// The cloud whose image the step `image` runs, as upstream's manifests start it; several times too [default: memory]
    #[arg(long = "image", value_name = "CLOUD")]
    images: Vec<String>,
    /// Only these steps, and those that they need
    #[arg(value_enum, value_name = "STEP")]
    steps: Vec<Step>,
}

/// A step. Steps run in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Step {
    /// Formatting
    Fmt,
    /// The tree: dependency directions, file sizes, what each crate must have
    Tidy,
    /// All programs and tests are built
    Build,
    /// clippy on everything, warnings are errors
    Clippy,
    /// Each member compiles alone, with its own features only
    Alone,
    /// Documentation, warnings are errors
    Doc,
    /// Bans, licences and sources of dependencies
    Deny,
    /// etcd and kube-apiserver are there
    ControlPlane,
    /// Unit tests
    Unit,
    /// Controllers and test machinery on the real control plane
    Integration,
    /// Examples in the documentation
    DocTests,
    /// The conformance suite on each cloud's simulator
    Conformance,
    /// The AWS conformance suite on moto
    Moto,
    /// An image that serves a cluster; only when named, since its program is a release build
    Image,
    /// What `new-provider` makes compiles, and fails where it is not written; only when named, since it compiles the core anew
    NewProvider,
    /// Two builds of this commit give the same program; only when named, since they are release builds
    Reproducible,
    /// OpenStack's own services start and do what a controller asks of them; only when named, it takes minutes
    OpenstackServices,
    /// The OpenStack conformance suite on those services; only when named
    OpenstackConformance,
    /// Known vulnerabilities of dependencies; only when named, since they change without a change here
    Advisories,
}

impl Step {
    fn all() -> impl Iterator<Item = Self> {
        Self::value_variants().iter().copied()
    }

    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    fn is_default(self) -> bool {
        !matches!(
            self,
            Self::Image
                | Self::NewProvider
                | Self::Reproducible
                | Self::OpenstackServices
                | Self::OpenstackConformance
                | Self::Advisories
        )
    }

    fn is_quick(self) -> bool {
        !matches!(self, Self::Alone | Self::Doc | Self::Deny | Self::Moto)
    }

    /// What must have succeeded before.
    fn needs(self) -> &'static [Self] {
        match self {
            Self::ControlPlane | Self::Unit | Self::DocTests => &[Self::Build],
            Self::Integration | Self::Conformance | Self::Moto | Self::Image | Self::OpenstackConformance => {
                &[Self::Build, Self::ControlPlane]
            }
            _ => &[],
        }
    }

    /// Runs it, and says what was checked.
    fn run(self, run: &mut Run, at: &Activity<'_>) -> anyhow::Result<String> {
        match self {
            Self::Fmt => lints::fmt(run, at),
            Self::Tidy => lints::tidy(run, at),
            Self::Build => build::build(run, at),
            Self::Clippy => lints::clippy(run, at),
            Self::Alone => lints::alone(run, at),
            Self::Doc => lints::doc(run, at),
            Self::Deny => policy::deny(run, at),
            Self::ControlPlane => build::control_plane(run),
            Self::Unit => suites::unit(run, at),
            Self::Integration => suites::integration(run, at),
            Self::DocTests => suites::doc_tests(run, at),
            Self::Conformance => suites::conformance(run, at),
            Self::Moto => moto::conformance(run, at),
            Self::Image => images::run(run, at),
            Self::NewProvider => new_provider::run(run, at),
            Self::Reproducible => reproducible::run(run, at),
            Self::OpenstackServices => services::openstack(run, at),
            Self::OpenstackConformance => services::conformance(run, at),
            Self::Advisories => policy::advisories(run, at),
        }
    }
}

/// What steps hand to later ones.
struct Run {
    workspace: Workspace,
    kubernetes: Option<String>,
    images: Vec<String>,
    wants_control_plane: bool,
    executables: Vec<Executable>,
    control_plane: build::ControlPlane,
    /// The folder with etcd and kube-apiserver, where tests shall not look for them themselves.
    assets: Option<PathBuf>,
}

/// What a step is at, and all that its programs printed.
struct Activity<'a> {
    task: &'a Task<'a>,
    printed: Mutex<String>,
}

impl Activity<'_> {
    /// Runs a program; what it prints is shown in full only if the step fails.
    fn run(&self, tool: Tool, limit: Duration) -> anyhow::Result<()> {
        self.run_lines(tool, limit, |_| ())
    }

    /// The same, and hands over each line.
    fn run_lines(&self, tool: Tool, limit: Duration, mut each: impl FnMut(&str)) -> anyhow::Result<()> {
        self.note(&format!("$ {tool}"));
        tool.lines(limit, |_, line| {
            self.note(line);
            each(line);
        })
    }

    /// The same for one program of many: only what those printed that failed is shown.
    fn run_one_of_many(&self, tool: Tool, limit: Duration, each: impl FnMut(&str)) -> anyhow::Result<()> {
        let own = Activity { task: self.task, printed: Mutex::default() };
        own.run_lines(tool, limit, each).inspect_err(|_| self.printed().push_str(&own.printed()))
    }

    fn note(&self, line: &str) {
        self.task.at(line);
        let mut printed = self.printed();
        printed.push_str(line);
        printed.push('\n');
    }

    fn printed(&self) -> MutexGuard<'_, String> {
        self.printed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a step ended.
#[derive(Debug)]
struct Row {
    step: Step,
    outcome: Result<String, String>,
    elapsed: Duration,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let begun = Instant::now();
    let selected = select(args);
    let mut run = Run {
        workspace: Workspace::load()?,
        kubernetes: args.kubernetes.clone(),
        images: args.images.clone(),
        wants_control_plane: selected.contains(&Step::ControlPlane),
        executables: Vec::new(),
        control_plane: build::ControlPlane::default(),
        assets: None,
    };
    let mut rows = Vec::new();
    for step in selected {
        rows.push(one(step, &mut run, &rows));
    }
    let failed = rows.iter().filter(|row| row.outcome.is_err()).count();
    let mut stdout = std::io::stdout().lock();
    write!(stdout, "\n{}", time_table(&rows, begun.elapsed())).context("print the time table")?;
    writeln!(stdout, "{} passed, {failed} failed", rows.len() - failed).context("print the result")?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What was asked for and what that needs, in order.
fn select(args: &Args) -> BTreeSet<Step> {
    let all = || Step::all().filter(|step| step.is_default()).collect();
    let mut wanted: Vec<Step> = if args.steps.is_empty() { all() } else { args.steps.clone() };
    if args.quick {
        wanted.retain(|step| step.is_quick());
    }
    let mut selected = BTreeSet::new();
    while let Some(step) = wanted.pop() {
        selected.insert(step);
        wanted.extend(step.needs());
    }
    selected
}

fn one(step: Step, run: &mut Run, before: &[Row]) -> Row {
    let report = Report::default();
    let task = report.task(&step.name());
    let at = Activity { task: &task, printed: Mutex::default() };
    let failed = |need: &&Step| before.iter().any(|row| row.step == **need && row.outcome.is_err());
    let result = match step.needs().iter().find(failed) {
        Some(need) => Err(anyhow::anyhow!("not run, since {} failed", need.name())),
        None => step.run(run, &at),
    };
    let printed = at.printed.into_inner().unwrap_or_else(PoisonError::into_inner);
    let outcome = result.map_err(|error| format!("{error:#}"));
    let elapsed = match &outcome {
        Ok(what) => task.end(&format!("ok, {what}")),
        Err(error) => {
            report.line(&format!("{printed}{error}"));
            task.end("FAILED")
        }
    };
    Row { step, outcome, elapsed }
}

fn time_table(rows: &[Row], total: Duration) -> String {
    let cells: Vec<[String; 3]> = rows
        .iter()
        .map(|row| {
            let outcome = match &row.outcome {
                Ok(what) => format!("ok, {what}"),
                Err(error) => format!("FAILED: {}", shortened(error.lines().next_back().unwrap_or_default())),
            };
            [row.step.name(), report::duration(row.elapsed), outcome]
        })
        .collect();
    let mut text = report::table(["step", "time", "outcome"], &cells);
    // Writing to a string does not fail.
    let _ = writeln!(text, "total {}\n", report::duration(total));
    text
}

/// The whole of it has been shown when the step failed.
fn shortened(line: &str) -> String {
    const WIDTH: usize = 80;
    let start = line.chars().count().saturating_sub(WIDTH);
    let end: String = line.chars().skip(start).collect();
    if start == 0 { end } else { format!("…{end}") }
}

/// The sum of what harnesses say in their last lines: `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Count {
    passed: u64,
    ignored: u64,
}

impl Count {
    fn add(&mut self, line: &str) {
        let Some((_, counts)) = line.split_once("test result: ").and_then(|(_, rest)| rest.split_once(". ")) else {
            return;
        };
        for count in counts.split("; ") {
            match count.split_once(' ') {
                Some((number, "passed")) => self.passed += number.parse().unwrap_or(0),
                Some((number, "ignored")) => self.ignored += number.parse().unwrap_or(0),
                _ => {}
            }
        }
    }

    fn plus(self, other: Self) -> Self {
        Self { passed: self.passed + other.passed, ignored: self.ignored + other.ignored }
    }

    /// Fails when nothing ran, which must not look like success.
    fn describe(&self) -> anyhow::Result<String> {
        match (self.passed, self.ignored) {
            (0, _) => bail!("no test ran"),
            (passed, 0) => Ok(format!("{passed} tests")),
            (passed, ignored) => Ok(format!("{passed} tests, {ignored} ignored")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(quick: bool, steps: &[Step]) -> Args {
        Args { quick, kubernetes: None, images: Vec::new(), steps: steps.to_vec() }
    }

    #[test]
    fn a_step_brings_what_it_needs_in_order() {
        let selected: Vec<Step> = select(&args(false, &[Step::Moto])).into_iter().collect();
        assert_eq!(selected, [Step::Build, Step::ControlPlane, Step::Moto]);
        assert_eq!(select(&args(false, &[])).len(), Step::all().count() - 6);
    }

    #[test]
    fn quick_leaves_out_what_takes_long() {
        let selected = select(&args(true, &[]));
        assert!(selected.contains(&Step::Integration) && !selected.contains(&Step::Moto));
    }

    #[test]
    fn results_of_harnesses_are_added_up() {
        let mut count = Count::default();
        count.add("test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s");
        count.add("test result: ok. 40 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s");
        count.add("test nodes::a_test ... ok");
        assert_eq!(count, Count { passed: 43, ignored: 1 });
        assert_eq!(count.describe().unwrap(), "43 tests, 1 ignored");
        assert!(Count::default().describe().is_err());
    }

    #[test]
    fn the_time_table_has_a_row_for_each_step() {
        let rows = [
            Row { step: Step::Fmt, outcome: Ok("formatted".to_owned()), elapsed: Duration::from_secs(1) },
            Row { step: Step::Deny, outcome: Err("long\nstory".to_owned()), elapsed: Duration::from_secs(61) },
        ];
        let text = time_table(&rows, Duration::from_secs(62));
        assert_eq!(
            text,
            "step  time        outcome\nfmt   1.0 s       ok, formatted\ndeny  1 min 01 s  FAILED: story\ntotal 1 min 02 s\n\n"
        );
    }
}
