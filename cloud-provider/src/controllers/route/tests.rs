//! Upstream's cases for routes (reference section 12.8): nodes and routes in, routes and conditions out.

use std::sync::Arc;

use super::{
    ClusterCidrs, Trigger,
    condition::Network,
    pass::verdicts,
    retries::Attempt,
    steps::{Steps, steps},
};
use crate::{
    Error,
    cloud::routes::{Change as RouteChange, Route, State},
    cluster::{
        objects::{AddressKind, Node, NodeAddress},
        store::Change,
    },
};

fn node(name: &str, address: &str, ranges: &[&str]) -> Arc<Node> {
    let mut node = Node::default();
    node.metadata.name = Some(name.into());
    node.metadata.uid = Some(format!("uid-of-{name}"));
    node.spec.pod_cidrs = ranges.iter().map(|range| (*range).to_owned()).collect();
    node.status.addresses = vec![NodeAddress::new(AddressKind::InternalIp, address)];
    Arc::new(node)
}

/// The four nodes of the table.
fn n(number: u8) -> Arc<Node> {
    match number {
        1 => node("node-1", "10.0.1.1", &["10.120.0.0/24"]),
        2 => node("node-2", "10.0.2.1", &["10.120.1.0/24"]),
        3 => node("node-1", "10.0.3.1", &["10.120.0.0/24", "a00:100::/24"]),
        _ => node("node-2", "10.0.4.1", &["10.120.1.0/24", "a00:200::/24"]),
    }
}

fn route(target: &str, destination: &str) -> Route {
    Route {
        name: format!("{target} {destination}"),
        node: (!target.is_empty()).then(|| target.to_owned()),
        node_addresses: None,
        destination: destination.parse().unwrap(),
        state: State::Active,
    }
}

fn with_address(mut route: Route, address: Option<&str>) -> Route {
    route.node_addresses =
        Some(address.into_iter().map(|text| NodeAddress::new(AddressKind::InternalIp, text)).collect());
    route
}

fn blackhole(destination: &str) -> Route {
    Route { state: State::Blackhole, ..route("", destination) }
}

fn cluster() -> ClusterCidrs {
    ClusterCidrs::parse(&["10.120.0.0/16".into(), "ace:cab:deca::/8".into()]).unwrap()
}

/// Routes as a cloud keeps them: one for each destination. Whether it keeps addresses is seen from those that exist.
struct Table {
    routes: Vec<Route>,
    addresses: bool,
}

impl Table {
    fn apply(&mut self, changes: &[RouteChange]) -> Vec<Attempt> {
        let apply = |change: &RouteChange| match change {
            RouteChange::Delete(route) => {
                self.routes.retain(|other| other != route);
                Attempt::Done
            }
            RouteChange::Create(creation) if self.routes.iter().any(|r| r.destination == creation.destination) => {
                Attempt::Failed(Error::new(crate::Kind::Conflict, "already exists"))
            }
            RouteChange::Create(creation) => {
                let mut route = route(creation.node.name(), creation.destination.as_str());
                route.node_addresses = self.addresses.then(|| creation.node.status.addresses.clone());
                self.routes.push(route);
                Attempt::Done
            }
        };
        changes.iter().map(apply).collect()
    }
}

struct Reconciled {
    routes: Vec<Route>,
    conditions: Vec<(String, Network)>,
    changes: usize,
}

/// One pass; a second one has to find nothing to do.
fn reconcile(nodes: &[Arc<Node>], routes: Vec<Route>) -> Reconciled {
    let addresses = routes.iter().any(|route| route.node_addresses.is_some());
    let mut table = Table { routes, addresses };
    let steps = steps(nodes, &table.routes, &cluster());
    let attempts = table.apply(&steps.changes);
    assert!(attempts.iter().all(|attempt| matches!(attempt, Attempt::Done)), "{attempts:?}");
    let again = super::steps::steps(nodes, &table.routes, &cluster());
    assert!(again.changes.is_empty(), "a second pass changes: {:?}", again.changes);
    let conditions = named(verdicts(&steps, &attempts));
    table.routes.sort_by(|a, b| a.name.cmp(&b.name));
    Reconciled { routes: table.routes, conditions, changes: steps.changes.len() }
}

fn named(verdicts: Vec<(Arc<Node>, Network)>) -> Vec<(String, Network)> {
    verdicts.into_iter().map(|(node, network)| (node.name().to_owned(), network)).collect()
}

