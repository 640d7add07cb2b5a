//! Routes in the simulator's route tables.

use std::{collections::BTreeMap, sync::Arc};

use cloud_provider::{
    Kind,
    cloud::{
        Routes as _,
        routes::{Change, Creation, Route, State},
    },
    cluster::objects::Node,
    error::Result,
};
use cloud_provider_aws::routes::Ec2Routes;
use cloud_provider_aws_simulator::{Fault, Policy, Seed};
use serde_json::{Value, json};

use crate::support::{Cluster, Setup, node, node_of};

const TABLE: &str = "rtb-0a1b2c3d4e5f60002";

async fn cluster(nodes: usize) -> Cluster {
    let seed = Seed::cluster("demo", nodes);
    let config = "[Global]\nRouteTableID=rtb-0a1b2c3d4e5f60002\n";
    Cluster::with(Setup { seed, config, policy: Policy::documented(), ..Setup::default() }).await
}

fn routes(cluster: &Cluster) -> Ec2Routes {
    Ec2Routes::new(&cluster.environment, Arc::new(cluster.environment.instances()))
}

/// Destinations and targets in the table.
fn table(cluster: &Cluster) -> BTreeMap<String, Value> {
    let routes = cluster.handle.state()["route_tables"][TABLE]["routes"].take();
    let pair = |route: &Value| (route["destination"].as_str().unwrap().to_owned(), route["target"].clone());
    routes.as_array().unwrap().iter().map(pair).collect()
}

fn create(node: &Arc<Node>, destination: &str) -> Change {
    Change::Create(Creation { node: node.clone(), destination: destination.parse().unwrap() })
}

fn delete(route: &Route) -> Change {
    Change::Delete(route.clone())
}

fn kinds(results: &[Result<()>]) -> Vec<Option<&Kind>> {
    results.iter().map(|result| result.as_ref().err().map(cloud_provider::Error::kind)).collect()
}

/// What is listed, in the order of destinations.
async fn list(routes: &Ec2Routes, nodes: &[Arc<Node>]) -> Vec<Route> {
    let mut listed = routes.list(nodes).await.unwrap();
    listed.sort_by(|left, right| left.destination.as_str().cmp(right.destination.as_str()));
    listed
}

fn shown(routes: &[Route]) -> Vec<(&str, Option<&str>, State)> {
    routes.iter().map(|route| (route.destination.as_str(), route.node.as_deref(), route.state)).collect()
}

#[tokio::test]
async fn routes_of_both_families_are_made_listed_and_removed_with_one_read_for_a_pass() {
    let cluster = cluster(2).await;
    let (routes, nodes) = (routes(&cluster), cluster.nodes_by_id());
    assert!(list(&routes, &nodes).await.is_empty(), "gateways are not seen");
    let changes = [
        create(&nodes[0], "10.200.1.0/24"),
        create(&nodes[0], "FD00:200:0:1::/64"),
        create(&nodes[1], "10.200.2.0/24"),
    ];
    assert_eq!(kinds(&routes.apply(&changes).await), [None, None, None]);
    let ids: Vec<String> = cluster.workers().map(|instance| instance.id).collect();
    assert_eq!(table(&cluster)["fd00:200:0:1::/64"], json!({"instance": ids[0]}));
    assert!(cluster.workers().all(|instance| !instance.source_dest_check));

    cluster.handle.reset_calls();
    let listed = list(&routes, &nodes).await;
    assert_eq!(
        shown(&listed),
        [
            ("10.200.1.0/24", Some(nodes[0].name()), State::Active),
            ("10.200.2.0/24", Some(nodes[1].name()), State::Active),
            ("fd00:200:0:1::/64", Some(nodes[0].name()), State::Active),
        ]
    );
    assert_eq!(listed[0].name, "kubernetes-10.200.1.0/24");
    assert_eq!(cluster.handle.calls().len(), 1);

    // What is there already is made once more without failure, what is gone is removed without failure.
    assert_eq!(kinds(&routes.apply(&changes[..1]).await), [None]);
    let deletions = [delete(&listed[0]), delete(&listed[2])];
    assert_eq!(kinds(&routes.apply(&deletions).await), [None, None]);
    assert_eq!(kinds(&routes.apply(&deletions).await), [None, None]);
    assert_eq!(shown(&list(&routes, &nodes).await), shown(&listed[1..2]));
    assert!(table(&cluster).contains_key("0.0.0.0/0"));
}

