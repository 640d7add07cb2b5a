use std::{collections::BTreeMap, sync::Arc, time::Duration};

use cloud_provider::{
    cloud::{Location, Volumes},
    controllers::{Managed as _, persistent_volume_label::PersistentVolumeLabelController, plan::Target},
};
use cloud_provider_testing::objects::persistent_volume;
use k8s_openapi::api::core::v1 as api;
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::harness::{Harness, ScriptedVolumes, eventually};

const ZONE: &str = "topology.kubernetes.io/zone";
const REGION: &str = "topology.kubernetes.io/region";

fn controller(harness: &Harness, volumes: &Arc<ScriptedVolumes>) -> PersistentVolumeLabelController {
    PersistentVolumeLabelController::new(
        volumes.clone() as Arc<dyn Volumes>,
        harness.client.clone(),
        harness.events.recorder("persistent-volume-label-controller"),
        &harness.metrics,
    )
}

fn start(harness: &mut Harness, volumes: &Arc<ScriptedVolumes>) {
    harness.run(controller(harness, volumes));
}

fn location(zones: &[&str]) -> Location {
    Location { zones: zones.iter().map(|zone| (*zone).to_owned()).collect(), region: "r".into(), ..Location::default() }
}

fn ebs(id: &str) -> Value {
    json!({"awsElasticBlockStore": {"volumeID": id}})
}

/// A volume with more in its metadata and spec.
async fn create(harness: &Harness, name: &str, metadata: Value, spec: Value) -> api::PersistentVolume {
    let volume = persistent_volume(name, metadata, spec).unwrap();
    volumes_api(harness).create(&PostParams::default(), &volume).await.unwrap()
}

fn volumes_api(harness: &Harness) -> Api<api::PersistentVolume> {
    Api::all(harness.client.clone())
}

/// Labels, and the node affinity as JSON.
async fn seen(harness: &Harness, name: &str) -> (BTreeMap<String, String>, Value) {
    let volume = volumes_api(harness).get(name).await.unwrap();
    let affinity = volume.spec.unwrap().node_affinity;
    (volume.metadata.labels.unwrap_or_default(), serde_json::to_value(affinity).unwrap())
}

async fn labelled(harness: &Harness, name: &str, zone: &str) -> (BTreeMap<String, String>, Value) {
    eventually(&format!("{name} is in {zone}"), || async {
        let (labels, affinity) = seen(harness, name).await;
        (labels.get(ZONE).is_some_and(|value| value == zone)).then_some((labels, affinity))
    })
    .await
}