fn settled(steps: &Steps) -> Vec<(String, Network)> {
    let attempts: Vec<Attempt> = steps.changes.iter().map(|_| Attempt::Done).collect();
    named(verdicts(steps, &attempts))
}

/// Both nodes of the table's cases are routed in the end.
fn both_routed() -> Vec<(String, Network)> {
    ["node-1", "node-2"].map(|name| (name.to_owned(), Network::Routed)).to_vec()
}

const DUAL: [(&str, &str); 4] =
    [("node-1", "10.120.0.0/24"), ("node-1", "a00:100::/24"), ("node-2", "10.120.1.0/24"), ("node-2", "a00:200::/24")];
const SINGLE: [(&str, &str); 2] = [("node-1", "10.120.0.0/24"), ("node-2", "10.120.1.0/24")];

fn routes(entries: &[(&str, &str)]) -> Vec<Route> {
    entries.iter().map(|(target, destination)| route(target, destination)).collect()
}

fn addressed(entries: &[(&str, &str)], address: impl Fn(&str) -> Option<&'static str>) -> Vec<Route> {
    entries.iter().map(|(target, destination)| with_address(route(target, destination), address(target))).collect()
}

#[test]
fn section_12_8_reconcile_four_routes_enable_node_addresses_no_addresses() {
    let result = reconcile(&[n(3), n(4)], addressed(&DUAL, |_| None));
    let expected = addressed(&DUAL, |node| Some(if node == "node-1" { "10.0.3.1" } else { "10.0.4.1" }));
    assert_eq!((result.routes, result.changes), (expected, 8), "each is deleted and created");
    assert_eq!(result.conditions, both_routed());
}

#[test]
fn section_12_8_reconcile_four_with_old_addresses_enable() {
    let result =
        reconcile(&[n(3), n(4)], addressed(&DUAL, |n| Some(if n == "node-1" { "10.0.13.1" } else { "10.0.14.1" })));
    let expected = addressed(&DUAL, |node| Some(if node == "node-1" { "10.0.3.1" } else { "10.0.4.1" }));
    assert_eq!(result.routes, expected);
}

#[test]
fn section_12_8_reconcile_dual_stack() {
    for (case, initial, changes) in [
        ("none", vec![], 4),
        ("all four correct (not Enable)", DUAL.to_vec(), 0),
        (
            "CIDRs swapped between nodes",
            vec![
                ("node-1", "10.120.1.0/24"),
                ("node-2", "10.120.0.0/24"),
                ("node-1", "a00:200::/24"),
                ("node-2", "a00:100::/24"),
            ],
            8,
        ),
        ("two of four", vec![("node-2", "10.120.1.0/24"), ("node-2", "a00:200::/24")], 2),
        (
            "four + node-x 10.120.2.0/24 + node-y a00:300::/24",
            [&DUAL[..], &[("node-x", "10.120.2.0/24"), ("node-y", "a00:300::/24")]].concat(),
            2,
        ),
    ] {
        let result = reconcile(&[n(3), n(4)], routes(&initial));
        assert_eq!((result.routes, result.changes), (routes(&DUAL), changes), "{case}");
        assert_eq!(result.conditions, both_routed(), "{case}");
    }
}

#[test]
fn section_12_8_reconcile_single_stack() {
    for (case, initial, changes) in [
        ("n1,n2 correct", SINGLE.to_vec(), 0),
        ("n1 only", vec![SINGLE[0]], 1),
        ("none", vec![], 2),
        (
            "n1,n2 + n3 10.120.2.0/24 + n4 10.120.3.0/24",
            [&SINGLE[..], &[("node-3", "10.120.2.0/24"), ("node-4", "10.120.3.0/24")]].concat(),
            2,
        ),
        ("n1 + node-3 10.120.2.0/24", vec![SINGLE[0], ("node-3", "10.120.2.0/24")], 2),
    ] {
        let result = reconcile(&[n(1), n(2)], routes(&initial));
        assert_eq!((result.routes, result.changes), (routes(&SINGLE), changes), "{case}");
        assert_eq!(result.conditions, both_routed(), "{case}");
    }
}

