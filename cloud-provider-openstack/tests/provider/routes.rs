//! Routes of a router and the address pairs of ports.

use std::sync::Arc;

use cloud_provider::{
    Kind,
    cloud::{
        Routes as _,
        routes::{Change, Creation, State},
    },
    cluster::objects::Node,
};
use cloud_provider_openstack::routes::RouterRoutes;
use cloud_provider_openstack_simulator::{Fault, Ids, Knobs, Release};
use serde_json::{Value, json};

use crate::support::{Cloud, Setup, node_at};

fn without(extensions: &[&str]) -> Setup {
    let neutron_without = extensions.iter().map(|&alias| alias.to_owned()).collect();
    let knobs = Knobs { release: Release { neutron_without, ..Release::default() }, ..Knobs::default() };
    Setup { nodes: 3, knobs, ..Setup::default() }
}

/// Each server's port and the node behind it.
fn nodes(cloud: &Cloud) -> Vec<(String, Arc<Node>)> {
    let servers = cloud.handle.all("servers");
    let port = |server: &str| cloud.handle.all("ports").into_iter().find(|port| port["device_id"] == server).unwrap();
    let both = servers.iter().map(|server| {
        let port = port(server["id"].as_str().unwrap());
        let address = port["fixed_ips"][0]["ip_address"].as_str().unwrap().to_owned();
        (port["id"].as_str().unwrap().to_owned(), node_at(server["name"].as_str().unwrap(), &[&address]))
    });
    both.collect()
}

fn creation(node: &Arc<Node>, cidr: &str) -> Change {
    Change::Create(Creation { node: node.clone(), destination: cidr.parse().unwrap() })
}

fn stored(cloud: &Cloud) -> Vec<Value> {
    cloud.handle.get("routers", &Ids::default().router).unwrap()["routes"].as_array().cloned().unwrap_or_default()
}

fn pairs(cloud: &Cloud, port: &str) -> Vec<String> {
    let port = cloud.handle.get("ports", port).unwrap();
    let pairs = port["allowed_address_pairs"].as_array().cloned().unwrap_or_default();
    pairs.iter().map(|pair| pair["ip_address"].as_str().unwrap().to_owned()).collect()
}

async fn routes(cloud: &Cloud) -> RouterRoutes {
    RouterRoutes::new(cloud.client.clone(), &Ids::default().router).await.unwrap()
}

#[tokio::test]
async fn routes_and_pairs_are_made_once_and_taken_away_again() {
    for extensions in [&[][..], &["extraroute-atomic"]] {
        let cloud = Cloud::with(without(extensions)).await;
        let (routes, nodes) = (routes(&cloud).await, nodes(&cloud));
        let all: Vec<Arc<Node>> = nodes.iter().map(|(_, node)| node.clone()).collect();
        assert!(routes.list(&all).await.unwrap().is_empty());
        let cidrs = ["10.244.0.0/24", "10.244.1.0/24", "10.244.2.0/24"];
        let changes: Vec<Change> = all.iter().zip(cidrs).map(|(node, cidr)| creation(node, cidr)).collect();
        for _ in 0..2 {
            let made = routes.apply(&changes).await;
            assert!(made.iter().all(Result::is_ok), "{made:?}");
            assert_eq!(stored(&cloud).len(), 3, "{extensions:?}");
            for ((port, _), cidr) in nodes.iter().zip(cidrs) {
                assert_eq!(pairs(&cloud, port), [cidr]);
            }
        }
        let listed = routes.list(&all).await.unwrap();
        assert!(listed.iter().all(|route| route.state == State::Active && route.node.is_some()));
        let deletions: Vec<Change> = listed.into_iter().map(Change::Delete).collect();
        let deleted = routes.apply(&deletions).await;
        assert!(deleted.iter().all(Result::is_ok), "{deleted:?}");
        assert!(stored(&cloud).is_empty() && nodes.iter().all(|(port, _)| pairs(&cloud, port).is_empty()));
    }
}

#[tokio::test]
async fn a_route_whose_address_pair_fails_is_not_made_and_not_deleted() {
    for extensions in [&[][..], &["extraroute-atomic"]] {
        let cloud = Cloud::with(without(extensions)).await;
        let (routes, nodes) = (routes(&cloud).await, nodes(&cloud));
        let all: Vec<Arc<Node>> = nodes.iter().map(|(_, node)| node.clone()).collect();
        let changes = [creation(&nodes[0].1, "10.244.0.0/24")];
        cloud.handle.fault(Fault::error("neutron.UpdatePort", "403").times(1));
        let made = routes.apply(&changes).await;
        assert!(matches!(made[0].as_ref().unwrap_err().kind(), Kind::Denied { .. }), "{made:?}");
        assert!(stored(&cloud).is_empty());

        assert!(routes.apply(&changes).await[0].is_ok());
        let deletions: Vec<Change> = routes.list(&all).await.unwrap().into_iter().map(Change::Delete).collect();
        cloud.handle.fault(Fault::error("neutron.UpdatePort", "403").times(1));
        let deleted = routes.apply(&deletions).await;
        assert!(matches!(deleted[0].as_ref().unwrap_err().kind(), Kind::Denied { .. }), "{deleted:?}");
        assert_eq!(stored(&cloud).len(), 1);
    }
}

