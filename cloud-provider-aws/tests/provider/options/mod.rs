//! What the keys of the cloud config add that upstream does not do, and that all of it is off without them.

mod extensions;
mod merged_rules;
mod reconciled;
mod type_change;

use cloud_provider::cluster::objects::Service;
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

/// A cluster whose public subnets have IPv6 ranges.
async fn with_ipv6(config: &'static str) -> Driver {
    let mut seed = Seed::cluster("demo", 2);
    for (number, subnet) in seed.subnets.iter_mut().enumerate().filter(|(_, subnet)| subnet.public_addresses) {
        subnet.ipv6_cidr = Some(format!("2001:db8:0:{number:x}::/64").parse().unwrap());
    }
    Driver::with(Setup { seed, config, policy: Policy::all(), ..Setup::default() }).await
}

fn families(driver: &Driver) -> String {
    driver.all("load_balancers")[0]["ip_address_type"].as_str().unwrap().to_owned()
}

fn classic() -> Service {
    web(&[("type", "")])
}

/// How many there are of everything, and how many rules the nodes' group has.
fn shape(driver: &Driver) -> Vec<usize> {
    let kinds = ["classic_load_balancers", "load_balancers", "listeners", "target_groups", "security_groups"];
    kinds.iter().map(|kind| driver.all(kind).len()).chain([driver.rules(NODES)]).collect()
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

const ALL: &str = "[Global]\nReconcileLoadBalancerTags\nReconcileLoadBalancerSubnets\nNLBExtensions\n\
                   MergeNodeSecurityGroupRules\nAllowLoadBalancerTypeChange";

/// One that was made without options, and what they make of it.
async fn converged_without_options() -> (Driver, Service) {
    let mut driver = with_ipv6("").await;
    driver.settle(&edited(&[("subnets", &SUBNETS[..2].join(","))], |_| {})).await;
    driver.reconfigure(ALL);
    let annotations = [
        ("additional-resource-tags", "team=b"),
        ("cross-zone-load-balancing-enabled", "true"),
        ("healthcheck-timeout", "5"),
        ("proxy-protocol", "*"),
        ("ip-address-type", "dualstack"),
    ];
    (driver, edited(&annotations, |service| service["spec"]["ports"][0]["nodePort"] = json!(30081)))
}

#[tokio::test]
async fn one_failure_after_each_write_of_the_options_changes_nothing_in_the_end() {
    let (reference, service) = converged_without_options().await;
    reference.sync(&service).await.unwrap();
    let (actions, goal) = (reference.writes(), shape(&reference));
    for action in ["AddTags", "SetSubnets", "SetIpAddressType", "ModifyTargetGroupAttributes"] {
        assert!(actions.contains(&format!("ELBv2.{action}")), "{actions:?}");
    }
    for action in actions {
        for (after, restarts) in [(false, true), (true, true), (false, false), (true, false)] {
            let (mut driver, service) = converged_without_options().await;
            let effect = Effect::Error { code: "Injected".into(), message: String::new(), status: Some(400) };
            driver.cluster.handle.fault(Fault { after, effect, ..Fault::error(&action, "") }.times(1));
            driver.sync(&service).await.unwrap_err();
            if restarts {
                driver.restart();
            }
            driver.settle(&service).await;
            assert_eq!((shape(&driver), families(&driver).as_str()), (goal.clone(), "dualstack"), "{action}");
            driver.remove(&service).await.unwrap();
            assert_eq!(shape(&driver), [0, 0, 0, 0, 2, 1], "{action}");
        }
    }
}

#[tokio::test]
async fn what_cannot_be_written_for_an_option_keeps_no_traffic_away() {
    let refused = ["SetSubnets", "SetIpAddressType", "AddTags", "ModifyTargetGroupAttributes"];
    for action in refused.into_iter().chain(["ModifyLoadBalancerAttributes", "DeleteTargetGroup"]) {
        let (driver, service) = converged_without_options().await;
        let action = format!("ELBv2.{action}");
        driver.cluster.handle.fault(Fault::error(&action, "AccessDenied"));
        let error = driver.sync(&service).await.unwrap_err();
        assert_eq!(driver.targets().get("TCP 30081"), Some(&2), "{error}");
        let rules = driver.belongings()["security_groups"][NODES]["ingress"].clone();
        let is_open = |rule: &Value| rule["from_port"] == 30081 && rule["source"] == json!({"ipv4": "0.0.0.0/0"});
        assert!(rules.as_array().unwrap().iter().any(is_open), "{error}: {rules}");
        let group = driver.all("listeners")[0]["target_group"].as_str().unwrap().to_owned();
        assert_eq!(driver.belongings()["target_groups"][group]["port"], 30081, "{error}");
        driver.cluster.handle.clear_faults();
        driver.settle(&service).await;
        assert_eq!(driver.all("target_groups").len(), 1);
    }
}

#[tokio::test]
async fn what_is_converged_without_options_stays_as_it_is_with_all_of_them() {
    for service in [web(&[]), classic(), web(&[("subnets", SUBNETS[0]), ("additional-resource-tags", "team=a")])] {
        let mut driver = driver("").await;
        driver.settle(&service).await;
        driver.reconfigure(ALL);
        driver.sync(&service).await.unwrap();
        assert_eq!(driver.writes(), NOTHING);
    }
}
