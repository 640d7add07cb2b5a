//! Nodes and their servers.

use std::time::Duration;

use cloud_provider::{
    Kind,
    cloud::{Freshness, Instance, Instances as _, Power, Want},
};
use cloud_provider_openstack_simulator::{Fault, Ids, Knobs, Release, Seed};
use serde_json::json;

use crate::support::{Cloud, Setup, node};

const MINUTE: Freshness = Freshness::Within(Duration::from_secs(60));

#[tokio::test]
async fn a_thousand_nodes_initialise_with_few_calls() {
    let cloud = Cloud::new(1000).await;
    let nodes = cloud.nodes_by_name();
    // The queue drains: one node first, then what gathered meanwhile.
    let first = cloud.metadata(&nodes[..1]).await;
    let rest = cloud.metadata(&nodes[1..]).await;
    assert!(first.iter().chain(&rest).all(Result::is_ok), "{:?}", rest.iter().find(|result| result.is_err()));
    let metadata = rest[0].as_ref().unwrap();
    assert!(metadata.provider_id.starts_with("openstack:///"), "{metadata:?}");
    assert_eq!(
        (metadata.instance_type.as_str(), metadata.zone.as_str(), metadata.region.as_str()),
        ("m1.small", "nova", "RegionOne")
    );
    assert_eq!(metadata.addresses.len(), 1, "{metadata:?}");
    assert!((4..=10).contains(&cloud.calls()), "{:?}", cloud.handle.counts());
    // The periodic refresh of all addresses.
    cloud.handle.reset_calls();
    let now = Freshness::Within(Duration::ZERO);
    let refreshed = cloud.servers.look_up(&cloud.nodes_by_id(), Want::Metadata, now).await;
    assert!(refreshed.iter().all(Result::is_ok));
    assert!((2..=6).contains(&cloud.calls()), "{:?}", cloud.handle.counts());
}

#[tokio::test]
async fn a_few_nodes_are_read_by_id_in_a_large_project() {
    let cloud = Cloud::new(300).await;
    let nodes = cloud.nodes_by_id();
    cloud.state(&nodes, MINUTE).await;
    cloud.handle.reset_calls();
    let found = cloud.state(&nodes[..3], Freshness::Within(Duration::ZERO)).await;
    assert!(
        found.iter().all(|result| matches!(result, Ok(Instance::Present { power: Power::Running, metadata: None })))
    );
    assert_eq!((cloud.handle.count("nova.ShowServer"), cloud.handle.count("nova.ListServersDetail")), (3, 0));
    assert_eq!(cloud.calls_to("neutron."), 0, "the state alone needs no ports");
}

#[tokio::test]
async fn only_an_answer_about_the_very_server_makes_it_gone() {
    let cloud = Cloud::new(30).await;
    let mut nodes = cloud.nodes_by_id();
    cloud.handle.delete_server(&cloud.handle.ids("servers")[0]);
    nodes.push(node("other", Some("aws:///eu-west-1a/i-1")));
    nodes.push(node("elsewhere", Some("openstack://RegionTwo/7b9cf879-7146-417c-abfd-cb4272f0c935")));
    nodes.push(node("odd", Some("openstack://7b9cf879")));
    // A listing that lacks it is followed by a question for it alone.
    for freshness in [MINUTE, Freshness::Live] {
        cloud.handle.reset_calls();
        let found = cloud.state(&nodes, freshness).await;
        assert!(matches!(found[0], Ok(Instance::Gone)), "{:?}", found[0]);
        assert!(found[1..30].iter().all(|result| matches!(result, Ok(Instance::Present { .. }))));
        assert!(matches!((&found[30], &found[31]), (Ok(Instance::Foreign), Ok(Instance::Foreign))));
        assert!(matches!(found[32].as_ref().unwrap_err().kind(), Kind::Invalid { .. }));
        let listed = cloud.handle.count("nova.ListServersDetail");
        assert_eq!(listed > 0, freshness == MINUTE);
    }
}