/// What ends between the two writes, as a controller does that is killed there, a later pass begins again: it sees routes only.
#[tokio::test]
async fn a_pass_completes_what_ended_between_pair_and_route() {
    for (extensions, route_write) in [
        (&[][..], ["neutron.AddExtraRoutes", "neutron.RemoveExtraRoutes"]),
        (&["extraroute-atomic"], ["neutron.UpdateRouter"; 2]),
    ] {
        let cloud = Cloud::with(without(extensions)).await;
        let (port, node) = nodes(&cloud).remove(0);
        let all = [node.clone()];
        let changes = [creation(&node, "10.244.0.0/24")];
        cloud.handle.fault(Fault::error(route_write[0], "403").times(1));
        assert!(routes(&cloud).await.apply(&changes).await[0].is_err());
        assert!(stored(&cloud).is_empty(), "no route without its pair");

        let restarted = routes(&cloud).await;
        assert!(restarted.list(&all).await.unwrap().is_empty());
        assert!(restarted.apply(&changes).await[0].is_ok());
        assert_eq!((stored(&cloud).len(), pairs(&cloud, &port)), (1, vec!["10.244.0.0/24".to_owned()]));

        cloud.handle.fault(Fault::error(route_write[1], "403").times(1));
        for succeeds in [false, true] {
            let restarted = routes(&cloud).await;
            let deletions: Vec<Change> = restarted.list(&all).await.unwrap().into_iter().map(Change::Delete).collect();
            assert_eq!(deletions.len(), 1, "the route tells that its deletion is not over");
            assert_eq!(restarted.apply(&deletions).await[0].is_ok(), succeeds);
        }
        assert!(stored(&cloud).is_empty() && pairs(&cloud, &port).is_empty());
    }
}

#[tokio::test]
async fn without_the_extension_or_with_port_security_off_no_pair_is_written() {
    let cloud = Cloud::with(without(&["allowed-address-pairs"])).await;
    let (routes, nodes) = (routes(&cloud).await, nodes(&cloud));
    assert!(routes.apply(&[creation(&nodes[0].1, "10.244.0.0/24")]).await[0].is_ok());
    assert_eq!(cloud.handle.count("neutron.UpdatePort"), 0);

    let cloud = Cloud::new(1).await;
    let (routes, nodes) = (self::routes(&cloud).await, self::nodes(&cloud));
    cloud.handle.set("ports", &nodes[0].0, &json!({ "port_security_enabled": false }));
    assert!(routes.apply(&[creation(&nodes[0].1, "10.244.0.0/24")]).await[0].is_ok());
    assert_eq!(cloud.handle.count("neutron.UpdatePort"), 0);
}

#[tokio::test]
async fn what_is_left_of_a_node_is_a_black_hole_and_a_foreign_route_is_not_seen() {
    let cloud = Cloud::new(3).await;
    let (routes, nodes) = (routes(&cloud).await, nodes(&cloud));
    let address = |number: usize| nodes[number].1.status.addresses[0].address.clone();
    // The second server is no node of this cluster; nothing has the third address.
    cloud.handle.set(
        "routers",
        &Ids::default().router,
        &json!({ "routes": [
            { "destination": "10.244.0.0/24", "nexthop": address(0) },
            { "destination": "10.244.1.0/24", "nexthop": address(1) },
            { "destination": "10.244.2.0/24", "nexthop": "10.20.250.250" },
            { "destination": "nonsense", "nexthop": "10.20.250.251" },
        ]}),
    );
    let mine = [nodes[0].1.clone()];
    let listed = routes.list(&mine).await.unwrap();
    let seen: Vec<_> = listed.iter().map(|route| (route.destination.as_str(), route.state)).collect();
    assert_eq!(seen, [("10.244.0.0/24", State::Active), ("10.244.2.0/24", State::Blackhole)]);
    let taken = routes.apply(&[creation(&nodes[0].1, "10.244.1.0/24")]).await;
    assert_eq!(taken[0].as_ref().unwrap_err().kind(), &Kind::Conflict);
    // A node that was there before is known, also when its server still runs.
    let listed = routes.list(&[]).await.unwrap();
    assert_eq!(listed[0].state, State::Blackhole);
    let deleted = routes.apply(&listed.into_iter().map(Change::Delete).collect::<Vec<_>>()).await;
    assert!(deleted.iter().all(Result::is_ok), "{deleted:?}");
    assert_eq!(stored(&cloud).len(), 2, "the foreign one and the odd one");
}

#[tokio::test]
async fn a_full_router_is_a_quota_and_no_extension_means_no_routes() {
    let knobs = Knobs { release: Release { max_routes: 1, ..Release::default() }, ..Knobs::default() };
    let cloud = Cloud::with(Setup { nodes: 2, knobs, ..Setup::default() }).await;
    let (routes, nodes) = (routes(&cloud).await, nodes(&cloud));
    let made = routes.apply(&[creation(&nodes[0].1, "10.244.0.0/24")]).await;
    assert!(made[0].is_ok());
    let full = routes.apply(&[creation(&nodes[1].1, "10.244.1.0/24")]).await;
    assert_eq!(full[0].as_ref().unwrap_err().kind(), &Kind::Quota, "{full:?}");

    let cloud = Cloud::with(without(&["extraroute", "extraroute-atomic"])).await;
    let error = RouterRoutes::new(cloud.client.clone(), &Ids::default().router).await.err().unwrap();
    assert_eq!(error.kind(), &Kind::Unsupported);
}

#[tokio::test]
async fn many_routes_of_the_older_api_do_not_overwrite_each_other() {
    let setup = Setup { nodes: 20, ..without(&["extraroute-atomic"]) };
    let cloud = Cloud::with(setup).await;
    let (routes, nodes) = (routes(&cloud).await, nodes(&cloud));
    let changes: Vec<Change> =
        nodes.iter().enumerate().map(|(number, (_, node))| creation(node, &format!("10.244.{number}.0/24"))).collect();
    let made = routes.apply(&changes).await;
    assert!(made.iter().all(Result::is_ok), "{made:?}");
    assert_eq!(stored(&cloud).len(), 20);
}
