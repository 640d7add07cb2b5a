//! Every annotation of a service, from its value to what stands in the cloud.

use cloud_provider::{cloud::Mode, cluster::objects::Service};
use futures::future::join_all;
use serde_json::{Value, json};

use crate::bench::{Bench, Setup, annotate, service};

const INTERNAL: &str = "service.beta.kubernetes.io/openstack-internal-load-balancer";
const RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";

fn web() -> Service {
    service("web", &["TCP 80 30080"], json!({}))
}

/// Something like what there is already, with another ID.
fn copy(bench: &Bench, collection: &str, of: &str, changes: Value) -> String {
    let mut resource = Value::Object(bench.handle.get(collection, of).unwrap());
    for (key, value) in changes.as_object().unwrap() {
        resource[key] = value.clone();
    }
    let id = changes["id"].as_str().unwrap().to_owned();
    assert!(bench.handle.insert(collection, resource));
    id
}

/// A second network of the project, with a subnet of its own.
fn second_network(bench: &Bench) -> (String, String) {
    let (network, subnet) = ("00000000-0000-4000-8000-00000000000a", "00000000-0000-4000-8000-00000000000b");
    let changes = json!({ "id": network, "name": "second", "subnets": [subnet] });
    copy(bench, "networks", &bench.ids.network, changes);
    let changes = json!({
        "id": subnet, "name": "second", "network_id": network, "cidr": "10.30.0.0/16", "gateway_ip": "10.30.0.1",
        "allocation_pools": [{ "start": "10.30.0.10", "end": "10.30.0.250" }],
    });
    copy(bench, "subnets", &bench.ids.subnet, changes);
    (network.to_owned(), subnet.to_owned())
}

