//! Network load balancers, against the simulator.

use std::collections::BTreeMap;

use cloud_provider::{
    Kind,
    cloud::{LoadBalancers, Mode, ServiceState},
    cluster::objects::{Object, Service},
};
use cloud_provider_aws_simulator::{Effect, Fault, Policy, Seed};
use serde_json::{Value, json};

use crate::{
    driver::{Driver, NODES, object, service, tcp},
    support::Setup,
};

fn web() -> Service {
    service("11111111-2222-3333-4444-555555555555", json!([tcp(80, 30080), tcp(443, 30443)]), &[])
}

#[tokio::test]
async fn a_load_balancer_comes_stays_and_goes() {
    let driver = Driver::new(3).await;
    let before = driver.belongings();
    let service = web();
    let outcome = driver.round(&service, driver.cluster.nodes_by_id(), true, Mode::DryRun).await;
    assert!(driver.writes().is_empty() && outcome.changes.len() > 5, "{outcome:?}");
    let changes = driver.sync(&service).await.unwrap();
    assert_eq!(changes.len(), outcome.changes.len(), "{changes:#?}");
    assert_eq!(driver.listeners(), ["TCP 443", "TCP 80"]);
    assert_eq!(driver.targets(), [("TCP 30080".to_owned(), 3), ("TCP 30443".to_owned(), 3)].into());
    let balancer = &driver.all("load_balancers")[0];
    assert_eq!(balancer["name"], "a1111111122223333444455555555555");
    assert_eq!(balancer["tags"]["kubernetes.io/service-name"], service.key().to_string());
    assert_eq!(balancer["tags"]["kubernetes.io/cluster/demo"], "owned");
    // The rule that was there, one per client port, one for path MTU discovery.
    assert_eq!(driver.rules(NODES), 4);

    driver.sync(&service).await.unwrap();
    assert_eq!(driver.writes(), Vec::<String>::new());
    driver.sync(&service).await.unwrap();
    assert!(driver.writes().is_empty() && driver.reads() <= 6, "{:?}", driver.cluster.handle.counts());

    driver.remove(&service).await.unwrap();
    assert_eq!(driver.belongings(), before);
    driver.remove(&service).await.unwrap();
    assert!(driver.writes().is_empty() && driver.reads() <= 5, "{:?}", driver.cluster.handle.counts());
}

#[tokio::test]
async fn ports_and_protocols_change_in_place() {
    let driver = Driver::new(2).await;
    let before = driver.belongings();
    let certificate = "arn:aws:acm:us-east-1:123456789012:certificate/0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9";
    let uid = "11111111-2222-3333-4444-555555555555";
    let account = Seed::cluster("demo", 0).account;
    let certificate = certificate.replace("123456789012", &account);
    let tls = [("ssl-cert", certificate.as_str()), ("ssl-ports", "443")];
    let steps = [
        (service(uid, json!([tcp(80, 30080)]), &[]), vec!["TCP 80"]),
        (service(uid, json!([tcp(80, 30080), tcp(443, 30443)]), &[]), vec!["TCP 443", "TCP 80"]),
        (service(uid, json!([tcp(80, 30080), tcp(443, 30443)]), &tls), vec!["TCP 80", "TLS 443"]),
        (service(uid, json!([tcp(80, 30080), tcp(443, 30443)]), &[]), vec!["TCP 443", "TCP 80"]),
        (service(uid, json!([tcp(80, 30081)]), &[]), vec!["TCP 80"]),
        (service(uid, json!([tcp(81, 30081)]), &[("healthcheck-protocol", "http")]), vec!["TCP 81"]),
        (service(uid, json!([tcp(81, 30081)]), &[("healthcheck-unhealthy-threshold", "5")]), vec!["TCP 81"]),
        (service(uid, json!([{"name": "dns", "protocol": "UDP", "port": 81, "nodePort": 30081}]), &[]), vec!["UDP 81"]),
    ];
    for (service, listeners) in &steps {
        let changes = driver.sync(service).await.unwrap();
        assert_eq!(driver.listeners(), *listeners, "{changes:#?}");
        assert_eq!(driver.all("target_groups").len(), listeners.len(), "{changes:#?}");
        assert!(driver.targets().values().all(|targets| *targets == 2));
        driver.sync(service).await.unwrap();
        assert!(driver.writes().is_empty(), "{listeners:?}: {:?}", driver.writes());
    }
    driver.remove(&steps[0].0).await.unwrap();
    assert_eq!(driver.belongings(), before);
}

