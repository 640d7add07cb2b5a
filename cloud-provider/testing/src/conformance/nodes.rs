//! How nodes are initialised.

use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::bench::{Bench, complete, has_taint};
use super::watch::Watch;
use crate::objects::{KubeletNode, UNINITIALIZED, register_nodes, set_ready};

const NODES: usize = 60;

/// Many nodes in few calls, few writes each, and none schedulable before it has addresses.
pub(super) async fn initialise_in_batches(bench: &Bench) -> anyhow::Result<()> {
    let watch = Watch::start(&bench.client);
    let controller = bench.start().await?;
    let names = bench.add_nodes(NODES, Duration::from_secs(3)).await?;
    bench.initialised(&names).await?;
    controller.check()?;
    watch.conclude(NODES).await?;

    if let Some((call, _)) = &bench.declared.look_up {
        let calls = bench.subject.calls().await?.get(call).copied().unwrap_or_default();
        let most = u64::try_from(NODES / 3)?;
        ensure!(calls > 0 && calls <= most, "{calls} calls of {call} for {NODES} nodes, wanted are at most {most}");
    }
    let user = bench.user();
    let about_nodes = ["nodes", "nodes/status", "events"];
    let writes = bench
        .plane
        .audit()
        .accepted_writes(|request| request.user == user && about_nodes.contains(&request.resource.as_str()))?;
    let writes: usize = writes.values().sum();
    ensure!(writes <= 3 * NODES, "{writes} accepted writes for {NODES} nodes, wanted are at most 3 each");
    Ok(())
}

/// Whatever the API does, in the end the nodes are complete, and none was schedulable too early.
pub(super) async fn initialise_through_disturbances(bench: &Bench) -> anyhow::Result<()> {
    let watch = Watch::start(&bench.client);
    let controller = bench.start().await?;
    let mut names = Vec::new();
    for disturbance in bench.declared.disturbances.clone() {
        bench.subject.disturb(disturbance).await?;
        names.extend(bench.add_nodes(3, Duration::ZERO).await?);
        tokio::time::sleep(Duration::from_secs(5)).await;
        bench.subject.heal().await?;
    }
    bench.initialised(&names).await?;
    controller.check()?;
    watch.conclude(names.len()).await
}

/// A node of another cloud keeps its taint and its place, also when it is not ready.
pub(super) async fn foreign_is_left_alone(bench: &Bench) -> anyhow::Result<()> {
    let controller = bench.start().await?;
    let foreign = KubeletNode::new("foreign").provider_id("elsewhere://zone/instance-1");
    register_nodes(&bench.client, vec![foreign], Duration::ZERO).await?;
    set_ready(&bench.client, "foreign", false).await?;
    let names = bench.add_nodes(2, Duration::ZERO).await?;
    bench.initialised(&names).await?;
    // Long enough for the lifecycle controller to look at it a few times.
    tokio::time::sleep(Duration::from_secs(12)).await;

    let node = bench.node("foreign").await?.context("the foreign node was deleted")?;
    ensure!(has_taint(&node, UNINITIALIZED), "the foreign node was initialised");
    ensure!(complete(&node, &bench.declared).is_err(), "the foreign node was described");
    ensure!(!has_taint(&node, super::lifecycle::SHUTDOWN), "the foreign node was tainted");
    let id = node.spec.and_then(|spec| spec.provider_id);
    ensure!(id.as_deref() == Some("elsewhere://zone/instance-1"), "the foreign node's provider ID changed to {id:?}");
    controller.check()
}