fn required(zones: &[&str]) -> Value {
    json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [
        {"key": REGION, "operator": "In", "values": ["r"]},
        {"key": ZONE, "operator": "In", "values": zones},
    ]}]}})
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_that_exist_get_what_they_lack_in_few_look_ups_and_a_write_each() {
    let mut harness = Harness::start().await;
    let volumes = Arc::new(ScriptedVolumes::default());
    for n in 0..40 {
        volumes.set(&format!("vol-{n}"), location(&["a"]));
        create(&harness, &format!("pv-{n}"), json!({}), ebs(&format!("vol-{n}"))).await;
    }
    volumes.set("vol-two", location(&["b", "a"]));
    create(&harness, "two-zones", json!({"labels": {"mine": "x", ZONE: "wrong"}}), ebs("vol-two")).await;
    volumes.set("vol-bound", location(&["a"]));
    let hostname = json!({"key": "kubernetes.io/hostname", "operator": "In", "values": ["n"]});
    let bound = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [hostname]}]}});
    let mut spec = ebs("vol-bound");
    spec["nodeAffinity"] = bound.clone();
    create(&harness, "with-affinity", json!({}), spec).await;
    let csi = json!({"csi": {"driver": "ebs.csi.aws.com", "volumeHandle": "vol-1"}});
    create(&harness, "csi", json!({}), csi).await;
    create(&harness, "unborn", json!({}), ebs("placeholder-for-provisioning")).await;
    volumes.set_foreign("disk-1");
    create(&harness, "foreign", json!({}), json!({"cinder": {"volumeID": "disk-1"}})).await;
    volumes.set("vol-done", location(&["a"]));
    let mut done = ebs("vol-done");
    done["nodeAffinity"] = required(&["a"]);
    create(&harness, "done", json!({"labels": {ZONE: "a", REGION: "r"}}), done).await;

    let plan = controller(&harness, &volumes).plan().await;
    assert!(plan.errors.is_empty(), "{plan:?}");
    assert!(plan.changes.iter().all(|change| change.target == Target::Cluster));
    let planned = |object: &str| {
        let object = format!("persistentvolume {object}");
        let of_object = plan.changes.iter().filter(|change| change.object == object);
        of_object.map(|change| change.what.clone()).collect::<Vec<_>>()
    };
    let [region, zone] = ["set label topology.kubernetes.io/region=r", "set label topology.kubernetes.io/zone=a"];
    assert_eq!(planned("pv-7"), [region, zone, "set node affinity"]);
    assert_eq!(planned("with-affinity"), [region, zone]);
    for untouched in ["csi", "unborn", "foreign", "done"] {
        assert_eq!(planned(untouched), [] as [&str; 0], "{untouched}");
    }
    let calls_of_plan = volumes.calls();
    assert_eq!(calls_of_plan, 1);

    start(&mut harness, &volumes);
    for n in 0..40 {
        let (_, affinity) = labelled(&harness, &format!("pv-{n}"), "a").await;
        assert_eq!(affinity, required(&["a"]), "pv-{n}");
    }
    let (labels, affinity) = labelled(&harness, "two-zones", "a__b").await;
    assert_eq!(labels["mine"], "x");
    assert_eq!(affinity, required(&["a", "b"]));
    assert_eq!(labelled(&harness, "with-affinity", "a").await.1, bound, "an affinity that is there cannot be changed");
    let patch = Patch::Merge(json!({"spec": {"nodeAffinity": required(&["a"])}}));
    match volumes_api(&harness).patch("with-affinity", &PatchParams::default(), &patch).await {
        Err(kube::Error::Api(status)) => assert_eq!(status.code, 422, "{}", status.message),
        other => panic!("{other:?}"),
    }
    for untouched in ["csi", "unborn", "foreign"] {
        assert_eq!(seen(&harness, untouched).await, (BTreeMap::new(), Value::Null), "{untouched}");
    }
    let calls = volumes.calls() - calls_of_plan;
    assert!(calls <= 3, "{calls} look-ups");
    let writes = harness.control_plane.audit().accepted_writes(|_| true).unwrap();
    let of_volumes = |verb: &str| -> usize {
        let kinds = writes.iter().filter(|(kind, _)| kind.verb == verb && kind.resource == "persistentvolumes");
        kinds.map(|(_, count)| count).sum()
    };
    assert_eq!((of_volumes("update"), of_volumes("patch")), (42, 0), "{writes:?}");
    assert!(controller(&harness, &volumes).plan().await.changes.is_empty(), "nothing is left to do");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_is_labelled_again_when_its_labels_change_and_when_the_cloud_answers_at_last() {
    let mut harness = Harness::start().await;
    let volumes = Arc::new(ScriptedVolumes::default());
    start(&mut harness, &volumes);
    volumes.set("disk-1", location(&["a"]));
    create(&harness, "changed", json!({}), json!({"gcePersistentDisk": {"pdName": "disk-1"}})).await;
    create(&harness, "lost", json!({}), json!({"cinder": {"volumeID": "disk-2"}})).await;
    labelled(&harness, "changed", "a").await;
    let patch = Patch::Merge(json!({"metadata": {"labels": {ZONE: null, "mine": "x"}}}));
    volumes_api(&harness).patch("changed", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(labelled(&harness, "changed", "a").await.0["mine"], "x");

    eventually("the failure is told", || async {
        (harness.event_reasons("lost").await == ["LabelingFailed"]).then_some(())
    })
    .await;
    assert_eq!(seen(&harness, "lost").await.0, BTreeMap::new());
    volumes.set("disk-2", location(&["b"]));
    labelled(&harness, "lost", "b").await;

    // Labels that a provisioner wrote are not doubted, and nobody is asked about them.
    let calls = volumes.calls();
    let provisioned = json!({
        "labels": {"failure-domain.beta.kubernetes.io/zone": "z", "failure-domain.beta.kubernetes.io/region": "r"},
        "annotations": {"pv.kubernetes.io/provisioned-by": "kubernetes.io/vsphere-volume"},
    });
    create(&harness, "provisioned", provisioned, json!({"vsphereVolume": {"volumePath": "[d] a.vmdk"}})).await;
    let affinity = eventually("the provisioned volume has an affinity", || async {
        Some(seen(&harness, "provisioned").await.1).filter(|affinity| !affinity.is_null())
    })
    .await;
    assert_eq!(affinity["required"]["nodeSelectorTerms"][0]["matchExpressions"][1]["values"], json!(["z"]));
    tokio::time::timeout(Duration::from_secs(5), async {
        harness.token.cancel();
        while harness.tasks.join_next().await.is_some() {}
    })
    .await
    .unwrap();
    assert_eq!(volumes.calls(), calls);
}
