//! The command line of a cloud's test program, and what `cargo xtask compare` passes on to it.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Parser;

use super::accepted::Accepted;
use super::candidate::Candidate;
use super::cloud::Clouds;
use super::recording::Recording;
use super::report::Report;
use super::scenario;
use super::suite::Suite;
use crate::progress::Progress;
use crate::upstream::Upstream;

/// Compares our controller with upstream's.
#[derive(Debug, Clone, Parser)]
#[command(name = "compare")]
pub struct Cli {
    /// Run upstream's controller too, instead of taking its recorded results
    #[arg(long)]
    pub live: bool,
    /// Run upstream's controller and record its results
    #[arg(long)]
    pub record: bool,
    /// A public mock of the cloud in the simulator's place, by its URL; both controllers run
    #[arg(long, value_name = "URL", conflicts_with = "record")]
    pub cloud_api: Option<String>,
    /// The program of a controller manager to run in upstream's place
    #[arg(long, value_name = "PATH")]
    pub upstream: Option<PathBuf>,
    /// Only scenarios with this text in their name; may be given several times
    #[arg(long, value_name = "TEXT")]
    pub filter: Vec<String>,
    /// The figures as JSON
    #[arg(long)]
    pub json: bool,
    /// So many scenarios at a time, each with a control plane of its own
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub lanes: usize,
    /// List the scenarios
    #[arg(long)]
    pub list: bool,
    /// A filter as test programs take it: where it fits no scenario nothing is wrong
    #[arg(hide = true)]
    test: Option<String>,
    #[command(flatten)]
    harness: Harness,
}

/// Flags of Rust's test programs: `cargo test` gives them to all alike. They mean nothing here.
#[derive(Debug, Clone, clap::Args)]
#[command(about = None)]
pub(super) struct Harness {
    #[arg(long, hide = true)]
    nocapture: bool,
    #[arg(long, hide = true)]
    no_capture: bool,
    #[arg(long, hide = true)]
    exact: bool,
    #[arg(long, short, hide = true)]
    quiet: bool,
    #[arg(long, hide = true)]
    include_ignored: bool,
    #[arg(long, hide = true)]
    pub(super) ignored: bool,
    #[arg(long, hide = true)]
    test_threads: Option<String>,
    #[arg(long, hide = true)]
    skip: Vec<String>,
}

/// Where a cloud's scenarios and results are.
#[derive(Debug, Clone)]
pub struct Files {
    /// The folder with `scenarios/*.yaml`, files of accepted differences, and `recorded/*.json`.
    pub folder: PathBuf,
}

impl Files {
    /// Of the cloud whose crate's folder this is.
    pub fn of_crate(folder: &str) -> Self {
        Self { folder: Path::new(folder).join("compare") }
    }

    /// The scenarios.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn scenarios(&self) -> anyhow::Result<Vec<scenario::Scenario>> {
        scenario::load(&self.folder.join("scenarios"))
    }

    /// The folder of recordings.
    pub fn recordings(&self) -> PathBuf {
        self.folder.join("recorded")
    }
}

impl Cli {
    /// Does what was asked for and returns whether everything is explained. `ours` is our program; `provider` the value of
    /// `--cloud-provider`.
    ///
    /// # Errors
    /// When it cannot be done at all.
    pub async fn run(
        &self,
        clouds: &dyn Clouds,
        provider: &str,
        ours: Candidate,
        upstream: Upstream,
        files: &Files,
    ) -> anyhow::Result<bool> {
        let all = files.scenarios()?;
        let texts: Vec<&String> = self.filter.iter().chain(&self.test).collect();
        let chosen = |name: &str| texts.is_empty() || texts.iter().any(|text| name.contains(text.as_str()));
        let skipped = clouds.skipped();
        let scenarios = all.iter().filter(|one| chosen(&one.name) && !skipped.contains_key(&one.name));
        let scenarios: Vec<_> = scenarios.cloned().collect();
        if self.list {
            scenarios.iter().try_for_each(|one| print(&format!("{}  {}", one.name, one.about)))?;
            return Ok(true);
        }
        if self.harness.ignored || (scenarios.is_empty() && self.test.is_some()) {
            print("test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out")?;
            return Ok(true);
        }
        let accepted = Accepted::load(&files.folder.join(clouds.accepted()))?;
        let names: BTreeSet<_> = all.iter().map(|one| one.name.clone()).collect();
        let unknown: Vec<_> = accepted.unknown(&names).into_iter().map(|entry| entry.scenario.clone()).collect();
        let suite = Suite {
            clouds,
            provider,
            scenarios,
            accepted,
            recordings: files.recordings(),
            ours,
            pinned: version(&upstream),
            upstream: self.theirs(upstream, clouds.are_recorded()).await?,
            record: self.record,
            lanes: self.lanes,
            progress: Progress::stderr(),
        };
        let mut report = suite.run().await?;
        unknown
            .into_iter()
            .for_each(|name| report.add(format!("accepted differences of {name}, which is no scenario")));
        for name in skipped.keys().filter(|name| !names.contains(*name)) {
            report.add(format!("{name} is left out, and no scenario"));
        }
        for file in Recording::orphans(&files.recordings(), &all)? {
            report.add(format!("{} belongs to no scenario", file.display()));
        }
        self.print(&report)?;
        Ok(report.is_explained())
    }

    /// Upstream's controller, where it is to be run, and its version.
    async fn theirs(&self, upstream: Upstream, recorded: bool) -> anyhow::Result<Option<(Candidate, String)>> {
        if recorded && !self.live && !self.record && self.upstream.is_none() {
            return Ok(None);
        }
        let version = match &self.upstream {
            Some(path) => path.display().to_string(),
            None => version(&upstream),
        };
        let program = match self.upstream.clone() {
            Some(path) => path,
            None => tokio::task::spawn_blocking(move || upstream.find_or_build(&Progress::stderr())).await??,
        };
        Ok(Some((Candidate { name: "upstream", program, flags: Vec::new() }, version)))
    }

    fn print(&self, report: &Report) -> anyhow::Result<()> {
        if self.json {
            Progress::stderr().note(&report.text());
            print(&serde_json::to_string(&report.figures()).context("print the figures")?)
        } else {
            // The last line is what test programs say, so that they can be counted alike.
            let (figures, failed) = (report.figures(), report.figures().findings.len());
            let (word, passed) = (if report.is_explained() { "ok" } else { "FAILED" }, figures.scenarios - failed);
            print(&format!("{}\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored", report.text()))
        }
    }
}

fn version(upstream: &Upstream) -> String {
    format!("{} {}", upstream.program, upstream.version)
}

pub(super) fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush()).context("write to standard output")
}
