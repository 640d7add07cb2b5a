//! `NLBExtensions`: what upstream ignores or refuses on network load balancers.

use cloud_provider::{
    cloud::Mode,
    cluster::objects::{Object, Service},
};
use cloud_provider_aws_simulator::Seed;
use serde_json::{Value, json};

use super::{NOTHING, UID, driver, edited, families, follows, udp, web, with_ipv6};
use crate::{
    driver::{Driver, NODES, service, tcp},
    support::Setup,
};

const EXTENSIONS: &str = "[Global]\nNLBExtensions";

#[tokio::test]
async fn the_timeout_of_health_checks_is_honoured() {
    let (driver, changes) = follows("NLBExtensions", &web(&[]), &web(&[("healthcheck-timeout", "5")])).await;
    assert_eq!(changes.len(), 2, "{changes:?}");
    let timeouts = |driver: &Driver| -> Vec<Value> {
        driver.all("target_groups").iter().map(|group| group["health_check"]["timeout"].clone()).collect()
    };
    assert_eq!(timeouts(&driver), [5, 5]);
    driver.remove(&web(&[])).await.unwrap();
    driver.settle(&web(&[("healthcheck-timeout", "7")])).await;
    assert_eq!(timeouts(&driver), [7, 7]);
}

#[tokio::test]
async fn proxy_protocol_and_attributes_follow_their_annotations() {
    let attributes = |driver: &Driver| -> Vec<(Value, Value)> {
        let of = |group: &Value| {
            let all = &group["attributes"];
            (all["proxy_protocol_v2.enabled"].clone(), all["preserve_client_ip.enabled"].clone())
        };
        driver.all("target_groups").iter().map(of).collect()
    };
    let (driver, changes) = follows("NLBExtensions", &web(&[]), &web(&[("proxy-protocol", "*")])).await;
    assert_eq!(changes.len(), 2, "{changes:?}");
    assert_eq!(attributes(&driver), [(json!("true"), json!("true")), (json!("true"), json!("true"))]);
    // The more precise annotation comes first.
    let both = [
        ("proxy-protocol", "*"),
        ("target-group-attributes", "proxy_protocol_v2.enabled=false,preserve_client_ip.enabled=false"),
    ];
    driver.settle(&web(&both)).await;
    assert_eq!(attributes(&driver), [(json!("false"), json!("false")), (json!("false"), json!("false"))]);
    driver.settle(&web(&[("target-group-attributes", "")])).await;
    assert_eq!(attributes(&driver), [(json!("false"), json!("true")), (json!("false"), json!("true"))]);
    driver.settle(&web(&[("proxy-protocol", "*")])).await;
    driver.settle(&web(&[("proxy-protocol", "")])).await;
    assert_eq!(attributes(&driver), [(json!("false"), json!("true")), (json!("false"), json!("true"))]);
    let error = driver.sync(&web(&[("proxy-protocol", "on")])).await.unwrap_err();
    assert!(error.contains("the only value supported currently is '*'"), "{error}");

    // Without the permission to read attributes, services that ask for none do without.
    let driver = Driver::with(Setup { config: EXTENSIONS, ..Setup::default() }).await;
    driver.sync(&web(&[])).await.unwrap();
    driver.sync(&web(&[])).await.unwrap();
    assert!(driver.sync(&web(&[("proxy-protocol", "*")])).await.is_err());
}

#[tokio::test]
async fn what_was_set_otherwise_stays_where_annotations_say_nothing() {
    let mut driver = with_ipv6("").await;
    driver.settle(&web(&[])).await;
    let mut state = driver.cluster.handle.state();
    for balancer in state["load_balancers"].as_object_mut().unwrap().values_mut() {
        balancer["ip_address_type"] = json!("dualstack");
    }
    for group in state["target_groups"].as_object_mut().unwrap().values_mut() {
        group["attributes"]["proxy_protocol_v2.enabled"] = json!("true");
        group["attributes"]["preserve_client_ip.enabled"] = json!("false");
    }
    driver.cluster.handle.set_state(state).unwrap();
    driver.reconfigure(EXTENSIONS);
    driver.sync(&web(&[])).await.unwrap();
    assert_eq!(driver.writes(), NOTHING);
    driver.settle(&web(&[("proxy-protocol", "*"), ("ip-address-type", "ipv4")])).await;
    let groups = driver.all("target_groups");
    assert!(groups.iter().all(|group| group["attributes"]["preserve_client_ip.enabled"] == "false"), "{groups:?}");
    assert_eq!(families(&driver), "ipv4");
}