#[tokio::test]
async fn failures_are_never_gone() {
    let cloud = Cloud::new(2).await;
    let nodes = cloud.nodes_by_id();
    for code in ["403", "500", "409"] {
        cloud.handle.adjust(|knobs| knobs.faults = vec![Fault::error("nova.*", code).times(100)]);
        let found = cloud.state(&nodes, Freshness::Live).await;
        assert!(found.iter().all(Result::is_err), "{code}: {found:?}");
        cloud.handle.adjust(|knobs| knobs.faults.clear());
    }
    assert!(cloud.state(&nodes, Freshness::Live).await.iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_shut_down_server_is_stopped_and_one_in_any_other_status_runs() {
    let cloud = Cloud::new(1).await;
    let (nodes, id) = (cloud.nodes_by_id(), cloud.handle.ids("servers")[0].clone());
    for (status, power) in [
        ("SHUTOFF", Power::Stopped),
        ("ERROR", Power::Running),
        ("SUSPENDED", Power::Running),
        ("SHELVED_OFFLOADED", Power::Running),
        ("SOFT_DELETED", Power::Running),
    ] {
        cloud.handle.set_server_status(&id, status);
        let found = cloud.state(&nodes, Freshness::Live).await;
        assert!(
            matches!(&found[0], Ok(Instance::Present { power: seen, .. }) if *seen == power),
            "{status}: {found:?}"
        );
    }
}

#[tokio::test]
async fn a_node_without_provider_id_is_gone_only_where_the_option_says_so() {
    for (config, gone) in [("", false), ("[Node]\nremove-without-provider-id = true\n", true)] {
        let cloud = Cloud::with(Setup { nodes: 1, config, ..Setup::default() }).await;
        let found = cloud.state(&[node("nobody", None)], Freshness::Live).await;
        match &found[0] {
            Ok(Instance::Gone) => assert!(gone),
            Err(error) => assert!(!gone && error.is_not_found(), "{error:?}"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn two_servers_of_one_name_mean_neither() {
    let cloud = Cloud::new(2).await;
    let ids = cloud.handle.ids("servers");
    let name = cloud.handle.get("servers", &ids[0]).unwrap()["name"].as_str().unwrap().to_owned();
    cloud.handle.set("servers", &ids[1], &json!({ "name": name }));
    let found = cloud.metadata(&[node(&name, None)]).await;
    assert!(found[0].as_ref().unwrap_err().to_string().contains("multiple results"), "{found:?}");
}

#[tokio::test]
async fn an_old_nova_costs_one_call_for_each_flavor() {
    let knobs = Knobs { release: Release { nova_minor: 46, ..Release::default() }, ..Knobs::default() };
    let cloud = Cloud::with(Setup { nodes: 40, knobs, ..Setup::default() }).await;
    let found = cloud.metadata(&cloud.nodes_by_name()).await;
    assert!(found.iter().all(|metadata| metadata.as_ref().unwrap().instance_type == "m1.small"));
    assert_eq!(cloud.handle.count("nova.ShowFlavor"), 1);
}

#[tokio::test]
async fn a_flavor_whose_name_is_no_label_is_known_by_its_id() {
    let cloud = Cloud::new(1).await;
    let flavor = Ids::default().flavor;
    cloud.handle.set("flavors", &flavor, &json!({ "name": "two cores (big)" }));
    let id = cloud.handle.ids("servers")[0].clone();
    cloud.handle.change("servers", &id, |server| {
        if let Some(serde_json::Value::Object(flavor)) = server.get_mut("flavor") {
            flavor.insert("original_name".into(), "two cores (big)".into());
        }
    });
    let found = cloud.metadata(&cloud.nodes_by_id()).await;
    assert_eq!(found[0].as_ref().unwrap().instance_type, flavor);
}

#[tokio::test]
async fn both_families_stand_in_the_addresses_unless_ipv6_is_off() {
    for (config, count) in [("", 2), ("[Networking]\nipv6-support-disabled = true\n", 1)] {
        let seed = Some(Seed::dual_stack_cluster("demo", 1));
        let cloud = Cloud::with(Setup { seed, config, ..Setup::default() }).await;
        let found = cloud.metadata(&cloud.nodes_by_id()).await;
        assert_eq!(found[0].as_ref().unwrap().addresses.len(), count, "{found:?}");
    }
}

#[tokio::test]
async fn provider_ids_of_new_nodes_hold_the_region_where_it_is_wanted_and_others_stay() {
    let cloud = Cloud::with(Setup { nodes: 1, regional: true, ..Setup::default() }).await;
    let new = cloud.metadata(&cloud.nodes_by_name()).await;
    assert!(new[0].as_ref().unwrap().provider_id.starts_with("openstack://RegionOne/"));
    let old = cloud.metadata(&cloud.nodes_by_id()).await;
    assert!(old[0].as_ref().unwrap().provider_id.starts_with("openstack:///"));
}

#[tokio::test]
async fn throttling_is_obeyed_and_counted() {
    let cloud = Cloud::new(1).await;
    cloud.handle.fault(Fault::error("nova.ShowServer", "429").times(1));
    assert!(cloud.state(&cloud.nodes_by_id(), Freshness::Live).await[0].is_ok());
    assert_eq!(cloud.handle.count("nova.ShowServer"), 2);
    let metrics = cloud.metrics.render();
    assert!(metrics.contains("openstack_api_requests_total{request=\"server_get\"} 1"), "{metrics}");
    assert!(!metrics.contains("openstack_api_request_errors_total{request=\"server_get\"}"), "{metrics}");
}

#[tokio::test]
async fn ports_of_trunks_bring_their_addresses() {
    let cloud = Cloud::new(1).await;
    let server = cloud.handle.ids("servers")[0].clone();
    let ids = Ids::default();
    let parent = cloud.handle.all("ports").into_iter().find(|port| port["device_id"] == server.as_str()).unwrap();
    let mut sub = parent.clone();
    sub.insert("id".into(), "aaaaaaaa-0000-4000-8000-000000000001".into());
    sub.insert("device_id".into(), "".into());
    sub.insert("fixed_ips".into(), json!([{ "ip_address": "10.20.9.9", "subnet_id": ids.subnet }]));
    assert!(cloud.handle.insert("ports", serde_json::Value::Object(sub)));
    let parent_id = parent["id"].as_str().unwrap();
    cloud.handle.set(
        "ports",
        parent_id,
        &json!({ "trunk_details": { "trunk_id": "t", "sub_ports": [
            { "port_id": "aaaaaaaa-0000-4000-8000-000000000001", "segmentation_id": 5, "segmentation_type": "vlan" },
        ]}}),
    );
    let found = cloud.metadata(&cloud.nodes_by_id()).await;
    let addresses: Vec<_> = found[0].as_ref().unwrap().addresses.iter().map(|a| a.address.as_str()).collect();
    assert!(addresses.contains(&"10.20.9.9"), "{addresses:?}");
}
