//! core.md 12.5 and 12.6 on a real cluster, and what is ours: pauses and periodic checks.

use std::{sync::Arc, time::Duration};

use cloud_provider::{Error, Kind, cloud::Note, controllers::service::Settings};
use k8s_openapi::api::core::v1 as api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::{
    harness::{Harness, ScriptedLoadBalancers, eventually},
    service::{FINALIZER, serving, start_with},
};

async fn create(harness: &Harness, name: &str, finalizer: bool, spec: Value) -> api::Service {
    let finalizers = if finalizer { vec![FINALIZER] } else { Vec::new() };
    let mut service = json!({
        "metadata": {"name": name, "finalizers": finalizers},
        "spec": {"ports": [{"port": 80, "protocol": "TCP"}], "selector": {"app": name}},
    });
    for (key, value) in spec.as_object().unwrap() {
        service["spec"][key] = value.clone();
    }
    harness.services_api().create(&PostParams::default(), &serde_json::from_value(service).unwrap()).await.unwrap()
}

async fn set_ingress(harness: &Harness, name: &str) {
    let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": "8.8.8.8"}]}}});
    harness.services_api().patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
}

async fn annotate(harness: &Harness, annotations: Value) {
    harness.patch_service("web", json!({"metadata": {"annotations": annotations}})).await;
}

fn has_ingress(service: &api::Service) -> bool {
    let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    balancer.and_then(|balancer| balancer.ingress.as_ref()).is_some_and(|ingress| !ingress.is_empty())
}

/// Rounds about one service, in order.
fn rounds(cloud: &ScriptedLoadBalancers, name: &str) -> Vec<String> {
    let key = format!(" default/{name}");
    let about = |line: &String| line.ends_with(&key) || line.contains(&format!("{key} "));
    cloud.log().into_iter().filter(about).map(|line| line.replace(&key, "")).collect()
}