#[tokio::test]
async fn nodes_come_and_go_with_few_calls() {
    let driver = Driver::new(250).await;
    let service = web();
    driver.sync(&service).await.unwrap();
    assert!(driver.targets().values().all(|targets| *targets == 250));
    assert_eq!(driver.cluster.count("ELBv2.RegisterTargets"), 6);
    let mut nodes = driver.cluster.nodes_by_id();
    nodes.truncate(120);
    let outcome = driver.round(&service, nodes, true, Mode::Backends).await;
    assert!(outcome.services[&service.key()].error.is_none(), "{outcome:?}");
    assert!(driver.targets().values().all(|targets| *targets == 120), "{:?}", driver.targets());
    assert_eq!(driver.writes(), ["ELBv2.DeregisterTargets"]);
    assert_eq!(driver.cluster.count("ELBv2.DescribeListeners"), 0);
    let all = driver.cluster.nodes_by_id();
    driver.round(&service, all, true, Mode::Backends).await;
    assert!(driver.targets().values().all(|targets| *targets == 250));

    // One whose instance is gone does not keep the others out.
    let ids = driver.cluster.worker_ids();
    driver.round(&service, vec![], true, Mode::Backends).await;
    assert!(driver.targets().values().all(|targets| *targets == 0), "{:?}", driver.targets());
    driver.cluster.handle.terminate(ids[7].as_str());
    let outcome = driver.round(&service, driver.cluster.nodes_by_id(), true, Mode::Backends).await;
    assert!(outcome.services[&service.key()].error.as_ref().unwrap().chain().contains(ids[7].as_str()));
    assert!(driver.targets().values().all(|targets| *targets == 249), "{:?}", driver.targets());
}

/// Issue: at most four reads for a network load balancer and one for each further target group, one for a classic one.
#[tokio::test]
async fn after_a_restart_what_did_not_change_costs_few_reads_and_no_write() {
    let mut driver = Driver::new(3).await;
    let mut services: Vec<Service> = Vec::new();
    for (number, port) in (0..6).zip(30_100..) {
        let uid = format!("{number}1111111-2222-3333-4444-555555555555");
        let ports = json!([tcp(80, port), tcp(443, port + 100)]);
        let mut object = object(&uid, ports, &[]);
        if number % 2 == 0 {
            object["metadata"]["annotations"] = json!({});
        }
        services.push(serde_json::from_value(object).unwrap());
    }
    for service in &services {
        driver.sync(service).await.unwrap();
    }
    driver.restart();
    driver.cluster.handle.reset_calls();
    let nodes = driver.cluster.nodes_by_id();
    let rounds = services.iter().map(async |service| {
        let outcome = driver.balancers.sync(&driver.scope(service, nodes.clone(), true), Mode::Full).await;
        assert!(outcome.changes.is_empty() && outcome.services[&service.key()].error.is_none(), "{outcome:?}");
    });
    futures::future::join_all(rounds).await;
    let counts = driver.cluster.handle.counts();
    let of = |service: &str| -> BTreeMap<&str, u64> {
        let own = counts.iter().filter_map(|(call, count)| Some((call.strip_prefix(service)?, count.calls)));
        own.collect()
    };
    assert_eq!(of("ELB."), [("DescribeLoadBalancers", 1), ("DescribeLoadBalancerAttributes", 3)].into());
    let network = [
        ("DescribeLoadBalancers", 1),
        ("DescribeTargetGroups", 1),
        ("DescribeListeners", 3),
        ("DescribeLoadBalancerAttributes", 3),
        ("DescribeTargetHealth", 6),
    ];
    assert_eq!(of("ELBv2."), network.into());
}

