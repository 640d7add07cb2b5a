//! Node IPAM by ranges that the cloud assigned.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use cloud_provider::{
    Error,
    cloud::{Assignment, Freshness, PodRanges},
    cluster::objects::Node,
    controllers::{
        Managed as _,
        node_ipam::{CloudAllocator, Stack},
    },
    error::Result,
};
use cloud_provider_testing::control_plane::Request;
use k8s_openapi::api::core::v1 as api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::harness::{Harness, eventually};

/// Assignments by node name; what is not set is an error.
#[derive(Default)]
struct Scripted {
    answers: Mutex<HashMap<String, Assignment>>,
    batches: Mutex<Vec<usize>>,
}

impl Scripted {
    fn set(&self, name: &str, assignment: Assignment) {
        self.answers.lock().unwrap().insert(name.into(), assignment);
    }
}

#[async_trait]
impl PodRanges for Scripted {
    async fn assigned(&self, nodes: &[Arc<Node>], _: Freshness) -> Vec<Result<Assignment>> {
        self.batches.lock().unwrap().push(nodes.len());
        assert!(nodes.iter().all(|node| node.provider_id().is_some()));
        let answers = self.answers.lock().unwrap();
        let answer = |node: &Arc<Node>| answers.get(node.name()).cloned().ok_or_else(|| Error::transient("no answer"));
        nodes.iter().map(answer).collect()
    }
}

fn ranges(texts: &[&str]) -> Assignment {
    Assignment::Ranges(texts.iter().map(|text| text.parse().unwrap()).collect())
}

fn allocator(harness: &Harness, cloud: &Arc<Scripted>, stack: Stack) -> CloudAllocator {
    let recorder = harness.events.recorder("cidrAllocator");
    CloudAllocator::new(cloud.clone(), harness.nodes.clone(), harness.client.clone(), recorder, stack, &harness.metrics)
}

fn start(harness: &mut Harness, cloud: &Arc<Scripted>, stack: Stack) {
    harness.run(allocator(harness, cloud, stack));
}

fn pod_cidrs(node: &api::Node) -> Vec<String> {
    node.spec.as_ref().and_then(|spec| spec.pod_cidrs.clone()).unwrap_or_default()
}

fn network(node: &api::Node) -> Option<(String, String, String)> {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut found = conditions.filter(|condition| condition.type_ == "NetworkUnavailable");
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    found.next().map(|condition| (condition.status.clone(), text(&condition.reason), text(&condition.message)))
}