/// Patches of services/status that named the service.
fn patches(harness: &Harness, name: &str) -> usize {
    let about = |request: &cloud_provider_testing::control_plane::Request| {
        request.name == name && request.resource == "services/status" && request.verb == "patch"
    };
    harness.control_plane.audit().requests(about).unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn section_12_5_sync_load_balancer_if_needed() {
    let mut harness = Harness::start().await;
    let cloud = Arc::new(ScriptedLoadBalancers::default());
    let kind = |kind: &str| json!({"type": kind});
    let ports = |protocol: &str| json!({"type": "LoadBalancer", "ports": [{"port": 80, "protocol": protocol}]});
    create(&harness, "cluster-ip", false, kind("ClusterIP")).await;
    for protocol in ["UDP", "TCP", "SCTP"] {
        create(&harness, &protocol.to_lowercase(), false, ports(protocol)).await;
    }
    create(
        &harness,
        "class",
        false,
        json!({"type": "LoadBalancer", "loadBalancerClass": "example.com/custom-loadbalancer"}),
    )
    .await;
    create(&harness, "with-finalizer", true, kind("LoadBalancer")).await;
    let was = create(&harness, "was-one", true, kind("LoadBalancer")).await;
    set_ingress(&harness, "was-one").await;
    harness.patch_service("was-one", json!({"spec": kind("ClusterIP")})).await;
    let deleted = create(&harness, "deleted", true, kind("LoadBalancer")).await;
    set_ingress(&harness, "deleted").await;
    harness.delete_service("deleted").await;
    for service in [&was, &deleted] {
        cloud.made.lock().unwrap().insert(service.metadata.uid.clone().unwrap(), Vec::new());
    }
    let before = patches(&harness, "was-one");

    start_with(&mut harness, &cloud, Settings::default());
    let api = harness.services_api();
    eventually("all wanted ones are there and the others gone", || async {
        let services = api.list(&Default::default()).await.unwrap().items;
        let of = |name: &str| services.iter().find(|service| service.metadata.name.as_deref() == Some(name)).cloned();
        let served =
            ["udp", "tcp", "sctp", "with-finalizer"].iter().all(|name| of(name).is_some_and(|s| has_ingress(&s)));
        let was = of("was-one").unwrap();
        let clean = was.metadata.finalizers.is_none() && !has_ingress(&was);
        (served && clean && of("deleted").is_none()).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    for name in ["cluster-ip", "class"] {
        assert_eq!((rounds(&cloud, name).len(), patches(&harness, name)), (0, 0), "{name}");
    }
    for name in ["udp", "tcp", "sctp"] {
        assert_eq!((rounds(&cloud, name), patches(&harness, name)), (vec!["Full".to_owned()], 2), "finalizer, status");
    }
    assert_eq!((rounds(&cloud, "with-finalizer"), patches(&harness, "with-finalizer")), (vec!["Full".into()], 1));
    assert_eq!((rounds(&cloud, "was-one"), patches(&harness, "was-one") - before), (vec!["Full away".into()], 1));
    assert_eq!(rounds(&cloud, "deleted"), ["Full away"]);
    assert_eq!(cloud.made.lock().unwrap().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn section_12_5_host_changes() {
    let mut harness = Harness::start().await;
    let cloud = Arc::new(ScriptedLoadBalancers::default());
    for name in ["n1", "n2"] {
        harness.create_node(name, json!({"providerID": format!("fake://{name}")})).await;
    }
    for (name, policy) in [("s1", "Local"), ("s2", "Local"), ("s3", "Cluster")] {
        create(&harness, name, false, json!({"type": "LoadBalancer", "externalTrafficPolicy": policy})).await;
    }
    create(&harness, "other", false, json!({"type": "NodePort"})).await;
    start_with(&mut harness, &cloud, Settings::default());
    let told = |nodes: &[&str]| {
        let wanted: Vec<String> = nodes.iter().map(|name| format!("fake://{name}")).collect();
        let made = cloud.made.lock().unwrap();
        (made.len() == 3 && made.values().all(|backends| *backends == wanted)).then_some(())
    };
    eventually("all are made", || async { told(&["n1", "n2"]) }).await;
    let nodes = harness.nodes_api();
    let patch = |name: &'static str, change: Value| {
        let nodes = nodes.clone();
        async move { nodes.patch(name, &PatchParams::default(), &Patch::Strategic(change)).await.unwrap() }
    };
    let updates = || cloud.log().iter().filter(|line| line.starts_with("Backends")).count();

    harness.set_ready("n2", "False").await;
    harness.set_ready("n2", "True").await;
    let taint = |key: &str| json!({"spec": {"taints": [{"key": key, "effect": "NoSchedule"}]}});
    patch("n2", taint("other")).await;
    harness.create_node("n3", json!({"providerID": "fake://n3"})).await;
    eventually("n3 is added to all", || async { told(&["n1", "n2", "n3"]) }).await;
    assert_eq!(updates(), 3, "one for each, none for readiness or another taint: {:?}", cloud.log());

    patch("n2", taint("ToBeDeletedByClusterAutoscaler")).await;
    eventually("the tainted node goes", || async { told(&["n1", "n3"]) }).await;
    patch("n2", json!({"spec": {"taints": null}})).await;
    eventually("and comes back", || async { told(&["n1", "n2", "n3"]) }).await;
    let exclude = "node.kubernetes.io/exclude-from-external-load-balancers";
    patch("n2", json!({"metadata": {"labels": {exclude: ""}}})).await;
    eventually("the excluded node goes", || async { told(&["n1", "n3"]) }).await;
    nodes.delete("n3", &DeleteParams::default()).await.unwrap();
    eventually("the deleted node goes", || async { told(&["n1"]) }).await;
    assert_eq!(updates(), 15, "each change is told each load balancer once: {:?}", cloud.log());

    // A failing cloud is not asked by the pass over nodes again; the services wait for their own turn.
    cloud.fail(|| Error::new(Kind::Throttled { retry_after: Some(Duration::from_secs(2)) }, "no"));
    harness.create_node("n4", json!({"providerID": "fake://n4"})).await;
    eventually("each was tried", || async { (updates() >= 18).then_some(()) }).await;
    cloud.heal();
    eventually("all hear of n4", || async { told(&["n1", "n4"]) }).await;
    assert!(rounds(&cloud, "other").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn section_12_6_patch_service() {
    let mut harness = Harness::start().await;
    let cloud = Arc::new(ScriptedLoadBalancers::default());
    cloud.fail(|| Error::new(Kind::Pending { retry_after: Duration::from_secs(2) }, "wait"));
    start_with(&mut harness, &cloud, Settings::default());
    create(&harness, "web", false, json!({"type": "LoadBalancer"})).await;
    eventually("a round began", || async { (!rounds(&cloud, "web").is_empty()).then_some(()) }).await;
    // Written by somebody else between the round's look at the service and its writes.
    annotate(&harness, json!({"foo": "bar"})).await;
    cloud.heal();
    let api = harness.services_api();
    let service = eventually("the status is written", || async {
        let service = api.get("web").await.unwrap();
        has_ingress(&service).then_some(service)
    })
    .await;
    assert_eq!(service.metadata.annotations.unwrap()["foo"], "bar");
    assert_eq!(service.metadata.finalizers, Some(vec![FINALIZER.to_owned()]));
    let writes = harness.control_plane.audit().accepted_writes(|write| write.resource == "services").unwrap();
    let by_us = writes.keys().filter(|kind| kind.verb != "create").count();
    assert_eq!(by_us, 1, "only the annotation above went to the service itself: {writes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_round_writes_asks_for_no_other_one_and_what_it_notes_becomes_an_event() {
    let mut harness = Harness::start().await;
    let cloud = Arc::new(ScriptedLoadBalancers::default());
    let id = |value: &str| (String::from("example.com/id"), Some(value.to_owned()));
    cloud.annotations.lock().unwrap().extend([id("ours")]);
    cloud.notes.lock().unwrap().push(Note::warning("SomethingIgnored", "it is not supported"));
    start_with(&mut harness, &cloud, Settings::default());
    create(&harness, "web", false, json!({"type": "LoadBalancer"})).await;
    let api = harness.services_api();
    let annotated = async |value: &str| {
        let annotations = api.get("web").await.unwrap().metadata.annotations.unwrap_or_default();
        (annotations.get("example.com/id").map(String::as_str) == Some(value)).then_some(())
    };
    eventually("the annotation is written", || annotated("ours")).await;
    // Somebody else's change of the same annotation counts, and so does every later one.
    cloud.annotations.lock().unwrap().clear();
    for (nth, value) in ["theirs", "ours"].into_iter().enumerate() {
        annotate(&harness, json!({ "example.com/id": value })).await;
        eventually("it is followed", || async { (rounds(&cloud, "web").len() >= nth + 2).then_some(()) }).await;
    }
    assert_eq!(rounds(&cloud, "web"), ["Full"; 3]);
    eventually("the note is told", || async {
        harness.event_reasons("web").await.contains(&"SomethingIgnored".to_owned()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_service_is_left_as_it_is_also_when_it_is_deleted() {
    let (harness, cloud) = serving(Settings::default()).await;
    harness.create_service("web", json!({"cloud-provider.rs/pause": "true"})).await;
    harness.create_service("other", json!(null)).await;
    let api = harness.services_api();
    harness.served("other").await;
    eventually("the pause is told", || async {
        (harness.event_reasons("web").await == ["LoadBalancerPaused"]).then_some(())
    })
    .await;
    assert_eq!((rounds(&cloud, "web").len(), patches(&harness, "web")), (0, 0));
    annotate(&harness, json!({"cloud-provider.rs/pause": null})).await;
    harness.served("web").await;

    annotate(&harness, json!({"cloud-provider.rs/pause": "true"})).await;
    harness.delete_service("web").await;
    harness.create_node("n1", json!({"providerID": "fake://n1"})).await;
    eventually("the other hears of the node", || async {
        (cloud.made.lock().unwrap().values().filter(|backends| backends.len() == 1).count() == 1).then_some(())
    })
    .await;
    assert!(api.get_opt("web").await.unwrap().is_some());
    assert_eq!(rounds(&cloud, "web"), ["Full"]);
    annotate(&harness, json!({"cloud-provider.rs/pause": null})).await;
    harness.gone("web").await;
    assert_eq!(cloud.made.lock().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_periodic_check_repairs_drift_and_is_silent_where_there_is_none() {
    let mut harness = Harness::start().await;
    let cloud = Arc::new(ScriptedLoadBalancers::default());
    harness.create_node("n1", json!({"providerID": "fake://n1"})).await;
    let settings = Settings { reconciliation_period: Some(Duration::from_millis(500)), ..Settings::default() };
    start_with(&mut harness, &cloud, settings);
    let made = harness.create_service("web", json!(null)).await;
    eventually("some checks were made", || async { (rounds(&cloud, "web").len() >= 4).then_some(()) }).await;
    assert_eq!(patches(&harness, "web"), 2, "finalizer and status, once");
    let reasons = harness.event_reasons("web").await;
    assert_eq!(reasons, ["EnsuredLoadBalancer", "EnsuringLoadBalancer"]);
    cloud.made.lock().unwrap().clear();
    let uid = made.metadata.uid.unwrap();
    eventually("it is repaired", || async { cloud.made.lock().unwrap().contains_key(&uid).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_goes_over_to_a_class_loses_our_load_balancer() {
    let (harness, cloud) = serving(Settings::default()).await;
    harness.create_service("web", json!(null)).await;
    let api = harness.services_api();
    harness.served("web").await;
    cloud.fail(|| Error::new(Kind::Throttled { retry_after: Some(Duration::from_secs(1)) }, "no"));
    for spec in
        [json!({"type": "ClusterIP"}), json!({"type": "LoadBalancer", "loadBalancerClass": "example.com/other"})]
    {
        harness.patch_service("web", json!({"spec": spec})).await;
    }
    cloud.heal();
    cloud.emptied().await;
    eventually("our finalizer too", || async {
        api.get("web").await.unwrap().metadata.finalizers.is_none().then_some(())
    })
    .await;
}
