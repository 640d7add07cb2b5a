//! The undisturbed run: what is there before each step, and what has to be there after it.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use kube::api::ListParams;
use serde_json::Value;

use super::super::cloud::Controller;
use super::super::cluster::Cluster;
use super::super::difference::differences;
use super::super::recording::{Checkpoint, Left};
use super::super::rest::{Expected, Rest, without_events};
use super::super::scenario::{Scenario, Step};
use super::super::world::World;
use super::Subject;

/// At rest is where nothing changed for so long, unless it is as upstream's controller left it.
const QUIET: Duration = Duration::from_secs(8);
const BOUND: Duration = Duration::from_secs(90);
/// How long the deletion of services may take.
const GONE: Duration = Duration::from_secs(45);

/// What happens between two states at rest.
#[derive(Debug, Clone, Copy)]
pub(super) enum Act<'a> {
    /// The controller starts, with nodes that are fresh.
    Start,
    /// A step of the scenario.
    Step(&'a Step),
    /// All services that are left are deleted.
    DeleteServices,
}

/// An act, with what is before and after it.
pub(super) struct Stage<'a> {
    /// As a checkpoint's.
    pub(super) title: String,
    pub(super) act: Act<'a>,
    /// The scenario's own state before.
    pub(super) world: World<'a>,
    /// Account and cluster before.
    pub(super) left: Left,
    /// What is there afterwards.
    pub(super) after: Checkpoint,
    /// The writes of the undisturbed run.
    pub(super) writes: u64,
}

/// The stages of a scenario, and what is left of it at its end that was not there before its first service.
pub(super) struct Undisturbed<'a> {
    pub(super) stages: Vec<Stage<'a>>,
    pub(super) left_over: Vec<String>,
}

/// Plays the scenario. `recorded` is what upstream's controller left at each checkpoint: sooner than by a pause it is known from
/// that when the world is at rest.
pub(super) async fn play<'a>(
    subject: &dyn Subject,
    cluster: &'a Cluster<'a>,
    scenario: &'a Scenario,
    recorded: Expected<'_>,
) -> anyhow::Result<Undisturbed<'a>> {
    let mut world = World::new(cluster, subject.cloud(), scenario).await?;
    for machine in &scenario.nodes {
        world.add_machine(machine).await?;
    }
    let steps = scenario.steps.iter().map(Act::Step);
    let acts = std::iter::once(Act::Start).chain(steps).chain([Act::DeleteServices]);
    let rest = Rest { quiet: QUIET, bound: BOUND, expected: Some(recorded) };
    let mut stages: Vec<Stage<'a>> = Vec::new();
    for (nth, act) in acts.enumerate() {
        let title = format!("{nth} {}", act.title());
        let (before, left) = (world.clone(), world.left(nth).await?);
        let writes = world.cloud.activity().await?.writes;
        world.act(subject.controller(), act).await.with_context(|| title.clone())?;
        if let Act::DeleteServices = act {
            world.services_gone().await?;
        }
        let state = rest.wait(&world, subject.controller(), world.running, nth).await;
        let state = without_events(&state.with_context(|| title.clone())?);
        let writes = world.cloud.activity().await?.writes - writes;
        let after = Checkpoint { title: title.clone(), state };
        stages.push(Stage { title, act, world: before, left, after, writes });
    }
    subject.controller().stop().await?;
    let left_over = match stages.as_slice() {
        [first, .., last] => left_over(&first.after.state, &last.after.state, |kind, id| subject.is_of_nodes(kind, id)),
        _ => Vec::new(),
    };
    Ok(Undisturbed { stages, left_over })
}

/// What is in the account at the end and was not, or was another, when the controller had only looked at the nodes.
fn left_over(first: &Value, last: &Value, is_of_nodes: impl Fn(&str, &str) -> bool) -> Vec<String> {
    let services = |state: &Value| {
        let mut cloud = state["cloud"].clone();
        if let Some(kinds) = cloud.as_object_mut() {
            for (kind, resources) in kinds.iter_mut() {
                resources.as_object_mut().into_iter().for_each(|all| all.retain(|id, _| !is_of_nodes(kind, id)));
            }
            kinds.retain(|_, resources| resources.as_object().is_none_or(|all| !all.is_empty()));
        }
        cloud
    };
    let found = differences(&services(first), &services(last));
    found.iter().map(|one| format!("{}: {} became {}", one.path, one.upstream, one.ours)).collect()
}

impl Act<'_> {
    fn title(&self) -> String {
        match self {
            Self::Start => "start".to_owned(),
            Self::Step(step) => step.title(),
            Self::DeleteServices => "delete all services".to_owned(),
        }
    }
}

impl World<'_> {
    /// Lets it happen.
    pub(super) async fn act(&mut self, controller: &dyn Controller, act: Act<'_>) -> anyhow::Result<()> {
        match act {
            Act::Start => self.start(controller).await,
            // The same controller takes over from itself.
            Act::Step(Step::Swap(_)) => {
                controller.stop().await?;
                self.start(controller).await
            }
            Act::Step(step) => self.step(controller, step).await,
            Act::DeleteServices => {
                if !self.running {
                    self.start(controller).await?;
                }
                let services = self.cluster.services().list(&ListParams::default()).await.context("list services")?;
                for name in services.items.into_iter().filter_map(|service| service.metadata.name) {
                    self.cluster.services().delete(&name, &Default::default()).await.context("delete a service")?;
                }
                Ok(())
            }
        }
    }

    /// Waits until no service is left, or until it is clear that one stays.
    async fn services_gone(&self) -> anyhow::Result<()> {
        let until = Instant::now() + GONE;
        while Instant::now() < until {
            let services = self.cluster.services().list(&ListParams::default()).await.context("list services")?;
            if services.items.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }
}
