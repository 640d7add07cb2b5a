//! Routes to the pod ranges of nodes.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::json;

use super::bench::{Bench, eventually};
use super::restarts::start_changes_nothing;
use super::{InstanceState, Route};

/// Outside the cluster's ranges, in a block for documentation.
const FOREIGN: &str = "198.51.100.0/24";
/// How long each disturbance lasts.
const DISTURBED: Duration = Duration::from_secs(5);

/// A node that gets its range gets its routes, and the condition that says so; when it goes its routes go. Routes of others
/// stay.
pub(super) async fn follow_nodes(bench: &Bench) -> anyhow::Result<()> {
    let controller = bench.start().await?;
    let names = bench.add_nodes(3, Duration::ZERO).await?;
    let [first, second, third] = names.as_slice() else { anyhow::bail!("wrong number of names") };
    bench.initialised(&names).await?;
    bench.subject.add_foreign_route(FOREIGN, first).await?;
    let mut wanted = BTreeSet::from([Route { destination: FOREIGN.to_owned(), node: Some(first.clone()) }]);
    routed(bench, &wanted, &[]).await?;

    for (n, name) in [(1, first), (2, second)] {
        wanted.extend(give_range(bench, name, n).await?);
    }
    routed(bench, &wanted, &[first, second]).await?;
    ensure!(network_unavailable(bench, third).await?.is_none(), "a node without range and routes got the condition");
    let of_third = give_range(bench, third, 3).await?;
    wanted.extend(of_third);
    routed(bench, &wanted, &[first, second, third]).await?;

    bench.subject.set_instance(second, InstanceState::Terminated).await?;
    remove_node(bench, second).await?;
    wanted.retain(|route| route.node.as_ref() != Some(second));
    routed(bench, &wanted, &[first, third]).await?;
    controller.check()
}

/// What leads to nodes that went while no controller ran is found and removed, and the ranges are used anew.
pub(super) async fn of_vanished_nodes(bench: &Bench) -> anyhow::Result<()> {
    let controller = bench.start().await?;
    let names = bench.add_nodes(2, Duration::ZERO).await?;
    let [stays, goes] = names.as_slice() else { anyhow::bail!("wrong number of names") };
    bench.initialised(&names).await?;
    let mut wanted = give_range(bench, stays, 1).await?;
    let gone = give_range(bench, goes, 2).await?;
    routed(bench, &wanted.union(&gone).cloned().collect(), &[stays, goes]).await?;
    controller.terminate().await?;

    bench.subject.set_instance(goes, InstanceState::Terminated).await?;
    remove_node(bench, goes).await?;
    let controller = bench.start().await?;
    routed(bench, &wanted, &[stays]).await?;
    controller.terminate().await?;

    // A black hole in the place of a route that is wanted.
    let names = bench.add_nodes(1, Duration::ZERO).await?;
    let [lost] = names.as_slice() else { anyhow::bail!("wrong number of names") };
    let controller = bench.start().await?;
    bench.initialised(&names).await?;
    let hole = give_range(bench, lost, 3).await?;
    routed(bench, &wanted.union(&hole).cloned().collect(), &[stays, lost]).await?;
    controller.terminate().await?;
    bench.subject.set_instance(lost, InstanceState::Terminated).await?;
    remove_node(bench, lost).await?;
    let names = bench.add_nodes(1, Duration::ZERO).await?;
    let [heir] = names.as_slice() else { anyhow::bail!("wrong number of names") };
    wanted.extend(give_range(bench, heir, 3).await?);
    let controller = bench.start().await?;
    routed(bench, &wanted, &[stays, heir]).await?;
    controller.check()
}

