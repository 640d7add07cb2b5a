//! What network load balancers follow after they were made: tags, subnets and addresses.

use cloud_provider::cluster::objects::Object as _;
use cloud_provider_aws_simulator::{Fault, Policy, Seed};
use serde_json::{Value, json};

use super::{NOTHING, SUBNETS, driver, edited, follows, web};
use crate::{
    driver::{Driver, NODES},
    support::Setup,
};

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
    assert_eq!(changes.len(), 3, "{changes:?}");
    let nodes = &driver.belongings()["security_groups"][NODES]["ingress"];
    let text = nodes.to_string();
    assert!(text.contains("10.0.32.0/19") && !text.contains("10.0.0.0/19"), "{text}");
}

#[tokio::test]
async fn health_checks_reach_the_nodes_as_long_as_a_move_is_refused() {
    let ranges = |subnets: &str| {
        edited(&[("subnets", subnets)], |service| service["spec"]["loadBalancerSourceRanges"] = json!(["192.0.2.0/24"]))
    };
    let driver = driver("[Global]\nReconcileLoadBalancerSubnets").await;
    driver.settle(&ranges(SUBNETS[0])).await;
    driver.cluster.handle.fault(Fault::error("ELBv2.SetSubnets", "InvalidSubnet").times(1));
    driver.sync(&ranges(SUBNETS[1])).await.unwrap_err();
    let has = |range: &str| driver.belongings()["security_groups"][NODES]["ingress"].to_string().contains(range);
    assert!(has("10.0.0.0/19") && has("10.0.32.0/19"));
    driver.settle(&ranges(SUBNETS[1])).await;
    assert!(!has("10.0.0.0/19") && has("10.0.32.0/19"));
}

#[tokio::test]
async fn a_load_balancer_keeps_its_subnets_when_the_annotation_of_its_scheme_changes() {
    for config in ["[Global]\nReconcileLoadBalancerSubnets", super::ALL] {
        let driver = driver(config).await;
        driver.settle(&web(&[])).await;
        for changed in
            [web(&[("internal", "true")]), web(&[("internal", "true"), ("subnets", "subnet-0a1b2c3d4e5f62001")])]
        {
            driver.sync(&changed).await.unwrap();
            assert_eq!(driver.writes(), NOTHING);
        }
        let internal = web(&[("internal", "true")]);
        driver.remove(&internal).await.unwrap();
        driver.settle(&internal).await;
        driver.sync(&web(&[])).await.unwrap();
        assert_eq!(driver.writes(), NOTHING);
    }
}

#[tokio::test]
async fn a_subnet_that_may_be_chosen_stays_although_its_zone_has_a_better_one() {
    let mut seed = Seed::cluster("demo", 2);
    let mut better = seed.subnets.iter().find(|subnet| subnet.id == SUBNETS[0]).unwrap().clone();
    better.id = "subnet-0".into();
    better.cidr = "10.0.240.0/24".parse().unwrap();
    for table in seed.route_tables.iter_mut().filter(|table| table.subnets.contains(SUBNETS[0])) {
        table.subnets.insert(better.id.clone());
    }
    seed.subnets.push(better);
    let config = "[Global]\nReconcileLoadBalancerSubnets";
    let driver = Driver::with(Setup { seed, config, policy: Policy::all(), ..Setup::default() }).await;
    let zone_a = |driver: &Driver| driver.all("load_balancers")[0]["subnets"][0]["subnet"].clone();
    driver.settle(&web(&[("subnets", &SUBNETS.join(","))])).await;
    driver.sync(&web(&[])).await.unwrap();
    assert_eq!((driver.writes().as_slice(), zone_a(&driver)), (NOTHING, json!(SUBNETS[0])));
    // A new one gets it, and so does one that is told to.
    driver.settle(&web(&[("subnets", &["subnet-0", SUBNETS[1], SUBNETS[2]].join(","))])).await;
    assert_eq!(zone_a(&driver), "subnet-0");
    driver.remove(&web(&[])).await.unwrap();
    driver.settle(&web(&[])).await;
    assert_eq!(zone_a(&driver), "subnet-0");
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
