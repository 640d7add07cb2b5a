//! Ranges of pods' addresses, by whoever allocates them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use cloud_provider::controllers::node_ipam;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, DeleteParams, ListParams};

use super::bench::{Bench, eventually};
use super::restarts::kubernetes_writes;
use super::{Controller, InstanceState, RouteSupport};

/// How long each disturbance lasts.
const DISTURBED: Duration = Duration::from_secs(5);

/// Who allocates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allocator {
    /// The controller, from ranges of the cluster, which has both families. Any cloud can.
    Cluster,
    /// The cloud; the controller copies what it assigned. The cluster is IPv4.
    Cloud,
}

impl Allocator {
    /// The flags that every controller has for it.
    pub fn flags(self) -> Vec<String> {
        let (kind, services) = match self {
            Self::Cluster => ("RangeAllocator", "10.200.0.0/20,fd00:200::/60"),
            Self::Cloud => ("CloudAllocator", "10.0.0.0/16"),
        };
        vec![
            "--controllers=*,node-ipam-controller".to_owned(),
            "--allocate-node-cidrs=true".to_owned(),
            format!("--cidr-allocator-type={kind}"),
            format!("--cluster-cidr={}", cluster_cidr()),
            format!("--service-cluster-ip-range={services}"),
        ]
    }

    /// What the flags come to, for a controller that runs in this process.
    pub fn settings(self) -> anyhow::Result<node_ipam::Settings> {
        let flags = self.flags();
        let value = |name: &str| {
            let mut found =
                flags.iter().filter_map(|flag| flag.strip_prefix("--")?.strip_prefix(name)?.strip_prefix('='));
            found.next_back().unwrap_or_default()
        };
        let cluster_cidrs: Vec<String> = value("cluster-cidr").split(',').map(str::to_owned).collect();
        let flags = node_ipam::Flags {
            allocator: value("cidr-allocator-type"),
            cluster_cidrs: &cluster_cidrs,
            service_ranges: value("service-cluster-ip-range"),
            ..node_ipam::Flags::default()
        };
        Ok(node_ipam::Settings::derive(&flags, &mut Vec::new())?)
    }
}

fn cluster_cidr() -> &'static str {
    RouteSupport { ipv6: true }.cluster_cidr()
}

/// Every node gets ranges of its own, a restart changes nothing, and what a node leaves behind goes to others.
pub(super) async fn of_the_cluster(bench: &Bench) -> anyhow::Result<()> {
    let controller = bench.start_allocating(Allocator::Cluster).await?;
    let mut names = bench.add_nodes(6, Duration::ZERO).await?;
    bench.initialised(&names).await?;
    let before = distinct(bench, &names).await?;
    let controller = restarted(bench, controller, Allocator::Cluster).await?;
    ensure!(distinct(bench, &names).await? == before, "a restart changed ranges");

    let gone = names.remove(0);
    bench.subject.set_instance(&gone, InstanceState::Terminated).await?;
    match nodes(bench).delete(&gone, &DeleteParams::default()).await {
        // The node lifecycle controller was quicker.
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        deleted => drop(deleted.with_context(|| format!("delete node {gone}"))?),
    }
    names.extend(bench.add_nodes(2, Duration::ZERO).await?);
    distinct(bench, &names).await?;
    controller.check()
}

/// Every node gets what the cloud assigned to its instance, whatever the API does meanwhile, and its network is said to be
/// available. A restart changes nothing.
pub(super) async fn of_the_cloud(bench: &Bench) -> anyhow::Result<()> {
    let controller = bench.start_allocating(Allocator::Cloud).await?;
    let mut names = bench.add_nodes(4, Duration::ZERO).await?;
    as_assigned(bench, &names).await?;
    for disturbance in bench.declared.disturbances.clone() {
        bench.subject.disturb(disturbance).await?;
        names.extend(bench.add_nodes(2, Duration::ZERO).await?);
        tokio::time::sleep(DISTURBED).await;
        bench.subject.heal().await?;
        as_assigned(bench, &names).await.with_context(|| format!("after the API was {disturbance}"))?;
    }
    bench.initialised(&names).await?;
    let controller = restarted(bench, controller, Allocator::Cloud).await?;
    as_assigned(bench, &names).await?;
    controller.check()
}

/// Ends the controller and starts another, which must have nothing to write.
async fn restarted(
    bench: &Bench,
    controller: Box<dyn Controller>,
    allocator: Allocator,
) -> anyhow::Result<Box<dyn Controller>> {
    // What is still on its way, events among it.
    tokio::time::sleep(Duration::from_secs(5)).await;
    controller.terminate().await?;
    let requests = kubernetes_writes(bench)?.len();
    let controller = bench.start_allocating(allocator).await?;
    tokio::time::sleep(Duration::from_secs(8)).await;
    controller.check()?;
    let mut told = kubernetes_writes(bench)?.split_off(requests);
    if allocator == Allocator::Cluster {
        // Conditions are the route controller's, which may not have been through yet.
        told.retain(|write| write.starts_with("patch nodes "));
    }
    ensure!(told.is_empty(), "a restart changed the cluster: {}", told.join(", "));
    Ok(controller)
}

/// Waits until each node has a range of each family, and none is there twice.
async fn distinct(bench: &Bench, names: &[String]) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    eventually(bench.patience, || async {
        let ranges = pod_cidrs(bench, names).await?;
        let mut seen = BTreeSet::new();
        for (name, cidrs) in &ranges {
            let families: Vec<bool> = cidrs.iter().map(|cidr| cidr.contains(':')).collect();
            ensure!(families == [false, true], "node {name} has {cidrs:?}");
            for cidr in cidrs {
                ensure!(seen.insert(cidr), "{cidr} is there twice");
            }
        }
        Ok(ranges)
    })
    .await
}

async fn as_assigned(bench: &Bench, names: &[String]) -> anyhow::Result<()> {
    eventually(bench.patience * 2, || async {
        for (name, cidrs) in pod_cidrs(bench, names).await? {
            let assigned = bench.subject.pod_range(&name).await?;
            ensure!(cidrs == [assigned.clone()], "node {name} has {cidrs:?}, its instance {assigned}");
            let node = bench.node(&name).await?.with_context(|| format!("node {name} is gone"))?;
            let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
            let told = conditions.iter().find(|condition| condition.type_ == "NetworkUnavailable");
            ensure!(told.is_some_and(|told| told.status == "False"), "node {name} is not said to have a network");
        }
        Ok(())
    })
    .await
}

async fn pod_cidrs(bench: &Bench, names: &[String]) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    let all = nodes(bench).list(&ListParams::default()).await.context("list nodes")?.items;
    let mut ranges = BTreeMap::new();
    for node in all {
        let name = node.metadata.name.unwrap_or_default();
        if names.contains(&name) {
            ranges.insert(name, node.spec.and_then(|spec| spec.pod_cidrs).unwrap_or_default());
        }
    }
    ensure!(ranges.len() == names.len(), "{} nodes of {} are there", ranges.len(), names.len());
    Ok(ranges)
}

fn nodes(bench: &Bench) -> Api<Node> {
    Api::all(bench.client.clone())
}
