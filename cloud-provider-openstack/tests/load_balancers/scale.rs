//! Many services at once, and what one change costs all of them.

use std::time::{Duration, Instant};

use cloud_provider::{
    cloud::Mode,
    cluster::objects::{Object, Service},
};
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
