//! Waiting until a world is at rest: by the call log of the cloud and the resource versions of the cluster.

use std::time::{Duration, Instant};

use anyhow::bail;
use serde_json::Value;

use super::accepted::Accepted;
use super::cloud::Controller;
use super::cluster::Objects;
use super::difference::differences;
use super::document::document;
use super::recording::Checkpoint;
use super::world::{QUIET, World};
use crate::objects::UNINITIALIZED;

const POLL: Duration = Duration::from_millis(120);
/// A controller that reads is about to do something, if it does not look around forever.
const BETWEEN_CALLS: Duration = Duration::from_millis(400);
/// So long is waited for what may never come: the first call of a controller that was started, an answer to each service, a
/// description of each node.
const ANSWERS: Duration = Duration::from_secs(8);
/// A world that does what is expected has to stay so for a moment.
const EXPECTED: Duration = Duration::from_millis(450);
/// And for longer where that says little: where it was so from the beginning, because a step is expected to change nothing, and
/// after the last step, after which nobody looks again.
const SETTLED: Duration = QUIET;

/// How to wait.
#[derive(Debug, Clone, Copy)]
pub struct Rest<'a> {
    /// At rest is where nothing changed for so long.
    pub quiet: Duration,
    /// A world that is not at rest after this time is an error.
    pub bound: Duration,
    /// What is expected at each checkpoint: where it comes, a moment of rest is enough.
    pub expected: Option<Expected<'a>>,
}

/// The state that another controller left at each checkpoint.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// By the number of the checkpoint.
    pub checkpoints: &'a [Checkpoint],
    /// What may differ.
    pub accepted: &'a Accepted,
    /// Whether events count. What is retried tells more than what is not.
    pub events: bool,
}

impl Default for Rest<'_> {
    fn default() -> Self {
        Self { quiet: QUIET, bound: Duration::from_secs(90), expected: None }
    }
}

impl<'a> Rest<'a> {
    /// For a controller that is compared with what is expected. It is given time for its own pace where it is not there yet.
    pub fn expecting(expected: Expected<'a>) -> Self {
        Self { quiet: Duration::from_secs(14), expected: Some(expected), ..Self::default() }
    }

    /// Waits and returns the document of the world.
    pub(super) async fn wait(
        &self,
        world: &World<'_>,
        controller: &dyn Controller,
        running: bool,
        checkpoint: usize,
    ) -> anyhow::Result<Value> {
        let begun = Instant::now();
        let (mut changed, mut called) = (begun, begun);
        let mut before = None;
        let mut moment = if checkpoint == world.scenario.steps.len() { SETTLED } else { EXPECTED };
        loop {
            let activity = world.cloud.activity().await?;
            let captured = world.cloud.capture().await?;
            let objects = world.cluster.objects().await?;
            let now = (activity, objects.version());
            let first = before.is_none();
            if let Some((last, version)) = before.replace(now.clone()) {
                if last.writes != activity.writes || version != now.1 {
                    changed = Instant::now();
                }
                if last.calls != activity.calls {
                    called = Instant::now();
                }
            }
            let state = document(&*world.cloud, &captured, &objects);
            let is_expected = self.is_expected(world, checkpoint, &state);
            if !running {
                return Ok(state);
            }
            controller.check()?;
            let slowness = world.cloud.slowness();
            let quiet = |for_changes: Duration| {
                changed.elapsed() >= for_changes * slowness && called.elapsed() >= BETWEEN_CALLS * slowness
            };
            if first && is_expected {
                moment = SETTLED;
            }
            if is_expected && quiet(moment) {
                return Ok(state);
            }
            let answered = answered(&objects) && world.is_started(activity.calls);
            if (answered || begun.elapsed() > ANSWERS * slowness) && quiet(self.quiet) {
                return Ok(state);
            }
            if begun.elapsed() > self.bound * slowness {
                bail!("the world is not at rest after {} s", begun.elapsed().as_secs());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn is_expected(&self, world: &World<'_>, checkpoint: usize, state: &Value) -> bool {
        let Some(Expected { checkpoints, accepted, events }) = self.expected else { return false };
        checkpoints.get(checkpoint).is_some_and(|expected| {
            let found = match events {
                true => differences(&expected.state, state),
                false => differences(&without_events(&expected.state), &without_events(state)),
            };
            accepted.sort(&world.scenario.name, &expected.title, found).unexplained.is_empty()
        })
    }
}

/// A document as it is but for events.
pub(super) fn without_events(state: &Value) -> Value {
    let mut state = state.clone();
    state["events"] = Value::Null;
    state
}

/// Whether each node is described, and each service has an address or a warning.
fn answered(objects: &Objects) -> bool {
    let described = objects.nodes.iter().all(|node| {
        let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
        taints.iter().all(|taint| taint.key != UNINITIALIZED)
    });
    let warned = |name: &Option<String>| {
        let mut events = objects.events.iter();
        events.any(|event| event.type_.as_deref() == Some("Warning") && event.involved_object.name == *name)
    };
    described
        && objects.services.iter().all(|service| {
            let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
            let has_address =
                balancer.and_then(|balancer| balancer.ingress.as_ref()).is_some_and(|all| !all.is_empty());
            (has_address && service.metadata.deletion_timestamp.is_none()) || warned(&service.metadata.name)
        })
}
