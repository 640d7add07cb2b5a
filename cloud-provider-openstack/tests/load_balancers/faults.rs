//! A cloud that fails, is busy, or loses a controller.

use std::time::Duration;

use cloud_provider::{Kind, cloud::Mode};
use cloud_provider_openstack_simulator::{AtWrite, Fault, Knobs};
use serde_json::json;

use crate::bench::{Bench, Setup, annotate, annotation, service};

const MANAGED: &str = "manage-security-groups = true";

/// What a controller does where that happens at one of its writes: after silence it does nothing more. False where the
/// picked write never came.
async fn cut_short(bench: &Bench, nth: u64, what: AtWrite, work: impl Future<Output = ()>) -> bool {
    bench.handle.at_write(nth, what);
    let silence = async {
        while what != AtWrite::Silence || bench.handle.struck().is_none() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::select! {
        () = work => {}
        () = silence => {}
    }
    let came = bench.handle.struck().is_some();
    bench.handle.resume();
    came
}

/// A service comes, changes and goes, with a controller that is cut short in each stage and another one that takes over.
async fn life(nth: u64, what: AtWrite) -> bool {
    let mut bench = Setup::new(2).with(MANAGED).start().await;
    let before = bench.belongings();
    let mut web = service("web", &["TCP 80 30080", "TCP 443 30443"], json!({}));
    // What the first one learnt is lost with it.
    let mut came = cut_short(&bench, nth, what, async { _ = bench.round(&mut web.clone(), Mode::Full).await }).await;
    bench.restart(MANAGED).await;
    bench.settle(&mut web).await;
    let one_of_each = |bench: &Bench| {
        let count = |kind: &str| bench.handle.ids(kind).len();
        assert_eq!(
            (count("loadbalancers"), count("floatingips"), count("security-groups")),
            (1, 1, 2),
            "{nth} {what:?}"
        );
    };
    one_of_each(&bench);
    assert!(bench.ensure(&mut web).await.is_empty(), "{nth} {what:?}");

    web.spec.ports = service("web", &["TCP 80 31080", "TCP 53 30053"], json!({})).spec.ports;
    annotate(&mut web, "proxy-protocol", "true");
    came |= cut_short(&bench, nth, what, async { _ = bench.round(&mut web.clone(), Mode::Full).await }).await;
    bench.restart(MANAGED).await;
    bench.settle(&mut web).await;
    one_of_each(&bench);
    assert_eq!(bench.listeners().into_iter().collect::<Vec<_>>(), ["TCP 53", "TCP 80"], "{nth} {what:?}");
    assert_eq!((bench.members().len(), bench.handle.ids("healthmonitors").len()), (4, 2), "{nth} {what:?}");

    came |= cut_short(&bench, nth, what, async { _ = bench.remove(&web).await }).await;
    bench.restart(MANAGED).await;
    bench.remove(&web).await;
    assert_eq!(bench.belongings(), before, "{nth} {what:?}");
    came
}

/// A life for every write of a stage, or for every so manyth of them.
async fn lives(what: AtWrite, every: usize) {
    const WRITES: u64 = 28;
    let came = futures::future::join_all((1..=WRITES).step_by(every).map(|nth| life(nth, what))).await;
    assert!(came.len() > 5 && came[..5].iter().all(|came| *came), "{came:?}");
    assert!(came.last().is_some_and(|came| !came), "there are more writes than were gone through: {came:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_stops_at_any_write_leaves_nothing_that_the_next_one_does_not_mend() {
    lives(AtWrite::Silence, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_answer_may_be_lost() {
    lives(AtWrite::LostAnswer, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_write_may_be_answered_with_an_error_though_it_was_carried_out() {
    lives(AtWrite::FalseError, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_write_may_be_refused_for_a_while() {
    let writes = [
        "octavia.CreateLoadBalancer",
        "octavia.CreateListener",
        "octavia.CreatePool",
        "octavia.UpdateMembers",
        "octavia.CreateHealthMonitor",
        "octavia.DeleteListener",
        "octavia.DeletePool",
        "octavia.DeleteLoadBalancer",
        "neutron.CreateFloatingIp",
        "neutron.DeleteFloatingIp",
        "neutron.CreateSecurityGroup",
        "neutron.CreateSecurityGroupRule*",
        "neutron.UpdatePort",
        "neutron.DeleteSecurityGroup",
    ];
    let lives = writes.into_iter().flat_map(|write| ["409", "429", "500", "503"].map(|code| (write, code))).map(
        async |(write, code)| {
            let bench = Setup::new(2).with(MANAGED).knobs(|knobs| knobs.retry_after_s = None).start().await;
            let before = bench.belongings();
            bench.handle.fault(Fault::error(write, code).times(2));
            let mut web = service("web", &["TCP 80 30080"], json!({}));
            bench.settle(&mut web).await;
            web.spec.ports = service("web", &["TCP 80 31080", "UDP 53 30053"], json!({})).spec.ports;
            bench.settle(&mut web).await;
            assert_eq!((bench.members().len(), bench.handle.ids("floatingips").len()), (4, 1), "{write} {code}");
            assert!(bench.ensure(&mut web).await.is_empty(), "{write} {code}");
            bench.remove(&web).await;
            assert_eq!(bench.belongings(), before, "{write} {code}");
        },
    );
    futures::future::join_all(lives).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_is_told_and_once_there_is_room_the_service_is_served() {
    let bench = Setup::new(2).with(MANAGED).start().await;
    let mut web = service("web", &["TCP 80 30080"], json!({}));
    // The project's own group counts.
    type Limit = fn(&mut Knobs, Option<usize>);
    let quotas: [(usize, Limit); 3] = [
        (0, |knobs, limit| knobs.quotas.load_balancers = limit),
        (0, |knobs, limit| knobs.quotas.floating_ips = limit),
        (1, |knobs, limit| knobs.quotas.security_groups = limit),
    ];
    for (room, quota) in quotas {
        bench.handle.adjust(|knobs| quota(knobs, Some(room)));
        let (_, result) = bench.round(&mut web, Mode::Full).await;
        let error = result.error.unwrap();
        assert_eq!(*error.kind(), Kind::Quota, "{}", error.chain());
        bench.handle.adjust(|knobs| quota(knobs, None));
    }
    bench.ensure(&mut web).await;
    assert_eq!(bench.handle.ids("loadbalancers").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_nodes_members_stay_as_they_are() {
    let mut bench = Setup::new(2).start().await;
    let mut web = service("web", &["TCP 80 30080"], json!({}));
    bench.ensure(&mut web).await;
    bench.nodes.clear();
    assert!(bench.refused(&mut web).await.contains("no available nodes"));
    assert_eq!(bench.members().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_load_balancer_is_waited_for() {
    let bench = Setup::new(2).start().await;
    let mut web = service("web", &["TCP 80 30080"], json!({}));
    bench.ensure(&mut web).await;
    bench.handle.fault(Fault::error("octavia.UpdateMembers", "409").times(2));
    web.spec.ports = service("web", &["TCP 80 31080"], json!({})).spec.ports;
    bench.ensure(&mut web).await;
    let id = annotation(&web, "load-balancer-id").to_owned();
    bench.handle.set_load_balancer_status(&id, "PENDING_UPDATE");
    assert!(bench.refused(&mut web).await.contains("PENDING_UPDATE"));
    bench.handle.set_load_balancer_status(&id, "ACTIVE");
    assert!(bench.ensure(&mut web).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_balancer_that_fails_to_be_made_is_deleted_and_made_again() {
    // Its deletion fails too, so that it stays in ERROR.
    let setup = Setup::new(2).with("repair-load-balancers = recreate");
    let bench = setup.knobs(|knobs| _ = knobs.failing_load_balancers.insert("*".into())).start().await;
    let mut web = service("web", &["TCP 80 30080"], json!({}));
    assert!(bench.refused(&mut web).await.contains("was deleted"));
    assert_eq!(annotation(&web, "load-balancer-id"), "");
    bench.handle.adjust(|knobs| knobs.failing_load_balancers.clear());
    bench.settle(&mut web).await;
    assert_eq!(bench.handle.ids("loadbalancers").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_balancer_in_an_error_is_repaired_only_where_that_is_asked_for() {
    let mut bench = Setup::new(2).start().await;
    let mut web = service("web", &["TCP 80 30080"], json!({}));
    bench.ensure(&mut web).await;
    let id = annotation(&web, "load-balancer-id").to_owned();
    let address = annotation(&web, "load-balancer-address").to_owned();
    bench.handle.set_load_balancer_status(&id, "ERROR");
    assert!(bench.refused(&mut web).await.contains("is not ACTIVE: ERROR"));
    bench.restart("repair-load-balancers = recreate").await;
    bench.settle(&mut web).await;
    let now = bench.only("loadbalancers");
    assert_eq!(now["provisioning_status"], "ACTIVE");
    assert_eq!(annotation(&web, "load-balancer-id"), now["id"]);
    assert_eq!(annotation(&web, "load-balancer-address"), address, "it keeps its address");
    assert_eq!(bench.handle.ids("floatingips").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_is_no_obstacle_to_removal() {
    let bench = Setup::new(2).with("cascade-delete = false").start().await;
    let before = bench.belongings();
    let mut web = service("web", &["TCP 80 30080"], json!({}));
    bench.ensure(&mut web).await;
    bench.handle.set_load_balancer_status(annotation(&web, "load-balancer-id"), "ERROR");
    bench.remove(&web).await;
    assert_eq!(bench.belongings(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_algorithm_that_octavia_does_not_know_is_told_and_holds_nothing_up() {
    let bench = Setup::new(2).start().await;
    let mut web = service("web", &["TCP 80 30080"], json!({}));
    bench.ensure(&mut web).await;
    annotate(&mut web, "lb-method", "NONSENSE");
    let (_, result) = bench.round(&mut web, Mode::Full).await;
    assert!(result.error.is_none(), "{:?}", result.error);
    assert_eq!(result.notes[0].reason, "LoadBalancerLbMethodUnknown");
}