async fn has(harness: &Harness, name: &str, cidrs: &[&str]) {
    let api = harness.nodes_api();
    let node = eventually(&format!("{name} has ranges and a network"), || async {
        let node = api.get(name).await.unwrap();
        (!pod_cidrs(&node).is_empty() && network(&node).is_some()).then_some(node)
    })
    .await;
    assert_eq!(pod_cidrs(&node), cidrs, "{name}");
    assert_eq!(node.spec.as_ref().unwrap().pod_cidr.as_deref(), cidrs.first().copied());
    let written = ("False".into(), "RouteCreated".into(), "NodeController create implicit route".into());
    assert_eq!(network(&node), Some(written), "{name}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_get_what_the_cloud_assigned_in_the_order_of_the_cluster() {
    let mut harness = Harness::start().await;
    let cloud = Arc::new(Scripted::default());
    for n in 1..=30 {
        let assigned = [format!("10.0.{n}.0/24"), format!("10.9.{n}.0/24"), format!("fd00::{n}:0/112")];
        cloud.set(&format!("n{n}"), ranges(&assigned.each_ref().map(String::as_str)));
        harness.create_node(&format!("n{n}"), json!({"providerID": format!("x://{n}")})).await;
    }
    start(&mut harness, &cloud, Stack::Ipv6Ipv4);
    for n in 1..=30 {
        has(&harness, &format!("n{n}"), &[&format!("fd00::{n}:0/112"), &format!("10.0.{n}.0/24")]).await;
    }
    assert!(cloud.batches.lock().unwrap().len() <= 3, "{:?}", cloud.batches.lock().unwrap());
    // The API server patches objects of its own.
    let to_nodes = |request: &Request| request.verb == "patch" && request.resource.starts_with("nodes");
    let writes = harness.control_plane.audit().accepted_writes(to_nodes).unwrap();
    let writes: usize = writes.values().sum();
    assert_eq!(writes, 60, "one write for the ranges and one for the condition of each node");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_cloud_cannot_say_yet_is_asked_again_and_told_where_it_matters() {
    let mut harness = Harness::start().await;
    let cloud = Arc::new(Scripted::default());
    let api = harness.nodes_api();
    let spec = |name: &str| json!({"providerID": format!("x://{name}")});
    for (name, assignment) in [
        ("pending", Assignment::Pending),
        ("without", Assignment::None),
        ("unknown", Assignment::Unknown),
        ("foreign", Assignment::Foreign),
        ("one-family", ranges(&["10.0.0.0/24"])),
        ("nameless", ranges(&["10.0.1.0/24", "fd00::1:0/112"])),
    ] {
        cloud.set(name, assignment);
        harness.create_node(name, if name == "nameless" { json!({}) } else { spec(name) }).await;
    }
    harness.create_node("silent", spec("silent")).await;
    let mut other = spec("other");
    other["podCIDR"] = json!("10.7.0.0/24");
    other["podCIDRs"] = json!(["10.7.0.0/24"]);
    harness.create_node("other", other).await;
    cloud.set("other", ranges(&["10.8.0.0/24", "fd00::8:0/112"]));
    let planned = {
        let allocator = allocator(&harness, &cloud, Stack::Ipv4Ipv6);
        eventually("the store knows all nodes", || async { (harness.nodes.list().len() == 8).then_some(()) }).await;
        allocator.plan().await
    };
    assert_eq!((planned.changes.len(), planned.errors.len()), (0, 7), "{planned:?}");
    start(&mut harness, &cloud, Stack::Ipv4Ipv6);

    for (name, reasons) in [
        ("without", &["CIDRNotAvailable"][..]),
        ("unknown", &["CIDRNotAvailable"]),
        ("silent", &["CIDRNotAvailable"]),
        ("other", &["CIDRAssignmentFailed"]),
    ] {
        eventually(name, || async { (harness.event_reasons(name).await == reasons).then_some(()) }).await;
    }
    for name in ["pending", "foreign", "one-family", "nameless"] {
        assert_eq!(harness.event_reasons(name).await, [] as [&str; 0], "{name}");
        assert!(pod_cidrs(&api.get(name).await.unwrap()).is_empty(), "{name}");
    }
    for (n, name) in ["pending", "without", "unknown", "one-family", "silent"].into_iter().enumerate() {
        cloud.set(name, ranges(&[&format!("10.0.{n}.0/24"), &format!("fd00:{n}::/112")]));
    }
    let id = Patch::Merge(json!({"spec": {"providerID": "x://nameless"}}));
    api.patch("nameless", &PatchParams::default(), &id).await.unwrap();
    has(&harness, "nameless", &["10.0.1.0/24", "fd00::1:0/112"]).await;
    has(&harness, "pending", &["10.0.0.0/24", "fd00::/112"]).await;
    has(&harness, "silent", &["10.0.4.0/24", "fd00:4::/112"]).await;
    assert_eq!(pod_cidrs(&api.get("other").await.unwrap()), ["10.7.0.0/24"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_condition_of_somebody_else_is_left_alone() {
    let mut harness = Harness::start().await;
    let cloud = Arc::new(Scripted::default());
    let api = harness.nodes_api();
    for (name, status, reason) in [("calico", "False", "CalicoIsUp"), ("down", "True", "NoRouteCreated")] {
        cloud.set(name, ranges(&["10.0.0.0/24"]));
        harness.create_node(name, json!({"providerID": format!("x://{name}")})).await;
        let condition = json!({"type": "NetworkUnavailable", "status": status, "reason": reason});
        let patch = Patch::Strategic(json!({"status": {"conditions": [condition]}}));
        api.patch_status(name, &PatchParams::default(), &patch).await.unwrap();
    }
    start(&mut harness, &cloud, Stack::Ipv4);
    eventually("both nodes are done", || async {
        let done = |node: &api::Node| {
            !pod_cidrs(node).is_empty() && network(node).is_some_and(|(status, ..)| status == "False")
        };
        (done(&api.get("calico").await.unwrap()) && done(&api.get("down").await.unwrap())).then_some(())
    })
    .await;
    assert_eq!(network(&api.get("calico").await.unwrap()).unwrap().1, "CalicoIsUp");
    assert_eq!(network(&api.get("down").await.unwrap()).unwrap().1, "RouteCreated");
}