#[tokio::test]
async fn a_route_in_the_place_of_another_is_a_conflict_unless_that_one_goes_first() {
    let cluster = cluster(2).await;
    let (routes, nodes) = (routes(&cluster), cluster.nodes_by_id());
    routes.apply(&[create(&nodes[0], "10.200.1.0/24")]).await;
    let listed = list(&routes, &nodes).await;
    let (taken, free) = (create(&nodes[1], "10.200.1.0/24"), create(&nodes[1], "10.200.2.0/24"));
    let results = routes.apply(&[taken.clone(), free]).await;
    assert_eq!(kinds(&results), [Some(&Kind::Conflict), None]);
    assert_eq!(kinds(&routes.apply(&[delete(&listed[0]), taken]).await), [None, None]);
    let id = cluster.workers().nth(1).unwrap().id;
    assert_eq!(table(&cluster)["10.200.1.0/24"], json!({"instance": id}));

    cluster.handle.adjust(|knobs| knobs.quotas.routes_per_table = 3);
    let results = routes.apply(&[create(&nodes[0], "10.200.9.0/24")]).await;
    assert_eq!(kinds(&results), [Some(&Kind::Quota)]);
    cluster.handle.fault(Fault::error("EC2.ModifyInstanceAttribute", "UnauthorizedOperation"));
    let results = routes.apply(&[create(&nodes[0], "10.200.9.0/24")]).await;
    assert!(results[0].as_ref().unwrap_err().chain().contains("ec2:ModifyInstanceAttribute"));
}

#[tokio::test]
async fn only_what_leads_to_no_node_is_a_black_hole() {
    let cluster = cluster(2).await;
    let (routes, nodes) = (routes(&cluster), cluster.nodes_by_id());
    routes.apply(&[create(&nodes[0], "10.200.1.0/24"), create(&nodes[1], "10.200.2.0/24")]).await;
    let ids: Vec<String> = cluster.workers().map(|instance| instance.id).collect();
    cluster.handle.stop(&ids[0]);
    cluster.handle.terminate(&ids[1]);
    let listed = list(&routes, &nodes[..1]).await;
    assert_eq!(
        shown(&listed),
        [("10.200.1.0/24", Some(nodes[0].name()), State::Active), ("10.200.2.0/24", None, State::Blackhole)]
    );
}

#[tokio::test]
async fn nodes_without_provider_id_are_known_by_their_name() {
    let cluster = cluster(2).await;
    let (routes, named) = (routes(&cluster), cluster.nodes_by_name());
    let created = routes.apply(&[create(&named[0], "10.200.1.0/24")]).await;
    assert_eq!(kinds(&created), [None]);
    let listed = list(&routes, &named).await;
    assert_eq!(shown(&listed), [("10.200.1.0/24", Some(named[0].name()), State::Active)]);

    let strangers = [node("unknown", None), node_of("i-0123456789abcdef0"), node("other", Some("gce:///p/z/i"))];
    let changes: Vec<Change> = strangers.iter().map(|node| create(node, "10.200.3.0/24")).collect();
    for result in routes.apply(&changes).await {
        assert_eq!(result.unwrap_err().kind(), &Kind::NotFound);
    }
}

#[tokio::test]
async fn several_tables_of_the_cluster_are_refused_and_a_failed_read_is_no_empty_table() {
    let both = Cluster::new(1).await;
    let error = routes(&both).list(&[]).await.unwrap_err().to_string();
    assert!(error.starts_with("found multiple matching AWS route tables for AWS cluster: kubernetes"), "{error}");

    let mut seed = Seed::cluster("demo", 1);
    seed.route_tables[0].tags.clear();
    let one = Cluster::with(Setup { seed, ..Setup::default() }).await;
    let (routes, nodes) = (routes(&one), one.nodes_by_id());
    assert_eq!(kinds(&routes.apply(&[create(&nodes[0], "10.200.1.0/24")]).await), [None]);
    assert!(table(&one).contains_key("10.200.1.0/24"));
    one.handle.fault(Fault::error("EC2.DescribeRouteTables", "InternalError"));
    assert_eq!(routes.list(&nodes).await.unwrap_err().kind(), &Kind::Transient);
}
