//! Node IPAM by ranges of the cluster; see `cloud_ipam` for ranges of the cloud.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use cloud_provider::{
    Error,
    cluster::{objects::Node, store::Store},
    controllers::{
        Managed as _,
        node_ipam::{NodeRange, RangeAllocator, RangeSettings},
    },
    metrics::Metrics,
};
use cloud_provider_testing::objects::{KubeletNode, register_nodes};
use http::Method;
use k8s_openapi::api::core::v1 as api;
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams},
    runtime::watcher,
};
use serde_json::{Value, json};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::harness::{Harness, eventually};

fn ranges(ranges: &[(&str, u8)], services: &[&str]) -> RangeSettings {
    let range = |(cluster, node_prefix): &(&str, u8)| NodeRange {
        cluster: cluster.parse().unwrap(),
        node_prefix: *node_prefix,
    };
    RangeSettings {
        ranges: ranges.iter().map(range).collect(),
        services: services.iter().map(|service| service.parse().unwrap()).collect(),
    }
}

fn allocator(harness: &Harness, nodes: &Store<Node>, client: &Client, settings: &RangeSettings) -> RangeAllocator {
    let recorder = harness.events.recorder("cidrAllocator");
    RangeAllocator::new(nodes.clone(), client.clone(), recorder, settings.clone(), &Metrics::new()).unwrap()
}

/// An allocator that can be stopped.
struct Running {
    token: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

impl Running {
    fn start(harness: &Harness, settings: &RangeSettings) -> Self {
        Self::of(allocator(harness, &harness.nodes, &harness.client, settings))
    }

    fn of(allocator: RangeAllocator) -> Self {
        let token = CancellationToken::new();
        let task = tokio::spawn(Box::new(allocator).run(token.clone()));
        Self { token, task }
    }