/// A flavor and a zone of Octavia.
fn offers(bench: &Bench) -> (&'static str, &'static str) {
    let flavor = "00000000-0000-4000-8000-00000000000c";
    bench.handle.insert("lbaas-flavors", json!({ "id": flavor, "name": "big", "enabled": true }));
    bench.handle.insert("lbaas-availability-zones", json!({ "id": "az1", "name": "az1", "enabled": true }));
    (flavor, "az1")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_followed_counts_at_once_is_followed_later_and_taken_back() {
    let rows: [(&str, &str, &str, &str, Value); 15] = [
        ("connection-limit", "7", "listeners", "connection_limit", json!(7)),
        ("timeout-client-data", "1001", "listeners", "timeout_client_data", json!(1001)),
        ("timeout-member-connect", "1002", "listeners", "timeout_member_connect", json!(1002)),
        ("timeout-member-data", "1003", "listeners", "timeout_member_data", json!(1003)),
        ("timeout-tcp-inspect", "1004", "listeners", "timeout_tcp_inspect", json!(1004)),
        (RANGES, "192.0.2.7/24", "listeners", "allowed_cidrs", json!(["192.0.2.0/24"])),
        ("x-forwarded-for", "true", "listeners", "protocol", json!("HTTP")),
        ("listener-protocols", "80=HTTP", "listeners", "protocol", json!("HTTP")),
        ("lb-method", "LEAST_CONNECTIONS", "pools", "lb_algorithm", json!("LEAST_CONNECTIONS")),
        ("proxy-protocol", "v1", "pools", "protocol", json!("PROXY")),
        ("health-monitor-delay", "11", "healthmonitors", "delay", json!(11)),
        ("health-monitor-timeout", "2", "healthmonitors", "timeout", json!(2)),
        ("health-monitor-max-retries", "4", "healthmonitors", "max_retries", json!(4)),
        ("health-monitor-max-retries-down", "5", "healthmonitors", "max_retries_down", json!(5)),
        ("member-subnet-id", "", "members", "subnet_id", json!(null)),
    ];
    let check = async |(annotation, value, collection, field, expected): (&str, &str, &str, &str, Value)| {
        let bench = Setup::new(1).start().await;
        let field = || bench.only(collection)[field].clone();
        let mut new = web();
        annotate(&mut new, annotation, value);
        bench.ensure(&mut new).await;
        let at_creation = field();
        assert!(bench.ensure(&mut new).await.is_empty(), "{annotation}");
        bench.remove(&new).await;
        if annotation == "member-subnet-id" {
            // Empty is as if it was not there.
            return assert_eq!(at_creation, bench.ids.subnet.as_str());
        }
        assert_eq!(at_creation, expected, "{annotation}, when it is made");

        let mut live = web();
        bench.ensure(&mut live).await;
        let default = field();
        assert_ne!(default, expected, "{annotation}");
        annotate(&mut live, annotation, value);
        bench.ensure(&mut live).await;
        assert_eq!(field(), expected, "{annotation}, later");
        assert!(bench.ensure(&mut live).await.is_empty(), "{annotation}");
        live.metadata.annotations.as_mut().unwrap().retain(|key, _| !key.ends_with(annotation));
        bench.ensure(&mut live).await;
        assert_eq!(field(), default, "{annotation}, taken back");
    };
    join_all(rows.into_iter().map(check)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_counts_at_creation_is_left_alone_afterwards() {
    let check = async |annotation: &'static str, field: &'static str| {
        let bench = Setup::new(1).with("internal-lb = true\nsubnet-id =").start().await;
        let ((network, subnet), (flavor, zone)) = (second_network(&bench), offers(&bench));
        let server = bench.handle.ids("servers").remove(0);
        let port = copy(
            &bench,
            "ports",
            bench.port_of(&server)["id"].as_str().unwrap(),
            json!({ "id": "00000000-0000-4000-8000-00000000000d", "name": "vip", "device_id": "", "device_owner": "",
                "fixed_ips": [{ "subnet_id": bench.ids.subnet, "ip_address": "10.20.200.1" }] }),
        );
        let value: &str = match annotation {
            "network-id" => &network,
            "subnet-id" => &subnet,
            "port-id" => &port,
            "flavor-id" => flavor,
            _ => zone,
        };
        let mut new = web();
        annotate(&mut new, annotation, value);
        bench.ensure(&mut new).await;
        assert_eq!(bench.only("loadbalancers")[field], value, "{annotation}");
        annotate(&mut new, annotation, "00000000-0000-4000-8000-0000000000ff");
        assert!(bench.ensure(&mut new).await.is_empty(), "{annotation}");
        bench.remove(&new).await;
        assert!(bench.handle.get("ports", &port).is_some(), "a port that was there stays");
    };
    let rows = [
        ("network-id", "vip_network_id"),
        ("subnet-id", "vip_subnet_id"),
        ("port-id", "vip_port_id"),
        ("flavor-id", "flavor_id"),
        ("availability-zone", "availability_zone"),
    ];
    join_all(rows.into_iter().map(|(annotation, field)| check(annotation, field))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_where_an_annotation_a_class_or_the_configuration_says() {
    let id = "00000000-0000-4000-8000-00000000000b";
    let class = format!("[LoadBalancerClass \"gold\"]\nmember-subnet-id = {id}");
    for (config, annotation, value) in [
        (String::new(), "member-subnet-id", id),
        (class, "class", "gold"),
        (format!("member-subnet-id = {id}"), "hostname", "web.example.com"),
    ] {
        let bench = Setup::new(1).with(&config).start().await;
        second_network(&bench);
        let mut web = web();
        annotate(&mut web, annotation, value);
        bench.ensure(&mut web).await;
        assert_eq!(bench.only("members")["subnet_id"], id, "{annotation}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_class_names_the_place_of_load_balancers_and_floating_ips() {
    let bench = Setup::new(1).start().await;
    let subnet = bench.ids.public_subnets[1].clone();
    let bench =
        Setup::new(1).with(&format!("[LoadBalancerClass \"gold\"]\nfloating-subnet-id = {subnet}")).start().await;
    let mut web = web();
    annotate(&mut web, "class", "gold");
    bench.ensure(&mut web).await;
    assert!(web.status.load_balancer.ingress[0].ip.as_ref().unwrap().starts_with("198.51.100."));
    annotate(&mut web, "class", "silver");
    assert!(bench.refused(&mut web).await.contains("invalid loadbalancer class \"silver\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_chosen_by_their_labels() {
    let mut bench = Setup::new(3).start().await;
    let mut labelled = (*bench.nodes[1]).clone();
    labelled.metadata.labels.get_or_insert_default().insert("role".into(), "edge".into());
    bench.nodes[1] = labelled.into();
    let mut web = web();
    bench.ensure(&mut web).await;
    assert_eq!(bench.members().len(), 3);
    annotate(&mut web, "node-selector", "role=edge");
    bench.ensure(&mut web).await;
    assert_eq!(bench.only("members")["name"], bench.nodes[1].metadata.name.as_deref().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_shows_what_is_asked_for() {
    let bench = Setup::new(1).with("enable-ingress-hostname = true").start().await;
    let mut web = web();
    annotate(&mut web, "proxy-protocol", "true");
    bench.ensure(&mut web).await;
    let shown = |web: &Service| {
        let ingress = &web.status.load_balancer.ingress[0];
        (ingress.ip.clone(), ingress.hostname.clone())
    };
    let address = bench.only("floatingips")["floating_ip_address"].as_str().unwrap().to_owned();
    assert_eq!(shown(&web), (None, Some(format!("{address}.nip.io"))));
    annotate(&mut web, "hostname", "web.example.com");
    assert!(bench.ensure(&mut web).await.is_empty());
    assert_eq!(shown(&web), (None, Some("web.example.com".into())));
}

#[tokio::test(flavor = "multi_thread")]
async fn monitors_follow_their_switch_and_external_traffic_policy() {
    let bench = Setup::new(2).start().await;
    let mut web = web();
    annotate(&mut web, "enable-health-monitor", "false");
    bench.ensure(&mut web).await;
    assert!(bench.handle.ids("healthmonitors").is_empty());
    annotate(&mut web, "enable-health-monitor", "true");
    (web.spec.external_traffic_policy, web.spec.health_check_node_port) = (Some("Local".into()), 31000);
    bench.ensure(&mut web).await;
    let monitor = bench.only("healthmonitors");
    assert_eq!(
        (&monitor["type"], &monitor["url_path"], &monitor["expected_codes"]),
        (&json!("HTTP"), &json!("/healthz"), &json!("200"))
    );
    assert!(bench.handle.all("members").iter().all(|member| member["monitor_port"] == 31000));
    assert!(bench.ensure(&mut web).await.is_empty());
    web.spec.external_traffic_policy = Some("Cluster".into());
    web.spec.health_check_node_port = 0;
    bench.ensure(&mut web).await;
    assert_eq!(bench.only("healthmonitors")["type"], "TCP");
    assert!(bench.handle.all("members").iter().all(|member| member["monitor_port"].is_null()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_of_its_own_can_be_asked_for_where_it_is_internal() {
    let bench = Setup::new(1).start().await;
    let mut web = web();
    annotate(&mut web, INTERNAL, "true");
    web.spec.load_balancer_ip = Some("10.20.77.7".into());
    bench.ensure(&mut web).await;
    assert_eq!(web.status.load_balancer.ingress[0].ip.as_deref(), Some("10.20.77.7"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_of_octavia_gets_what_it_knows() {
    let check = async |minor: u32, provider: &str| {
        let method = if provider == "ovn" { "SOURCE_IP_PORT" } else { "ROUND_ROBIN" };
        let config = format!("lb-provider = {provider}\nlb-method = {method}\nmanage-security-groups = true");
        let setup = Setup::new(2).with(&config).knobs(|knobs| knobs.release.octavia_minor = minor);
        let bench = setup.start().await;
        let (flavor, zone) = offers(&bench);
        let before = bench.belongings();
        let mut web = service("web", &["TCP 80 30080", "UDP 53 30053"], json!({}));
        annotate(&mut web, "flavor-id", flavor);
        annotate(&mut web, "availability-zone", zone);
        web.spec.load_balancer_source_ranges = vec!["192.0.2.0/24".into()];
        (web.spec.external_traffic_policy, web.spec.health_check_node_port) = (Some("Local".into()), 31000);
        let (_, result) = bench.round(&mut web, Mode::Full).await;
        assert!(result.error.is_none(), "2.{minor} {provider}: {:?}", result.error);
        let full = provider != "ovn";
        let ignored = |reason: &str| result.notes.iter().any(|note| note.reason == reason);
        assert_eq!(ignored("LoadBalancerAvailabilityZonesIgnored"), !full || minor < 14, "2.{minor} {provider}");
        assert_eq!(ignored("LoadBalancerSourceRangesIgnored"), full && minor < 12, "2.{minor} {provider}");
        let balancer = bench.only("loadbalancers");
        let set = |value: &Value| {
            value.as_str().is_some_and(|it| !it.is_empty()) || value.as_array().is_some_and(|it| !it.is_empty())
        };
        assert_eq!(set(&balancer["flavor_id"]), full && minor >= 6, "2.{minor} {provider}");
        assert_eq!(set(&balancer["availability_zone"]), full && minor >= 14, "2.{minor} {provider}");
        assert_eq!(set(&balancer["tags"]), minor >= 5, "2.{minor} {provider}");
        let kinds: Vec<String> = bench.handle.all("healthmonitors").iter().map(|it| it["type"].to_string()).collect();
        let http = kinds.iter().filter(|kind| kind.contains("HTTP")).count();
        assert_eq!(http, if !full { 0 } else { 1 + usize::from(minor >= 16) }, "2.{minor} {provider}: {kinds:?}");
        assert!(bench.ensure(&mut web).await.is_empty(), "2.{minor} {provider}");
        bench.remove(&web).await;
        assert_eq!(bench.belongings(), before, "2.{minor} {provider}");
    };
    let versions = [0, 1, 4, 5, 6, 11, 12, 13, 14, 15, 16, 25, 26, 30];
    let all = versions.into_iter().flat_map(|minor| ["amphora", "ovn"].map(|provider| (minor, provider)));
    // The algorithm that ovn needs is as old as that.
    let all = all.filter(|(minor, provider)| *provider != "ovn" || *minor >= 13);
    join_all(all.map(|(minor, provider)| check(minor, provider))).await;
}
