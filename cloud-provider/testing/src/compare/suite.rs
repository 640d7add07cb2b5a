//! All scenarios, in lanes: each lane has a control plane, and plays one scenario after the other on it.

use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures::future::try_join_all;

use super::accepted::Accepted;
use super::candidate::{Candidate, Running};
use super::cloud::{Clouds, Controller as _};
use super::cluster::Cluster;
use super::difference::{Difference, differences};
use super::recording::{Left, Recording};
use super::report::{Outcome, Report, Takeovers};
use super::rest::{Expected, Rest};
use super::scenario::Scenario;
use super::takeover;
use super::world::World;
use crate::control_plane::{ControlPlane, Options};
use crate::progress::Progress;

/// A world whose end is recorded is at rest where nothing changed for so long.
const RECORDED: Duration = Duration::from_secs(8);

/// What to compare.
pub struct Suite<'a> {
    /// Makes accounts.
    pub clouds: &'a dyn Clouds,
    /// The value of `--cloud-provider`.
    pub provider: &'a str,
    /// The scenarios to play.
    pub scenarios: Vec<Scenario>,
    /// Differences on purpose.
    pub accepted: Accepted,
    /// The folder of recordings.
    pub recordings: PathBuf,
    /// Our controller.
    pub ours: Candidate,
    /// Upstream's, with its version, where it is run; recordings take its place else.
    pub upstream: Option<(Candidate, String)>,
    /// Name and version of the controller that recordings are to be of.
    pub pinned: String,
    /// Whether what upstream's does is recorded.
    pub record: bool,
    /// How many scenarios are played at a time.
    pub lanes: usize,
    /// Where it is told how far it is.
    pub progress: Progress,
}

