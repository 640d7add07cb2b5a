//! All scenarios, in lanes: each lane has a control plane, and plays one scenario after the other on it.

use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, ensure};
use futures::future::try_join_all;

use super::accepted::Accepted;
use super::candidate::{Candidate, Running};
use super::cloud::{Clouds, Controller as _};
use super::cluster::Cluster;
use super::difference::{Difference, differences};
use super::recording::Recording;
use super::report::{Outcome, Report};
use super::rest::{Expected, Rest};
use super::scenario::Scenario;
use super::takeover;
use super::world::World;
use crate::control_plane::{ControlPlane, Options};
use crate::progress::Progress;

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
        let mut findings = Vec::new();
        let recording = match &self.upstream {
            Some((upstream, version)) => {
                let (recording, found) = self.upstream(&cluster, scenario, upstream, version).await?;
                findings = found;
                if self.record {
                    recording.save(&self.recordings, &scenario.name)?;
                }
                recording
            }
            None => {
                let recording = Recording::load(&self.recordings, scenario)?;
                if scenario.converges {
                    findings = self.recorded_takeover(&cluster, scenario, &recording).await?;
                }
                recording
            }
        };
        let differences = self.ours(&cluster, scenario, &recording).await?;
        cluster.clear().await?;
        Ok(Outcome::of(scenario, &self.accepted, differences, findings))
    }

    /// Plays it with upstream's controller; where that converges, ours takes over at the end, and upstream's again.
    async fn upstream(
        &self,
        cluster: &Cluster<'_>,
        scenario: &Scenario,
        upstream: &Candidate,
        version: &str,
    ) -> anyhow::Result<(Recording, Vec<String>)> {
        let cloud = self.clouds.cloud(scenario).await?;
        let mut world = World::new(cluster, cloud, scenario).await?;
        let theirs = Running::new(upstream, self.provider, &world)?;
        let played = world.play(&theirs, &Rest::default(), &[]).await;
        let played = played.with_context(|| theirs.last_words())?;
        let mut findings = Vec::new();
        if scenario.converges {
            theirs.stop().await?;
            let ours = Running::new(&self.ours, self.provider, &world)?;
            findings = takeover::there_and_back(&world, &ours, &theirs).await?;
        }
        theirs.stop().await?;
        let recording = Recording { upstream: version.to_owned(), checkpoints: played.checkpoints, left: played.left };
        Ok((recording, findings))
    }

    async fn recorded_takeover(
        &self,
        cluster: &Cluster<'_>,
        scenario: &Scenario,
        recording: &Recording,
    ) -> anyhow::Result<Vec<String>> {
        let left = recording.left.last().context("the recording has no end")?;
        let cloud = self.clouds.cloud(scenario).await?;
        let world = World::new(cluster, cloud, scenario).await?.at_the_end();
        world.restore(left).await?;
        let ours = Running::new(&self.ours, self.provider, &world)?;
        takeover::changes_nothing(&world, &ours).await
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
