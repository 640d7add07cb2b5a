//! The command line of a cloud's test program, and what `cargo xtask sweep` passes on to it.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use clap::Parser;
use futures::future::try_join_all;
use sha2::{Digest as _, Sha256};

use super::super::accepted::{self, Accepted};
use super::super::cli::{Files, Harness, print};
use super::super::cluster::Cluster;
use super::super::recording::Recording;
use super::super::rest::Expected;
use super::super::scenario::Scenario;
use super::known::{self, Entry};
use super::report::{Finding, Report, Row};
use super::stage::{self, Stage};
use super::{Disturbance, Subject, Subjects, point};
use crate::control_plane::{ControlPlane, Options};
use crate::progress::Progress;

/// The variable that sets the seed of a sample.
const SEED: &str = "SWEEP_SEED";

/// Disturbs a controller at each single write of each scenario. Without --all a sample of the points, and a look whether the
/// committed report is complete.
#[derive(Debug, Clone, Parser)]
#[command(name = "sweep")]
pub struct Sweep {
    /// Every point; without --step and --write the report is brought up to date
    #[arg(long)]
    pub all: bool,
    /// Only scenarios with this text in their name; may be given several times
    #[arg(long, value_name = "TEXT")]
    pub filter: Vec<String>,
    /// Only this disturbance; may be given several times
    #[arg(long, value_name = "NAME")]
    pub disturbance: Vec<Disturbance>,
    /// Only the step with this number
    #[arg(long, value_name = "N")]
    pub step: Option<usize>,
    /// Only the write with this number, counted from 1 in each step
    #[arg(long, value_name = "N")]
    pub write: Option<u64>,
    /// What the sample is drawn by [default: SWEEP_SEED, or the time]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// After so long no further point of the sample is begun
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub minutes: u64,
    /// So many points of each scenario are in the sample
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub points: usize,
    /// So many scenarios at a time, each with a control plane of its own
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub lanes: usize,
    /// The figures as JSON
    #[arg(long)]
    pub json: bool,
    /// A filter as test programs take it: where it fits no scenario nothing is wrong
    #[arg(hide = true)]
    test: Option<String>,
    #[command(flatten)]
    harness: Harness,
}

/// A sample, if it is one.
struct Sample {
    seed: u64,
    until: Instant,
}

impl Sweep {
    /// Does what was asked for and returns whether all ends were those of the undisturbed run. `committed` is the report as JSON; its
    /// Markdown stands beside it.
    ///
    /// # Errors
    /// When it cannot be done at all.
    pub async fn run(&self, subjects: &dyn Subjects, files: &Files, committed: &Path) -> anyhow::Result<bool> {
        let all = files.scenarios()?;
        let texts: Vec<&String> = self.filter.iter().chain(&self.test).collect();
        let chosen = |name: &str| texts.is_empty() || texts.iter().any(|text| name.contains(text.as_str()));
        let mut scenarios: Vec<_> = all.iter().filter(|one| chosen(&one.name)).collect();
        if self.harness.ignored || (scenarios.is_empty() && self.test.is_some()) {
            print("test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out")?;
            return Ok(true);
        }
        ensure!(!scenarios.is_empty(), "there is no such scenario");
        let sample = if self.all { None } else { Some(self.sample()?) };
        if let Some(Sample { seed, .. }) = &sample {
            scenarios.sort_by_key(|scenario| draw(*seed, &scenario.name));
        }
        let known = Report::load(committed)?;
        let mut report = Report::default();
        if sample.is_some() && texts.is_empty() {
            report.gaps = known.gaps_among(&all, committed);
        }
        let report = Mutex::new(report);
        let queue = Mutex::new(scenarios.into_iter().collect::<VecDeque<_>>());
        let next = || lock(&queue).pop_front().filter(|_| sample.as_ref().is_none_or(Sample::goes_on));
        let lane = || async {
            let plane = ControlPlane::start(Options::default()).await?;
            while let Some(scenario) = next() {
                let row = self.scenario(subjects, &plane, files, scenario, sample.as_ref()).await;
                let mut row = row.unwrap_or_else(|error| Row::failed(format!("{error:#}")));
                if sample.is_some() {
                    row.expect_left_over(known.scenarios.get(&scenario.name));
                }
                Progress::stderr().note(&row.line(&scenario.name));
                lock(&report).add(&scenario.name, row.clone());
                if self.is_whole() {
                    Report::update(committed, &scenario.name, row, &all)?;
                }
            }
            anyhow::Ok(())
        };
        try_join_all((0..self.lanes.max(1)).map(|_| lane())).await?;
        let report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.tell(&report, sample.as_ref())
    }

    /// Whether what comes out belongs into the committed report.
    fn is_whole(&self) -> bool {
        self.all && self.step.is_none() && self.write.is_none()
    }