impl Suite<'_> {
    /// Plays all scenarios.
    ///
    /// # Errors
    /// When a control plane cannot be started. What goes wrong in a scenario stands in the report.
    pub async fn run(&self) -> anyhow::Result<Report> {
        ensure!(!self.scenarios.is_empty(), "there is no such scenario");
        let queue = Mutex::new(self.scenarios.iter().collect::<VecDeque<_>>());
        let lanes = (0..self.lanes.clamp(1, self.scenarios.len())).map(|_| self.lane(&queue));
        let outcomes = try_join_all(lanes).await?.into_iter().flatten().collect();
        let names: BTreeSet<_> = self.scenarios.iter().map(|scenario| scenario.name.clone()).collect();
        Ok(Report::new(outcomes, &self.accepted, &names))
    }

    async fn lane(&self, queue: &Mutex<VecDeque<&Scenario>>) -> anyhow::Result<Vec<Outcome>> {
        let plane = ControlPlane::start(Options::default()).await?;
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let mut outcomes = Vec::new();
        while let Some(scenario) = next() {
            let outcome = match self.scenario(&plane, scenario).await {
                Ok(outcome) => outcome,
                Err(error) => {
                    plane.check_running()?;
                    plane.fail();
                    // The next one clears its own namespace only.
                    Cluster::new(&plane, &scenario.name).await?.clear().await?;
                    Outcome::failed(scenario, format!("{error:#}"))
                }
            };
            self.progress.note(&outcome.line());
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    async fn scenario(&self, plane: &ControlPlane, scenario: &Scenario) -> anyhow::Result<Outcome> {
        let cluster = Cluster::new(plane, &scenario.name).await?;
        let mut takeovers = Takeovers::default();
        let recording = match &self.upstream {
            Some((upstream, version)) => {
                let recording = self.upstream(&cluster, scenario, upstream, version, &mut takeovers).await?;
                if self.record {
                    recording.save(&self.recordings, &scenario.name)?;
                }
                recording
            }
            None => self.recorded(scenario).with_context(|| {
                let Scenario { name, .. } = scenario;
                format!("`cargo xtask compare --cloud {} --filter {name} --record` makes what is needed", self.provider)
            })?,
        };
        if scenario.converges {
            // At the end of a live run it has happened already.
            let before_the_end = recording.left.len() - takeovers.count;
            for left in recording.left.iter().take(before_the_end) {
                self.take_over(&cluster, scenario, left, &mut takeovers).await?;
            }
        }
        let differences = self.ours(&cluster, scenario, &recording).await?;
        cluster.clear().await?;
        Ok(Outcome::of(scenario, &self.accepted, differences, takeovers))
    }

    fn recorded(&self, scenario: &Scenario) -> anyhow::Result<Recording> {
        let recording = Recording::load(&self.recordings, scenario)?;
        let Recording { upstream, .. } = &recording;
        ensure!(*upstream == self.pinned, "it was recorded with {upstream}, and {} is pinned", self.pinned);
        Ok(recording)
    }

    /// Plays it with upstream's controller; where that converges, ours takes over at the end, and upstream's again.
    async fn upstream(
        &self,
        cluster: &Cluster<'_>,
        scenario: &Scenario,
        upstream: &Candidate,
        version: &str,
        takeovers: &mut Takeovers,
    ) -> anyhow::Result<Recording> {
        let cloud = self.clouds.cloud(scenario).await?;
        let mut world = World::new(cluster, cloud, scenario).await?;
        let theirs = Running::new(upstream, self.provider, &world)?;
        // What is recorded stays: on a busy machine upstream's may make a long pause before it goes on.
        let rest = if self.record { Rest { quiet: RECORDED, ..Rest::default() } } else { Rest::default() };
        let played = world.play(&theirs, &rest, &[]).await;
        let played = played.with_context(|| theirs.last_words())?;
        if scenario.converges {
            theirs.stop().await?;
            let ours = Running::new(&self.ours, self.provider, &world)?;
            takeovers.findings.extend(takeover::there_and_back(&mut world, &ours, &theirs).await?);
            takeovers.count += 1;
        }
        theirs.stop().await?;
        Ok(Recording {
            upstream: version.to_owned(),
            scenario: scenario.digest.clone(),
            checkpoints: played.checkpoints,
            left: played.left,
        })
    }

    /// Loads what upstream's left, and lets ours take over.
    async fn take_over(
        &self,
        cluster: &Cluster<'_>,
        scenario: &Scenario,
        left: &Left,
        takeovers: &mut Takeovers,
    ) -> anyhow::Result<()> {
        let cloud = self.clouds.cloud(scenario).await?;
        if !cloud.can_restore() {
            return Ok(());
        }
        let world = World::new(cluster, cloud, scenario).await?.before(left.at);
        world.restore(left).await?;
        let ours = Running::new(&self.ours, self.provider, &world)?;
        let findings = takeover::changes_nothing(&world, &ours).await?;
        let at = scenario.checkpoints().get(left.at).map_or("at the end".to_owned(), |step| format!("before {step}"));
        takeovers.findings.extend(findings.into_iter().map(|finding| format!("{at}: {finding}")));
        takeovers.count += 1;
        Ok(())
    }

    /// Plays it with ours, and tells what differs, with the checkpoint.
    async fn ours(
        &self,
        cluster: &Cluster<'_>,
        scenario: &Scenario,
        recording: &Recording,
    ) -> anyhow::Result<Vec<(String, Difference)>> {
        let cloud = self.clouds.cloud(scenario).await?;
        let mut world = World::new(cluster, cloud, scenario).await?;
        let ours = Running::new(&self.ours, self.provider, &world)?;
        let expected = Expected { checkpoints: &recording.checkpoints, accepted: &self.accepted, events: true };
        let played = world.play(&ours, &Rest::expecting(expected), &recording.left).await;
        let played = played.with_context(|| ours.last_words())?;
        ours.stop().await?;
        let mut found = Vec::new();
        for (theirs, ours) in recording.checkpoints.iter().zip(&played.checkpoints) {
            let here = differences(&theirs.state, &ours.state);
            found.extend(here.into_iter().map(|difference| (ours.title.clone(), difference)));
        }
        Ok(found)
    }
}
