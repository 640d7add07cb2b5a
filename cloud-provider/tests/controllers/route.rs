//! The route controller: conditions, events and retries.

use std::{sync::Arc, time::Duration};

use cloud_provider::{
    Kind,
    cloud::{Cloud, Gate},
    controllers::{
        Managed as _,
        plan::{Planned, Target},
        route::{ClusterCidrs, Pacing, RouteController, Settings},
    },
};
use cloud_provider_testing::cloud::{Backend, Fault, MemoryCloud, Operation, Rule};
use k8s_openapi::api::core::v1 as api;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::json;

use crate::harness::{Harness, eventually};

const WATCH: Pacing = Pacing::Watch(Duration::from_secs(12 * 3600));
const TIMER: Pacing = Pacing::Timer(Duration::from_millis(300));

fn controller(harness: &Harness, backend: &Arc<Backend>, pacing: Pacing) -> RouteController {
    let cloud = MemoryCloud::new(backend, Gate::open()).with_routes();
    let cluster_cidrs = ClusterCidrs::parse(&["10.120.0.0/16".into(), "fd00:120::/48".into()]).unwrap();
    RouteController::new(
        cloud.routes().unwrap(),
        harness.nodes.clone(),
        harness.client.clone(),
        harness.events.recorder("route_controller"),
        Settings { cluster_cidrs, pacing },
        &harness.metrics,
    )
}

fn start(harness: &mut Harness, backend: &Arc<Backend>, pacing: Pacing) {
    harness.run(controller(harness, backend, pacing));
}

/// A node with the `n`th range of each family.
async fn add_node(harness: &Harness, name: &str, n: u8) {
    let ranges = [format!("10.120.{n}.0/24"), format!("fd00:120:0:{n:x}::/64")];
    harness.create_node(name, json!({"podCIDR": ranges[0], "podCIDRs": ranges})).await;
}

async fn set_condition(harness: &Harness, name: &str, status: &str, reason: &str) {
    let condition = json!({"type": "NetworkUnavailable", "status": status, "reason": reason, "message": "as it was"});
    let patch = Patch::Strategic(json!({"status": {"conditions": [condition]}}));
    harness.nodes_api().patch_status(name, &PatchParams::default(), &patch).await.unwrap();
}

async fn condition(harness: &Harness, name: &str) -> Option<api::NodeCondition> {
    let node = harness.nodes_api().get(name).await.unwrap();
    node.status?.conditions?.into_iter().find(|condition| condition.type_ == "NetworkUnavailable")
}

/// Status and reason.
async fn told(harness: &Harness, name: &str) -> Option<(String, String)> {
    condition(harness, name).await.map(|condition| (condition.status, condition.reason.unwrap_or_default()))
}

async fn eventually_told(harness: &Harness, name: &str, status: &str, reason: &str) {
    let wanted = Some((status.to_owned(), reason.to_owned()));
    eventually(&format!("{name}: {status}, {reason}"), || async {
        (told(harness, name).await == wanted).then_some(())
    })
    .await;
}

fn status_patches(harness: &Harness, name: &str) -> usize {
    let matches = |request: &cloud_provider_testing::control_plane::Request| {
        request.verb == "patch" && request.resource == "nodes/status" && request.name == name && request.accepted()
    };
    harness.control_plane.audit().requests(matches).unwrap().len()
}

async fn passes(backend: &Backend, more: u64) {
    let before = backend.count(Operation::DescribeRoutes);
    eventually("more passes", || async { (backend.count(Operation::DescribeRoutes) >= before + more).then_some(()) })
        .await;
}

/// Nodes with a machine get their routes, those without cannot. Each node has its condition before, status and reason
/// after, and whether that takes a patch.
#[tokio::test(flavor = "multi_thread")]
async fn section_12_8_condition() {
    let mut harness = Harness::start().await;
    let backend = Backend::new();
    let (routed, unrouted) = (("False", "RouteCreated"), ("True", "NoRouteCreated"));
    let cases = [
        ("none-created", None, routed, true),
        ("none-not", None, unrouted, true),
        ("false-route-created-created", Some(("False", "RouteCreated")), routed, false),
        ("false-calico-is-up-created", Some(("False", "CalicoIsUp")), routed, true),
        ("false-external-cni-created", Some(("False", "ExternalCNI")), routed, true),
        ("true-some-other-reason-not", Some(("True", "SomeOtherReason")), unrouted, true),
        ("false-route-created-not", Some(("False", "RouteCreated")), unrouted, true),
        ("true-no-route-created-not", Some(("True", "NoRouteCreated")), unrouted, false),
    ];
    for (n, (name, before, after, _)) in (1..).zip(cases) {
        add_node(&harness, name, n).await;
        if let Some((status, reason)) = before {
            set_condition(&harness, name, status, reason).await;
        }
        if after == routed {
            backend.start_machine(name);
        }
    }
    harness.create_node("without-range", json!({})).await;
    start(&mut harness, &backend, TIMER);

    for (name, _, (status, reason), _) in cases {
        eventually_told(&harness, name, status, reason).await;
    }
    passes(&backend, 2).await;
    for (name, before, _, patched) in cases {
        let patches = usize::from(before.is_some()) + usize::from(patched);
        assert_eq!(status_patches(&harness, name), patches, "{name}");
    }
    assert_eq!(condition(&harness, "without-range").await, None);
    let created = condition(&harness, "none-created").await.unwrap();
    assert_eq!(created.message.as_deref(), Some("RouteController created a route"));
    assert!(created.last_heartbeat_time.is_some() && created.last_transition_time == created.last_heartbeat_time);
    let failed = condition(&harness, "none-not").await.unwrap();
    assert_eq!(failed.message.as_deref(), Some("RouteController failed to create a route"));
    let untouched = condition(&harness, "false-route-created-created").await.unwrap();
    assert_eq!(untouched.message.as_deref(), Some("as it was"));

    let uid = harness.nodes_api().get("none-not").await.unwrap().metadata.uid.unwrap();
    let event = eventually("the event on the node that got no route", || async {
        let events: Api<api::Event> = Api::namespaced(harness.client.clone(), "default");
        let list = events.list(&Default::default()).await.unwrap().items;
        list.into_iter().find(|event| event.involved_object.name.as_deref() == Some("none-not"))
    })
    .await;
    assert_eq!(event.reason.as_deref(), Some("FailedToCreateRoute"));
    assert_eq!(event.type_.as_deref(), Some("Warning"));
    assert_eq!(event.source.unwrap().component.as_deref(), Some("route_controller"));
    assert_eq!(event.involved_object.uid.as_deref(), Some("none-not"), "the name, as upstream");
    let message = event.message.unwrap();
    let start = format!("Could not create route {uid} 10.120.2.0/24 for node none-not after ");
    let start_v6 = format!("Could not create route {uid} fd00:120:0:2::/64 for node none-not after ");
    assert!(message.starts_with(&start) || message.starts_with(&start_v6), "{message}");
}

