//! What becomes of nodes whose instances stop or go.

use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::bench::{Bench, eventually, has_taint};
use super::{Disturbance, InstanceState};
use crate::objects::set_ready;

/// The taint of a node whose instance is stopped.
pub(super) const SHUTDOWN: &str = "node.cloudprovider.kubernetes.io/shutdown";

/// How long each disturbance lasts: a few passes of the controller.
const DISTURBED: Duration = Duration::from_secs(12);

/// Three nodes of which nothing is heard any more.
struct Silent {
    /// Its instance is terminated.
    terminated: String,
    /// Its instance is stopped, where the cloud can do that; else it runs.
    stopped: String,
    /// Its instance runs: only its kubelet is silent.
    running: String,
}

/// A silent node whose instance is terminated goes, one whose instance is stopped is tainted, one whose instance runs is
/// left alone; and whatever the API does meanwhile changes none of that, only its time.
pub(super) async fn node_follows_its_instance(bench: &Bench) -> anyhow::Result<()> {
    let controller = bench.start().await?;
    let disturbances: Vec<Option<Disturbance>> =
        std::iter::once(None).chain(bench.declared.disturbances.iter().copied().map(Some)).collect();
    let names = bench.add_nodes(3 * disturbances.len(), Duration::ZERO).await?;
    bench.initialised(&names).await?;

    let mut groups = Vec::new();
    for (disturbance, names) in disturbances.into_iter().zip(names.chunks(3)) {
        let [terminated, stopped, running] = names else { anyhow::bail!("wrong number of names") };
        let group = Silent { terminated: terminated.clone(), stopped: stopped.clone(), running: running.clone() };
        if let Some(disturbance) = disturbance {
            bench.subject.disturb(disturbance).await?;
        }
        fall_silent(bench, &group).await?;
        if let Some(disturbance) = disturbance {
            tokio::time::sleep(DISTURBED).await;
            check(bench, &group, false).await.with_context(|| format!("while the API was {disturbance}"))?;
            bench.subject.heal().await?;
        }
        groups.push(group);
    }

    eventually(bench.patience + bench.declared.grace, || async {
        for group in &groups {
            check(bench, group, true).await?;
        }
        Ok(())
    })
    .await?;

    // What comes back loses the taint.
    if let (true, Some(group)) = (bench.declared.stopping, groups.first()) {
        bench.subject.set_instance(&group.stopped, InstanceState::Running).await?;
        set_ready(&bench.client, &group.stopped, true).await?;
        eventually(bench.patience, || async {
            let node = bench.node(&group.stopped).await?.context("the restarted node was deleted")?;
            ensure!(!has_taint(&node, SHUTDOWN), "the restarted node keeps the shutdown taint");
            Ok(())
        })
        .await?;
    }
    controller.check()
}

async fn fall_silent(bench: &Bench, group: &Silent) -> anyhow::Result<()> {
    bench.subject.set_instance(&group.terminated, InstanceState::Terminated).await?;
    if bench.declared.stopping {
        bench.subject.set_instance(&group.stopped, InstanceState::Stopped).await?;
    }
    for name in [&group.terminated, &group.stopped, &group.running] {
        set_ready(&bench.client, name, false).await?;
    }
    Ok(())
}

/// What must never be, and with `settled` also what must be at the end.
async fn check(bench: &Bench, group: &Silent, settled: bool) -> anyhow::Result<()> {
    let Silent { terminated, stopped, running } = group;
    let node = bench.node(running).await?.with_context(|| format!("{running}, whose instance runs, was deleted"))?;
    ensure!(!has_taint(&node, SHUTDOWN), "{running}, whose instance runs, was tainted");
    let node =
        bench.node(stopped).await?.with_context(|| format!("{stopped}, whose instance is stopped, was deleted"))?;
    if settled {
        ensure!(has_taint(&node, SHUTDOWN) == bench.declared.stopping, "{stopped} has no shutdown taint");
        ensure!(bench.node(terminated).await?.is_none(), "{terminated}, whose instance is terminated, is still there");
    }
    Ok(())
}