#[test]
fn section_12_8_reconcile_n1_at_10_0_1_2_n2_at_10_0_2_2_enable() {
    let result =
        reconcile(&[n(1), n(2)], addressed(&SINGLE, |n| Some(if n == "node-1" { "10.0.1.2" } else { "10.0.2.2" })));
    let expected = addressed(&SINGLE, |node| Some(if node == "node-1" { "10.0.1.1" } else { "10.0.2.1" }));
    assert_eq!(result.routes, expected);
}

#[test]
fn section_12_8_reconcile_none_n1_and_node_2_without_cidr() {
    let result = reconcile(&[n(1), node("node-2", "10.0.2.1", &[])], Vec::new());
    assert_eq!(result.routes, routes(&SINGLE[..1]));
    assert_eq!(result.conditions, both_routed()[..1], "node-2 has neither range nor route: its condition is not ours");
}

#[test]
fn section_12_8_reconcile_blackhole_in_the_range_is_deleted_and_outside_is_kept() {
    let with = |blackhole| [routes(&SINGLE), vec![blackhole]].concat();
    assert_eq!(reconcile(&[n(1), n(2)], with(blackhole("10.120.2.0/24"))).routes, routes(&SINGLE));
    let outside = reconcile(&[n(1), n(2)], with(blackhole("10.1.2.0/24")));
    assert_eq!((outside.routes.len(), outside.changes), (3, 0));
}

/// Upstream creates it twice and the second creation fails; here a range that is named twice is one range.
#[test]
fn section_12_8_reconcile_none_node_with_pod_cidrs_twice() {
    let result = reconcile(&[node("node-2", "10.0.2.1", &["10.120.1.0/24", "10.120.1.0/24"])], Vec::new());
    assert_eq!(result.routes, routes(&SINGLE[1..]));
    assert_eq!(result.conditions, both_routed()[1..]);
}

#[test]
fn section_12_8_watch_mode_handle_node_update() {
    let updated = |old: Arc<Node>, new: Arc<Node>| Trigger::of(&Change::Updated { old, new });
    let versioned = |version: &str| {
        let mut node = Node::clone(&n(1));
        node.metadata.resource_version = Some(version.into());
        Arc::new(node)
    };
    let change = Some(Trigger::NodeChange);
    assert_eq!(updated(n(1), node("node-1", "10.0.1.9", &["10.120.0.0/24"])), change, "address change");
    assert_eq!(updated(n(1), node("node-1", "10.0.1.1", &["10.120.9.0/24"])), change, "podCIDR change");
    assert_eq!(Trigger::of(&Change::Added(n(1))), change);
    assert_eq!(Trigger::of(&Change::Deleted(n(1))), change);
    // A node that registers, and is initialised, before it gets its range.
    let (fresh, initialised) = (node("node-1", "", &[]), node("node-1", "10.0.1.1", &[]));
    assert_eq!(Trigger::of(&Change::Added(fresh.clone())), None);
    assert_eq!(updated(fresh, initialised.clone()), None);
    assert_eq!(updated(initialised, n(1)), change);
    // Images are not even decoded. Upstream's resync shows as an identical object; here a timer stands for it.
    assert_eq!(updated(versioned("1"), versioned("2")), None, "status.images changed");
    assert_eq!(updated(versioned("1"), versioned("1")), None, "identical object");
}

#[test]
fn a_blackhole_in_the_place_of_a_wanted_route_is_replaced_in_one_pass() {
    let broken = Route { state: State::Blackhole, ..route("node-1", "10.120.0.0/24") };
    let result = reconcile(&[n(1)], vec![broken]);
    assert_eq!((result.routes, result.changes), (routes(&SINGLE[..1]), 2));
}

#[test]
fn deletions_stand_before_creations() {
    let swapped = routes(&[("node-1", "10.120.1.0/24"), ("node-2", "10.120.0.0/24")]);
    let steps = steps(&[n(1), n(2)], &swapped, &cluster());
    let told: Vec<String> = steps.changes.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "delete route node-1 10.120.1.0/24 10.120.1.0/24",
            "delete route node-2 10.120.0.0/24 10.120.0.0/24",
            "create route 10.120.0.0/24 for node node-1",
            "create route 10.120.1.0/24 for node node-2"
        ]
    );
}

#[test]
fn another_spelling_of_a_range_is_no_change() {
    let node = node("node-1", "10.0.1.1", &["ACE:0:0::/48", "10.120.0.7/24"]);
    let listed = routes(&[("node-1", "ace::/48"), ("node-1", "10.120.0.0/24")]);
    assert!(steps(&[node], &listed, &cluster()).changes.is_empty());
}

