use std::{sync::Arc, time::Duration};

use cloud_provider::{
    Error, Kind,
    controllers::service::{ServiceController, Settings},
};
use serde_json::json;

use crate::harness::{Harness, ScriptedLoadBalancers, eventually};

pub(crate) const FINALIZER: &str = "service.kubernetes.io/load-balancer-cleanup";

pub(crate) fn start(harness: &mut Harness, load_balancers: &Arc<ScriptedLoadBalancers>) {
    start_with(harness, load_balancers, Settings::default());
}

pub(crate) fn start_with(harness: &mut Harness, load_balancers: &Arc<ScriptedLoadBalancers>, settings: Settings) {
    let controller = ServiceController::new(
        load_balancers.clone(),
        harness.services.clone(),
        harness.nodes.clone(),
        harness.client.clone(),
        harness.events.recorder("service-controller"),
        settings,
        &harness.metrics,
    );
    harness.run(controller);
}

/// A cluster with nothing in it, and the controller.
pub(crate) async fn serving(settings: Settings) -> (Harness, Arc<ScriptedLoadBalancers>) {
    let mut harness = Harness::start().await;
    let cloud = Arc::new(ScriptedLoadBalancers::default());
    start_with(&mut harness, &cloud, settings);
    (harness, cloud)
}

/// Takes the finalizer off first, as users do who cannot wait.
pub(crate) async fn delete_by_force(harness: &Harness) {
    harness.patch_service("web", json!({"metadata": {"finalizers": null}})).await;
    harness.delete_service("web").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_lives_from_creation_to_deletion() {
    let mut harness = Harness::start().await;
    let cloud = Arc::new(ScriptedLoadBalancers::default());
    harness.create_node("n1", json!({"providerID": "fake://1"})).await;
    eventually("the store knows the node", || async { (harness.nodes.list().len() == 1).then_some(()) }).await;
    start(&mut harness, &cloud);
    let made = harness.create_service("web", json!(null)).await;
    assert_eq!(harness.served("web").await, "web.example.com");
    let api = harness.services_api();
    assert_eq!(api.get("web").await.unwrap().metadata.finalizers, Some(vec![FINALIZER.to_owned()]));
    let uid = made.metadata.uid.unwrap();
    assert_eq!(cloud.made.lock().unwrap()[&uid], ["fake://1"]);

    // Our own writes and changes that do not matter cost no round.
    harness.patch_service("web", json!({"metadata": {"labels": {"a": "b"}}})).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(cloud.log(), ["Full default/web"]);

    // A burst of nodes is one update; a node without instance is none.
    for index in 2..6 {
        harness.create_node(&format!("n{index}"), json!({"providerID": format!("fake://{index}")})).await;
    }
    harness.create_node("raw", json!({})).await;
    eventually("the backends follow", || async { (cloud.made.lock().unwrap()[&uid].len() == 5).then_some(()) }).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(cloud.log(), ["Full default/web", "Backends default/web"]);

    harness.delete_service("web").await;
    harness.gone("web").await;
    assert!(cloud.made.lock().unwrap().is_empty());
    let expected = [
        "DeletedLoadBalancer",
        "DeletingLoadBalancer",
        "EnsuredLoadBalancer",
        "EnsuringLoadBalancer",
        "UpdatedLoadBalancer",
    ];
    eventually("the events are written", || async { (harness.event_reasons("web").await == expected).then_some(()) })
        .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(cloud.log().last().unwrap(), "Full default/web away", "no round after the last");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_type_takes_the_load_balancer_away_and_keeps_the_service() {
    let (harness, cloud) = serving(Settings::default()).await;
    harness.create_service("web", json!(null)).await;
    harness.served("web").await;
    let api = harness.services_api();
    harness.patch_service("web", json!({"spec": {"type": "ClusterIP"}})).await;
    eventually("status and finalizer go", || async {
        let service = api.get("web").await.unwrap();
        let clear = service.status.unwrap().load_balancer.unwrap_or_default().ingress.is_none();
        (clear && service.metadata.finalizers.is_none()).then_some(())
    })
    .await;
    assert!(cloud.made.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_cloud_is_told_on_the_service_and_loses_nothing() {
    let mut harness = Harness::start().await;
    let cloud = Arc::new(ScriptedLoadBalancers::default());
    cloud.fail(|| Error::new(Kind::Throttled { retry_after: Some(Duration::from_secs(1)) }, "too many calls"));
    start(&mut harness, &cloud);
    harness.create_service("web", json!(null)).await;
    eventually("the failure is told", || async {
        harness.event_reasons("web").await.contains(&"SyncLoadBalancerFailed".to_owned()).then_some(())
    })
    .await;
    let status = harness.services_api().get("web").await.unwrap().status.unwrap();
    assert_eq!(status.load_balancer.and_then(|balancer| balancer.ingress), None);
    cloud.heal();
    harness.served("web").await;

    // While the cloud fails, a deletion is held by the finalizer.
    cloud.fail(|| Error::transient("down"));
    let api = harness.services_api();
    harness.delete_service("web").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(api.get_opt("web").await.unwrap().is_some());
    cloud.heal();
    harness.gone("web").await;
    assert!(cloud.made.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_whose_finalizer_was_taken_off_by_force_leaves_nothing_behind() {
    let (harness, cloud) = serving(Settings::default()).await;
    harness.create_service("web", json!(null)).await;
    harness.served("web").await;
    delete_by_force(&harness).await;
    cloud.emptied().await;
    harness.create_service("web", json!(null)).await;
    harness.served("web").await;
    assert_eq!(cloud.made.lock().unwrap().len(), 1);
}
