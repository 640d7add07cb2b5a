use std::time::Duration;

use cloud_provider::error::Kind;
use cloud_provider_testing::cloud::{Fault, Rule};
use cloud_provider_testing::objects::set_ready;
use tokio::time::Instant;

use crate::harness::Cluster;

/// Set it to run with five minutes instead of a fraction of one.
const FULL_LENGTH: &str = "CLOUD_PROVIDER_FULL_LENGTH_FAULTS";

async fn goes_down(fault: Fault) {
    let time = if std::env::var_os(FULL_LENGTH).is_some() { 300 } else { 20 };
    let cluster = Cluster::start().await;
    let controller = cluster.controller("controller");
    cluster.add_nodes(0..40).await;
    cluster.add_services(0..30).await;
    cluster.converged(&controller, 40, 30).await;
    let before = cluster.node_uids().await;

    cluster.backend.inject(Rule::always(fault));
    let begun = Instant::now();
    // All kinds of work: nodes and services come and go, and nodes are not ready while nobody knows why.
    cluster.add_nodes(40..60).await;
    cluster.add_services(30..50).await;
    cluster.delete_service(0).await;
    cluster.remove_node(0).await;
    for nth in 1..10 {
        set_ready(&cluster.client, &format!("node-{nth}"), false).await.unwrap();
    }
    tokio::time::sleep_until(begun + Duration::from_secs(time)).await;
    let ended = Instant::now();
    cluster.assert_cloud_was_spared(begun, ended);
    cluster.backend.heal();

    cluster.converged(&controller, 59, 49).await;
    eprintln!("converged {:.1} s after the cloud was back", ended.elapsed().as_secs_f64());
    let after = cluster.node_uids().await;
    let kept = before.iter().filter(|(name, uid)| after.get(*name) == Some(uid)).count();
    assert_eq!(kept, 39, "only the node whose machine had gone is gone");
    assert_eq!(cluster.made_and_removed().0 - cluster.made_and_removed().1, 49);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_that_is_down_for_a_while() {
    goes_down(Fault::Error(Kind::Transient)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_that_throttles_everything_for_a_while() {
    goes_down(Fault::Throttle { retry_after: Some(Duration::from_secs(1)) }).await;
}
