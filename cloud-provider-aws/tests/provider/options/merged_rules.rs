//! `MergeNodeSecurityGroupRules`: many load balancers and one group of nodes.

use cloud_provider::cluster::objects::Service;
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
