//! `AllowLoadBalancerTypeChange`.

use cloud_provider::{cloud::Mode, cluster::objects::Object};
use cloud_provider_aws_simulator::{Effect, Fault};

use super::{classic, driver, shape, web};

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

/// The annotation that names it goes together with the type: a network load balancer refuses it.
#[tokio::test]
async fn a_security_group_of_the_user_outlives_the_change() {
    let driver = driver(CHANGE).await;
    let mut state = driver.cluster.handle.state();
    let mut group = state["security_groups"].as_object().unwrap().values().next().unwrap().clone();
    group["id"] = "sg-own".into();
    group["name"] = "of-the-user".into();
    group["ingress"] = serde_json::json!([]);
    state["security_groups"]["sg-own"] = group;
    driver.cluster.handle.set_state(state).unwrap();
    let before = web(&[("type", ""), ("extra-security-groups", "sg-own")]);
    driver.settle(&before).await;
    driver.settle(&web(&[])).await;
    assert!(driver.all("security_groups").iter().any(|group| group["id"] == "sg-own"));
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
