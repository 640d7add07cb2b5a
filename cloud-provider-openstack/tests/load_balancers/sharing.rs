//! Upstream's end-to-end cases of shared load balancers.

use std::collections::BTreeSet;

use cloud_provider::{Kind, cloud::Mode};
use cloud_provider_openstack_simulator::Count;
use serde_json::json;

use crate::bench::{Bench, Setup, annotate, annotation, service};

fn tags(bench: &Bench) -> BTreeSet<String> {
    let balancer = bench.only("loadbalancers");
    let short = |tag: &serde_json::Value| tag.as_str().unwrap().rsplit('_').next().unwrap().to_owned();
    balancer["tags"].as_array().unwrap().iter().map(short).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn section_12_5_case_4_services_share_a_load_balancer() {
    let bench = Setup::new(2).with("manage-security-groups = true").start().await;
    let before = bench.belongings();
    let mut one = service("one", &["TCP 80 30080"], json!({}));
    bench.ensure(&mut one).await;
    let id = annotation(&one, "load-balancer-id").to_owned();
    let sharing = |name: &str, port: &str| {
        let mut service = service(name, &[port], json!({}));
        annotate(&mut service, "load-balancer-id", &id);
        service
    };
    let mut two = sharing("two", "TCP 81 30081");
    bench.ensure(&mut two).await;
    assert_eq!(tags(&bench), set(&["one", "two"]));
    assert_eq!(one.status, two.status);
    two.spec.ports = service("two", &["TCP 82 30081"], json!({})).spec.ports;
    bench.ensure(&mut two).await;
    assert_eq!(bench.listeners(), set(&["TCP 80", "TCP 82"]));
    assert!(bench.ensure(&mut one).await.is_empty(), "the owner leaves it alone");
    bench.remove(&two).await;
    assert_eq!((tags(&bench), bench.listeners()), (set(&["one"]), set(&["TCP 80"])));
    let mut three = sharing("three", "TCP 82 30082");
    bench.ensure(&mut three).await;
    let mut four = sharing("four", "TCP 80 30083");
    assert!(!bench.refused(&mut four).await.is_empty());
    assert_eq!(tags(&bench), set(&["one", "three"]), "one that collides is not tagged");
    bench.remove(&four).await;
    bench.remove(&one).await;
    assert_eq!((tags(&bench), bench.listeners()), (set(&["three"]), set(&["TCP 82"])));
    bench.remove(&three).await;
    assert_eq!(bench.belongings(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn section_12_5_case_5_a_load_balancer_of_the_user_is_used_and_kept() {
    let bench = Setup::new(2).start().await;
    let mut seed = service("seed", &["TCP 9 30009"], json!({}));
    bench.ensure(&mut seed).await;
    let id = annotation(&seed, "load-balancer-id").to_owned();
    bench.handle.set("loadbalancers", &id, &json!({ "name": "mine", "tags": ["team=a"] }));
    for listener in bench.handle.ids("listeners") {
        bench.handle.set("listeners", &listener, &json!({ "name": "mine", "tags": [] }));
    }
    let address = bench.only("floatingips")["id"].as_str().unwrap().to_owned();
    bench.handle.set("floatingips", &address, &json!({ "description": "mine" }));
    let before = bench.belongings();
    let mut web = service("web", &["TCP 80 30080"], json!({}));
    annotate(&mut web, "load-balancer-id", &id);
    bench.ensure(&mut web).await;
    assert_eq!(bench.only("loadbalancers")["tags"], json!(["team=a", "kube_service_kubernetes_default_web"]));
    assert!(bench.ensure(&mut web).await.is_empty());
    bench.remove(&web).await;
    assert_eq!(bench.belongings(), before);
    assert_eq!(bench.only("loadbalancers")["tags"], json!(["team=a"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_moves_to_another_load_balancer_leaves_nothing_behind() {
    let bench = Setup::new(2).start().await;
    let (mut one, mut two) =
        (service("one", &["TCP 80 30080"], json!({})), service("two", &["TCP 80 30081"], json!({})));
    bench.ensure(&mut one).await;
    bench.ensure(&mut two).await;
    let mut guest = service("guest", &["TCP 81 30082"], json!({}));
    annotate(&mut guest, "load-balancer-id", annotation(&one, "load-balancer-id"));
    bench.ensure(&mut guest).await;
    annotate(&mut guest, "load-balancer-id", annotation(&two, "load-balancer-id"));
    bench.ensure(&mut guest).await;
    assert_eq!(bench.handle.ids("listeners").len(), 3);
    let tagged = |service| {
        let id = annotation(service, "load-balancer-id");
        bench.handle.get("loadbalancers", id).unwrap()["tags"].as_array().unwrap().len()
    };
    assert_eq!((tagged(&one), tagged(&two)), (1, 2));
    assert!(bench.ensure(&mut guest).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn services_of_one_load_balancer_come_at_the_same_time() {
    let bench =
        Setup::new(2).with("max-shared-lb = 4").knobs(|knobs| knobs.delays.load_balancer_update_ms = 100).start().await;
    let mut one = service("one", &["TCP 80 30080"], json!({}));
    bench.ensure(&mut one).await;
    let mut guests: Vec<_> = (1..5)
        .map(|index| {
            let mut guest =
                service(&format!("guest-{index}"), &[&format!("TCP {} {}", 80 + index, 30080 + index)], json!({}));
            annotate(&mut guest, "load-balancer-id", annotation(&one, "load-balancer-id"));
            guest
        })
        .collect();
    let rounds = guests.iter_mut().map(async |guest| bench.round(guest, Mode::Full).await.1.error);
    let errors: Vec<_> = futures::future::join_all(rounds).await.into_iter().flatten().collect();
    // One is too many, though each of them saw only the owner when it came.
    assert!(errors.len() == 1 && *errors[0].kind() == Kind::Quota, "{errors:?}");
    assert_eq!((tags(&bench).len(), bench.handle.ids("listeners").len()), (4, 4));
    let refused = |counts: &Count| counts.failures.contains_key("409");
    assert!(!bench.handle.counts().values().any(refused), "writes met: {:?}", bench.handle.counts());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_of_the_same_name_in_another_cluster_takes_nothing_over() {
    let mut bench = Setup::new(2).start().await;
    let mut web = service("web", &["TCP 80 30080"], json!({}));
    bench.ensure(&mut web).await;
    let before = bench.belongings();
    let mut guest = service("web", &["TCP 81 30081"], json!({}));
    annotate(&mut guest, "load-balancer-id", annotation(&web, "load-balancer-id"));
    bench.cluster = "other";
    bench.ensure(&mut guest).await;
    assert!(bench.ensure(&mut guest).await.is_empty());
    let balancer = bench.only("loadbalancers");
    assert_eq!(balancer["name"], "kube_service_kubernetes_default_web");
    assert_eq!(balancer["tags"], json!(["kube_service_kubernetes_default_web", "kube_service_other_default_web"]));
    bench.remove(&guest).await;
    assert_eq!(bench.belongings(), before);
    bench.cluster = "kubernetes";
    assert!(bench.ensure(&mut web).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_balancer_that_a_service_only_names_is_not_touched_by_its_removal() {
    let bench = Setup::new(2).start().await;
    let mut web = service("web", &["TCP 80 30080"], json!({}));
    bench.ensure(&mut web).await;
    let id = annotation(&web, "load-balancer-id").to_owned();
    // As made before there were tags.
    bench.handle.set("loadbalancers", &id, &json!({ "tags": [] }));
    let before = bench.belongings();
    let mut guest = service("guest", &["TCP 80 30081"], json!({}));
    annotate(&mut guest, "load-balancer-id", &id);
    assert!(bench.refused(&mut guest).await.contains("already exists"));
    bench.remove(&guest).await;
    assert_eq!(bench.belongings(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_own_load_balancer_that_is_left_for_another_one_goes_with_its_floating_ip() {
    let bench = Setup::new(2).start().await;
    let (mut one, mut two) =
        (service("one", &["TCP 80 30080"], json!({})), service("two", &["TCP 81 30081"], json!({})));
    bench.ensure(&mut one).await;
    bench.ensure(&mut two).await;
    annotate(&mut two, "load-balancer-id", annotation(&one, "load-balancer-id"));
    bench.ensure(&mut two).await;
    assert_eq!((bench.handle.ids("loadbalancers").len(), bench.handle.ids("floatingips").len()), (1, 1));
    assert_eq!(one.status, two.status);
    assert!(bench.ensure(&mut two).await.is_empty());
}
