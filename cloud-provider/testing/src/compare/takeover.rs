//! One controller takes over what another left.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::candidate::Running;
use super::cloud::{Activity, Controller as _};
use super::difference::differences;
use super::document::document;
use super::rest::{Rest, without_events};
use super::world::World;

/// A controller that has nothing to do has looked at everything after this time without calls.
const IDLE: Duration = Duration::from_millis(1000);
const AT_LEAST: Duration = Duration::from_millis(1800);
const AT_MOST: Duration = Duration::from_secs(20);

/// Ours plans nothing and writes nothing, and upstream's finds its own state again: what happened otherwise.
pub(super) async fn there_and_back(
    world: &mut World<'_>,
    ours: &Running<'_>,
    theirs: &Running<'_>,
) -> anyhow::Result<Vec<String>> {
    let before = state(world).await?;
    let mut findings = changes_nothing(world, ours).await?;
    let after = state(world).await?;
    findings.extend(changes("ours took over", &before, &after));
    world.start(theirs).await?;
    Rest::default().wait(world, theirs, true, usize::MAX).await?;
    findings.extend(changes("back to upstream's", &after, &state(world).await?));
    Ok(findings)
}

/// Ours plans nothing, and running it writes nothing: what it did otherwise. It is stopped again.
pub(super) async fn changes_nothing(world: &World<'_>, ours: &Running<'_>) -> anyhow::Result<Vec<String>> {
    let config = world.config();
    let mut findings = ours.plan(&config).await?;
    let planned = world.cloud.changes_by("ours").await?;
    findings.extend(planned.iter().map(|call| format!("plan wrote: {call}")));
    ours.start(&config).await?;
    idle(world, ours).await?;
    ours.stop().await?;
    let calls = world.cloud.changes_by("ours").await?.split_off(planned.len());
    findings.extend(calls.iter().map(|call| format!("wrote after the takeover: {call}")));
    let harmless = |resource: &str| ["events", "leases"].contains(&resource) || resource.ends_with("reviews");
    let requests = world
        .cluster
        .plane()
        .audit()
        .requests(|one| one.user == ours.user && one.is_write() && !harmless(&one.resource))?;
    let request = |one: &crate::control_plane::Request| {
        format!("wrote after the takeover: {} {} {}", one.verb, one.resource, one.name)
    };
    findings.extend(requests.iter().map(request));
    Ok(findings)
}

/// Waits until a controller that was just started makes no more calls.
async fn idle(world: &World<'_>, controller: &Running<'_>) -> anyhow::Result<()> {
    let begun = Instant::now();
    let (mut seen, mut since) = (Activity::default(), begun);
    let slowness = world.cloud.slowness();
    let goes_on = |since: Instant| begun.elapsed() < AT_LEAST * slowness || since.elapsed() < IDLE * slowness;
    while begun.elapsed() < AT_MOST * slowness && goes_on(since) {
        controller.check()?;
        let now = world.cloud.activity().await?;
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Everything but events.
async fn state(world: &World<'_>) -> anyhow::Result<Value> {
    let captured = world.cloud.capture().await?;
    Ok(without_events(&document(&*world.cloud, &captured, &world.cluster.objects().await?)))
}

fn changes(when: &str, before: &Value, after: &Value) -> Vec<String> {
    let changed = differences(before, after);
    changed.iter().map(|one| format!("{when}: {} changed from {} to {}", one.path, one.upstream, one.ours)).collect()
}
