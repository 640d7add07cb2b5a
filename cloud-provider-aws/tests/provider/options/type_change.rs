//! `AllowLoadBalancerTypeChange`.

use std::{collections::BTreeSet, time::Duration};

use cloud_provider::{
    cloud::{Mode, ServiceState},
    cluster::objects::{Object, Service},
};
use cloud_provider_aws_simulator::{Effect, Fault};

use super::{NOTHING, classic, driver, shape, web};
use crate::driver::Driver;

const CHANGE: &str = "[Global]\nAllowLoadBalancerTypeChange";
const NAME: &str = "a1111111122223333444455555555555";

/// What rounds came to.
struct Changed {
    /// The service with the status that they gave it.
    service: Service,
    changes: Vec<String>,
    writes: BTreeSet<String>,
}

/// Rounds as the service controller makes them, until the new load balancer has taken over: it writes the status, and comes
/// back.
async fn change(driver: &Driver, service: &Service) -> Result<Changed, String> {
    let mut changed = Changed { service: service.clone(), changes: Vec::new(), writes: BTreeSet::new() };
    for _ in 0..4 {
        let outcome = driver.round(&changed.service, driver.cluster.nodes_by_id(), true, Mode::Full).await;
        changed.writes.extend(driver.writes());
        changed.changes.extend(outcome.changes.into_iter().map(|change| change.what));
        let result = &outcome.services[&service.key()];
        if let ServiceState::Present(status) = &result.state {
            changed.service.status.load_balancer = status.clone();
        }
        match &result.error {
            None => return Ok(changed),
            Some(error) if error.to_string().contains("has not taken over yet") => {}
            Some(error) => return Err(error.chain()),
        }
    }
    panic!("it does not come to rest: {:?}", changed.changes);
}

/// As [`change`], and nothing is left to do.
async fn settle(driver: &Driver, service: &Service) -> Changed {
    let changed = change(driver, service).await.unwrap();
    driver.sync(&changed.service).await.unwrap();
    assert_eq!(driver.writes(), NOTHING);
    changed
}

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
        let mut status = settle(&driver, &classic()).await.service.status;
        for (mut service, alone) in [(web(&[]), &alone[1]), (classic(), &alone[0])] {
            service.status = status;
            let planned = driver.round(&service, driver.cluster.nodes_by_id(), true, Mode::DryRun).await.changes.len();
            let changed = settle(&driver, &service).await;
            assert_eq!(changed.changes.len(), planned);
            assert_eq!(&shape(&driver), alone);
            status = changed.service.status;
        }
        driver.remove(&classic()).await.unwrap();
        assert_eq!(driver.belongings(), before);
    }
}

#[tokio::test]
async fn the_old_load_balancer_stays_until_the_new_one_has_taken_over() {
    let mut driver = driver(CHANGE).await;
    driver.settle(&classic()).await;
    driver.cluster.handle.adjust(|knobs| knobs.delays.provisioning_ms = 600_000);
    let round = async |driver: &Driver, service: &Service| {
        let outcome = driver.round(service, driver.cluster.nodes_by_id(), true, Mode::Full).await;
        let ServiceState::Present(status) = &outcome.services[&service.key()].state else { panic!("{outcome:?}") };
        let wait = outcome.services[&service.key()].error.as_ref().map(|error| error.retry_after().unwrap());
        (status.clone(), wait, driver.all("classic_load_balancers").len())
    };
    let untold = web(&[]);
    let (status, wait, old) = round(&driver, &untold).await;
    assert_eq!((wait, old), (Some(Duration::from_secs(15)), 1), "the service does not bear the new name yet");
    let mut told = untold.clone();
    told.status.load_balancer = status;
    let (_, wait, old) = round(&driver, &told).await;
    assert!(wait.is_some() && old == 1, "AWS has not finished the new one yet");
    driver.cluster.handle.force_load_balancer_state(NAME, Some("active"));
    driver.restart();
    let (_, wait, old) = round(&driver, &untold).await;
    assert!(wait.is_some() && old == 1, "the service does not bear the new name");
    let (_, wait, old) = round(&driver, &told).await;
    assert!(wait.is_none() && old == 0);
    // Once nothing was found of it, it is not looked for any more.
    round(&driver, &told).await;
    round(&driver, &told).await;
    assert_eq!(driver.cluster.count("ELB.DescribeLoadBalancers"), 0);
}

#[tokio::test]
async fn rules_that_are_never_touched_do_not_keep_the_old_one_alive() {
    let mut driver = driver("").await;
    driver.settle(&web(&[])).await;
    driver.reconfigure("[Global]\nAllowLoadBalancerTypeChange\nDisableSecurityGroupIngress");
    let rules = driver.rules(super::NODES);
    let changed = settle(&driver, &classic()).await;
    assert_eq!((driver.rules(super::NODES), driver.all("load_balancers").len()), (rules, 0));
    driver.sync(&changed.service).await.unwrap();
    assert_eq!(driver.cluster.count("ELBv2.DescribeLoadBalancers"), 0);
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
    settle(&driver, &web(&[])).await;
    assert!(driver.all("security_groups").iter().any(|group| group["id"] == "sg-own"));
    assert!(driver.all("classic_load_balancers").is_empty());
}

#[tokio::test]
async fn a_change_of_type_that_ends_half_way_is_finished_by_another_process() {
    for (from, to) in [(classic(), web(&[])), (web(&[]), classic())] {
        let reference = driver(CHANGE).await;
        let before = reference.belongings();
        reference.settle(&from).await;
        let actions = change(&reference, &to).await.unwrap().writes;
        let goal = shape(&reference);
        assert!(actions.len() >= 8, "{actions:?}");
        for action in actions {
            for after in [false, true] {
                let mut driver = driver(CHANGE).await;
                driver.settle(&from).await;
                let effect = Effect::Error { code: "Injected".into(), message: String::new(), status: Some(400) };
                driver.cluster.handle.fault(Fault { after, effect, ..Fault::error(&action, "") }.times(1));
                assert!(change(&driver, &to).await.is_err(), "{action}");
                driver.restart();
                settle(&driver, &to).await;
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
    let mut service = web(&[]);
    for _ in 0..2 {
        let outcome = driver.round(&service, driver.cluster.nodes_by_id(), true, Mode::Full).await;
        let result = &outcome.services[&service.key()];
        assert!(result.error.as_ref().unwrap().retry_after().is_some(), "{result:?}");
        let ServiceState::Present(status) = &result.state else { panic!("the new one serves already") };
        service.status.load_balancer = status.clone();
    }
    assert!(driver.all("classic_load_balancers").is_empty());
    driver.restart();
    tokio::time::sleep(Duration::from_millis(400)).await;
    driver.settle(&service).await;
    assert_eq!(shape(&driver)[4], 2);
}
