//! What the keys of the cloud config add that upstream does not do, and that all of it is off without them.

use cloud_provider::{
    cloud::Mode,
    cluster::objects::{Object, Service},
};
use cloud_provider_aws_simulator::{Effect, Fault, Policy, Seed};
use serde_json::{Value, json};

use crate::{
    driver::{Driver, NODES, object, service, tcp},
    support::Setup,
};

const UID: &str = "11111111-2222-3333-4444-555555555555";
const SUBNETS: [&str; 3] = ["subnet-0a1b2c3d4e5f61001", "subnet-0a1b2c3d4e5f61002", "subnet-0a1b2c3d4e5f61003"];
const NOTHING: &[String] = &[];

/// A cluster in which everything is allowed.
async fn driver(config: &'static str) -> Driver {
    Driver::with(Setup { config, policy: Policy::all(), ..Setup::default() }).await
}

fn web(annotations: &[(&str, &str)]) -> Service {
    service(UID, json!([tcp(80, 30080), tcp(443, 30443)]), annotations)
}

fn edited(annotations: &[(&str, &str)], edit: impl FnOnce(&mut Value)) -> Service {
    let mut value = object(UID, json!([tcp(80, 30080)]), annotations);
    edit(&mut value);
    serde_json::from_value(value).unwrap()
}

fn udp(port: i32, node_port: i32) -> Value {
    json!({"name": format!("u{port}"), "protocol": "UDP", "port": port, "nodePort": node_port})
}

/// A service that a controller without options has brought to rest, changed: nothing is written until the option is on.
async fn follows(config: &str, before: &Service, after: &Service) -> (Driver, Vec<String>) {
    let mut driver = driver("").await;
    driver.settle(before).await;
    driver.sync(after).await.unwrap();
    assert_eq!(driver.writes(), NOTHING, "without {config}");
    driver.reconfigure(&format!("[Global]\n{config}"));
    driver.sync(before).await.unwrap();
    assert_eq!(driver.writes(), NOTHING, "what was converged stays as it is with {config}");
    let changes = driver.settle(after).await;
    (driver, changes)
}

#[tokio::test]
async fn tags_of_network_load_balancers_follow_the_annotation() {
    let before = web(&[("additional-resource-tags", "team=a")]);
    let after = web(&[("additional-resource-tags", "team=b,stage=test")]);
    let (driver, changes) = follows("ReconcileLoadBalancerTags", &before, &after).await;
    assert_eq!(changes.len(), 1, "{changes:?}");
    for kind in ["load_balancers", "listeners", "target_groups"] {
        for resource in driver.all(kind) {
            let tags = &resource["tags"];
            assert_eq!((&tags["team"], &tags["stage"]), (&json!("b"), &json!("test")), "{kind}");
            assert_eq!(tags["kubernetes.io/service-name"], after.key().to_string());
        }
    }
}

#[tokio::test]
async fn tags_are_left_alone_where_they_may_not_be_read() {
    let driver = Driver::with(Setup { config: "[Global]\nReconcileLoadBalancerTags", ..Setup::default() }).await;
    driver.sync(&web(&[])).await.unwrap();
    for tries in [1, 0] {
        driver.sync(&web(&[("additional-resource-tags", "team=b")])).await.unwrap();
        assert_eq!(driver.writes(), NOTHING);
        assert_eq!(driver.cluster.count("ELBv2.DescribeTags"), tries);
    }
}

#[tokio::test]
async fn network_load_balancers_move_to_other_subnets() {
    let list = |ids: &[&str]| ids.join(",");
    let (two, all) = (list(&SUBNETS[..2]), list(&SUBNETS));
    let (before, after) = (web(&[("subnets", &two)]), web(&[("subnets", &all)]));
    let (driver, changes) = follows("ReconcileLoadBalancerSubnets", &before, &after).await;
    assert_eq!(changes.len(), 1, "{changes:?}");
    let subnets = |driver: &Driver| driver.all("load_balancers")[0]["subnets"].as_array().unwrap().len();
    assert_eq!(subnets(&driver), 3);
    driver.settle(&web(&[("subnets", SUBNETS[2])])).await;
    assert_eq!(subnets(&driver), 1);
    // Discovery finds all three.
    driver.settle(&web(&[])).await;
    assert_eq!(subnets(&driver), 3);
}