#[test]
fn a_route_without_node_in_the_range_is_deleted_and_a_foreign_one_is_kept() {
    let listed = routes(&[("", "10.120.2.0/24"), ("", "10.121.2.0/24"), ("gone", "192.0.2.0/24"), ("", "0.0.0.0/0")]);
    let steps = steps(&[n(1)], &listed, &cluster());
    let deleted: Vec<&RouteChange> = steps.changes.iter().filter(|c| matches!(c, RouteChange::Delete(_))).collect();
    assert_eq!(deleted, [&RouteChange::Delete(listed[0].clone())]);
}

#[test]
fn a_route_that_the_cloud_is_busy_with_is_waited_for() {
    for listed in [
        Route { state: State::Pending, ..route("node-1", "10.120.0.0/24") },
        // On its way out, in the place of node-1's own.
        Route { state: State::Pending, ..route("node-9", "10.120.0.0/24") },
    ] {
        let steps = steps(&[n(1), n(2)], &[listed], &cluster());
        assert!(steps.pending);
        assert_eq!(steps.changes.len(), 1, "node-2's creation");
        assert_eq!(settled(&steps), both_routed()[1..], "node-1 is not decided yet");
    }
    let foreign = Route { state: State::Pending, ..route("", "192.0.2.0/24") };
    assert!(!steps(&[n(1)], &[foreign], &cluster()).pending);
}

#[test]
fn a_node_is_unrouted_until_all_of_its_routes_are_there() {
    let steps = steps(&[n(3)], &[], &cluster());
    let failed = || Attempt::Failed(Error::transient("no"));
    let verdict = |attempts: [Attempt; 2]| verdicts(&steps, &attempts).first().map(|(_, network)| *network);
    assert_eq!(verdict([Attempt::Done, Attempt::Done]), Some(Network::Routed));
    assert_eq!(verdict([Attempt::Done, failed()]), Some(Network::Unrouted));
    assert_eq!(verdict([Attempt::Held, Attempt::Done]), Some(Network::Unrouted), "waits for its next try");
    assert_eq!(verdict([Attempt::Waiting(None), Attempt::Done]), None);
    assert_eq!(verdict([Attempt::Waiting(None), failed()]), Some(Network::Unrouted));
}

#[test]
fn a_node_that_lost_its_range_or_has_a_bad_one_is_unrouted() {
    let lost = steps(&[node("node-1", "10.0.1.1", &[])], &routes(&SINGLE[..1]), &cluster());
    assert_eq!(settled(&lost), [("node-1".to_owned(), Network::Unrouted)]);
    assert_eq!(lost.changes.len(), 1, "its route goes");
    let bad = steps(&[node("node-1", "10.0.1.1", &["10.120.0.0"])], &[], &cluster());
    assert_eq!(settled(&bad), [("node-1".to_owned(), Network::Unrouted)]);
    assert!(bad.changes.is_empty());
}

#[test]
fn two_nodes_that_claim_one_range_get_one_route_and_one_failure() {
    let twins = [n(1), node("node-9", "10.0.9.1", &["10.120.0.0/24"])];
    let mut table = Table { routes: Vec::new(), addresses: false };
    let steps = steps(&twins, &table.routes, &cluster());
    let attempts = table.apply(&steps.changes);
    let expected = [("node-1".to_owned(), Network::Routed), ("node-9".to_owned(), Network::Unrouted)];
    assert_eq!(named(verdicts(&steps, &attempts)), expected);
}

#[test]
fn comparing_five_thousand_nodes_takes_milliseconds() {
    let range = |n: usize| format!("10.120.{}.{}/32", n / 256, n % 256);
    let nodes: Vec<Arc<Node>> = (0..5000).map(|n| node(&format!("node-{n}"), "10.0.1.1", &[&range(n)])).collect();
    let listed: Vec<Route> = (0..5000).map(|n| route(&format!("node-{n}"), &range(n))).collect();
    let started = std::time::Instant::now();
    let steps = steps(&nodes, &listed, &cluster());
    let took = started.elapsed();
    assert!(steps.changes.is_empty() && steps.nodes.len() == 5000);
    // Generous for an unoptimised build on a loaded machine; quadratic would take many seconds.
    assert!(took < std::time::Duration::from_secs(1), "{took:?}");
}
