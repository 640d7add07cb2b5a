//! Security groups of the user on classic load balancers.

use cloud_provider::cluster::objects::Service;
use cloud_provider_aws_simulator::Fault;
use serde_json::json;

use crate::driver::{Driver, NODES, service, tcp};

const THEIRS: &str = "sg-0aaaaaaaaaaaaaaa1";

fn web(groups: &str) -> Service {
    let annotations = [("type", ""), ("security-groups", groups)];
    service("11111111-2222-3333-4444-555555555555", json!([tcp(80, 30080)]), &annotations)
}

async fn driver() -> Driver {
    let driver = Driver::new(1).await;
    let mut state = driver.cluster.handle.state();
    let vpc = state["security_groups"][NODES]["vpc"].clone();
    state["security_groups"][THEIRS] =
        json!({"id": THEIRS, "name": "theirs", "description": "", "vpc": vpc, "ingress": [], "tags": {}});
    driver.cluster.handle.set_state(state).unwrap();
    driver
}

fn let_in(driver: &Driver) -> bool {
    driver.belongings()["security_groups"][NODES]["ingress"].to_string().contains(THEIRS)
}

/// Once the new groups are applied, AWS does not tell any more which one the load balancer had.
#[tokio::test]
async fn the_rule_of_a_replaced_group_goes_though_it_fails_at_first() {
    for fault in ["EC2.RevokeSecurityGroupIngress", "EC2.AuthorizeSecurityGroupIngress"] {
        let driver = driver().await;
        driver.settle(&web(THEIRS)).await;
        assert!(let_in(&driver));
        let own = web("");
        driver.cluster.handle.fault(Fault::error(fault, "OperationNotPermitted").times(1));
        driver.sync(&own).await.unwrap_err();
        assert!(let_in(&driver), "{fault}");
        driver.settle(&own).await;
        assert!(!let_in(&driver), "{fault}");
    }
}

/// As the deletion of the service does.
#[tokio::test]
async fn the_rule_of_a_replaced_group_goes_with_the_load_balancer_at_the_latest() {
    let driver = driver().await;
    let before = driver.belongings();
    driver.settle(&web(THEIRS)).await;
    driver.cluster.handle.fault(Fault::error("EC2.RevokeSecurityGroupIngress", "OperationNotPermitted").times(1));
    driver.sync(&web("")).await.unwrap_err();
    driver.remove(&web("")).await.unwrap();
    assert_eq!(driver.belongings(), before);
}