#[tokio::test]
async fn health_checks_come_from_the_subnets_of_a_load_balancer_that_moved() {
    let ranges = |subnets: &str| {
        edited(&[("subnets", subnets)], |service| service["spec"]["loadBalancerSourceRanges"] = json!(["192.0.2.0/24"]))
    };
    let (driver, changes) = follows("ReconcileLoadBalancerSubnets", &ranges(SUBNETS[0]), &ranges(SUBNETS[1])).await;
    assert_eq!(changes.len(), 2, "{changes:?}");
    let nodes = &driver.belongings()["security_groups"][NODES]["ingress"];
    let text = nodes.to_string();
    assert!(text.contains("10.0.32.0/19") && !text.contains("10.0.0.0/19"), "{text}");
}

#[tokio::test]
async fn elastic_ips_and_private_addresses_can_be_given_later() {
    let allocations: Vec<String> = (1..=3).map(|number| format!("eipalloc-0a1b2c3d4e5f6000{number}")).collect();
    let turned = [&allocations[1..], &allocations[..1]].concat();
    let with = |list: &[String]| web(&[("eip-allocations", &list.join(","))]);
    let (driver, changes) = follows("ReconcileLoadBalancerSubnets", &web(&[]), &with(&allocations)).await;
    assert_eq!(changes.len(), 1, "{changes:?}");
    let given = |driver: &Driver, what: &str| -> Vec<Value> {
        let subnets = driver.all("load_balancers")[0]["subnets"].as_array().unwrap().clone();
        subnets.into_iter().map(|mapping| mapping[what].clone()).collect()
    };
    assert_eq!(given(&driver, "allocation"), *allocations);
    driver.settle(&with(&turned)).await;
    assert_eq!(given(&driver, "allocation"), *turned);
    // What is asked for no more stays.
    driver.sync(&web(&[])).await.unwrap();
    assert_eq!(
        (driver.writes().as_slice(), given(&driver, "allocation")),
        (NOTHING, turned.iter().map(|id| json!(id)).collect())
    );
    let error = driver.sync(&with(&allocations[..2])).await.unwrap_err();
    assert!(error.contains("Must have same number of EIP AllocationIDs (2) and SubnetIDs (3)"), "{error}");

    let internal = |addresses: &str| {
        let all =
            [("internal", "true"), ("subnets", "subnet-0a1b2c3d4e5f62001"), ("private-ipv4-addresses", addresses)];
        web(&all)
    };
    let (driver, _) = follows("ReconcileLoadBalancerSubnets", &internal("10.0.128.20"), &internal("10.0.128.30")).await;
    assert_eq!(given(&driver, "private_address"), [json!("10.0.128.30")]);
}

#[tokio::test]
async fn a_move_that_is_not_permitted_says_so() {
    let mut driver = Driver::new(2).await;
    driver.settle(&web(&[("subnets", SUBNETS[0])])).await;
    driver.reconfigure("[Global]\nReconcileLoadBalancerSubnets");
    let error = driver.sync(&web(&[])).await.unwrap_err();
    assert!(error.contains("elasticloadbalancing:SetSubnets"), "{error}");
}

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
    driver.settle(&web(&[])).await;
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

/// A cluster whose public subnets have IPv6 ranges.
async fn with_ipv6(config: &'static str) -> Driver {
    let mut seed = Seed::cluster("demo", 2);
    for (number, subnet) in seed.subnets.iter_mut().enumerate().filter(|(_, subnet)| subnet.public_addresses) {
        subnet.ipv6_cidr = Some(format!("2001:db8:0:{number:x}::/64").parse().unwrap());
    }
    Driver::with(Setup { seed, config, policy: Policy::all(), ..Setup::default() }).await
}

