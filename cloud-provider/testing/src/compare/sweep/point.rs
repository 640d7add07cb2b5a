//! One disturbance at one write.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::accepted::Accepted;
use super::super::cloud::Controller;
use super::super::difference::{Difference, differences};
use super::super::rest::{Expected, Rest, without_events};
use super::super::world::World;
use super::stage::Stage;
use super::{Disturbance, STALE, Subject};

/// A controller that was just started is at rest after so long without calls.
const SETTLED: Duration = Duration::from_millis(300);
/// One whose services cannot be helped tries for ever.
const SETTLED_AT_MOST: Duration = Duration::from_secs(4);
/// A write that has not come after so long without calls does not come.
const NEVER: Duration = Duration::from_secs(5);
const NEVER_AT_MOST: Duration = Duration::from_secs(20);
/// So many characters of a value are told.
const LONGEST: usize = 400;
const POLL: Duration = Duration::from_millis(10);
/// How long a world that is not as it should be may still change: routes that failed are tried again after 10 s.
const QUIET: Duration = Duration::from_secs(14);
const BOUND: Duration = Duration::from_secs(45);

/// What came of it.
#[derive(Debug)]
pub(super) struct Outcome {
    /// The write, where it came.
    pub(super) write: Option<String>,
    /// What is not as in the undisturbed run.
    pub(super) differences: Vec<Difference>,
    /// Why it was not found out.
    pub(super) failure: Option<String>,
}

/// Puts everything back as it was before the stage, and lets it happen with a disturbance at its `nth` write.
pub(super) async fn play(
    subject: &dyn Subject,
    stage: &Stage<'_>,
    nth: u64,
    disturbance: Disturbance,
) -> anyhow::Result<Outcome> {
    subject.resume();
    let outcome = disturbed(subject, stage, nth, disturbance).await;
    subject.controller().stop().await?;
    subject.resume();
    outcome
}

async fn disturbed(
    subject: &dyn Subject,
    stage: &Stage<'_>,
    nth: u64,
    disturbance: Disturbance,
) -> anyhow::Result<Outcome> {
    let controller = subject.controller();
    let mut world = stage.world.clone();
    world.restore(&stage.left).await?;
    if world.running {
        world.start(controller).await?;
        silent(&world, controller, SETTLED, SETTLED_AT_MOST, || false).await?;
    }
    subject.at_write(nth, disturbance);
    world.act(controller, stage.act).await?;
    silent(&world, controller, NEVER, NEVER_AT_MOST, || subject.struck().is_some()).await?;
    let write = subject.struck();
    if write.is_none() {
        subject.resume();
    }
    match disturbance {
        Disturbance::Crash if write.is_some() => {
            controller.stop().await?;
            subject.resume();
            world.start(controller).await?;
        }
        Disturbance::StaleReads if write.is_some() => tokio::time::sleep(STALE).await,
        _ => {}
    }
    let accepted = Accepted::default();
    let expected = Expected { checkpoints: std::slice::from_ref(&stage.after), accepted: &accepted, events: false };
    let rest = Rest { quiet: QUIET, bound: BOUND, expected: Some(expected) };
    let (differences, failure) = match rest.wait(&world, controller, world.running, 0).await {
        Ok(state) => (differences(&stage.after.state, &without_events(&state)), None),
        Err(error) => (Vec::new(), Some(format!("{error:#}"))),
    };
    Ok(Outcome { write, differences, failure })
}

/// A difference between an undisturbed run and a disturbed one.
pub(super) fn words(one: &Difference) -> String {
    let short = |value: &Value| {
        let text = value.to_string();
        let end = text.char_indices().nth(LONGEST).map_or(text.len(), |(end, _)| end);
        if end < text.len() { format!("{}…", &text[..end]) } else { text }
    };
    format!("{}: wanted {}, got {}", one.path, short(&one.upstream), short(&one.ours))
}

/// Waits until the controller makes no calls for so long, or something else has come.
async fn silent(
    world: &World<'_>,
    controller: &dyn Controller,
    quiet: Duration,
    at_most: Duration,
    come: impl Fn() -> bool,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    let (mut calls, mut since) = (world.cloud.activity().await?.calls, begun);
    while !come() && since.elapsed() < quiet && begun.elapsed() < at_most {
        controller.check()?;
        tokio::time::sleep(POLL).await;
        let now = world.cloud.activity().await?.calls;
        if now != calls {
            (calls, since) = (now, Instant::now());
        }
    }
    Ok(())
}