#[tokio::test]
async fn tcp_and_udp_stand_on_one_load_balancer() {
    let driver = driver(EXTENSIONS).await;
    let before = driver.belongings();
    let dns = |ports: Value| service(UID, ports, &[]);
    let mixed = dns(json!([tcp(53, 30053), udp(53, 30053), tcp(443, 30443), udp(514, 30514)]));
    driver.settle(&mixed).await;
    assert_eq!(driver.listeners(), ["TCP 443", "TCP_UDP 53", "UDP 514"]);
    let targets = [("TCP 30443", 3), ("TCP_UDP 30053", 3), ("UDP 30514", 3)];
    assert_eq!(driver.targets(), targets.map(|(port, count)| (port.to_owned(), count)).into());
    let rules = driver.belongings()["security_groups"][NODES]["ingress"].clone();
    let has = |protocol: &str, port: i64| {
        let open = |rule: &&Value| {
            rule["protocol"] == protocol && rule["from_port"] == port && rule["source"] == json!({"ipv4": "0.0.0.0/0"})
        };
        rules.as_array().unwrap().iter().any(|rule| open(&rule))
    };
    assert!(has("tcp", 30053) && has("udp", 30053) && has("udp", 30514) && has("tcp", 30443), "{rules}");
    assert!(!has("udp", 30443) && !has("tcp", 30514));
    driver.settle(&dns(json!([tcp(53, 30053), udp(514, 30514)]))).await;
    assert_eq!(driver.listeners(), ["TCP 53", "UDP 514"]);
    driver.settle(&mixed).await;
    driver.remove(&mixed).await.unwrap();
    assert_eq!(driver.belongings(), before);

    let account = Seed::cluster("demo", 0).account;
    let certificate = format!("arn:aws:acm:us-east-1:{account}:certificate/0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9");
    let both = json!([tcp(53, 30053), udp(53, 30053)]);
    let rows = [
        (dns(json!([tcp(53, 30053), udp(53, 30054)])), "has the node ports 30053 and 30054"),
        (service(UID, both.clone(), &[("ssl-cert", &certificate)]), "cannot end TLS"),
        (dns(json!([{"name": "s", "protocol": "SCTP", "port": 1, "nodePort": 30001}])), "Protocol SCTP not supported"),
        (
            service(UID, both, &[("target-group-attributes", "preserve_client_ip.enabled=false")]),
            "can't be disabled for UDP",
        ),
    ];
    for (service, text) in rows {
        let error = driver.sync(&service).await.unwrap_err();
        assert!(error.contains(text), "{error}");
    }
}

#[tokio::test]
async fn a_managed_group_lets_both_protocols_in() {
    let driver = driver("[Global]\nNLBExtensions\nNLBSecurityGroupMode=Managed").await;
    driver.settle(&service(UID, json!([tcp(53, 30053), udp(53, 30053)]), &[])).await;
    let managed =
        driver.all("security_groups").into_iter().find(|group| group["name"] != "default" && group["id"] != NODES);
    let rules = managed.unwrap()["ingress"].as_array().unwrap().clone();
    let mut protocols: Vec<&str> = rules.iter().map(|rule| rule["protocol"].as_str().unwrap()).collect();
    protocols.sort_unstable();
    assert_eq!(protocols, ["icmp", "tcp", "udp"]);
}

fn dual_stack(policy: &str, ranges: &[&str], annotations: &[(&str, &str)]) -> Service {
    edited(annotations, |service| {
        service["spec"]["ipFamilies"] = json!(["IPv4", "IPv6"]);
        service["spec"]["ipFamilyPolicy"] = json!(policy);
        service["spec"]["loadBalancerSourceRanges"] = json!(ranges);
    })
}

#[tokio::test]
async fn load_balancers_follow_the_ip_families_of_their_services() {
    let mut driver = with_ipv6("").await;
    let service = dual_stack("PreferDualStack", &[], &[]);
    driver.settle(&service).await;
    assert_eq!(families(&driver), "ipv4");
    driver.reconfigure(EXTENSIONS);
    let changes = driver.settle(&service).await;
    assert_eq!((families(&driver).as_str(), changes.len()), ("dualstack", 1), "{changes:?}");
    // The annotation comes first; a round for nodes leaves families alone.
    let outcome = driver.round(&service, vec![], true, Mode::Backends).await;
    assert!(outcome.services[&service.key()].error.is_none());
    driver.settle(&dual_stack("PreferDualStack", &[], &[("ip-address-type", "ipv4")])).await;
    assert_eq!(families(&driver), "ipv4");
    driver.settle(&edited(&[("ip-address-type", "dualstack")], |_| {})).await;
    assert_eq!(families(&driver), "dualstack");
    // One family is what services have that say nothing.
    driver.settle(&edited(&[], |_| {})).await;
    assert_eq!(families(&driver), "dualstack");
    driver.remove(&service).await.unwrap();
    driver.settle(&edited(&[], |_| {})).await;
    assert_eq!(families(&driver), "ipv4");
    driver.remove(&service).await.unwrap();
    driver.settle(&dual_stack("RequireDualStack", &[], &[])).await;
    assert_eq!(families(&driver), "dualstack");
    let wrong = driver.sync(&edited(&[("ip-address-type", "ipv6")], |_| {})).await.unwrap_err();
    assert!(wrong.contains("unsupported IP address type"), "{wrong}");
}

