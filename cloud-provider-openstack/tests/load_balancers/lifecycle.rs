//! One service and its own load balancer.

use cloud_provider::cluster::objects::Service;
use serde_json::json;

use crate::bench::{Bench, PREFIX, Setup, annotate, annotation, service};

async fn managed(nodes: usize) -> Bench {
    Setup::new(nodes).with("manage-security-groups = true").start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_balancer_comes_in_one_pass_with_few_calls_and_goes_without_a_trace() {
    let bench = managed(5).await;
    let before = bench.belongings();
    let mut web = service("web", &["TCP 80 30080", "TCP 443 30443"], json!({}));
    bench.ensure(&mut web).await;
    let calls = bench.calls();
    assert!(calls <= 25, "{calls} calls: {:?}", bench.handle.counts());
    assert_eq!(bench.listeners().into_iter().collect::<Vec<_>>(), ["TCP 443", "TCP 80"]);
    assert_eq!((bench.members().len(), bench.handle.ids("healthmonitors").len()), (10, 2));
    let balancer = bench.only("loadbalancers");
    assert_eq!(balancer["name"], "kube_service_kubernetes_default_web");
    assert_eq!(balancer["tags"], json!(["kube_service_kubernetes_default_web"]));
    assert_eq!(annotation(&web, "load-balancer-id"), balancer["id"]);
    let address = bench.only("floatingips")["floating_ip_address"].clone();
    assert_eq!(annotation(&web, "load-balancer-address"), address);
    assert_eq!(web.status.load_balancer.ingress[0].ip.as_deref(), address.as_str());

    bench.handle.reset_calls();
    assert!(bench.ensure(&mut web).await.is_empty());
    assert_eq!(bench.writes(), Default::default(), "a second round changes nothing");

    bench.remove(&web).await;
    assert_eq!(bench.belongings(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let bench = managed(2).await;
    let mut web = service("web", &["TCP 80 30080"], json!({}));
    let plan = bench.dry_run(&mut web).await;
    assert_eq!(bench.writes(), Default::default());
    assert_eq!(plan, bench.ensure(&mut web).await);
    assert!(bench.dry_run(&mut web).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_joins_costs_one_batched_update_for_each_pool() {
    let mut bench = managed(3).await;
    let mut web = service("web", &["TCP 80 30080", "TCP 443 30443"], json!({}));
    bench.ensure(&mut web).await;
    bench.handle.add_servers(1);
    bench.nodes = bench.all_nodes();
    bench.handle.reset_calls();
    let before = web.clone();
    bench.backends(&mut web).await;
    let shown = |web: &Service| (web.status.load_balancer.clone(), web.metadata.annotations.clone());
    assert_eq!(shown(&web), shown(&before), "the address is not looked at, and stays");
    let writes = bench.writes();
    assert_eq!(writes["octavia.UpdateMembers"], 2);
    assert_eq!(writes.values().sum::<u64>(), 3, "and the new node's port: {writes:?}");
    assert_eq!(bench.members().len(), 8);
    bench.nodes.truncate(1);
    bench.backends(&mut web).await;
    assert_eq!(bench.members().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_not_initialised_fails_nothing() {
    let mut bench = managed(2).await;
    let mut bare = (*bench.nodes[0]).clone();
    (bare.spec.provider_id, bare.metadata.name) = (None, Some("bare".into()));
    let mut blank = bare.clone();
    blank.status.addresses.clear();
    bare.status.addresses[0].address = "10.20.9.9".into();
    bench.nodes.insert(0, bare.into());
    bench.nodes.insert(0, blank.into());
    let mut web = service("web", &["TCP 80 30080"], json!({}));
    bench.ensure(&mut web).await;
    assert_eq!(bench.members().len(), 3, "one has no address yet");
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_change_and_nothing_else_is_touched() {
    let bench = managed(2).await;
    let mut web = service("web", &["TCP 80 30080", "UDP 53 30053"], json!({}));
    bench.ensure(&mut web).await;
    let kept = bench.handle.all("listeners").into_iter().find(|it| it["protocol"] == "TCP").unwrap()["id"].clone();
    web.spec.ports = service("web", &["TCP 80 31080", "TCP 443 30443"], json!({})).spec.ports;
    bench.ensure(&mut web).await;
    assert_eq!(bench.listeners().into_iter().collect::<Vec<_>>(), ["TCP 443", "TCP 80"]);
    assert!(bench.members().iter().all(|it| it.ends_with("31080") || it.ends_with("30443")));
    assert!(bench.handle.ids("listeners").iter().any(|id| kept == id.as_str()));
    assert_eq!(bench.handle.ids("pools").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn protocols_are_switched_on_live_listeners() {
    let bench = Setup::new(2).start().await;
    let mut web = service("web", &["TCP 80 30080"], json!({}));
    bench.ensure(&mut web).await;
    annotate(&mut web, "x-forwarded-for", "true");
    bench.ensure(&mut web).await;
    assert_eq!(bench.listeners().into_iter().collect::<Vec<_>>(), ["HTTP 80"]);
    assert_eq!(bench.only("listeners")["insert_headers"], json!({ "X-Forwarded-For": "true" }));
    annotate(&mut web, "x-forwarded-for", "false");
    annotate(&mut web, "proxy-protocol", "v2");
    bench.ensure(&mut web).await;
    assert_eq!(
        (bench.only("listeners")["protocol"].clone(), bench.only("pools")["protocol"].clone()),
        (json!("TCP"), json!("PROXYV2"))
    );
    assert_eq!(bench.members().len(), 2);
    let container = format!("http://barbican/v1/containers/{}", bench.ids.container);
    annotate(&mut web, "proxy-protocol", "");
    annotate(&mut web, "default-tls-container-ref", &container);
    bench.ensure(&mut web).await;
    assert_eq!(bench.only("listeners")["protocol"], "TERMINATED_HTTPS");
    assert_eq!(bench.only("listeners")["default_tls_container_ref"], container);
    annotate(
        &mut web,
        "default-tls-container-ref",
        "http://barbican/v1/containers/00000000-0000-0000-0000-000000000000",
    );
    assert!(bench.refused(&mut web).await.contains("failed to get tls containers"));
}

#[tokio::test(flavor = "multi_thread")]
async fn providers_that_want_single_calls_get_them() {
    let mut bench = Setup::new(2).with("provider-requires-serial-api-calls = true").start().await;
    let before = bench.belongings();
    let mut web = service("web", &["TCP 80 30080"], json!({}));
    bench.ensure(&mut web).await;
    assert_eq!(bench.writes()["octavia.CreateMember"], 2);
    assert!(bench.ensure(&mut web).await.is_empty());
    bench.nodes.truncate(1);
    bench.backends(&mut web).await;
    assert_eq!(bench.members().len(), 1);
    bench.remove(&web).await;
    assert_eq!(bench.belongings(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_cascade_everything_is_deleted_by_itself() {
    let bench = Setup::new(2).with("cascade-delete = false").start().await;
    let before = bench.belongings();
    let mut web = service("web", &["TCP 80 30080", "TCP 443 30443"], json!({}));
    bench.ensure(&mut web).await;
    bench.remove(&web).await;
    assert_eq!(bench.belongings(), before);
    assert_eq!(bench.writes()["octavia.DeleteListener"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn ovn_gets_what_it_can_do() {
    let bench = Setup::new(2)
        .with("lb-provider = ovn\nlb-method = SOURCE_IP_PORT\nmanage-security-groups = true")
        .start()
        .await;
    let mut dns = service("dns", &["UDP 53 30053", "TCP 53 31053"], json!({}));
    dns.spec.load_balancer_source_ranges = vec!["192.0.2.0/24".into()];
    bench.ensure(&mut dns).await;
    assert!(bench.ensure(&mut dns).await.is_empty());
    assert!(bench.handle.all("security-group-rules").iter().any(|it| it["remote_ip_prefix"] == "192.0.2.0/24"));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_families_get_an_address_each_where_that_is_configured() {
    let setup = Setup { dual_stack: true, ..Setup::new(2).with("dual-stack = true") };
    let bench = setup.start().await;
    let mut web = service("web", &["TCP 80 30080"], json!({ (format!("{PREFIX}class")): "" }));
    web.spec.ip_families = vec!["IPv4".into(), "IPv6".into()];
    bench.ensure(&mut web).await;
    let ingress = &web.status.load_balancer.ingress;
    assert_eq!(ingress.len(), 2, "{ingress:?}");
    assert!(ingress[1].ip.as_ref().unwrap().contains(':'));
    assert!(bench.ensure(&mut web).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_cluster_keeps_its_load_balancers() {
    let mut bench = managed(2).await;
    let before = bench.belongings();
    let mut web = service("web", &["TCP 80 30080"], json!({}));
    bench.ensure(&mut web).await;
    bench.cluster = "other";
    bench.ensure(&mut web).await;
    assert_eq!(bench.only("loadbalancers")["name"], "kube_service_other_default_web");
    assert_eq!(bench.only("loadbalancers")["tags"], json!(["kube_service_other_default_web"]));
    assert_eq!(bench.only("listeners")["name"], "listener_0_kube_service_other_default_web");
    assert_eq!(bench.only("listeners")["tags"], json!(["kube_service_other_default_web"]));
    assert_eq!(bench.only("healthmonitors")["name"], "monitor_0_kube_service_other_default_web");
    assert!(bench.ensure(&mut web).await.is_empty());
    bench.cluster = "third";
    bench.remove(&web).await;
    assert_eq!(bench.belongings(), before, "also without a round under the new name");
}
