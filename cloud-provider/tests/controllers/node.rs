use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use cloud_provider::{
    cloud::{Instance, Power},
    controllers::node::{NodeController, Settings},
};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::harness::{Harness, ScriptedInstances, UNINITIALIZED, eventually, has_taint, present, tainted};

fn start(harness: &mut Harness, instances: &Arc<ScriptedInstances>) {
    start_with(harness, instances, Settings::default());
}

pub(crate) fn start_with(harness: &mut Harness, instances: &Arc<ScriptedInstances>, settings: Settings) {
    let controller = NodeController::new(
        instances.clone(),
        harness.nodes.clone(),
        harness.client.clone(),
        harness.events.recorder("cloud-node-controller"),
        settings,
        &harness.metrics,
    );
    harness.run(controller);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_nodes_are_initialised_in_few_calls_and_three_writes_each() {
    let mut harness = Harness::start().await;
    let instances = Arc::new(ScriptedInstances::default());
    start(&mut harness, &instances);
    let begun = Instant::now();
    for index in 0..100 {
        instances.set(&format!("n{index}"), present(&format!("i-{index}"), Power::Running));
        harness.create_node(&format!("n{index}"), tainted()).await;
    }
    let api = harness.nodes_api();
    let nodes = eventually("all nodes are initialised", || async {
        let nodes = api.list(&Default::default()).await.unwrap().items;
        let done = nodes.iter().all(|node| !has_taint(node, UNINITIALIZED));
        (done && nodes.len() == 100).then_some(nodes)
    })
    .await;
    let took = begun.elapsed();
    for node in &nodes {
        let labels = node.metadata.labels.as_ref().unwrap();
        assert_eq!(labels["topology.kubernetes.io/zone"], "us-west-1a");
        assert_eq!(labels["failure-domain.beta.kubernetes.io/region"], "us-west");
        assert_eq!(labels["node.kubernetes.io/instance-type"], "t1.micro");
        assert_eq!(labels["my.label/foo"], "bar");
        let id = format!("fake://i-{}", &node.metadata.name.as_ref().unwrap()[1..]);
        assert_eq!(node.spec.as_ref().unwrap().provider_id, Some(id));
        assert_eq!(node.status.as_ref().unwrap().addresses.as_ref().unwrap().len(), 2);
    }
    let calls = instances.calls.load(Ordering::SeqCst);
    // One a second at most, however long this machine takes to register them.
    let limit = 12.max(2 + took.as_secs() as usize);
    assert!(calls <= limit, "{calls} look-ups for 100 nodes in {took:?}");
    eventually("the events are written", || async { (harness.event_reasons("n99").await == ["Synced"]).then_some(()) })
        .await;
    let writes = harness.control_plane.audit().accepted_writes(|_| true).unwrap();
    let updates: usize = writes
        .iter()
        .filter(|(kind, _)| kind.verb == "patch" && kind.resource.starts_with("nodes"))
        .map(|(_, count)| count)
        .sum();
    assert_eq!(updates, 200, "one status write and one conditional write per node: {writes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_answer_waits_and_foreign_and_virtual_nodes_are_left_alone() {
    let mut harness = Harness::start().await;
    let instances = Arc::new(ScriptedInstances::default());
    start(&mut harness, &instances);
    instances.set("foreign", Instance::Foreign);
    instances.set("bad-ip", present("i-2", Power::Running));
    instances.set("good", present("i-1", Power::Running));
    harness.create_node("foreign", tainted()).await;
    harness.create_node("silent", tainted()).await;
    let mut bad = json!({"metadata": {"name": "bad-ip"}, "spec": tainted()});
    bad["metadata"]["annotations"] = json!({"alpha.kubernetes.io/provided-node-ip": "10.0.0.2"});
    let api = harness.nodes_api();
    api.create(&Default::default(), &serde_json::from_value(bad).unwrap()).await.unwrap();
    let mut custom = json!({"metadata": {"name": "virtual", "labels": {"type": "virtual-kubelet"}}, "spec": tainted()});
    custom["spec"]["taints"][0]["value"] = json!("odd");
    api.create(&Default::default(), &serde_json::from_value(custom).unwrap()).await.unwrap();
    harness
        .create_node(
            "good",
            json!({"taints": [
                {"key": "ImproveCoverageTaint", "value": "true", "effect": "NoSchedule"},
                {"key": UNINITIALIZED, "effect": "NoExecute"},
            ]}),
        )
        .await;
    eventually("the good node is initialised", || async {
        let node = api.get("good").await.unwrap();
        (has_taint(&node, "ImproveCoverageTaint") && !has_taint(&node, UNINITIALIZED)).then_some(())
    })
    .await;
    for name in ["foreign", "silent", "bad-ip", "virtual"] {
        let node = api.get(name).await.unwrap();
        assert!(has_taint(&node, UNINITIALIZED), "{name}");
        assert!(node.status.unwrap().addresses.is_none(), "{name}");
    }
    instances.set("silent", present("i-3", Power::Running));
    eventually("the silent node is initialised once the cloud answers", || async {
        (!has_taint(&api.get("silent").await.unwrap(), UNINITIALIZED)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_are_refreshed_and_other_nodes_left_alone_as_the_settings_say() {
    let mut harness = Harness::start().await;
    let instances = Arc::new(ScriptedInstances::default());
    for name in ["n1", "edge"] {
        instances.set(name, present("i-1", Power::Running));
        harness.create_node(name, json!({"providerID": "fake://i-1"})).await;
    }
    let api = harness.nodes_api();
    let label = |name: &'static str, labels: serde_json::Value| {
        let (api, patch) = (api.clone(), Patch::Merge(json!({"metadata": {"labels": labels}})));
        async move { api.patch(name, &PatchParams::default(), &patch).await.unwrap() }
    };
    label("edge", json!({"site": "edge"})).await;
    label("n1", json!({"topology.kubernetes.io/zone": "old", "my.label/foo": "old", "my.label/own": "x"})).await;
    let settings = Settings {
        status_update_frequency: Duration::from_millis(300),
        unmanaged: "site=edge".parse().unwrap(),
        refresh_labels: true,
        refresh_additional_labels: true,
        ..Settings::default()
    };
    start_with(&mut harness, &instances, settings);
    let labels = eventually("the labels follow the cloud", || async {
        let labels = api.get("n1").await.unwrap().metadata.labels.unwrap_or_default();
        (labels.get("my.label/foo").is_some_and(|value| value == "bar")).then_some(labels)
    })
    .await;
    assert_eq!(labels["topology.kubernetes.io/zone"], "us-west-1a");
    assert_eq!(labels["node.kubernetes.io/instance-type"], "t1.micro");
    assert_eq!(labels["my.label/own"], "x");
    let edge = api.get("edge").await.unwrap();
    assert!(edge.status.unwrap().addresses.is_none() && edge.metadata.labels.unwrap().len() == 2);
    let writes = || harness.control_plane.audit().accepted_writes(|write| write.verb == "patch").unwrap();
    let before = writes();
    let calls = instances.calls.load(Ordering::SeqCst);
    eventually("some more passes", || async { (instances.calls.load(Ordering::SeqCst) > calls + 3).then_some(()) })
        .await;
    assert_eq!(writes(), before, "a pass that finds nothing writes nothing");
}