/// Whatever the API does meanwhile, in the end each node has its routes.
pub(super) async fn through_disturbances(bench: &Bench) -> anyhow::Result<()> {
    let controller = bench.start().await?;
    let mut wanted = BTreeSet::new();
    let mut routed_nodes = Vec::new();
    for (n, disturbance) in (1..).zip(bench.declared.disturbances.iter().copied()) {
        let names = bench.add_nodes(2, Duration::ZERO).await?;
        let [stays, goes] = names.as_slice() else { anyhow::bail!("wrong number of names") };
        bench.initialised(&names).await?;
        let gone = give_range(bench, goes, 100 + n).await?;
        let nodes: Vec<&String> = routed_nodes.iter().chain(&names[1..]).collect();
        routed(bench, &wanted.union(&gone).cloned().collect(), &nodes).await?;

        bench.subject.disturb(disturbance).await?;
        wanted.extend(give_range(bench, stays, n).await?);
        remove_node(bench, goes).await?;
        tokio::time::sleep(DISTURBED).await;
        bench.subject.heal().await?;
        routed_nodes.push(stays.clone());
        let nodes: Vec<&String> = routed_nodes.iter().collect();
        // A back-off may have come to a minute.
        routed(bench, &wanted, &nodes).await.with_context(|| format!("after the API was {disturbance}"))?;
    }
    controller.check()
}

/// A second run over routed nodes changes neither the cloud nor the cluster.
pub(super) async fn restart_changes_nothing(bench: &Bench) -> anyhow::Result<()> {
    let controller = bench.start().await?;
    let names = bench.add_nodes(2, Duration::ZERO).await?;
    bench.initialised(&names).await?;
    let mut wanted = BTreeSet::new();
    for (n, name) in (1..).zip(&names) {
        wanted.extend(give_range(bench, name, n).await?);
    }
    let nodes: Vec<&String> = names.iter().collect();
    routed(bench, &wanted, &nodes).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    controller.terminate().await?;
    start_changes_nothing(bench).await?;
    routed(bench, &wanted, &nodes).await
}

/// Gives a node its `n`th range of each family, as whoever allocates does, and says which routes follow from that.
async fn give_range(bench: &Bench, node: &str, n: u8) -> anyhow::Result<BTreeSet<Route>> {
    let mut ranges = vec![format!("10.200.{n}.0/24")];
    if bench.declared.routes.is_some_and(|support| support.ipv6) {
        ranges.push(format!("fd00:200:0:{n:x}::/64"));
    }
    let patch = Patch::Strategic(json!({ "spec": { "podCIDR": ranges[0], "podCIDRs": ranges } }));
    nodes(bench)
        .patch(node, &PatchParams::default(), &patch)
        .await
        .with_context(|| format!("give {node} its range"))?;
    Ok(ranges.into_iter().map(|destination| Route { destination, node: Some(node.to_owned()) }).collect())
}

async fn remove_node(bench: &Bench, name: &str) -> anyhow::Result<()> {
    // The node lifecycle controller may have been quicker.
    match nodes(bench).delete(name, &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        deleted => deleted.with_context(|| format!("delete node {name}")).map(|_| ()),
    }
}

/// Waits until the routes are exactly these, and these nodes say that they are routed.
async fn routed(bench: &Bench, wanted: &BTreeSet<Route>, nodes: &[&String]) -> anyhow::Result<()> {
    eventually(bench.patience * 2, || async {
        let now = bench.subject.routes().await?;
        let missing: Vec<_> = wanted.difference(&now).collect();
        ensure!(missing.is_empty(), "routes are missing: {missing:?}");
        let left: Vec<_> = now.difference(wanted).collect();
        ensure!(left.is_empty(), "routes are left: {left:?}");
        for node in nodes {
            let told = network_unavailable(bench, node).await?;
            let expected = Some(("False".to_owned(), "RouteCreated".to_owned()));
            ensure!(told == expected, "condition NetworkUnavailable of {node} is {told:?}");
        }
        Ok(())
    })
    .await
}

/// Status and reason of the condition, where the node has it.
async fn network_unavailable(bench: &Bench, name: &str) -> anyhow::Result<Option<(String, String)>> {
    let node = bench.node(name).await?.with_context(|| format!("node {name} is gone"))?;
    let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
    let found = conditions.into_iter().find(|condition| condition.type_ == "NetworkUnavailable");
    Ok(found.map(|condition| (condition.status, condition.reason.unwrap_or_default())))
}

fn nodes(bench: &Bench) -> Api<Node> {
    Api::all(bench.client.clone())
}
