//! EC2 instances.

use cloud_provider_simulation::later;

use super::{Account, first, values};
use crate::model::{InstanceState, NetworkInterface};

#[test]
fn described_instance_has_what_a_controller_reads() {
    let mut account = Account::new(1);
    let node = account.nodes().remove(0);
    let body = account.good("ec2:DescribeInstances", &[("InstanceId.1", &node)]);
    for (element, expected) in [
        ("instanceId", node.as_str()),
        ("instanceType", "m5.large"),
        ("privateDnsName", "ip-10-0-32-4.ec2.internal"),
        ("dnsName", "ec2-198-18-32-4.compute-1.amazonaws.com"),
        ("ipAddress", "198.18.32.4"),
        ("availabilityZone", "us-east-1b"),
        ("vpcId", "vpc-0a1b2c3d4e5f60001"),
        ("deviceIndex", "0"),
        ("privateIpAddress", "10.0.32.4"),
    ] {
        assert!(values(&body, element).iter().any(|value| value == expected), "{element}: {body}");
    }
    assert!(body.contains("<instanceState><code>16</code><name>running</name></instanceState>"), "{body}");
}

#[test]
fn instances_are_found_by_filters() {
    let mut account = Account::new(5);
    let node = account.nodes().remove(2);
    account.core.frame.state.change_instance(&node, InstanceState::Stopped, None);
    for (name, value, expected) in [
        ("instance-state-name", "stopped", 1),
        ("instance-state-name", "running", 5),
        ("private-dns-name", "ip-10-0-32-4.ec2.internal", 1),
        ("private-dns-name", "ip-10-0-*", 6),
        ("private-dns-name", "unknown.ec2.internal", 0),
        ("tag:kubernetes.io/cluster/demo", "owned", 6),
        ("tag-key", "kubernetes.io/cluster/*", 6),
        ("tag:Name", "demo-node-*", 5),
        ("vpc-id", "vpc-0a1b2c3d4e5f60001", 6),
        ("availability-zone", "us-east-1z", 0),
        ("instance-id", &node, 1),
    ] {
        let body = account.good("ec2:DescribeInstances", &[("Filter.1.Name", name), ("Filter.1.Value.1", value)]);
        assert_eq!(values(&body, "instanceId").len(), expected, "{name}={value}");
    }
}

#[test]
fn several_filters_must_all_match_and_values_are_alternatives() {
    let mut account = Account::new(4);
    let body = account.good(
        "ec2:DescribeInstances",
        &[
            ("Filter.1.Name", "private-dns-name"),
            ("Filter.1.Value.1", "ip-10-0-32-4.ec2.internal"),
            ("Filter.1.Value.2", "ip-10-0-64-4.ec2.internal"),
            ("Filter.2.Name", "availability-zone"),
            ("Filter.2.Value.1", "us-east-1c"),
        ],
    );
    assert_eq!(values(&body, "privateDnsName")[0], "ip-10-0-64-4.ec2.internal");
    assert_eq!(values(&body, "instanceId").len(), 1);
}

#[test]
fn bad_requests_for_instances_are_refused() {
    let mut account = Account::new(1);
    let node = account.nodes().remove(0);
    let unknown = "i-00000000000000001";
    for (parameters, code) in [
        (vec![("InstanceId.1", unknown)], "InvalidInstanceID.NotFound"),
        (vec![("InstanceId.1", node.as_str()), ("InstanceId.2", unknown)], "InvalidInstanceID.NotFound"),
        (vec![("InstanceId.1", unknown), ("InstanceId.2", "i-nothex")], "InvalidInstanceID.Malformed"),
        (vec![("InstanceId.1", "vol-1")], "InvalidInstanceID.Malformed"),
        (vec![("InstanceId.1", &node), ("MaxResults", "5")], "InvalidParameterCombination"),
        (vec![("MaxResults", "4")], "InvalidParameterValue"),
        (vec![("MaxResults", "1001")], "InvalidParameterValue"),
        (vec![("MaxResults", "x")], "InvalidParameterValue"),
        (vec![("NextToken", "zz")], "InvalidNextToken"),
        (vec![("Filter.1.Name", "colour"), ("Filter.1.Value.1", "red")], "InvalidParameterValue"),
        (vec![("Filter.1.Name", "vpc-id")], "InvalidParameterValue"),
        (vec![("InstanceIds.1", &node)], "UnknownParameter"),
    ] {
        assert_eq!(account.refused("ec2:DescribeInstances", &parameters), code, "{parameters:?}");
    }
    let parameters = [("InstanceId.1", unknown), ("InstanceId.2", "i-00000002"), ("InstanceId.3", &node)];
    let crate::core::Answer::Document { body, .. } = account.answer("ec2:DescribeInstances", &parameters) else {
        panic!("no document");
    };
    assert_eq!(first(&body, "Message"), "The instance IDs &apos;i-00000000000000001, i-00000002&apos; do not exist");
}

