//! The instances behind nodes, against the simulator.

use std::{net::Ipv4Addr, time::Duration};

use crate::support::{
    Cluster, DESCRIBE, SECOND, Setup, TOPOLOGY, is_gone, is_present, labelled, metadata_of, node, node_of,
};
use cloud_provider::{
    Kind,
    cloud::{Freshness, Instance, Power},
    cluster::objects::AddressKind,
};
use cloud_provider_aws::{client::ec2_types::State, instances::BackendInstance, provider_id::InstanceId};
use cloud_provider_aws_simulator::{Effect, Fault, Omission, Policy, Seed, model::NetworkInterface};

const ZONE_ID: &str = "topology.k8s.aws/zone-id";
const LAYER: &str = "topology.k8s.aws/network-node-layer-";

#[tokio::test]
async fn a_thousand_nodes_without_provider_id_take_few_calls() {
    let cluster = Cluster::new(1000).await;
    let answers = cluster.metadata(&cluster.nodes_by_name()).await;
    let workers: Vec<_> = cluster.workers().collect();
    assert_eq!(answers.len(), 1000);
    for (worker, answer) in workers.iter().zip(&answers) {
        let metadata = metadata_of(answer);
        assert!(metadata.provider_id.ends_with(&worker.id), "{} {}", metadata.provider_id, worker.id);
        assert_eq!((metadata.instance_type.as_str(), metadata.region.as_str()), ("m5.large", "us-east-1"));
        assert!(metadata.additional_labels.contains_key(ZONE_ID));
        assert!(metadata.addresses.iter().any(|address| address.kind == AddressKind::InternalIp));
    }
    assert!(cluster.count(DESCRIBE) <= 5, "{}", cluster.count(DESCRIBE));
    assert!(cluster.count(TOPOLOGY) <= 2, "{}", cluster.count(TOPOLOGY));
    assert!(cluster.count("EC2.DescribeAvailabilityZones") <= 1);
}

#[tokio::test]
async fn a_thousand_nodes_with_provider_id_take_two_calls_also_live() {
    let cluster = Cluster::new(1000).await;
    let nodes = cluster.nodes_by_id();
    let answers = cluster.state(&nodes, Freshness::Live).await;
    assert!(answers.iter().all(is_present));
    assert_eq!(cluster.count(DESCRIBE), 2);
    assert_eq!(cluster.handle.counts().len(), 1, "state costs nothing else: {:?}", cluster.handle.counts());
    let answers = cluster.state(&nodes, Freshness::Within(Duration::from_secs(5))).await;
    assert!(answers.iter().all(is_present) && cluster.count(DESCRIBE) == 2);
}

#[tokio::test]
async fn questions_asked_at_the_same_time_are_one_call() {
    let cluster = Cluster::new(60).await;
    let nodes = cluster.nodes_by_id();
    let all = futures::future::join_all((0..20).map(|_| cluster.state(&nodes, SECOND))).await;
    assert!(all.iter().flatten().all(is_present));
    assert_eq!(cluster.count(DESCRIBE), 1);
}

#[tokio::test]
async fn a_live_answer_is_never_an_old_one() {
    let cluster = Cluster::new(3).await;
    let nodes = cluster.nodes_by_id();
    cluster.state(&nodes, SECOND).await;
    let id = cluster.worker_ids()[1].clone();
    cluster.handle.terminate(id.as_str());
    let old = cluster.state(&nodes, Freshness::Within(Duration::from_secs(60))).await;
    assert!(old.iter().all(is_present));
    let live = cluster.state(&nodes, Freshness::Live).await;
    assert!(is_present(&live[0]) && is_gone(&live[1]) && is_present(&live[2]));
}

