//! How persistent volumes are labelled.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::PersistentVolume;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};

use super::Disk;
use super::bench::{Bench, eventually};
use crate::objects::persistent_volume;

const ZONE: &str = "topology.kubernetes.io/zone";
const REGION: &str = "topology.kubernetes.io/region";
const VOLUMES: usize = 20;

/// Volumes get what the cloud says about their disks, in one write each, and only those whose disks are the cloud's.
pub(super) async fn labelled(bench: &Bench) -> anyhow::Result<()> {
    let mut disks = BTreeMap::new();
    for n in 0..VOLUMES {
        disks.insert(format!("disk-{n}"), add(bench, &format!("disk-{n}")).await?);
    }
    let csi = json!({"csi": {"driver": "elsewhere.test", "volumeHandle": "disk-0"}});
    create(bench, "csi", csi).await?;
    let own = disks["disk-0"].source.clone();
    let others = [json!({"cinder": {"volumeID": "disk-0"}}), json!({"gcePersistentDisk": {"pdName": "disk-0"}})];
    let is_own =
        |source: &&Value| source.as_object().is_some_and(|kind| kind.keys().all(|kind| own.get(kind).is_none()));
    create(bench, "foreign", others.iter().find(is_own).context("no other kind")?.clone()).await?;

    let controller = bench.start().await?;
    complete(bench, &disks).await?;
    disks.insert("later".to_owned(), add(bench, "later").await?);
    complete(bench, &disks).await?;
    for name in ["csi", "foreign"] {
        let volume = volumes(bench).get(name).await.with_context(|| format!("get volume {name}"))?;
        ensure!(volume.metadata.labels.is_none(), "volume {name} was labelled");
        ensure!(volume.spec.is_some_and(|spec| spec.node_affinity.is_none()), "volume {name} got an affinity");
    }
    controller.terminate().await?;
    let written = writes(bench)?;
    ensure!(written == disks.len(), "{written} writes for {} volumes", disks.len());

    let controller = bench.start().await?;
    tokio::time::sleep(Duration::from_secs(8)).await;
    controller.check()?;
    let again = writes(bench)? - written;
    ensure!(again == 0, "a restart wrote {again} volumes");
    Ok(())
}

/// Whatever the API does, in the end the volumes carry what is true.
pub(super) async fn through_disturbances(bench: &Bench) -> anyhow::Result<()> {
    let controller = bench.start().await?;
    let mut disks = BTreeMap::new();
    for disturbance in bench.declared.disturbances.clone() {
        bench.subject.disturb(disturbance).await?;
        let name = format!("{disturbance}");
        disks.insert(name.clone(), add(bench, &name).await?);
        tokio::time::sleep(Duration::from_secs(5)).await;
        bench.subject.heal().await?;
    }
    complete(bench, &disks).await?;
    controller.check()
}

/// A disk, and a volume that names it.
async fn add(bench: &Bench, name: &str) -> anyhow::Result<Disk> {
    let disk = bench.subject.add_disk().await.context("make a disk")?;
    create(bench, name, disk.source.clone()).await?;
    Ok(disk)
}

async fn create(bench: &Bench, name: &str, source: Value) -> anyhow::Result<()> {
    let volume = persistent_volume(name, json!({}), source)?;
    let created = volumes(bench).create(&PostParams::default(), &volume).await;
    created.with_context(|| format!("create volume {name}")).map(|_| ())
}

/// Waits until each volume says where its disk is, and requires nodes that are there.
async fn complete(bench: &Bench, disks: &BTreeMap<String, Disk>) -> anyhow::Result<()> {
    eventually(bench.patience, || async {
        for (name, disk) in disks {
            let volume = volumes(bench).get(name).await.with_context(|| format!("get volume {name}"))?;
            let labels = volume.metadata.labels.unwrap_or_default();
            let zones: Vec<&str> = disk.zones.iter().map(String::as_str).collect();
            for (key, value) in [(ZONE, zones.join("__")), (REGION, disk.region.clone())] {
                let carried = labels.get(key).map(String::as_str).unwrap_or_default();
                ensure!(carried == value, "volume {name} has {key}={carried:?}, wanted is {value:?}");
            }
            let affinity = serde_json::to_value(volume.spec.and_then(|spec| spec.node_affinity))?;
            let mut required = Vec::new();
            for (key, values) in [(REGION, vec![disk.region.as_str()]), (ZONE, zones)] {
                if values.iter().any(|value| !value.is_empty()) {
                    required.push(json!({"key": key, "operator": "In", "values": values}));
                }
            }
            let wanted = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": required}]}});
            ensure!(affinity == wanted, "volume {name} has the affinity {affinity}, wanted is {wanted}");
        }
        Ok(())
    })
    .await
}

fn volumes(bench: &Bench) -> Api<PersistentVolume> {
    Api::all(bench.client.clone())
}

/// How often a controller wrote volumes.
fn writes(bench: &Bench) -> anyhow::Result<usize> {
    let user = bench.user();
    let writes = bench
        .plane
        .audit()
        .accepted_writes(|request| request.user == user && request.resource.starts_with("persistentvolumes"))?;
    Ok(writes.values().sum())
}