#[test]
fn pages_hold_every_instance_once() {
    let mut account = Account::new(2304);
    let mut seen = Vec::new();
    let mut token = String::new();
    let mut pages = 0;
    loop {
        let mut parameters = vec![("MaxResults", "1000")];
        if !token.is_empty() {
            parameters.push(("NextToken", token.as_str()));
        }
        let body = account.good("ec2:DescribeInstances", &parameters);
        pages += 1;
        seen.extend(values(&body, "instanceId"));
        match values(&body, "nextToken").pop() {
            Some(next) => token = next,
            None => break,
        }
    }
    assert_eq!((pages, seen.len()), (3, 2305));
    seen.dedup();
    assert_eq!(seen.len(), 2305);
}

#[test]
fn filters_take_two_hundred_values_in_all() {
    let mut account = Account::new(1);
    let names: Vec<String> = (1..=201).map(|number| format!("Filter.1.Value.{number}")).collect();
    let mut parameters = vec![("Filter.1.Name", "private-dns-name")];
    parameters.extend(names.iter().map(|name| (name.as_str(), "a")));
    assert_eq!(account.refused("ec2:DescribeInstances", &parameters), "FilterLimitExceeded");
    parameters.pop();
    account.good("ec2:DescribeInstances", &parameters);
}

#[test]
fn terminated_instance_keeps_its_id_and_loses_its_network() {
    let mut account = Account::new(1);
    let node = account.nodes().remove(0);
    let settled = later(account.now(), 1000);
    account.core.frame.state.change_instance(&node, InstanceState::Terminated, Some(settled));
    let body = account.good("ec2:DescribeInstances", &[("InstanceId.1", &node)]);
    assert!(body.contains("<name>shutting-down</name>"), "{body}");
    account.wait(1000);
    let body = account.good("ec2:DescribeInstances", &[("InstanceId.1", &node)]);
    assert!(body.contains("<code>48</code><name>terminated</name>"), "{body}");
    assert_eq!(first(&body, "privateDnsName"), "");
    assert!(values(&body, "networkInterfaceId").is_empty());
    assert!(!account.core.frame.state.change_instance(&node, InstanceState::Running, None), "it cannot come back");
    account.core.frame.state.delete_instance(&node);
    assert_eq!(account.refused("ec2:DescribeInstances", &[("InstanceId.1", &node)]), "InvalidInstanceID.NotFound");
}

#[test]
fn new_instance_is_hidden_until_the_visibility_delay_is_over() {
    let mut account = Account::new(0);
    account.adjust(|knobs| knobs.delays.instance_visible_ms = 500);
    let now = account.now();
    let id = account.core.frame.state.add_from_template(1, Some(now)).remove(0);
    assert_eq!(account.refused("ec2:DescribeInstances", &[("InstanceId.1", &id)]), "InvalidInstanceID.NotFound");
    account.wait(500);
    account.good("ec2:DescribeInstances", &[("InstanceId.1", &id)]);
}