#[tokio::test]
async fn a_load_balancer_that_vanished_since_it_was_listed_is_made_anew() {
    let mut driver = Driver::new(3).await;
    let (network, mut classic) = (web(), web());
    classic.metadata.annotations = None;
    classic.metadata.uid = Some("22222222-2222-3333-4444-555555555555".into());
    for (service, name) in
        [(network, "a1111111122223333444455555555555"), (classic, "a2222222222223333444455555555555")]
    {
        driver.sync(&service).await.unwrap();
        driver.restart();
        driver.sync(&service).await.unwrap();
        assert!(driver.cluster.handle.remove_load_balancer(name));
        driver.sync(&service).await.unwrap_err();
        assert!(!driver.sync(&service).await.unwrap().is_empty());
        driver.sync(&service).await.unwrap();
        assert!(driver.writes().is_empty());
    }
}

#[tokio::test]
async fn what_is_left_after_a_removal_by_hand_is_found() {
    let driver = Driver::new(2).await;
    let before = driver.belongings();
    let service = web();
    driver.sync(&service).await.unwrap();
    assert!(driver.cluster.handle.remove_load_balancer("a1111111122223333444455555555555"));
    driver.remove(&service).await.unwrap();
    assert_eq!(driver.belongings(), before);
    // Or it is made again from what is left.
    driver.sync(&service).await.unwrap();
    driver.cluster.handle.remove_load_balancer("a1111111122223333444455555555555");
    let outcome = driver.round(&service, driver.cluster.nodes_by_id(), true, Mode::Backends).await;
    assert_eq!(outcome.services[&service.key()].error.as_ref().unwrap().kind(), &Kind::NotFound);
    driver.sync(&service).await.unwrap();
    assert_eq!((driver.listeners().len(), driver.targets().len()), (2, 2));
    driver.remove(&service).await.unwrap();
    assert_eq!(driver.belongings(), before);
}

fn managed() -> Setup {
    Setup {
        seed: Seed::cluster("demo", 2),
        config: "[Global]\nNLBSecurityGroupMode=Managed",
        policy: Policy::all(),
        ..Setup::default()
    }
}

#[tokio::test]
async fn one_failure_after_each_write_changes_nothing_in_the_end() {
    let annotations =
        [("target-group-attributes", "proxy_protocol_v2.enabled=true"), ("cross-zone-load-balancing-enabled", "true")];
    let service = service("66666666-2222-3333-4444-555555555555", json!([tcp(80, 30080)]), &annotations);
    let driver = Driver::with(managed()).await;
    driver.sync(&service).await.unwrap();
    let mut actions = driver.writes();
    driver.remove(&service).await.unwrap();
    actions.extend(driver.writes());
    assert!(actions.len() >= 12, "{actions:?}");
    for action in actions {
        let effect = Effect::Error { code: "Injected".into(), message: String::new(), status: Some(400) };
        let refused = Fault { effect: effect.clone(), ..Fault::error(&action, "") }.times(1);
        let lost = Fault { after: true, effect, ..Fault::error(&action, "") }.times(1);
        for fault in [refused, lost] {
            let driver = Driver::with(managed()).await;
            let before = driver.belongings();
            driver.cluster.handle.fault(fault.clone());
            let mut failures = 0;
            while let Err(error) = driver.sync(&service).await {
                failures += 1;
                assert!(failures <= 2, "{action}: {error}");
            }
            assert_eq!((driver.listeners().len(), driver.targets().get("TCP 30080")), (1, Some(&2)), "{action}");
            driver.sync(&service).await.unwrap();
            assert!(driver.writes().is_empty(), "{action}: {:?}", driver.writes());
            while let Err(error) = driver.remove(&service).await {
                failures += 1;
                assert!(failures <= 3, "{action}: {error}");
            }
            assert!(failures > 0, "{action} was not called");
            assert_eq!(driver.belongings(), before, "{action}");
        }
    }
}

