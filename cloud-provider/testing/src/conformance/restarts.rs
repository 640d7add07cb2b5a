//! Controllers that end and start again.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::Election;
use super::bench::Bench;

const POINTS: u32 = 20;

/// A second run over a settled cluster changes neither the cloud nor the cluster.
pub(super) async fn changes_nothing(bench: &Bench) -> anyhow::Result<()> {
    let controller = bench.start().await?;
    let nodes = bench.add_nodes(3, Duration::ZERO).await?;
    bench.initialised(&nodes).await?;
    let kinds = bench.declared.services.clone();
    for kind in &kinds {
        bench.service(kind, &kind.name).create(&bench.client).await?;
    }
    for kind in &kinds {
        bench.balanced(&kind.name, &[80], &nodes).await?;
    }
    // What is still on its way, events among it.
    tokio::time::sleep(Duration::from_secs(5)).await;
    controller.terminate().await?;
    start_changes_nothing(bench).await
}

/// A controller that is started changes neither the cloud nor the cluster.
pub(super) async fn start_changes_nothing(bench: &Bench) -> anyhow::Result<()> {
    let (calls, requests) = (writes(bench).await?, kubernetes_writes(bench)?.len());
    let controller = bench.start().await?;
    tokio::time::sleep(Duration::from_secs(12)).await;
    controller.check()?;
    let changes = writes(bench).await? - calls;
    ensure!(changes == 0, "a restart made {changes} changes to the cloud");
    let told = kubernetes_writes(bench)?.split_off(requests);
    ensure!(told.is_empty(), "a restart changed the cluster: {}", told.join(", "));
    Ok(())
}

pub(super) async fn writes(bench: &Bench) -> anyhow::Result<u64> {
    let calls = bench.subject.calls().await?;
    Ok(calls.iter().filter(|(call, _)| (bench.declared.writes)(call)).map(|(_, count)| count).sum())
}

/// Leases aside, which every controller renews.
pub(super) fn kubernetes_writes(bench: &Bench) -> anyhow::Result<Vec<String>> {
    let user = bench.user();
    let changes = |resource: &str| !resource.ends_with("reviews") && resource != "leases";
    let requests =
        bench.plane.audit().requests(|r| r.user == user && r.is_write() && r.accepted() && changes(&r.resource))?;
    Ok(requests.into_iter().map(|request| format!("{} {} {}", request.verb, request.resource, request.name)).collect())
}

/// Killed at 20 points spread over the run, of which the later half falls into the removal, and started again, it comes
/// to the same end each time.
pub(super) async fn killed_at_points(bench: &Bench) -> anyhow::Result<()> {
    let mut nodes = bench.add_nodes(2, Duration::ZERO).await?;
    let controller = bench.start().await?;
    bench.initialised(&nodes).await?;
    let before = bench.subject.belongings().await?;

    // How long it takes undisturbed.
    let begun = Instant::now();
    let names = create(bench, "timed").await?;
    settled(bench, &names, &nodes).await?;
    let creating = begun.elapsed();
    let begun = Instant::now();
    delete(bench, &names).await?;
    bench.gone(&names, &before).await?;
    let deleting = begun.elapsed();
    controller.kill().await?;

    for point in 0..POINTS {
        let about = || format!("killed at point {} of {POINTS}", point + 1);
        let controller = bench.start().await?;
        let names = create(bench, &format!("point-{point}")).await?;
        let half = POINTS / 2;
        if point < half {
            nodes.extend(bench.add_nodes(1, Duration::ZERO).await?);
            tokio::time::sleep(creating * point / half).await;
        } else {
            settled(bench, &names, &nodes).await.with_context(about)?;
            delete(bench, &names).await?;
            tokio::time::sleep(deleting * (point - half) / half).await;
        }
        controller.kill().await?;
        let controller = bench.start().await?;
        if point < half {
            bench.initialised(&nodes).await.with_context(about)?;
            settled(bench, &names, &nodes).await.with_context(about)?;
            let balancers = bench.subject.load_balancers().await?.len();
            ensure!(balancers == names.len(), "{balancers} load balancers for {} services, {}", names.len(), about());
            delete(bench, &names).await?;
        }
        bench.gone(&names, &before).await.with_context(about)?;
        controller.check()?;
        controller.kill().await?;
    }
    Ok(())
}

async fn create(bench: &Bench, prefix: &str) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for kind in &bench.declared.services {
        let name = format!("{prefix}-{}", kind.name);
        bench.service(kind, &name).create(&bench.client).await?;
        names.push(name);
    }
    Ok(names)
}

async fn settled(bench: &Bench, names: &[String], nodes: &[String]) -> anyhow::Result<()> {
    for name in names {
        bench.balanced(name, &[80], nodes).await?;
    }
    Ok(())
}

async fn delete(bench: &Bench, names: &[String]) -> anyhow::Result<()> {
    for name in names {
        bench.delete_service(name).await?;
    }
    Ok(())
}

/// A controller that is asked to end lets the lease go, and a warm standby acts within five seconds, within three when it
/// tries every second.
pub(super) async fn standby_takes_over(bench: &Bench) -> anyhow::Result<()> {
    let mut leader = bench.start_with(Election::Default).await?;
    let nodes = bench.add_nodes(1, Duration::ZERO).await?;
    bench.initialised(&nodes).await?;
    for (election, limit) in [(Election::Default, 5.0), (Election::EverySecond, 3.0)] {
        let standby = bench.start_with(election).await?;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let begun = Instant::now();
        leader.terminate().await?;
        let nodes = bench.add_nodes(1, Duration::ZERO).await?;
        bench.initialised(&nodes).await?;
        let took = begun.elapsed().as_secs_f64();
        ensure!(took < limit, "the standby took {took:.1} s, wanted are less than {limit} ({election:?})");
        leader = standby;
    }
    leader.check()
}