#[test]
fn partial_results_leave_instances_out_silently() {
    let mut account = Account::new(3);
    let nodes = account.nodes();
    account.adjust(|knobs| knobs.hidden_instances.extend([nodes[1].clone()]));
    let ids =
        [("InstanceId.1", nodes[0].as_str()), ("InstanceId.2", nodes[1].as_str()), ("InstanceId.3", nodes[2].as_str())];
    let body = account.good("ec2:DescribeInstances", &ids);
    assert_eq!(values(&body, "instanceId"), [nodes[0].clone(), nodes[2].clone()]);
}

#[test]
fn topology_is_told_for_the_types_that_have_one() {
    let mut account = Account::new(2);
    let nodes = account.nodes();
    let body = account.good("ec2:DescribeInstanceTopology", &[("InstanceId.1", &nodes[0])]);
    assert!(values(&body, "instanceId").is_empty());
    account.core.frame.state.instances.get_mut(&nodes[0]).unwrap().network_nodes = vec!["nn-1".into(), "nn-2".into()];
    let body = account.good("ec2:DescribeInstanceTopology", &[]);
    assert_eq!(values(&body, "instanceId"), [nodes[0].clone()]);
    assert!(body.contains("<networkNodeSet><item>nn-1</item><item>nn-2</item></networkNodeSet>"), "{body}");
    let ids: Vec<String> = (1..=101).map(|number| format!("InstanceId.{number}")).collect();
    let many: Vec<(&str, &str)> = ids.iter().map(|id| (id.as_str(), nodes[0].as_str())).collect();
    assert_eq!(account.refused("ec2:DescribeInstanceTopology", &many), "InvalidParameterValue");
}

#[test]
fn source_check_is_changed_on_instances_with_one_interface_only() {
    let mut account = Account::new(1);
    let node = account.nodes().remove(0);
    let parameters = [("InstanceId", node.as_str()), ("SourceDestCheck.Value", "false")];
    account.good("ec2:ModifyInstanceAttribute", &parameters);
    assert!(!account.core.frame.state.instances[&node].source_dest_check);
    let second = NetworkInterface::new("eni-2", super::SUBNETS[0], "10.0.0.200".parse().unwrap());
    account.core.frame.state.instances.get_mut(&node).unwrap().interfaces.push(second);
    assert_eq!(account.refused("ec2:ModifyInstanceAttribute", &parameters), "InvalidInstanceID");
    assert_eq!(account.refused("ec2:ModifyInstanceAttribute", &parameters[..1]), "MissingParameter");
}

#[test]
fn tags_are_added_replaced_and_removed() {
    let mut account = Account::new(1);
    let node = account.nodes().remove(0);
    let tag = |key, value| [("ResourceId.1", node.as_str()), ("Tag.1.Key", key), ("Tag.1.Value", value)];
    account.good("ec2:CreateTags", &tag("colour", "red"));
    account.good("ec2:CreateTags", &tag("colour", "blue"));
    assert_eq!(account.core.frame.state.instances[&node].tags["colour"], "blue");
    account.good("ec2:DeleteTags", &tag("colour", "red"));
    assert!(account.core.frame.state.instances[&node].tags.contains_key("colour"), "another value stays");
    account.good("ec2:DeleteTags", &tag("colour", "blue"));
    assert!(!account.core.frame.state.instances[&node].tags.contains_key("colour"));
    for (parameters, code) in [
        ([("ResourceId.1", "i-00000001"), ("Tag.1.Key", "a")], "InvalidInstanceID.NotFound"),
        ([("ResourceId.1", "kwok-1"), ("Tag.1.Key", "a")], "InvalidID"),
        ([("ResourceId.1", "i-kwok"), ("Tag.1.Key", "a")], "InvalidID"),
        ([("ResourceId.1", &node), ("Tag.1.Key", "aws:a")], "InvalidParameterValue"),
    ] {
        assert_eq!(account.refused("ec2:CreateTags", &parameters), code, "{parameters:?}");
    }
    assert_eq!(account.refused("ec2:CreateTags", &[("Tag.1.Key", "a")]), "MissingParameter");
}
