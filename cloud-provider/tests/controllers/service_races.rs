//! What happens to services and nodes while a round is on its way.

use std::{sync::Arc, time::Duration};

use cloud_provider::{Error, Kind, controllers::service::Settings};
use serde_json::json;

use crate::{
    harness::{Harness, SCOPE, ScriptedLoadBalancers, eventually},
    service::{delete_by_force, serving, start},
};

async fn begins(cloud: &ScriptedLoadBalancers, round: &str) {
    eventually(round, || async { cloud.log().iter().any(|line| line == round).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_comes_during_a_round_is_told_to_the_load_balancer() {
    let mut harness = Harness::start().await;
    let cloud = Arc::new(ScriptedLoadBalancers::default());
    *cloud.takes.lock().unwrap() = Duration::from_secs(3);
    harness.create_node("n1", json!({"providerID": "fake://1"})).await;
    eventually("the store knows the node", || async { (harness.nodes.list().len() == 1).then_some(()) }).await;
    start(&mut harness, &cloud);
    harness.create_service("web", json!(null)).await;
    begins(&cloud, "Full default/web").await;
    harness.create_node("n2", json!({"providerID": "fake://2"})).await;
    eventually("both nodes are backends", || async {
        let made = cloud.made.lock().unwrap();
        made.values().any(|backends| backends.len() == 2).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_goes_by_force_during_its_first_round_leaves_nothing_behind() {
    let mut harness = Harness::start().await;
    let cloud = Arc::new(ScriptedLoadBalancers::default());
    *cloud.takes.lock().unwrap() = Duration::from_secs(3);
    start(&mut harness, &cloud);
    harness.create_service("web", json!(null)).await;
    begins(&cloud, "Full default/web").await;
    delete_by_force(&harness).await;
    begins(&cloud, "Full default/web away").await;
    cloud.emptied().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_service_waits_until_nothing_is_left_of_the_old_one_of_its_name() {
    let (harness, cloud) = serving(Settings::default()).await;
    harness.create_service("web", json!(null)).await;
    harness.served("web").await;
    cloud.fail(|| Error::new(Kind::Denied { permission: None }, "may not delete"));
    let begun = cloud.log().len();
    delete_by_force(&harness).await;
    harness.create_service("web", json!(null)).await;
    let rounds = || cloud.log().split_off(begun);
    eventually("several tries", || async { (rounds().len() >= 3).then_some(()) }).await;
    assert!(rounds().iter().all(|round| round == "Full default/web away"), "{:?}", rounds());
    cloud.heal();
    harness.served("web").await;
    assert_eq!(cloud.made.lock().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_moves_to_another_load_balancer_leaves_the_first_one() {
    let (harness, cloud) = serving(Settings::default()).await;
    harness.create_service("web", json!({SCOPE: "one"})).await;
    harness.served("web").await;
    harness.patch_service("web", json!({"metadata": {"annotations": {SCOPE: "two"}}})).await;
    eventually("it has moved", || async {
        let made: Vec<String> = cloud.made.lock().unwrap().keys().cloned().collect();
        (made == ["two"]).then_some(())
    })
    .await;
    harness.served("web").await;
}