fn dual_stack(policy: &str, ranges: &[&str], annotations: &[(&str, &str)]) -> Service {
    edited(annotations, |service| {
        service["spec"]["ipFamilies"] = json!(["IPv4", "IPv6"]);
        service["spec"]["ipFamilyPolicy"] = json!(policy);
        service["spec"]["loadBalancerSourceRanges"] = json!(ranges);
    })
}

fn families(driver: &Driver) -> String {
    driver.all("load_balancers")[0]["ip_address_type"].as_str().unwrap().to_owned()
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

fn classic() -> Service {
    web(&[("type", "")])
}

const CHANGE: &str = "[Global]\nAllowLoadBalancerTypeChange";

#[tokio::test]
async fn the_type_changes_without_a_leak() {
    for config in [CHANGE, "[Global]\nAllowLoadBalancerTypeChange\nNLBSecurityGroupMode=Managed"] {
        let driver = driver(config).await;
        let before = driver.belongings();
        let mut alone = Vec::new();
        for service in [&classic(), &web(&[])] {
            driver.settle(service).await;
            alone.push(shape(&driver));
            driver.remove(service).await.unwrap();
        }
        driver.settle(&classic()).await;
        let mut statuses = Vec::new();
        for (service, alone) in [(web(&[]), &alone[1]), (classic(), &alone[0])] {
            let mut service = service;
            service.status.load_balancer.ingress = statuses.pop().unwrap_or_default();
            let planned = driver.round(&service, driver.cluster.nodes_by_id(), true, Mode::DryRun).await.changes.len();
            assert_eq!(driver.settle(&service).await.len(), planned);
            assert_eq!(&shape(&driver), alone);
        }
        driver.remove(&classic()).await.unwrap();
        assert_eq!(driver.belongings(), before);
    }
}

/// How many there are of everything, and how many rules the nodes' group has.
fn shape(driver: &Driver) -> Vec<usize> {
    let kinds = ["classic_load_balancers", "load_balancers", "listeners", "target_groups", "security_groups"];
    kinds.iter().map(|kind| driver.all(kind).len()).chain([driver.rules(NODES)]).collect()
}

#[tokio::test]
async fn a_change_of_type_that_ends_half_way_is_finished_by_another_process() {
    for (from, to) in [(classic(), web(&[])), (web(&[]), classic())] {
        let reference = driver(CHANGE).await;
        let before = reference.belongings();
        reference.settle(&from).await;
        reference.sync(&to).await.unwrap();
        let (actions, goal) = (reference.writes(), shape(&reference));
        assert!(actions.len() >= 8, "{actions:?}");
        for action in actions {
            for after in [false, true] {
                let mut driver = driver(CHANGE).await;
                driver.settle(&from).await;
                let effect = Effect::Error { code: "Injected".into(), message: String::new(), status: Some(400) };
                driver.cluster.handle.fault(Fault { after, effect, ..Fault::error(&action, "") }.times(1));
                driver.sync(&to).await.unwrap_err();
                driver.restart();
                driver.settle(&to).await;
                assert_eq!(shape(&driver), goal, "{action}");
                driver.remove(&to).await.unwrap();
                assert_eq!(driver.belongings(), before, "{action}");
            }
        }
    }
}

#[tokio::test]
async fn the_old_group_goes_when_the_old_load_balancer_lets_it_go() {
    let mut driver = driver(CHANGE).await;
    driver.settle(&classic()).await;
    driver.cluster.handle.adjust(|knobs| knobs.delays.groups_released_ms = 300);
    let outcome = driver.round(&web(&[]), driver.cluster.nodes_by_id(), true, Mode::Full).await;
    let result = &outcome.services[&web(&[]).key()];
    assert!(result.error.as_ref().unwrap().retry_after().is_some(), "{result:?}");
    assert!(matches!(result.state, cloud_provider::cloud::ServiceState::Present(_)), "the new one serves already");
    driver.restart();
    tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    driver.settle(&web(&[])).await;
    assert_eq!(shape(&driver)[4], 2);
}

fn numbered(number: i32, classic: bool, edit: impl FnOnce(&mut Value)) -> Service {
    let uid = format!("{number:08x}-2222-3333-4444-555555555555");
    let mut object = object(&uid, json!([tcp(80, 30000 + number), tcp(443, 32700 - number)]), &[]);
    if classic {
        object["metadata"]["annotations"] = json!({});
    }
    edit(&mut object);
    serde_json::from_value(object).unwrap()
}

fn restricted(object: &mut Value) {
    object["spec"]["loadBalancerSourceRanges"] = json!(["192.0.2.0/24"]);
}

#[tokio::test]
async fn fifty_load_balancers_share_one_group_of_nodes() {
    for (config, few) in [
        ("[Global]\nMergeNodeSecurityGroupRules", false),
        ("[Global]\nMergeNodeSecurityGroupRules\nNLBSecurityGroupMode=Managed", true),
    ] {
        let driver = driver(config).await;
        let before = driver.belongings();
        let services: Vec<Service> = (0..50).map(|number| numbered(number, false, restricted)).collect();
        for service in &services {
            driver.sync(service).await.unwrap();
        }
        assert!(driver.rules(NODES) <= 60, "{}", driver.rules(NODES));
        assert!(!few || driver.rules(NODES) == 51);
        for service in &services {
            driver.sync(service).await.unwrap();
            assert_eq!(driver.writes(), NOTHING);
        }
        for service in &services {
            driver.remove(service).await.unwrap();
        }
        assert_eq!(driver.belongings(), before);
    }
}

#[tokio::test]
async fn fifty_classic_load_balancers_share_one_group_of_nodes() {
    let driver = Driver::new(2).await;
    driver.cluster.handle.adjust(|knobs| knobs.quotas.classic_load_balancers = 50);
    let before = driver.belongings();
    let services: Vec<Service> = (0..50).map(|number| numbered(number, true, |_| {})).collect();
    for service in &services {
        driver.sync(service).await.unwrap();
    }
    assert_eq!(driver.rules(NODES), 51);
    for service in &services {
        driver.remove(service).await.unwrap();
    }
    assert_eq!(driver.belongings(), before);
}

#[tokio::test]
async fn merging_leaves_rules_alone_as_long_as_there_is_room_and_can_be_taken_back() {
    let mut driver = driver("").await;
    let services: Vec<Service> = (0..7).map(|number| numbered(number, false, restricted)).collect();
    for service in &services {
        driver.sync(service).await.unwrap();
    }
    let rules = driver.rules(NODES);
    let error = driver.sync(&numbered(7, false, restricted)).await.unwrap_err();
    assert!(error.contains("MergeNodeSecurityGroupRules"), "{error}");
    driver.reconfigure("[Global]\nMergeNodeSecurityGroupRules");
    for service in &services {
        driver.sync(service).await.unwrap();
        assert_eq!(driver.writes(), NOTHING);
    }
    driver.sync(&numbered(7, false, restricted)).await.unwrap();
    assert!(driver.rules(NODES) < rules);
    driver.remove(&numbered(7, false, restricted)).await.unwrap();
    driver.reconfigure("");
    for service in &services {
        driver.sync(service).await.unwrap();
    }
    for service in &services {
        driver.sync(service).await.unwrap();
        assert_eq!(driver.writes(), NOTHING);
    }
}

#[tokio::test]
async fn a_classic_load_balancer_whose_creation_failed_leaves_nothing() {
    let reference = Driver::new(2).await;
    reference.sync(&classic()).await.unwrap();
    for action in reference.writes() {
        let driver = Driver::new(2).await;
        let before = driver.belongings();
        driver.cluster.handle.fault(Fault::error(&action, "ValidationError").times(1));
        driver.sync(&classic()).await.unwrap_err();
        driver.remove(&classic()).await.unwrap();
        assert_eq!(driver.belongings(), before, "{action}");
        // The next round takes up what is there.
        driver.cluster.handle.fault(Fault::error(&action, "ValidationError").times(1));
        driver.sync(&classic()).await.unwrap_err();
        driver.settle(&classic()).await;
    }
}