#[tokio::test]
async fn gone_stopped_unknown_and_foreign_nodes_beside_good_ones() {
    let cluster = Cluster::new(300).await;
    let mut nodes = cluster.nodes_by_id();
    let ids = cluster.worker_ids();
    cluster.handle.stop(ids[0].as_str());
    cluster.handle.terminate(ids[1].as_str());
    cluster.handle.delete_instance(ids[2].as_str());
    cluster.handle.delete_instance(ids[3].as_str());
    nodes.push(node_of("i-kwok-1"));
    nodes.push(node("other", Some("gce://project/zone/i-1")));
    nodes.push(node("bad", Some("aws:///us-east-1a/vol-1")));
    let answers = cluster.state(&nodes, Freshness::Live).await;
    assert!(matches!(answers[0], Ok(Instance::Present { power: Power::Stopped, .. })));
    assert!(answers[1..4].iter().all(is_gone), "{:?}", &answers[1..4]);
    assert!(answers[4..300].iter().all(is_present));
    let Err(malformed) = &answers[300] else { panic!("{:?}", answers[300]) };
    assert!(matches!(malformed.kind(), Kind::Invalid { .. }), "{malformed:?}");
    assert!(matches!(answers[301], Ok(Instance::Foreign)));
    assert!(matches!(answers[302].as_ref().unwrap_err().kind(), Kind::Invalid { field } if field == "spec.providerID"));
    assert!(cluster.count(DESCRIBE) <= 4, "{}", cluster.count(DESCRIBE));

    // An ID that is none is not asked for again and again.
    cluster.handle.reset_calls();
    assert!(cluster.state(&nodes[300..301], Freshness::Live).await[0].is_err());
    assert_eq!(cluster.count(DESCRIBE), 0);
}

#[tokio::test]
async fn an_instance_that_answers_leave_out_is_not_gone() {
    let cluster = Cluster::new(50).await;
    let nodes = cluster.nodes_by_id();
    let hidden: Vec<_> = cluster.worker_ids().iter().take(3).map(ToString::to_string).collect();
    cluster.handle.adjust(|knobs| knobs.hidden_instances.extend(hidden));
    let answers = cluster.state(&nodes, Freshness::Live).await;
    assert!(answers[..3].iter().all(Result::is_err), "{:?}", &answers[..3]);
    assert!(answers[3..].iter().all(is_present));
    assert_eq!(cluster.count(DESCRIBE), 4);
    cluster.handle.adjust(|knobs| knobs.hidden_instances.clear());
    assert!(cluster.state(&nodes, Freshness::Live).await.iter().all(is_present));
}

#[tokio::test]
async fn a_stale_read_changes_only_the_time() {
    let cluster = Cluster::new(2).await;
    let nodes = cluster.nodes_by_id();
    cluster.handle.stale_reads(DESCRIBE, 700);
    let id = cluster.worker_ids()[0].clone();
    cluster.handle.terminate(id.as_str());
    assert!(is_present(&cluster.state(&nodes, Freshness::Live).await[0]));
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert!(is_gone(&cluster.state(&nodes, Freshness::Live).await[0]));
}

