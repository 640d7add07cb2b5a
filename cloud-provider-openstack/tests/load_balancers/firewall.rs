//! Security groups of nodes.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::bench::{Bench, Setup, service};

fn group(bench: &Bench) -> Value {
    let all = bench.handle.all("security-groups");
    Value::Object(all.into_iter().find(|it| it["name"].as_str().unwrap().starts_with("lb-sg-")).unwrap())
}

/// The rules of the service's group: direction, protocol, port and source.
fn rules(bench: &Bench) -> BTreeSet<String> {
    let group = group(bench)["id"].clone();
    let all = bench.handle.all("security-group-rules").into_iter().filter(|it| it["security_group_id"] == group);
    let text = |value: &Value| value.as_str().unwrap_or("any").to_owned();
    all.map(|it| {
        format!(
            "{} {} {} {}",
            text(&it["direction"]),
            text(&it["protocol"]),
            it["port_range_min"],
            text(&it["remote_ip_prefix"])
        )
    })
    .collect()
}

fn open(bench: &Bench) -> usize {
    let group = group(bench)["id"].clone();
    bench.handle.all("ports").iter().filter(|port| port["security_groups"].as_array().unwrap().contains(&group)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_opened_to_what_the_load_balancer_sends_and_to_nothing_else() {
    let mut bench = Setup::new(3).with("manage-security-groups = true\ndetach-security-groups = true").start().await;
    let mut web = service("web", &["TCP 80 30080"], json!({}));
    (web.spec.external_traffic_policy, web.spec.health_check_node_port) = (Some("Local".into()), 31000);
    bench.ensure(&mut web).await;
    assert_eq!(group(&bench)["name"], "lb-sg-uid-of-web-default-web");
    let expected = ["ingress tcp 30080 10.20.0.0/16", "ingress tcp 31000 10.20.0.0/16"];
    assert_eq!(rules(&bench).into_iter().collect::<Vec<_>>(), expected);
    assert_eq!(open(&bench), 3);

    // A server joins while somebody adds a rule, and changes a port between our look and our write.
    bench.handle.add_servers(1);
    bench.nodes = bench.all_nodes();
    web.spec.ports = service("web", &["TCP 80 30081"], json!({})).spec.ports;
    let server = bench.handle.ids("servers").remove(0);
    let port = bench.port_of(&server)["id"].as_str().unwrap().to_owned();
    bench.handle.change("ports", &port, |port| {
        port.insert("security_groups".into(), json!([]));
        port.insert("revision_number".into(), json!(17));
    });
    bench.ensure(&mut web).await;
    assert!(rules(&bench).contains("ingress tcp 30081 10.20.0.0/16") && rules(&bench).len() == 2);
    assert_eq!(open(&bench), 4);

    bench.nodes.truncate(1);
    bench.ensure(&mut web).await;
    assert_eq!(open(&bench), 1, "nodes that are no members any more lose the group");
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_are_read_again_only_when_members_change() {
    let mut bench = Setup::new(3).with("manage-security-groups = true").start().await;
    let mut web = service("web", &["TCP 80 30080"], json!({}));
    bench.ensure(&mut web).await;
    bench.handle.reset_calls();
    web.spec.ports = service("web", &["TCP 80 30081"], json!({})).spec.ports;
    bench.ensure(&mut web).await;
    assert!(bench.ensure(&mut web).await.is_empty());
    assert_eq!(bench.handle.count("neutron.ListPorts"), 0, "the members are the same");
    bench.handle.add_servers(1);
    bench.nodes = bench.all_nodes();
    bench.backends(&mut web).await;
    assert_eq!((open(&bench), bench.handle.count("neutron.ListPorts")), (4, 1));
    // Without its group nobody is open.
    let id = group(&bench)["id"].as_str().unwrap().to_owned();
    for server in bench.handle.ids("servers") {
        let port = bench.port_of(&server)["id"].as_str().unwrap().to_owned();
        bench.handle.change("ports", &port, |port| drop(port.insert("security_groups".into(), json!([]))));
    }
    assert!(bench.handle.remove("security-groups", &id));
    bench.ensure(&mut web).await;
    assert_eq!((open(&bench), bench.handle.count("neutron.ListPorts")), (4, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_groups_of_a_service_one_stays() {
    let bench = Setup::new(2).with("manage-security-groups = true").start().await;
    let before = bench.handle.ids("security-groups");
    let mut web = service("web", &["TCP 80 30080"], json!({}));
    bench.ensure(&mut web).await;
    let mut second = group(&bench);
    second["id"] = json!("00000000-0000-4000-8000-000000000000");
    assert!(bench.handle.insert("security-groups", second));
    bench.ensure(&mut web).await;
    assert_eq!(bench.handle.ids("security-groups").len(), before.len() + 1);
    assert_eq!((open(&bench), rules(&bench).len()), (2, 1));
    assert!(bench.ensure(&mut web).await.is_empty());
    bench.remove(&web).await;
    assert_eq!(bench.handle.ids("security-groups"), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_no_longer_managed_goes() {
    let mut bench = Setup::new(2).with("manage-security-groups = true").start().await;
    let mut web = service("web", &["TCP 80 30080"], json!({}));
    let before: Vec<String> = bench.handle.ids("security-groups");
    bench.ensure(&mut web).await;
    bench.restart("").await;
    bench.ensure(&mut web).await;
    assert_eq!(bench.handle.ids("security-groups"), before);
    let default = bench.ids.security_group.clone();
    let servers = bench.handle.ids("servers");
    assert!(servers.iter().all(|server| bench.port_of(server)["security_groups"] == json!([default])));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_subnet_of_the_nodes_is_found_by_their_ports_where_nothing_says_it() {
    let bench = Setup::new(2).with("manage-security-groups = true\nsubnet-id =").start().await;
    let mut web = service("web", &["TCP 80 30080"], json!({}));
    bench.ensure(&mut web).await;
    assert_eq!(bench.only("loadbalancers")["vip_subnet_id"], bench.ids.subnet.as_str());
    assert_eq!(open(&bench), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_network_alone_the_load_balancer_says_in_which_subnet_it_is() {
    let network = cloud_provider_openstack_simulator::Ids::default().network;
    let bench = Setup::new(2)
        .with(&format!("manage-security-groups = true\nsubnet-id =\nnetwork-id = {network}"))
        .start()
        .await;
    let mut web = service("web", &["TCP 80 30080"], json!({}));
    bench.ensure(&mut web).await;
    assert_eq!((open(&bench), rules(&bench).len()), (2, 1));
    assert!(bench.ensure(&mut web).await.is_empty());
}