#[tokio::test]
async fn a_failed_creation_leaves_nothing_after_removal() {
    for action in ["ELBv2.CreateLoadBalancer", "ELBv2.CreateListener", "ELBv2.RegisterTargets"] {
        let driver = Driver::with(managed()).await;
        let before = driver.belongings();
        driver.cluster.handle.fault(Fault::error(action, "ValidationError"));
        driver.sync(&web()).await.unwrap_err();
        driver.remove(&web()).await.unwrap();
        assert_eq!(driver.belongings(), before, "{action}");
    }
}

#[tokio::test]
async fn managed_groups_change_with_the_annotation() {
    let driver = Driver::with(managed()).await;
    let before = driver.belongings();
    let uid = "77777777-2222-3333-4444-555555555555";
    let ports = json!([tcp(80, 30080)]);
    let own = service(uid, ports.clone(), &[]);
    let listed = service(uid, ports, &[("security-groups", "sg-0a1b2c3d4e5f60001")]);
    for (service, groups) in [(&own, 3), (&listed, 2), (&own, 3)] {
        driver.sync(service).await.unwrap();
        assert_eq!(driver.all("security_groups").len(), groups);
        driver.sync(service).await.unwrap();
        assert!(driver.writes().is_empty(), "{:?}", driver.writes());
    }
    driver.cluster.handle.adjust(|knobs| knobs.delays.groups_released_ms = 300);
    let outcome = driver.round(&own, vec![], false, Mode::Full).await;
    let error = outcome.services[&own.key()].error.as_ref().unwrap();
    assert!(error.retry_after().is_some(), "{error:?}");
    tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    driver.remove(&own).await.unwrap();
    assert_eq!(driver.belongings(), before);
}

#[tokio::test]
async fn load_balancers_that_share_a_health_port_do_not_hurt_each_other() {
    let config = "[Global]\nClusterServiceLoadBalancerHealthProbeMode=Shared";
    let driver = Driver::with(Setup { config, ..Setup::default() }).await;
    let before = driver.belongings();
    let first = service("88888888-2222-3333-4444-555555555555", json!([tcp(80, 30080)]), &[]);
    let second = service("99999999-2222-3333-4444-555555555555", json!([tcp(80, 30081)]), &[]);
    driver.sync(&first).await.unwrap();
    driver.sync(&second).await.unwrap();
    // The one there was, two client rules, three subnets of health checks, path MTU discovery.
    assert_eq!(driver.rules(NODES), 7);
    driver.remove(&first).await.unwrap();
    assert_eq!(driver.rules(NODES), 6);
    driver.sync(&second).await.unwrap();
    assert!(driver.writes().is_empty());
    driver.remove(&second).await.unwrap();
    assert_eq!(driver.belongings(), before);
}

#[tokio::test]
async fn too_many_rules_are_a_matter_of_quota() {
    let driver = Driver::new(1).await;
    driver.cluster.handle.adjust(|knobs| knobs.quotas.rules_per_group = 3);
    let outcome = driver.round(&web(), driver.cluster.nodes_by_id(), true, Mode::Full).await;
    let error = outcome.services[&web().key()].error.as_ref().unwrap();
    assert_eq!(error.kind(), &Kind::Quota);
    assert!(error.chain().contains("DisableSecurityGroupIngress"), "{}", error.chain());
}

