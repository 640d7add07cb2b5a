//! Many services at once, and what one change costs all of them.

use std::time::{Duration, Instant};

use cloud_provider::{
    cloud::Mode,
    cluster::objects::{Object, Service},
};
use cloud_provider_openstack_simulator::{Call, Fault};
use futures::future::join_all;
use serde_json::json;

use crate::bench::{Bench, Setup, service};

fn services(count: usize) -> Vec<Service> {
    (0..count).map(|index| service(&format!("web-{index}"), &["TCP 80 30080"], json!({}))).collect()
}

/// A round of each, all at the same time.
async fn all(bench: &Bench, services: &mut [Service], mode: Mode) {
    let rounds = services.iter_mut().map(async |service| (bench.round(service, mode).await.1.error, service.key()));
    for (error, key) in join_all(rounds).await {
        assert!(error.is_none(), "{key}: {error:?}");
    }
}

/// With states of two seconds, as many load balancers as there are take hardly longer than one alone.
#[tokio::test(flavor = "multi_thread")]
async fn load_balancers_are_made_at_the_same_time() {
    const SLACK: Duration = Duration::from_secs(3);
    let bench = Setup::new(5).knobs(|knobs| knobs.delays.load_balancer_create_ms = 2000).start().await;
    let started = Instant::now();
    all(&bench, &mut [service("alone", &["TCP 80 30080"], json!({}))], Mode::Full).await;
    let alone = started.elapsed();
    let started = Instant::now();
    all(&bench, &mut services(20), Mode::Full).await;
    let together = started.elapsed();
    assert!(together < alone.mul_f64(1.5) + SLACK, "one takes {alone:?}, 20 take {together:?}");
    assert_eq!(bench.handle.ids("loadbalancers").len(), 21);
}

/// Listings of the whole project, in pages.
fn listings(bench: &Bench) -> Vec<Call> {
    let is_listing = |call: &Call| call.action == "ListLoadBalancers" && call.parameters.contains_key("fields");
    bench.handle.calls().into_iter().filter(is_listing).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn load_balancers_that_are_waited_for_at_the_same_time_are_read_with_one_listing() {
    const COUNT: usize = 30;
    let setup = Setup::new(2).knobs(|knobs| {
        (knobs.delays.load_balancer_create_ms, knobs.delays.load_balancer_delete_ms) = (2000, 2000);
        knobs.release.octavia_page = 10;
    });
    let bench = setup.start().await;
    let mut services = services(COUNT);
    let started = Instant::now();
    all(&bench, &mut services, Mode::Full).await;
    // Where the first or the last one waits alone.
    let reads = bench.handle.count("octavia.ShowLoadBalancer");
    assert!(reads <= COUNT as u64 / 3, "{reads} load balancers were read by themselves");
    join_all(services.iter().map(|service| bench.remove(service))).await;
    assert!(bench.handle.ids("loadbalancers").is_empty());

    let pages = listings(&bench);
    let begun = pages.iter().filter(|call| !call.parameters.contains_key("marker")).count();
    let most = usize::try_from(started.elapsed().as_millis() / 250).unwrap() + 1;
    assert!((1..=most).contains(&begun), "{begun} listings, wanted are at most {most}");
    assert!(pages.len() > begun, "all of its pages are read");
    assert!(pages.iter().all(|call| call.parameters["project_id"] == bench.ids.project), "and those of nobody else");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_waited_for_alone_is_read_by_itself() {
    let bench = Setup::new(2).knobs(|knobs| knobs.delays.load_balancer_create_ms = 2000).start().await;
    all(&bench, &mut services(1), Mode::Full).await;
    assert!(listings(&bench).is_empty());
    assert!((2..=3).contains(&bench.handle.count("octavia.ShowLoadBalancer")), "{:?}", bench.handle.counts());
}

/// A listing of thousands is not worth the few reads that it saves.
#[tokio::test(flavor = "multi_thread")]
async fn a_few_of_very_many_are_read_by_themselves() {
    let bench = Setup::new(2).start().await;
    all(&bench, &mut services(150), Mode::Full).await;
    bench.handle.adjust(|knobs| knobs.delays.load_balancer_create_ms = 2000);
    let mut two: Vec<Service> = ["one", "two"].map(|name| service(name, &["TCP 80 30080"], json!({}))).into();
    bench.handle.reset_calls();
    all(&bench, &mut two, Mode::Full).await;
    assert!(listings(&bench).is_empty(), "{:?}", bench.handle.counts());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_fails_is_tried_again_for_all_at_once() {
    const COUNT: usize = 20;
    let bench = Setup::new(2).knobs(|knobs| knobs.delays.load_balancer_create_ms = 3000).start().await;
    let mut services = services(COUNT);
    let failing = async {
        while bench.handle.ids("loadbalancers").len() < COUNT {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bench.handle.fault(Fault::error("octavia.ListLoadBalancers", "500"));
        tokio::time::sleep(Duration::from_millis(1500)).await;
        bench.handle.clear_faults();
    };
    tokio::join!(all(&bench, &mut services, Mode::Full), failing);
    let failed = bench.handle.counts()["octavia.ListLoadBalancers"].failures.get("500").copied().unwrap_or_default();
    assert!((1..=COUNT as u64 / 2).contains(&failed), "{failed} listings failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_joins_costs_each_pool_one_batched_update_and_nothing_else() {
    let mut bench = Setup::new(3).start().await;
    let mut services = services(30);
    all(&bench, &mut services, Mode::Full).await;
    bench.handle.add_servers(1);
    bench.nodes = bench.all_nodes();
    bench.handle.reset_calls();
    all(&bench, &mut services, Mode::Backends).await;
    assert_eq!(bench.writes().into_iter().collect::<Vec<_>>(), [("octavia.UpdateMembers".to_owned(), 30)]);
    assert_eq!(bench.handle.all("members").len(), 120);
    let reads = bench.calls() - 30;
    // Security groups are not managed here: load balancer, listeners, pools, members, and a look after the write.
    assert!(reads <= 30 * 5, "{reads} reads: {:?}", bench.handle.counts());
    bench.handle.reset_calls();
    all(&bench, &mut services, Mode::Full).await;
    assert!(bench.writes().is_empty(), "nothing is left to do: {:?}", bench.writes());
}