    fn sample(&self) -> anyhow::Result<Sample> {
        let given = match (self.seed, std::env::var(SEED)) {
            (Some(seed), _) => Some(seed),
            (None, Ok(text)) => Some(text.parse().with_context(|| format!("{SEED} is no number"))?),
            (None, Err(_)) => None,
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Ok(Sample { seed: given.unwrap_or(now), until: Instant::now() + Duration::from_secs(self.minutes * 60) })
    }

    async fn scenario(
        &self,
        subjects: &dyn Subjects,
        plane: &ControlPlane,
        files: &Files,
        scenario: &Scenario,
        sample: Option<&Sample>,
    ) -> anyhow::Result<Row> {
        let cluster = Cluster::new(plane, &scenario.name).await?;
        let subject = subjects.subject(scenario, cluster.client()).await?;
        let recording = Recording::load(&files.recordings(), scenario)?;
        let accepted = Accepted::load(&files.folder.join(accepted::FILE))?;
        let recorded = Expected { checkpoints: &recording.checkpoints, accepted: &accepted, events: true };
        let undisturbed = stage::play(&*subject, &cluster, scenario, recorded).await.context("undisturbed")?;
        let known = known::load(&files.folder.join("sweep-accepted.yaml"))?;
        let mut row = Row::new(&undisturbed);
        let mut points = self.points_of(&undisturbed.stages);
        if let Some(Sample { seed, .. }) = sample {
            let key = |(stage, nth, disturbance): &(usize, u64, Disturbance)| {
                draw(*seed, &format!("{} {stage} {nth} {}", scenario.name, disturbance.name()))
            };
            points.sort_by_key(key);
            points.truncate(self.points);
        }
        for (stage, nth, disturbance) in points {
            if sample.is_some_and(|sample| !sample.goes_on()) {
                break;
            }
            let about = (&*subject, scenario.name.as_str(), known.as_slice());
            self.point(about, &undisturbed.stages[stage], nth, disturbance, &mut row).await?;
        }
        cluster.clear().await?;
        Ok(row)
    }

    async fn point(
        &self,
        (subject, scenario, known): (&dyn Subject, &str, &[Entry]),
        stage: &Stage<'_>,
        nth: u64,
        disturbance: Disturbance,
        row: &mut Row,
    ) -> anyhow::Result<()> {
        let about = || format!("{}, write {nth}, {}", stage.title, disturbance.name());
        let outcome = point::play(subject, stage, nth, disturbance).await.with_context(about)?;
        let found = outcome.differences.len();
        let mut differences = outcome.differences;
        differences.retain(|one| !known.iter().any(|entry| entry.explains(scenario, disturbance, &one.path)));
        let accepted = differences.is_empty() && found > 0;
        let differences: Vec<_> = differences.iter().map(point::words).chain(outcome.failure).collect();
        let finding = (!differences.is_empty()).then(|| Finding {
            step: stage.title.clone(),
            write: nth,
            action: outcome.write.clone(),
            differences,
        });
        row.add(disturbance, outcome.write.is_some(), accepted, finding);
        Ok(())
    }

    /// Stage, number of the write, disturbance.
    fn points_of(&self, stages: &[Stage<'_>]) -> Vec<(usize, u64, Disturbance)> {
        let disturbances = match self.disturbance.as_slice() {
            [] => Disturbance::ALL.as_slice(),
            some => some,
        };
        let mut points = Vec::new();
        for (nth, stage) in stages.iter().enumerate().filter(|(nth, _)| self.step.is_none_or(|step| step == *nth)) {
            for write in (1..=stage.writes).filter(|write| self.write.is_none_or(|wanted| wanted == *write)) {
                points.extend(disturbances.iter().map(|disturbance| (nth, write, *disturbance)));
            }
        }
        points
    }

    fn tell(&self, report: &Report, sample: Option<&Sample>) -> anyhow::Result<bool> {
        let figures = report.figures();
        let seed = sample.map(|sample| format!(" (seed {}: {SEED}={} draws it again)", sample.seed, sample.seed));
        let text = format!("{}{}", report.text(), seed.unwrap_or_default());
        if self.json {
            Progress::stderr().note(&text);
            print(&serde_json::to_string(&figures).context("print the figures")?)?;
        } else {
            let (passed, failed) = (figures.points.saturating_sub(figures.different), figures.failed());
            let word = if report.is_good() { "ok" } else { "FAILED" };
            print(&format!("{text}\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored"))?;
        }
        Ok(report.is_good())
    }
}

impl Sample {
    fn goes_on(&self) -> bool {
        Instant::now() < self.until
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number by chance that is the same for the same seed.
fn draw(seed: u64, what: &str) -> [u8; 32] {
    Sha256::digest(format!("{seed} {what}")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_drawn_again_by_its_seed() {
        assert_eq!(draw(1, "a"), draw(1, "a"));
        assert_ne!(draw(1, "a"), draw(2, "a"));
        assert_ne!(draw(1, "a"), draw(1, "b"));
    }
}