#[tokio::test]
async fn failures_are_errors_and_never_gone() {
    let kind_of = async |fault: Fault| {
        let cluster = Cluster::new(20).await;
        cluster.handle.fault(fault);
        let answers = cluster.state(&cluster.nodes_by_id(), Freshness::Live).await;
        assert!(answers.iter().all(Result::is_err), "{answers:?}");
        let calls = cluster.count(DESCRIBE);
        cluster.handle.clear_faults();
        (answers[0].as_ref().unwrap_err().kind().clone(), calls, cluster)
    };
    let (throttled, denied, broken, cut) = tokio::join!(
        kind_of(Fault::error("DescribeInstances", "RequestLimitExceeded")),
        kind_of(Fault::error("DescribeInstances", "UnauthorizedOperation")),
        kind_of(Fault::error("DescribeInstances", "InternalError")),
        kind_of(Fault { effect: Effect::Truncate, ..Fault::error("DescribeInstances", "") }),
    );
    assert_eq!((throttled.0, throttled.1), (Kind::Throttled { retry_after: None }, 3));
    assert_eq!((denied.0, denied.1), (Kind::Denied { permission: Some("ec2:DescribeInstances".into()) }, 1));
    assert_eq!((broken.0, broken.1), (Kind::Transient, 3));
    assert_eq!(cut.0, Kind::Transient);

    let text = throttled.2.metrics.render();
    for line in [
        "cloudprovider_aws_api_throttled_requests_total{operation_name=\"DescribeInstances\"} 1\n",
        "cloudprovider_aws_api_request_errors{request=\"describe_instance\"} 1\n",
        "cloudprovider_aws_api_response_status_total{operation=\"DescribeInstances\",service=\"EC2\",status_code=\"503\"} 1\n",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
    // Afterwards everything is found.
    assert!(broken.2.state(&broken.2.nodes_by_id(), Freshness::Live).await.iter().all(is_present));
}

#[tokio::test]
async fn a_name_that_no_instance_has() {
    let cluster = Cluster::new(3).await;
    let mut nodes = cluster.nodes_by_name();
    nodes.push(node("ip-10-9-9-9.ec2.internal", None));
    let live = cluster.state(&nodes, Freshness::Live).await;
    assert!(live[..3].iter().all(is_present) && is_gone(&live[3]));
    assert_eq!(cluster.count(DESCRIBE), 2, "one for all, one to confirm");
    let error = cluster.metadata(&nodes).await.pop().unwrap().unwrap_err();
    assert!(error.is_not_found(), "{error:?}");

    let keeping =
        Cluster::with(Setup { config: "[Global]\nKeepNodesWithoutProviderID = true", ..Setup::default() }).await;
    let answers = keeping.state(&[node("ip-10-9-9-9.ec2.internal", None)], Freshness::Live).await;
    assert!(answers[0].is_err());
}

#[tokio::test]
async fn names_reach_only_instances_of_the_cluster_and_ids_reach_all() {
    let cluster = Cluster::new(3).await;
    let nodes = cluster.nodes_by_name();
    let ids = cluster.worker_ids();
    cluster.handle.change_instance(ids[0].as_str(), |instance| instance.tags.clear());
    let twin = cluster.handle.instance(ids[1].as_str()).unwrap().private_dns_name;
    cluster.handle.change_instance(ids[2].as_str(), |instance| instance.private_dns_name = twin);
    let answers = cluster.state(&nodes, Freshness::Live).await;
    assert!(is_gone(&answers[0]));
    let error = answers[1].as_ref().unwrap_err().to_string();
    assert!(error.starts_with("multiple instances found for name: "), "{error}");
    assert!(cluster.state(&cluster.nodes_by_id(), Freshness::Live).await.iter().all(is_present));
    // A name with an instance ID in front needs no tag.
    let by_resource_name = node(&format!("{}.ec2.internal", ids[0]), None);
    assert!(is_present(&cluster.state(&[by_resource_name], Freshness::Live).await[0]));
    // Our own node is known.
    cluster.handle.reset_calls();
    let own = cluster.handle.instance("i-0a1b2c3d4e5f60001").unwrap().private_dns_name;
    let answer = cluster.metadata(&[node(&own, None)]).await;
    assert!(metadata_of(&answer[0]).provider_id.ends_with("/i-0a1b2c3d4e5f60001"));
    assert_eq!(cluster.count(DESCRIBE), 1);
}

#[tokio::test]
async fn an_odd_provider_id_is_kept_as_it_is() {
    let cluster = Cluster::new(1).await;
    let id = cluster.worker_ids()[0].to_string();
    let answers = cluster.metadata(&[node("n", Some(&id)), node("m", Some(&format!("aws:////{id}")))]).await;
    assert_eq!(metadata_of(&answers[0]).provider_id, id);
    assert_eq!(metadata_of(&answers[1]).provider_id, format!("aws:////{id}"));
}

#[tokio::test]
async fn answers_without_optional_fields_do_no_harm() {
    for element in [
        "instanceState",
        "instanceState/name",
        "placement",
        "availabilityZone",
        "instanceType",
        "privateDnsName",
        "dnsName",
        "ipAddress",
        "networkInterfaceSet",
        "attachment",
        "deviceIndex",
        "privateIpAddressesSet",
        "privateIpAddress",
        "status",
        "tagSet",
        "groupSet",
        "groupId",
        "groupName",
        "vpcId",
        "subnetId",
        "nextToken",
        "instanceId",
        "instancesSet",
        "reservationSet",
        "zoneId",
        "zoneName",
        "availabilityZoneInfo",
    ] {
        let cluster = Cluster::new(2).await;
        cluster.handle.adjust(|knobs| {
            knobs.omissions.push(Omission { action: "EC2.*".into(), element: element.into() });
        });
        let nodes = [cluster.nodes_by_id(), cluster.nodes_by_name()].concat();
        let answers = cluster.metadata(&nodes).await;
        let by_id = &answers[..2];
        match element {
            "instanceId" | "instancesSet" | "reservationSet" => assert!(by_id.iter().all(Result::is_err), "{element}"),
            _ => assert!(by_id.iter().all(is_present), "{element}: {answers:?}"),
        }
        let states = cluster.state(&nodes[..2], Freshness::Live).await;
        assert!(!states.iter().any(is_gone), "{element}: {states:?}");
    }
}

#[tokio::test]
async fn topology_labels_come_in_batches_and_only_where_they_lack() {
    let cluster = Cluster::new(250).await;
    for id in cluster.worker_ids() {
        cluster.handle.change_instance(id.as_str(), |instance| {
            instance.instance_type = "p5.48xlarge".into();
            instance.network_nodes = (1..=3).map(|layer| format!("nn-{layer}")).collect();
        });
    }
    let answers = cluster.metadata(&cluster.nodes_by_id()).await;
    for answer in &answers {
        let labels = &metadata_of(answer).additional_labels;
        assert_eq!((1..=3).filter_map(|layer| labels.get(&format!("{LAYER}{layer}"))).count(), 3);
    }
    assert_eq!(cluster.count(TOPOLOGY), 3);

    let id = cluster.worker_ids()[0].to_string();
    cluster.handle.reset_calls();
    let node = labelled("n", Some(&id), &[(ZONE_ID, "use1-az1"), (&format!("{LAYER}1"), "nn-1")]);
    let answers = cluster.metadata(&[node]).await;
    assert!(metadata_of(&answers[0]).additional_labels.is_empty());
    assert_eq!(cluster.count(TOPOLOGY) + cluster.count("EC2.DescribeAvailabilityZones"), 0);
}

#[tokio::test]
async fn types_without_topology_are_asked_for_once() {
    let cluster = Cluster::new(250).await;
    cluster.metadata(&cluster.nodes_by_id()).await;
    assert_eq!(cluster.count(TOPOLOGY), 1);
    cluster.handle.add_instances(1);
    let nodes = cluster.nodes_by_id();
    assert!(is_present(&cluster.metadata(&nodes[250..]).await[0]));
    assert_eq!(cluster.count(TOPOLOGY), 1);
}

#[tokio::test]
async fn a_topology_failure_holds_up_only_nodes_that_rely_on_it() {
    let cluster = Cluster::new(2).await;
    let ids = cluster.worker_ids();
    cluster.handle.change_instance(ids[0].as_str(), |instance| instance.instance_type = "p5.48xlarge".into());
    let nodes = cluster.nodes_by_id();
    cluster.handle.fault(Fault::error(TOPOLOGY, "InvalidParameterValue"));
    let answers = cluster.metadata(&nodes).await;
    assert!(answers[0].is_err() && is_present(&answers[1]), "{answers:?}");

    // A missing permission, and a region without this API, are no failure, and are not asked about again.
    for code in ["UnauthorizedOperation", "UnsupportedOperation"] {
        let cluster = Cluster::new(2).await;
        cluster
            .handle
            .change_instance(cluster.worker_ids()[0].as_str(), |one| one.instance_type = "p5.48xlarge".into());
        cluster.handle.fault(Fault::error(TOPOLOGY, code));
        for _ in 0..2 {
            assert!(cluster.metadata(&cluster.nodes_by_id()).await.iter().all(is_present), "{code}");
        }
        assert_eq!(cluster.count(TOPOLOGY), 1, "{code}");
    }
}

#[tokio::test]
async fn no_node_waits_for_its_topology_where_that_is_configured() {
    let config = "[Global]\nIgnoreTopologyFailures";
    let cluster = Cluster::with(Setup { config, ..Setup::default() }).await;
    for id in cluster.worker_ids() {
        cluster.handle.change_instance(id.as_str(), |instance| instance.instance_type = "p5.48xlarge".into());
    }
    cluster.handle.fault(Fault::error(TOPOLOGY, "InvalidParameterValue"));
    let answers = cluster.metadata(&cluster.nodes_by_id()).await;
    assert!(answers.iter().all(is_present), "{answers:?}");
    assert!(!metadata_of(&answers[0]).additional_labels.keys().any(|label| label.starts_with(LAYER)));
}

#[tokio::test]
async fn an_instance_that_vanishes_before_its_topology_is_read_holds_up_nobody_else() {
    let cluster = Cluster::new(3).await;
    for id in cluster.worker_ids() {
        cluster.handle.change_instance(id.as_str(), |instance| {
            instance.instance_type = "p5.48xlarge".into();
            instance.network_nodes = vec!["nn-1".into()];
        });
    }
    let nodes = cluster.nodes_by_id();
    cluster.state(&nodes, SECOND).await;
    cluster.handle.delete_instance(cluster.worker_ids()[1].as_str());
    let answers = cluster.metadata(&nodes).await;
    assert!(is_present(&answers[0]) && answers[1].is_err() && is_present(&answers[2]), "{answers:?}");
    assert_eq!(cluster.count(TOPOLOGY), 2);
}

#[tokio::test]
async fn zones_that_cannot_be_read_hold_up_nodes_until_they_can() {
    let cluster = Cluster::new(2).await;
    cluster.handle.adjust(|knobs| {
        let element = "placement/availabilityZoneId".into();
        knobs.omissions.push(Omission { action: "EC2.*".into(), element });
    });
    cluster.handle.fault(Fault::error("DescribeAvailabilityZones", "UnauthorizedOperation"));
    let error = cluster.metadata(&cluster.nodes_by_id()).await.pop().unwrap().unwrap_err();
    assert!(error.to_string().starts_with("Could not get zone ID from zone name us-east-1"), "{error}");
    cluster.handle.clear_faults();
    let answers = cluster.metadata(&cluster.nodes_by_id()).await;
    assert!(answers.iter().all(|answer| metadata_of(answer).additional_labels.contains_key(ZONE_ID)));
}

#[tokio::test]
async fn fargate_nodes_are_found_by_their_address() {
    let mut seed = Seed::cluster("demo", 1);
    let subnet = seed.subnets[0].id.clone();
    let mut interface = NetworkInterface::new("eni-0fa49a7e000000001", &subnet, Ipv4Addr::new(10, 0, 7, 7));
    interface.private_dns_name = "ip-10-0-7-7.ec2.internal".into();
    seed.network_interfaces.push(interface);
    let policy = Policy::all();
    let cluster = Cluster::with(Setup { seed, policy, ..Setup::default() }).await;
    let id = |ip: &str| format!("aws:///us-east-1a/1abc-2def/fargate-ip-{}.ec2.internal", ip.replace('.', "-"));
    let nodes = [node("f", Some(&id("10.0.7.7"))), node("g", Some(&id("10.0.7.8")))];
    let answers = cluster.metadata(&nodes).await;
    let metadata = metadata_of(&answers[0]);
    assert_eq!((metadata.instance_type.as_str(), metadata.zone.as_str()), ("", "us-east-1a"));
    let addresses: Vec<_> = metadata.addresses.iter().map(|address| address.address.as_str()).collect();
    assert_eq!(addresses, ["10.0.7.7", "ip-10-0-7-7.ec2.internal"]);
    assert!(is_gone(&answers[1]));
    let state = cluster.state(&nodes[..1], Freshness::Live).await;
    assert!(matches!(state[0], Ok(Instance::Present { power: Power::Stopped, .. })));
}

#[tokio::test]
async fn backends_are_served_from_what_nodes_brought() {
    let cluster = Cluster::new(100).await;
    cluster.metadata(&cluster.nodes_by_id()).await;
    cluster.handle.reset_calls();
    let mut ids = cluster.worker_ids();
    let found = cluster.environment.snapshot.for_backends(&ids).await.unwrap();
    assert_eq!(found.len(), 100);
    assert_eq!(cluster.count(DESCRIBE), 0);
    let BackendInstance { state, vpc, security_groups, tagged, .. } = &found[&ids[0]];
    assert_eq!((*state, vpc.as_str(), *tagged), (State::Running, "vpc-0a1b2c3d4e5f60001", true));
    assert_eq!(security_groups[0].name, "demo-nodes");

    ids.push(InstanceId::new(&cluster.handle.add_instances(1)[0]));
    ids.push(InstanceId::new("i-00000000000000000"));
    let found = cluster.environment.snapshot.for_backends(&ids).await.unwrap();
    assert_eq!(found.len(), 101, "an instance that does not exist is left out");
    assert_eq!(cluster.count(DESCRIBE), 2, "only for the two, and again without the one");

    ids.push(InstanceId::new(&cluster.handle.add_instances(1)[0]));
    cluster.handle.fault(Fault::error("DescribeInstances", "UnauthorizedOperation"));
    assert!(cluster.environment.snapshot.for_backends(&ids).await.is_err(), "unknown is not absent");
}