    async fn stop(self) {
        self.token.cancel();
        self.task.await.unwrap().unwrap();
    }
}

fn pod_cidrs(node: &api::Node) -> Vec<String> {
    node.spec.as_ref().and_then(|spec| spec.pod_cidrs.clone()).unwrap_or_default()
}

/// Waits until all `count` nodes have ranges; no range is there twice.
async fn allocated(harness: &Harness, count: usize) -> Vec<(String, Vec<String>)> {
    let api = harness.nodes_api();
    let nodes = eventually("all nodes have ranges", || async {
        let nodes = api.list(&Default::default()).await.unwrap().items;
        let ready = nodes.len() == count && nodes.iter().all(|node| !pod_cidrs(node).is_empty());
        ready.then_some(nodes)
    })
    .await;
    let mut seen = BTreeSet::new();
    for node in &nodes {
        let cidrs = pod_cidrs(node);
        assert_eq!(node.spec.as_ref().unwrap().pod_cidr.as_ref(), cidrs.first());
        for cidr in cidrs {
            assert!(seen.insert(cidr.clone()), "{cidr} is there twice");
        }
    }
    nodes.into_iter().map(|node| (node.metadata.name.clone().unwrap(), pod_cidrs(&node))).collect()
}

async fn register(harness: &Harness, names: impl IntoIterator<Item = String>) {
    let nodes = names.into_iter().map(KubeletNode::new).collect();
    register_nodes(&harness.client, nodes, Duration::ZERO).await.unwrap();
}

/// Accepted writes to nodes by their kind, but for their registration.
fn patches(harness: &Harness) -> usize {
    let writes = harness.control_plane.audit().accepted_writes(|request| request.verb == "patch").unwrap();
    writes.iter().filter(|(kind, _)| kind.resource.starts_with("nodes")).map(|(_, count)| count).sum()
}

const DUAL: &[(&str, u8)] = &[("10.244.0.0/16", 24), ("fd00:10:244::/56", 64)];

#[tokio::test(flavor = "multi_thread")]
async fn fifty_dual_stack_nodes_get_ranges_and_a_restart_changes_nothing() {
    let harness = Harness::start().await;
    let settings = ranges(DUAL, &["10.244.0.0/20", "fd00:10:244::/60"]);
    let running = Running::start(&harness, &settings);
    register(&harness, (0..50).map(|n| format!("n{n}"))).await;
    let before = allocated(&harness, 50).await;
    for (name, cidrs) in &before {
        let [ipv4, ipv6]: [ipnet::IpNet; 2] = [cidrs[0].parse().unwrap(), cidrs[1].parse().unwrap()];
        assert_eq!((cidrs.len(), ipv4.prefix_len(), ipv6.prefix_len()), (2, 24, 64), "{name}");
        for (service, range) in [("10.244.0.0/20", ipv4), ("fd00:10:244::/60", ipv6)] {
            assert!(!service.parse::<ipnet::IpNet>().unwrap().contains(&range), "{name} got {range} of the services");
        }
    }
    assert_eq!(patches(&harness), 50, "one write for each node");
    running.stop().await;

    let running = Running::start(&harness, &settings);
    register(&harness, (50..55).map(|n| format!("n{n}"))).await;
    let after = allocated(&harness, 55).await;
    assert!(before.iter().all(|node| after.contains(node)));
    assert_eq!(patches(&harness), 55);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exhausted_range_serves_the_next_node_as_soon_as_one_is_gone() {
    let mut harness = Harness::start().await;
    let running = Running::start(&harness, &ranges(&[("10.9.0.0/23", 24), ("fd00::/48", 64)], &[]));
    harness.write_events();
    register(&harness, ["a".to_owned(), "b".to_owned()]).await;
    let held = allocated(&harness, 2).await;
    register(&harness, ["c".to_owned()]).await;
    eventually("the event is written", || async {
        (harness.event_reasons("c").await == ["CIDRNotAvailable"]).then_some(())
    })
    .await;

    let api = harness.nodes_api();
    let hold = |finalizers: Value| Patch::Merge(json!({"metadata": {"finalizers": finalizers}}));
    api.patch("a", &PatchParams::default(), &hold(json!(["example.com/hold"]))).await.unwrap();
    api.delete("a", &DeleteParams::default()).await.unwrap();
    // A terminating node keeps what it has.
    register(&harness, ["d".to_owned()]).await;
    eventually("d waits too", || async { (harness.event_reasons("d").await == ["CIDRNotAvailable"]).then_some(()) })
        .await;
    assert!(pod_cidrs(&api.get("c").await.unwrap()).is_empty());

    let begun = Instant::now();
    api.patch("a", &PatchParams::default(), &hold(json!(null))).await.unwrap();
    let name = eventually("one of the two has the range", || async {
        let waiting = [api.get("c").await.unwrap(), api.get("d").await.unwrap()];
        let served: Vec<_> = waiting.iter().filter(|node| !pod_cidrs(node).is_empty()).collect();
        served.first().map(|node| {
            let gone = held.iter().find(|(name, _)| name == "a").unwrap();
            assert_eq!(pod_cidrs(node)[0], gone.1[0]);
            node.metadata.name.clone().unwrap()
        })
    })
    .await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    api.delete("b", &DeleteParams::default()).await.unwrap();
    allocated(&harness, 2).await;
    assert!(["c", "d"].contains(&name.as_str()));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_a_range_of_elsewhere_stops_the_start_and_a_later_one_is_left_alone() {
    let harness = Harness::start().await;
    let settings = ranges(&[("10.10.0.0/16", 24)], &[]);
    let running = Running::start(&harness, &settings);
    register(&harness, ["first".to_owned()]).await;
    allocated(&harness, 1).await;
    harness.create_node("stray", json!({"podCIDR": "172.10.0.0/24", "podCIDRs": ["172.10.0.0/24"]})).await;
    register(&harness, ["good".to_owned()]).await;
    let nodes = allocated(&harness, 3).await;
    assert!(nodes.contains(&("good".into(), vec!["10.10.1.0/24".into()])), "{nodes:?}");
    running.stop().await;

    let refused = Box::new(allocator(&harness, &harness.nodes, &harness.client, &settings));
    let refused = refused.run(CancellationToken::new()).await;
    let text = refused.unwrap_err().chain();
    for part in ["stray", "172.10.0.0/24 is out the range of cluster cidr 10.10.0.0/16", "--cluster-cidr", "delete"] {
        assert!(text.contains(part), "{text}");
    }
    let plan = allocator(&harness, &harness.nodes, &harness.client, &settings).plan().await;
    assert_eq!((plan.errors.len(), plan.changes.len()), (1, 0));
}

/// Somebody else was quicker, and the watch has not told yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_comes_too_late_is_given_up_without_an_event() {
    let mut harness = Harness::start().await;
    harness.create_node("a", json!({"podCIDR": "10.0.200.0/24", "podCIDRs": ["10.0.200.0/24"]})).await;
    harness.create_node("b", json!({})).await;
    let live: Api<Node> = Api::all(harness.client.clone());
    let mut stale = live.get("a").await.unwrap();
    stale.spec.pod_cidrs.clear();
    let mut replaced = live.get("b").await.unwrap();
    replaced.metadata.uid = Some("an-older-one".into());
    let nodes = Store::default();
    for event in [watcher::Event::Init, watcher::Event::InitApply(stale), watcher::Event::InitDone] {
        nodes.apply(event);
    }
    let running = Running::of(allocator(&harness, &nodes, &harness.client, &ranges(&[("10.0.0.0/16", 24)], &[])));
    harness.write_events();
    nodes.apply(watcher::Event::Apply(replaced));
    let refused = || async {
        let tried = |name: &'static str| {
            harness.control_plane.audit().requests(move |r| r.verb == "patch" && r.name == name && !r.accepted())
        };
        (!tried("a").unwrap().is_empty() && !tried("b").unwrap().is_empty()).then_some(())
    };
    eventually("both writes are refused", refused).await;
    nodes.apply(watcher::Event::Apply(live.get("b").await.unwrap()));
    eventually("the new b has a range", || async {
        (!live.get("b").await.unwrap().spec.pod_cidrs.is_empty()).then_some(())
    })
    .await;
    assert_eq!(live.get("a").await.unwrap().spec.pod_cidrs, ["10.0.200.0/24"]);
    for name in ["a", "b"] {
        assert_eq!(harness.event_reasons(name).await, [] as [&str; 0], "{name}");
    }
    running.stop().await;
}

/// A client whose patches are carried out; the first `lost` answers never arrive.
fn losing_answers(client: &Client, lost: usize) -> Client {
    let (client, left) = (client.clone(), Arc::new(AtomicUsize::new(lost)));
    let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let (client, left) = (client.clone(), left.clone());
        async move {
            let loses = request.method() == Method::PATCH
                && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
            let answer = client.send(request).await.map_err(Box::<dyn std::error::Error + Send + Sync>::from);
            if loses { Err("the connection broke".into()) } else { answer }
        }
    });
    Client::new(service, "default")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_answer_is_lost_costs_no_range() {
    let harness = Harness::start().await;
    let client = losing_answers(&harness.client, 20);
    let settings = ranges(&[("10.0.0.0/21", 24)], &[]);
    let running = Running::of(allocator(&harness, &harness.nodes, &client, &settings));
    // As many nodes as blocks: a block that leaks leaves a node without.
    register(&harness, (0..8).map(|n| format!("n{n}"))).await;
    allocated(&harness, 8).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_allocators_hand_over_while_nodes_come() {
    let harness = Harness::start().await;
    let settings = ranges(DUAL, &[]);
    let first = Running::start(&harness, &settings);
    let (sender, mut seen) = mpsc::unbounded_channel();
    harness.nodes.subscribe(move |_| {
        let _ = sender.send(());
    });
    let registering = tokio::spawn({
        let client = harness.client.clone();
        let nodes: Vec<_> = (0..100).map(|n| KubeletNode::new(format!("n{n}"))).collect();
        async move { register_nodes(&client, nodes, Duration::ZERO).await.unwrap() }
    });
    for _ in 0..60 {
        seen.recv().await;
    }
    first.stop().await;
    // The successor has a store of its own, as another process has.
    let token = CancellationToken::new();
    let nodes = Store::default();
    let feed = tokio::spawn(Store::<Node>::run(nodes.clone(), Api::all(harness.client.clone()), token.clone()));
    let second = Running::of(allocator(&harness, &nodes, &harness.client, &settings));
    registering.await.unwrap();
    allocated(&harness, 100).await;
    assert_eq!(patches(&harness), 100, "nobody was written twice");
    second.stop().await;
    token.cancel();
    feed.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_names_the_ranges_and_writes_nothing() {
    let harness = Harness::start().await;
    harness.create_node("a", json!({"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24"]})).await;
    register(&harness, ["b".to_owned(), "c".to_owned()]).await;
    let allocator = allocator(&harness, &harness.nodes, &harness.client, &ranges(&[("10.0.0.0/23", 24)], &[]));
    eventually("the store knows all nodes", || async { (harness.nodes.list().len() == 3).then_some(()) }).await;
    for _ in 0..2 {
        let plan = allocator.plan().await;
        let changes: Vec<_> = plan.changes.iter().map(|c| format!("{}: {}", c.object, c.what)).collect();
        assert_eq!(changes, ["node b: set podCIDRs to 10.0.1.0/24"]);
        assert_eq!(plan.errors[0].0, "node c");
        assert!(plan.errors[0].1.to_string().contains("no remaining CIDRs left"));
    }
    assert_eq!(patches(&harness), 0);
}

/// With `NODE_IPAM_NODES=5000` the measure of a large cluster.
#[tokio::test(flavor = "multi_thread")]
async fn many_nodes_cost_one_write_each() {
    let count = std::env::var("NODE_IPAM_NODES").ok().and_then(|text| text.parse().ok()).unwrap_or(300);
    let harness = Harness::start().await;
    register(&harness, (0..count).map(|n| format!("n{n}"))).await;
    eventually("the store knows all nodes", || async { (harness.nodes.list().len() == count).then_some(()) }).await;
    let begun = Instant::now();
    let running = Running::start(&harness, &ranges(&[("10.0.0.0/8", 24), ("fd00::/48", 64)], &[]));
    let with_ranges = || harness.nodes.list().iter().filter(|node| !node.spec.pod_cidrs.is_empty()).count();
    let patience = begun + Duration::from_secs(60 + count as u64 / 20);
    while with_ranges() < count {
        assert!(Instant::now() < patience, "{} of {count}", with_ranges());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let took = begun.elapsed();
    allocated(&harness, count).await;
    let writes = patches(&harness);
    println!(
        "{count} dual-stack nodes: {:.1} s, {writes} writes, {:.0} a second",
        took.as_secs_f64(),
        writes as f64 / took.as_secs_f64()
    );
    assert_eq!(writes, count);
    running.stop().await;
}
