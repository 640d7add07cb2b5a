use std::time::Duration;

use cloud_provider_testing::objects::set_ready;
use http::{Method, StatusCode};
use tokio::time::Instant;

use crate::harness::Cluster;

const S: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_restarts_in_the_middle_of_everything() {
    let cluster = Cluster::start().await;
    let controller = cluster.controller("controller");
    cluster.add_nodes(0..20).await;
    cluster.add_services(0..10).await;
    cluster.converged(&controller, 20, 10).await;
    let before = cluster.node_uids().await;

    // Work is under way when it goes.
    cluster.add_nodes(20..60).await;
    cluster.add_services(10..30).await;
    cluster.plane.stop_api_server().unwrap();
    let begun = Instant::now();
    tokio::time::sleep(15 * S).await;
    let ended = Instant::now();
    cluster.plane.start_api_server().await.unwrap();
    cluster.converged(&controller, 60, 30).await;
    cluster.assert_api_server_was_spared(begun, ended);
    assert_eq!(cluster.made_and_removed(), (30, 0));

    // And in the middle of a removal.
    cluster.delete_service(0).await;
    cluster.remove_node(59).await;
    cluster.plane.restart_api_server().await.unwrap();
    cluster.converged(&controller, 59, 29).await;
    let after = cluster.node_uids().await;
    assert!(before.iter().all(|(name, uid)| after.get(name) == Some(uid)), "a node was deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_expired_since_etcd_was_compacted() {
    let cluster = Cluster::start().await;
    let controller = cluster.controller("controller");
    cluster.add_nodes(0..10).await;
    cluster.add_services(0..5).await;
    cluster.converged(&controller, 10, 5).await;
    let before = cluster.node_uids().await;

    // Everything that the controller will not hear of.
    cluster.proxy.cut(true);
    let begun = Instant::now();
    // Streams that are open end 150 ms later.
    tokio::time::sleep(S / 2).await;
    cluster.add_nodes(10..20).await;
    cluster.remove_node(0).await;
    cluster.add_services(5..10).await;
    cluster.delete_service(1).await;
    cluster.plane.stop_api_server().unwrap();
    cluster.plane.compact_etcd().await.unwrap();
    cluster.plane.start_api_server().await.unwrap();
    let ended = Instant::now();
    let asked_before = cluster.proxy.seen().len();
    cluster.proxy.cut(false);
    cluster.converged(&controller, 19, 9).await;

    cluster.assert_api_server_was_spared(begun, ended);
    // The watch that was resumed was answered with 410 in its stream: only then everything is listed anew.
    let asked = cluster.proxy.seen();
    for path in ["/api/v1/nodes", "/api/v1/services"] {
        let since =
            asked[asked_before..].iter().filter(|request| request.method == Method::GET && request.path == path);
        let answered = since.filter(|request| request.status == Some(StatusCode::OK));
        let (watches, lists): (Vec<_>, Vec<_>) = answered.partition(|request| request.watch);
        assert!(watches.len() >= 2 && !lists.is_empty(), "{path}: {} watches, {} lists", watches.len(), lists.len());
        assert!(watches[0].at < lists[0].at, "{path} is listed because its watch had expired");
    }
    assert_eq!(cluster.made_and_removed(), (10, 1));
    let after = cluster.node_uids().await;
    let kept = before.iter().filter(|(name, uid)| after.get(*name) == Some(uid)).count();
    assert_eq!(kept, 9, "only the node whose machine had gone is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_on_every_first_write() {
    let cluster = Cluster::start().await;
    cluster.proxy.conflict_on_first_writes(true);
    let controller = cluster.controller("controller");
    cluster.add_nodes(0..20).await;
    cluster.add_services(0..10).await;
    cluster.converged(&controller, 20, 10).await;
    cluster.delete_service(3).await;
    cluster.backend.terminate("node-4");
    set_ready(&cluster.client, "node-4", false).await.unwrap();
    // The controller itself deletes the node of the machine that has gone, after its grace period of a minute.
    cluster.converged(&controller, 19, 9).await;

    let seen = cluster.proxy.seen();
    let conflicts = |method: Method, what: &str| {
        let refused = seen.iter().filter(|request| request.status == Some(StatusCode::CONFLICT));
        refused.filter(|request| request.method == method && request.path.contains(what)).count()
    };
    assert!(conflicts(Method::PATCH, "/nodes/") >= 40, "of each node its status and itself");
    assert!(conflicts(Method::PATCH, "/services/") >= 10);
    assert_eq!(conflicts(Method::DELETE, "/nodes/"), 1);
    let writes = seen.iter().filter(|request| request.method == Method::PATCH && request.path.contains("/nodes/"));
    let writes = writes.count();
    assert!(writes <= 20 * 6, "{writes} writes of 20 nodes");
    assert_eq!(cluster.made_and_removed(), (10, 1));
}
