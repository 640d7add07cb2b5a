use std::{sync::Arc, time::Duration};

use cloud_provider::{
    cloud::{Instance, Power},
    controllers::node_lifecycle::{MAY_BE_DELETED, NodeLifecycleController, Settings},
};
use k8s_openapi::api::core::v1::Event;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::harness::{Harness, ScriptedInstances, eventually, has_taint, present};

const SHUTDOWN: &str = "node.cloudprovider.kubernetes.io/shutdown";

fn start(harness: &mut Harness, instances: &Arc<ScriptedInstances>) {
    start_with(harness, instances, Duration::from_millis(300));
}

fn start_with(harness: &mut Harness, instances: &Arc<ScriptedInstances>, monitor_period: Duration) {
    let settings = Settings {
        monitor_period,
        grace: Duration::from_secs(1),
        grace_young: Duration::from_secs(1),
        ..Settings::default()
    };
    let controller = NodeLifecycleController::new(
        instances.clone(),
        harness.nodes.clone(),
        harness.client.clone(),
        harness.events.recorder("cloud-node-lifecycle-controller"),
        settings,
        &harness.metrics,
    );
    harness.run(controller);
}

/// For one interface.
#[tokio::test(flavor = "multi_thread")]
async fn section_12_4_node_deletion_and_shutdown_case() {
    let mut harness = Harness::start().await;
    let instances = Arc::new(ScriptedInstances::default());
    let nodes = [
        ("unready-gone", "False", Some(Instance::Gone)),
        ("unready-error", "False", None),
        ("unready-there", "False", Some(present("i-1", Power::Running))),
        ("unknown-gone", "Unknown", Some(Instance::Gone)),
        ("unknown-there", "Unknown", Some(present("i-2", Power::Running))),
        ("ready-gone", "True", Some(Instance::Gone)),
        ("unready-stopped", "False", Some(present("i-3", Power::Stopped))),
        ("ready-stopped", "True", Some(present("i-4", Power::Stopped))),
        ("foreign", "False", Some(Instance::Foreign)),
        ("stale", "False", Some(Instance::Gone)),
    ];
    for (name, ready, instance) in nodes {
        if let Some(instance) = instance {
            instances.set(name, instance);
        }
        harness.create_node(name, json!({"providerID": format!("fake://{name}")})).await;
        harness.set_ready(name, ready).await;
    }
    // A listing that misses an instance nominates; the read of the instance itself keeps the node.
    instances.set_live("stale", present("i-5", Power::Running));
    start(&mut harness, &instances);
    let api = harness.nodes_api();
    eventually("the two nodes of gone instances are deleted, the stopped one is tainted", || async {
        let nodes = api.list(&Default::default()).await.unwrap().items;
        let tainted =
            nodes.iter().any(|node| node.spec.as_ref().unwrap().taints.iter().flatten().any(|t| t.key == SHUTDOWN));
        (nodes.len() == 8 && tainted).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let nodes = api.list(&Default::default()).await.unwrap().items;
    let mut left: Vec<String> = nodes.iter().filter_map(|node| node.metadata.name.clone()).collect();
    left.sort();
    let kept = [
        "foreign",
        "ready-gone",
        "ready-stopped",
        "stale",
        "unknown-there",
        "unready-error",
        "unready-stopped",
        "unready-there",
    ];
    assert_eq!(left, kept);
    let tainted: Vec<_> = nodes
        .iter()
        .filter(|node| has_taint(node, SHUTDOWN))
        .filter_map(|node| node.metadata.name.as_deref())
        .collect();
    assert_eq!(tainted, ["unready-stopped"]);
    eventually("the deletion is told", || async {
        (harness.event_reasons("unready-gone").await == ["DeletingNode"]).then_some(())
    })
    .await;
    let events: Api<Event> = Api::all(harness.client.clone());
    for event in events.list(&Default::default()).await.unwrap() {
        assert_eq!(event.involved_object.api_version.as_deref(), Some("v1"), "{event:?}");
    }

    harness.set_ready("unready-stopped", "True").await;
    eventually("the taint goes when the node is ready", || async {
        (!has_taint(&api.get("unready-stopped").await.unwrap(), SHUTDOWN)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn section_12_4_metrics() {
    let mut harness = Harness::start().await;
    let instances = Arc::new(ScriptedInstances::default());
    for (name, ready) in [("a", "True"), ("b", "True"), ("c", "False")] {
        instances.set(name, present("i-1", Power::Running));
        harness.create_node(name, json!({"providerID": "fake://i-1"})).await;
        harness.set_ready(name, ready).await;
    }
    // The only pass within this test's time must see all three.
    eventually("the store has seen all conditions", || async {
        (harness.nodes.list().iter().filter(|node| node.ready().is_some()).count() == 3).then_some(())
    })
    .await;
    start_with(&mut harness, &instances, Duration::from_secs(3600));
    let name = "cloud_node_lifecycle_controller_cloud_provider_calls_total";
    let text = eventually("a pass was made", || async {
        let text = harness.metrics.render();
        text.contains(name).then_some(text)
    })
    .await;
    for operation in ["instance_exists", "instance_shutdown"] {
        let line = format!("{name}{{operation=\"{operation}\",result=\"success\"}} 1\n");
        assert!(text.contains(&line), "{line}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_most_nodes_seem_gone_none_is_deleted_unless_somebody_says_that_it_may_go() {
    let mut harness = Harness::start().await;
    let instances = Arc::new(ScriptedInstances::default());
    let api = harness.nodes_api();
    for index in 0..12 {
        let name = format!("n{index:02}");
        let gone = index < 8;
        instances.set(&name, if gone { Instance::Gone } else { present("i-1", Power::Running) });
        harness.create_node(&name, json!({"providerID": format!("fake://{name}")})).await;
        harness.set_ready(&name, if gone { "False" } else { "True" }).await;
    }
    start(&mut harness, &instances);
    eventually("the nodes are told why they stay", || async {
        (harness.event_reasons("n00").await == ["NodeDeletionHeld"]).then_some(())
    })
    .await;
    let held = |count: usize| format!("cloud_node_lifecycle_controller_deletions_held {count}\n");
    assert!(harness.metrics.render().contains(&held(8)), "{}", harness.metrics.render());
    let names = || async {
        let nodes = api.list(&Default::default()).await.unwrap().items;
        nodes.into_iter().filter_map(|node| node.metadata.name).collect::<Vec<_>>()
    };
    assert_eq!(names().await.len(), 12);

    // One may go by an operator's word, the others stay: 7 of 11 is still too many.
    let annotation = json!({"metadata": {"annotations": {MAY_BE_DELETED: "true"}}});
    api.patch("n00", &PatchParams::default(), &Patch::Merge(annotation)).await.unwrap();
    eventually("the annotated node goes", || async {
        let names = names().await;
        (!names.contains(&"n00".to_owned()) && harness.metrics.render().contains(&held(7))).then_some(())
    })
    .await;
    assert_eq!(names().await.len(), 11);

    // The autoscaler's taint says the same.
    let taint = json!({"spec": {"taints": [{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}]}});
    api.patch("n01", &PatchParams::default(), &Patch::Strategic(taint)).await.unwrap();
    eventually("the tainted node goes", || async { (names().await.len() == 10).then_some(()) }).await;

    // Two come back: 4 of 10 is no mass disappearance any more.
    for name in ["n02", "n03"] {
        instances.set(name, present("i-1", Power::Running));
    }
    eventually("the guard releases", || async { (names().await.len() == 6).then_some(()) }).await;
    assert_eq!(names().await, ["n02", "n03", "n08", "n09", "n10", "n11"]);
    eventually("the metric falls", || async { harness.metrics.render().contains(&held(0)).then_some(()) }).await;
}
