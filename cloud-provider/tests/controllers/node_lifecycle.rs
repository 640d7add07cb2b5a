use std::{sync::Arc, time::Duration};

use cloud_provider::{
    cloud::{Instance, Power},
    controllers::node_lifecycle::{NodeLifecycleController, Settings},
};
use serde_json::json;

use crate::harness::{Harness, ScriptedInstances, eventually, has_taint, present};

const SHUTDOWN: &str = "node.cloudprovider.kubernetes.io/shutdown";

fn start(harness: &mut Harness, instances: &Arc<ScriptedInstances>) {
    let settings = Settings {
        monitor_period: Duration::from_millis(300),
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
    harness.write_events();
    harness.tasks.spawn(controller.run(harness.token.clone()));
}

/// core.md 12.4, "Node deletion" and "shutdown case", for one interface.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_deleted_and_tainted_as_in_12_4() {
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

    harness.set_ready("unready-stopped", "True").await;
    eventually("the taint goes when the node is ready", || async {
        (!has_taint(&api.get("unready-stopped").await.unwrap(), SHUTDOWN)).then_some(())
    })
    .await;
}