#[tokio::test]
async fn both_families_are_preferred_only_where_they_can_be_had() {
    let over_udp = |policy: &str| {
        let mut service = dual_stack(policy, &[], &[]);
        service.spec.ports[0].protocol = "UDP".into();
        service
    };
    let driver = with_ipv6(EXTENSIONS).await;
    driver.settle(&over_udp("PreferDualStack")).await;
    assert_eq!(families(&driver), "ipv4");
    assert!(driver.sync(&over_udp("RequireDualStack")).await.unwrap_err().contains("no UDP port"));
    driver.remove(&over_udp("")).await.unwrap();
    // No one could tell clients over IPv6 apart.
    let restricted = |policy: &str| dual_stack(policy, &["192.0.2.0/24", "2001:db8:1::/48"], &[]);
    driver.settle(&restricted("PreferDualStack")).await;
    assert_eq!(families(&driver), "ipv4");
    let error = driver.sync(&restricted("RequireDualStack")).await.unwrap_err();
    assert!(error.contains("cannot be restricted"), "{error}");
    // Subnets without IPv6.
    let driver = self::driver(EXTENSIONS).await;
    driver.settle(&dual_stack("PreferDualStack", &[], &[])).await;
    assert_eq!(families(&driver), "ipv4");
}

#[tokio::test]
async fn ipv6_goes_before_a_port_over_udp_comes() {
    let driver = with_ipv6(EXTENSIONS).await;
    let mut service = dual_stack("PreferDualStack", &[], &[]);
    driver.settle(&service).await;
    assert_eq!(families(&driver), "dualstack");
    service.spec.ports.push(serde_json::from_value(udp(53, 30053)).unwrap());
    driver.settle(&service).await;
    assert_eq!((families(&driver).as_str(), driver.listeners()), ("ipv4", vec!["TCP 80".into(), "UDP 53".into()]));
}

#[tokio::test]
async fn source_ranges_of_both_families_stand_in_security_groups() {
    let driver = with_ipv6("[Global]\nNLBExtensions\nNLBSecurityGroupMode=Managed").await;
    let before = driver.belongings();
    let service = dual_stack("RequireDualStack", &["192.0.2.0/24", "2001:db8:1::/48"], &[]);
    driver.settle(&service).await;
    assert_eq!(families(&driver), "dualstack");
    let sources = |id: &str| -> Vec<String> {
        let groups = driver.belongings()["security_groups"].clone();
        let rules = groups[id]["ingress"].as_array().unwrap().clone();
        let text = |rule: &Value| format!("{} {}", rule["protocol"].as_str().unwrap(), rule["source"]);
        let mut all: Vec<String> = rules.iter().map(text).collect();
        all.sort();
        all
    };
    let managed =
        driver.all("security_groups").into_iter().find(|group| group["name"] != "default" && group["id"] != NODES);
    let managed = managed.unwrap()["id"].as_str().unwrap().to_owned();
    let expected = [
        "icmp {\"ipv4\":\"192.0.2.0/24\"}",
        "icmpv6 {\"ipv6\":\"2001:db8:1::/48\"}",
        "tcp {\"ipv4\":\"192.0.2.0/24\"}",
        "tcp {\"ipv6\":\"2001:db8:1::/48\"}",
    ];
    assert_eq!(sources(&managed), expected);
    // Clients over IPv6 come to the nodes from the load balancer's subnets.
    let nodes = sources(NODES);
    assert_eq!(nodes.iter().filter(|rule| rule.starts_with("tcp") && rule.contains("\"10.0.")).count(), 3, "{nodes:?}");
    assert!(!nodes.iter().any(|rule| rule.contains("ipv6")), "{nodes:?}");
    driver.remove(&service).await.unwrap();
    assert_eq!(driver.belongings(), before);
}