/// Upstream tries again only when a node changes, or after half a day.
#[tokio::test(flavor = "multi_thread")]
async fn what_failed_is_tried_again_without_a_change_of_nodes() {
    let mut harness = Harness::start().await;
    let backend = Backend::new();
    let machine = backend.start_machine("node-1");
    backend.put_route("10.120.9.0/24", &machine);
    backend.put_route("192.0.2.0/24", &machine);
    backend.inject(Rule::on(Operation::DescribeRoutes, Fault::Error(Kind::Transient)).times(1));
    backend.inject(Rule::on(Operation::CreateRoute, Fault::Error(Kind::Quota)).times(1));
    backend.inject(Rule::on(Operation::DeleteRoute, Fault::Error(Kind::Transient)).times(1));
    add_node(&harness, "node-1", 1).await;
    start(&mut harness, &backend, WATCH);

    eventually_told(&harness, "node-1", "True", "NoRouteCreated").await;
    eventually_told(&harness, "node-1", "False", "RouteCreated").await;
    let left: Vec<String> = backend.routes().into_iter().map(|route| route.destination).collect();
    assert_eq!(left, ["10.120.1.0/24", "192.0.2.0/24", "fd00:120:0:1::/64"]);
    let metrics = harness.metrics.render();
    for (outcome, count) in [("error", 1), ("changed", 2)] {
        let line = format!(r#"route_controller_route_sync_total{{outcome="{outcome}",trigger="node_change"}} {count}"#);
        assert!(metrics.contains(&line), "{line} not in {metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_where_nothing_changed_and_a_plan_says_what_would_be() {
    let mut harness = Harness::start().await;
    let backend = Backend::new();
    backend.set_settling(Duration::from_millis(500));
    for (n, name) in [(1, "node-1"), (2, "node-2")] {
        backend.start_machine(name);
        add_node(&harness, name, n).await;
    }
    backend.put_route("10.120.9.0/24", "vm-99");
    eventually("the store has both nodes", || async { (harness.nodes.list().len() == 2).then_some(()) }).await;
    let planned = controller(&harness, &backend, TIMER).plan().await;
    let change = |target, object: &str, what: &str| Planned { target, object: object.into(), what: what.into() };
    let create = |node: &str, range: &str| {
        change(Target::Cloud, &format!("node {node}"), &format!("create route {range} for node {node}"))
    };
    let tell =
        |node: &str| change(Target::Cluster, &format!("node {node}"), "set NetworkUnavailable=False (RouteCreated)");
    assert_eq!(
        planned.changes,
        [
            change(Target::Cloud, "routes", "delete route 10.120.9.0/24 to vm-99 10.120.9.0/24"),
            create("node-1", "10.120.1.0/24"),
            create("node-1", "fd00:120:0:1::/64"),
            create("node-2", "10.120.2.0/24"),
            create("node-2", "fd00:120:0:2::/64"),
            tell("node-1"),
            tell("node-2"),
        ]
    );
    assert_eq!(backend.routes().len(), 1, "a plan changes nothing");

    start(&mut harness, &backend, TIMER);
    for name in ["node-1", "node-2"] {
        eventually_told(&harness, name, "False", "RouteCreated").await;
    }
    let writes = |backend: &Backend| backend.count(Operation::CreateRoute) + backend.count(Operation::DeleteRoute);
    assert_eq!(writes(&backend), 5, "what is pending is not tried again");
    // Whatever a kubelet tells changes nothing.
    harness.set_ready("node-1", "True").await;
    let patches = status_patches(&harness, "node-1");
    passes(&backend, 5).await;
    assert_eq!((writes(&backend), status_patches(&harness, "node-1")), (5, patches));
    assert!(controller(&harness, &backend, TIMER).plan().await.changes.is_empty());

    // Removed by hand, and a node that goes.
    assert!(backend.remove_route("10.120.1.0/24"));
    harness.nodes_api().delete("node-2", &DeleteParams::default()).await.unwrap();
    eventually("the route is back, and those of the node are gone", || async {
        let left: Vec<String> = backend.routes().into_iter().map(|route| route.destination).collect();
        (left == ["10.120.1.0/24", "fd00:120:0:1::/64"]).then_some(())
    })
    .await;
    assert!(harness.event_reasons("node-1").await.is_empty());
}
