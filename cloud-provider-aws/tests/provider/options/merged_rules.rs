//! `MergeNodeSecurityGroupRules`: many load balancers and one group of nodes.

use std::collections::BTreeSet;

use cloud_provider::cluster::objects::{Object as _, Service};
use cloud_provider_aws_simulator::{Effect, Fault};
use serde_json::{Value, json};

use super::{NOTHING, driver};
use crate::driver::{Driver, NODES, object, tcp};

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

/// All rules of the nodes' group, in no order.
fn ingress(driver: &Driver) -> BTreeSet<String> {
    let rules = driver.belongings()["security_groups"][NODES]["ingress"].clone();
    rules.as_array().unwrap().iter().map(ToString::to_string).collect()
}

/// Whether clients come in on a node port.
fn is_open(driver: &Driver, port: i64) -> bool {
    let rules = driver.belongings()["security_groups"][NODES]["ingress"].clone();
    rules.as_array().unwrap().iter().any(|rule| {
        let within = rule["from_port"].as_i64().is_some_and(|first| first <= port)
            && rule["to_port"].as_i64().is_some_and(|last| port <= last);
        within && rule["protocol"] == "tcp" && rule["source"] == json!({"ipv4": "192.0.2.0/24"})
    })
}

const MERGE: &str = "[Global]\nMergeNodeSecurityGroupRules";

#[tokio::test]
async fn what_was_taken_out_to_make_room_is_put_back_when_aws_refuses() {
    let driver = driver(MERGE).await;
    let services: Vec<Service> = (0..8).map(|number| numbered(number, false, restricted)).collect();
    for service in &services[..7] {
        driver.sync(service).await.unwrap();
    }
    let before = ingress(&driver);
    let refusal = Fault::error("EC2.AuthorizeSecurityGroupIngress", "RulesPerSecurityGroupLimitExceeded");
    driver.cluster.handle.fault(refusal.times(1));
    driver.sync(&services[7]).await.unwrap_err();
    assert!(driver.cluster.count("EC2.RevokeSecurityGroupIngress") > 0, "there was no room");
    assert_eq!(ingress(&driver), before);
}

#[tokio::test]
async fn merged_rules_stay_where_single_ones_do_not_fit() {
    let mut driver = driver(MERGE).await;
    let services: Vec<Service> = (0..8).map(|number| numbered(number, false, restricted)).collect();
    for service in &services {
        driver.sync(service).await.unwrap();
    }
    driver.reconfigure("");
    let mut refused = 0;
    for service in &services {
        refused += usize::from(driver.sync(service).await.is_err());
        for port in (0..8).flat_map(|number| [30000 + number, 32700 - number]) {
            assert!(is_open(&driver, port), "{port}");
        }
    }
    assert!(refused > 0);
    // With one less there is room, and nothing is left of the merged rules.
    driver.remove(&services[7]).await.unwrap();
    for service in &services[..7] {
        driver.sync(service).await.unwrap();
    }
    let left: Vec<String> = ingress(&driver).into_iter().filter(|rule| rule.contains("nlb/health\"")).collect();
    assert!(left.is_empty() && !is_open(&driver, 31000), "{left:?}");
    for service in &services[..7] {
        driver.sync(service).await.unwrap();
        assert_eq!(driver.writes(), NOTHING);
    }
}

#[tokio::test]
async fn ranges_spare_the_ports_of_load_balancers_that_a_security_group_guards() {
    const GUARDED: &str = "[Global]\nMergeNodeSecurityGroupRules\nNLBSecurityGroupMode=Managed";
    let guarded = numbered(500, false, restricted);
    let more = |number: i32| {
        numbered(number, false, |object| {
            restricted(object);
            object["spec"]["ports"].as_array_mut().unwrap().push(tcp(8080, 31000 + number));
        })
    };
    let services: Vec<Service> = (0..7).map(|number| numbered(number, false, restricted)).collect();
    for guarded_first in [true, false] {
        let mut driver = driver(MERGE).await;
        for service in &services {
            driver.sync(service).await.unwrap();
        }
        if !guarded_first {
            driver.sync(&more(6)).await.unwrap();
            assert!(is_open(&driver, 30500), "a range reaches over a port that nobody has");
        }
        driver.reconfigure(GUARDED);
        driver.sync(&guarded).await.unwrap();
        for service in services[..6].iter().chain([&more(6)]) {
            driver.sync(service).await.unwrap();
        }
        assert!(driver.rules(NODES) < 40, "they are merged");
        assert!(!is_open(&driver, 30500) && !is_open(&driver, 32200) && is_open(&driver, 31006));
        for service in services[..6].iter().chain([&more(6), &guarded]) {
            driver.sync(service).await.unwrap();
            assert_eq!(driver.writes(), NOTHING);
        }
    }
}

#[tokio::test]
async fn what_is_gone_does_not_come_back_with_a_stale_read() {
    let driver = driver(MERGE).await;
    let services: Vec<Service> = (0..8).map(|number| numbered(number, false, restricted)).collect();
    for service in &services[..7] {
        driver.sync(service).await.unwrap();
    }
    driver.cluster.handle.stale_reads("EC2.DescribeSecurityGroups", 60_000);
    let _ = driver.remove(&services[3]).await;
    let _ = driver.sync(&services[7]).await;
    driver.cluster.handle.stale_reads("EC2.DescribeSecurityGroups", 0);
    let owner = "client=a0000000322223333444455555555555";
    let left: Vec<String> = ingress(&driver).into_iter().filter(|rule| rule.contains(owner)).collect();
    assert!(left.is_empty(), "{left:?}");
    for service in services.iter().filter(|service| service.uid() != services[3].uid()) {
        driver.sync(service).await.unwrap();
    }
    assert!(is_open(&driver, 30007) && !is_open(&driver, 30003));
}

#[tokio::test]
async fn rules_that_are_merged_while_calls_fail_are_right_after_the_next_rounds() {
    let services: Vec<Service> = (0..8).map(|number| numbered(number, false, restricted)).collect();
    for attempt in 0..10 {
        let driver = driver("[Global]\nMergeNodeSecurityGroupRules").await;
        let before = driver.belongings();
        for service in &services[..7] {
            driver.sync(service).await.unwrap();
        }
        let effect = Effect::Error { code: "Injected".into(), message: String::new(), status: Some(400) };
        let fault = Fault { after: attempt % 2 == 0, effect, ..Fault::error("EC2.*Ingress", "") };
        driver.cluster.handle.fault(fault.times(2).with_probability(0.2));
        let mut rounds = 0;
        while let Err(error) = driver.sync(&services[7]).await {
            rounds += 1;
            assert!(rounds < 4, "{error}");
        }
        driver.cluster.handle.clear_faults();
        for service in &services {
            driver.sync(service).await.unwrap();
        }
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
