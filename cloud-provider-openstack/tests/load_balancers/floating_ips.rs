//! Addresses by which load balancers are reached from outside.

use cloud_provider::cloud::Mode;
use serde_json::json;

use crate::bench::{Setup, annotate, service};

const INTERNAL: &str = "service.beta.kubernetes.io/openstack-internal-load-balancer";

#[tokio::test(flavor = "multi_thread")]
async fn a_service_becomes_internal_and_external_again() {
    let bench = Setup::new(1).start().await;
    let mut web = service("web", &["TCP 80 30080"], json!({}));
    bench.ensure(&mut web).await;
    annotate(&mut web, INTERNAL, "true");
    bench.ensure(&mut web).await;
    assert!(bench.handle.ids("floatingips").is_empty());
    assert_eq!(web.status.load_balancer.ingress[0].ip.as_deref(), bench.only("loadbalancers")["vip_address"].as_str());
    annotate(&mut web, INTERNAL, "false");
    bench.ensure(&mut web).await;
    annotate(&mut web, INTERNAL, "true");
    annotate(&mut web, "keep-floatingip", "true");
    bench.ensure(&mut web).await;
    assert!(bench.only("floatingips")["port_id"].is_null(), "kept, and detached");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_asked_for_is_taken_and_stays_afterwards() {
    let bench = Setup::new(1).start().await;
    let project = bench.ids.project.clone();
    bench.handle.insert(
        "floatingips",
        json!({
            "id": "00000000-0000-4000-8000-000000000001", "floating_ip_address": "203.0.113.77", "port_id": null, "description": "mine",
            "floating_network_id": bench.ids.public_network, "fixed_ip_address": null, "router_id": null, "status": "DOWN",
            "project_id": project, "tenant_id": project, "tags": [], "revision_number": 1,
        }),
    );
    let mut web = service("web", &["TCP 80 30080"], json!({}));
    web.spec.load_balancer_ip = Some("203.0.113.77".into());
    bench.ensure(&mut web).await;
    assert_eq!(web.status.load_balancer.ingress[0].ip.as_deref(), Some("203.0.113.77"));
    let mut other = service("other", &["TCP 80 30081"], json!({}));
    other.spec.load_balancer_ip = Some("203.0.113.77".into());
    assert!(bench.refused(&mut other).await.contains("is not available"));
    bench.remove(&web).await;
    assert!(bench.only("floatingips")["port_id"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn subnets_are_found_by_id_pattern_and_tags() {
    let bench = Setup::new(1).start().await;
    let [first, second] = bench.ids.public_subnets.clone();
    bench.handle.set("subnets", &second, &json!({ "tags": ["gold"] }));
    let name = bench.handle.get("subnets", &second).unwrap()["name"].as_str().unwrap().to_owned();
    for (index, (annotation, value)) in [
        ("floating-subnet-id", second.as_str()),
        ("floating-subnet", name.as_str()),
        ("floating-subnet-tags", "gold"),
        ("floating-subnet-tags", "&gold"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut web = service(&format!("web-{index}"), &["TCP 80 30080"], json!({}));
        annotate(&mut web, annotation, value);
        bench.ensure(&mut web).await;
        let address = web.status.load_balancer.ingress[0].ip.clone().unwrap();
        assert!(address.starts_with("198.51.100."), "{annotation}={value}: {address}");
    }
    let mut web = service("none", &["TCP 80 30080"], json!({}));
    annotate(&mut web, "floating-subnet", "nothing-*");
    assert!(bench.refused(&mut web).await.contains("no subnet matching"));
    annotate(&mut web, "floating-subnet-id", &bench.ids.subnet.clone());
    assert!(bench.refused(&mut web).await.contains("doesn't belong to the network"));
    assert_ne!(first, second);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_external_network_is_searched_for_where_none_is_named() {
    let bench = Setup::new(1).start().await;
    let mut web = service("web", &["TCP 80 30080"], json!({}));
    annotate(&mut web, "floating-network-id", "");
    bench.ensure(&mut web).await;
    assert_eq!(bench.only("floatingips")["floating_network_id"], bench.ids.public_network.as_str());

    let network = bench.ids.public_network.clone();
    bench.handle.set("networks", &network, &json!({ "router:external": false }));
    let mut alone = service("alone", &["TCP 80 30081"], json!({}));
    annotate(&mut alone, "floating-network-id", "");
    let (_, result) = bench.round(&mut alone, Mode::Full).await;
    let reasons: Vec<&str> = result.notes.iter().map(|note| note.reason).collect();
    assert_eq!(reasons, ["LoadBalancerExternalNetworkSearchFailed", "LoadBalancerForcedInternal"]);
    assert!(alone.status.load_balancer.ingress[0].ip.as_ref().unwrap().starts_with("10.20."));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_of_a_load_balancer_that_is_gone_is_found() {
    let bench = Setup::new(2).with("manage-security-groups = true").start().await;
    let before = bench.belongings();
    let mut web = service("web", &["TCP 80 30080"], json!({}));
    bench.ensure(&mut web).await;
    let id = bench.handle.ids("loadbalancers").remove(0);
    bench.handle.remove_load_balancer(&id);
    bench.remove(&web).await;
    assert_eq!(bench.belongings(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_balancer_that_is_gone_is_made_anew() {
    let bench = Setup::new(2).start().await;
    let mut web = service("web", &["TCP 80 30080"], json!({}));
    bench.ensure(&mut web).await;
    let id = bench.handle.ids("loadbalancers").remove(0);
    let status = web.status.load_balancer.clone();
    bench.handle.remove_load_balancer(&id);
    bench.ensure(&mut web).await;
    assert_ne!(bench.only("loadbalancers")["id"], id.as_str());
    assert_eq!(
        (bench.handle.ids("floatingips").len(), &web.status.load_balancer),
        (1, &status),
        "with its floating IP"
    );

    let mut typo = service("typo", &["TCP 80 30081"], json!({}));
    annotate(&mut typo, "load-balancer-id", &id);
    assert!(bench.refused(&mut typo).await.contains("which the service names"), "one that it was never served from");
}