/// aws.md 5.3.
#[tokio::test]
async fn what_is_wrong_is_said_before_anything_is_called() {
    let driver = Driver::new(1).await;
    let spec = |edit: fn(&mut Value)| {
        let mut value = object("u", json!([tcp(80, 30080), tcp(443, 30443)]), &[]);
        edit(&mut value);
        serde_json::from_value::<Service>(value).unwrap()
    };
    let annotated = |key: &str, value: &str| service("u", json!([tcp(80, 30080)]), &[(key, value)]);
    let rows = [
        (annotated("extra-security-groups", ""), "is not supported by NLB"),
        (annotated("target-group-attributes", "x=true"), "the attribute \"x\" is not supported"),
        (annotated("target-group-attributes", "proxy_protocol_v2.enabled=True"), "invalid attribute value"),
        (annotated("target-group-attributes", "proxy_protocol_v2.enabled"), "attribute value is empty"),
        (annotated("healthcheck-port", "x"), "Invalid health check port 'x'"),
        (spec(|s| s["spec"]["sessionAffinity"] = json!("ClientIP")), "unsupported load balancer affinity: ClientIP"),
        (spec(|s| s["spec"]["ports"] = json!([])), "requested load balancer with no ports"),
        (spec(|s| s["spec"]["ports"][0]["protocol"] = json!("UDP")), "mixed protocol is not supported"),
        (spec(|s| s["spec"]["loadBalancerIP"] = json!("192.0.2.1")), "LoadBalancerIP cannot be specified for AWS ELB"),
    ];
    for (service, text) in rows {
        let error = driver.sync(&service).await.unwrap_err();
        assert!(error.contains(text), "{error}");
        assert!(driver.cluster.handle.counts().is_empty());
    }
    let other = annotated("type", "external");
    let outcome = driver.round(&other, vec![], true, Mode::Full).await;
    assert_eq!(outcome.services[&other.key()].state, ServiceState::Elsewhere);
}

#[tokio::test]
async fn addresses_must_match_subnets() {
    let driver = Driver::new(1).await;
    let ports = json!([tcp(80, 30080)]);
    let few = service("u1", ports.clone(), &[("eip-allocations", "eipalloc-0a1b2c3d4e5f60001")]);
    let error = driver.sync(&few).await.unwrap_err();
    assert!(error.contains("Must have same number of EIP AllocationIDs (1) and SubnetIDs (3)"), "{error}");
    let all = "eipalloc-0a1b2c3d4e5f60001,eipalloc-0a1b2c3d4e5f60002,eipalloc-0a1b2c3d4e5f60003";
    let good = service("u1", ports, &[("eip-allocations", all)]);
    driver.sync(&good).await.unwrap();
    // What counts at creation only does no harm later.
    driver.sync(&few).await.unwrap();
    driver.remove(&few).await.unwrap();
    assert!(driver.all("load_balancers").is_empty());
}

#[tokio::test]
async fn an_impaired_load_balancer_keeps_its_name_and_a_failed_one_is_an_error() {
    let driver = Driver::new(1).await;
    driver.sync(&web()).await.unwrap();
    let name = "a1111111122223333444455555555555";
    driver.cluster.handle.force_load_balancer_state(name, Some("active_impaired"));
    driver.sync(&web()).await.unwrap();
    driver.cluster.handle.force_load_balancer_state(name, Some("failed"));
    assert!(driver.sync(&web()).await.unwrap_err().contains("in state \"failed\""));
}

#[tokio::test]
async fn the_type_cannot_change_while_there_is_a_load_balancer() {
    let driver = Driver::new(1).await;
    let before = driver.belongings();
    let uid = "11111111-2222-3333-4444-555555555555";
    let ports = json!([tcp(80, 30080), tcp(443, 30443)]);
    let classic = service(uid, ports, &[("type", "")]);
    driver.sync(&web()).await.unwrap();
    let error = driver.sync(&classic).await.unwrap_err();
    assert!(error.contains("after creation for Classic Load Balancer") && driver.writes().is_empty(), "{error}");
    // Deleting the service with another annotation leaves nothing either.
    driver.remove(&classic).await.unwrap();
    assert_eq!(driver.belongings(), before);
    driver.sync(&classic).await.unwrap();
    let error = driver.sync(&web()).await.unwrap_err();
    assert!(error.contains("after creation for NLB") && driver.writes().is_empty(), "{error}");
    driver.remove(&web()).await.unwrap();
    assert_eq!(driver.belongings(), before);
}
