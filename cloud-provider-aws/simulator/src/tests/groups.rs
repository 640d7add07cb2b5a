//! Security groups and their rules, subnets, zones and routes.

use super::{Account, NODES, PRIVATE, SUBNETS, VPC, first, values};
use crate::model::{InstanceState, NetworkInterface};

fn rule<'a>(group: &'a str, protocol: &'a str, port: &'a str, source: (&'a str, &'a str)) -> Vec<(&'a str, &'a str)> {
    vec![
        ("GroupId", group),
        ("IpPermissions.1.IpProtocol", protocol),
        ("IpPermissions.1.FromPort", port),
        ("IpPermissions.1.ToPort", port),
        source,
    ]
}

const ANY: (&str, &str) = ("IpPermissions.1.IpRanges.1.CidrIp", "0.0.0.0/0");

#[test]
fn groups_are_made_once_per_name_and_found_by_filters() {
    let mut account = Account::new(0);
    let body = account.good(
        "ec2:CreateSecurityGroup",
        &[
            ("GroupName", "k8s-elb-a1"),
            ("GroupDescription", "Security group for Kubernetes ELB a1 (default/web)"),
            ("VpcId", VPC),
            ("TagSpecification.1.ResourceType", "security-group"),
            ("TagSpecification.1.Tag.1.Key", "kubernetes.io/cluster/demo"),
            ("TagSpecification.1.Tag.1.Value", "owned"),
        ],
    );
    let id = first(&body, "groupId");
    for (name, value) in [("group-name", "k8s-elb-a1"), ("group-id", &id), ("tag:kubernetes.io/cluster/demo", "owned")]
    {
        let parameters = [
            ("Filter.1.Name", name),
            ("Filter.1.Value.1", value),
            ("Filter.2.Name", "vpc-id"),
            ("Filter.2.Value.1", VPC),
        ];
        let body = account.good("ec2:DescribeSecurityGroups", &parameters);
        assert!(values(&body, "groupName").contains(&"k8s-elb-a1".to_owned()), "{name}: {body}");
    }
    for (name, description, vpc, code) in [
        ("k8s-elb-a1", "x", VPC, "InvalidGroup.Duplicate"),
        ("default", "x", VPC, "InvalidParameterValue"),
        ("sg-x", "x", VPC, "InvalidParameterValue"),
        ("b", "umläut", VPC, "InvalidParameterValue"),
        ("b", "", VPC, "MissingParameter"),
        ("b", "x", "vpc-0", "InvalidVpcID.NotFound"),
    ] {
        let parameters = [("GroupName", name), ("GroupDescription", description), ("VpcId", vpc)];
        assert_eq!(account.refused("ec2:CreateSecurityGroup", &parameters), code, "{name} {description} {vpc}");
    }
    assert_eq!(account.refused("ec2:DescribeSecurityGroups", &[("GroupId.1", "sg-1")]), "InvalidGroup.NotFound");
    assert_eq!(account.refused("ec2:DescribeSecurityGroups", &[("GroupId.1", "x")]), "InvalidGroupId.Malformed");
}

#[test]
fn rules_with_the_same_ports_are_one_permission_with_descriptions() {
    let mut account = Account::new(0);
    let group = account.new_group("a");
    let mut first_rule = rule(&group, "tcp", "80", ("IpPermissions.1.IpRanges.1.CidrIp", "10.1.2.3/8"));
    first_rule.push(("IpPermissions.1.IpRanges.1.Description", "kubernetes.io/rule/nlb/client=a"));
    account.good("ec2:AuthorizeSecurityGroupIngress", &first_rule);
    account.good(
        "ec2:AuthorizeSecurityGroupIngress",
        &rule(&group, "6", "80", ("IpPermissions.1.Groups.1.GroupId", NODES)),
    );
    let body = account.good("ec2:DescribeSecurityGroups", &[("GroupId.1", &group)]);
    let inbound = body.split("<ipPermissions>").nth(1).unwrap();
    assert_eq!(values(inbound, "ipProtocol"), ["tcp"]);
    assert!(
        inbound.contains("<cidrIp>10.0.0.0/8</cidrIp><description>kubernetes.io/rule/nlb/client=a</description>"),
        "{inbound}"
    );
    assert!(inbound.contains(&format!("<userId>123456789012</userId><groupId>{NODES}</groupId>")), "{inbound}");
}

#[test]
fn bad_rules_are_refused() {
    let mut account = Account::new(0);
    let group = account.new_group("a");
    account.good("ec2:AuthorizeSecurityGroupIngress", &rule(&group, "tcp", "80", ANY));
    let mut described = rule(&group, "tcp", "80", ANY);
    described.push(("IpPermissions.1.IpRanges.1.Description", "another"));
    assert_eq!(account.refused("ec2:AuthorizeSecurityGroupIngress", &described), "InvalidPermission.Duplicate");
    for (protocol, port, source, code) in [
        ("tls", "81", ANY, "InvalidParameterValue"),
        ("tcp", "65536", ANY, "InvalidParameterValue"),
        ("tcp", "-1", ANY, "InvalidParameterValue"),
        ("tcp", "x", ANY, "InvalidParameterValue"),
        ("tcp", "81", ("IpPermissions.1.IpRanges.1.CidrIp", "::/0"), "InvalidParameterValue"),
        ("tcp", "81", ("IpPermissions.1.IpRanges.1.CidrIp", "10.0.0.0/33"), "InvalidParameterValue"),
        ("tcp", "81", ("IpPermissions.1.Groups.1.GroupId", "sg-1"), "InvalidGroup.NotFound"),
        ("tcp", "81", ("IpPermissions.1.Nonsense", "x"), "InvalidParameterValue"),
        ("icmp", "256", ANY, "InvalidParameterValue"),
    ] {
        let parameters = rule(&group, protocol, port, source);
        assert_eq!(
            account.refused("ec2:AuthorizeSecurityGroupIngress", &parameters),
            code,
            "{protocol} {port} {source:?}"
        );
    }
    assert_eq!(
        account.refused("ec2:RevokeSecurityGroupIngress", &rule(&group, "tcp", "81", ANY)),
        "InvalidPermission.NotFound"
    );
    account.good("ec2:RevokeSecurityGroupIngress", &described);
    assert!(account.core.frame.state.security_groups[&group].ingress.is_empty(), "the description does not matter");
}

#[test]
fn sixty_rules_fit_into_a_group() {
    let mut account = Account::new(0);
    let group = account.new_group("a");
    let ports: Vec<String> = (1..=60).map(|port| port.to_string()).collect();
    for port in &ports {
        account.good("ec2:AuthorizeSecurityGroupIngress", &rule(&group, "tcp", port, ANY));
    }
    let one_more = rule(&group, "tcp", "61", ANY);
    assert_eq!(account.refused("ec2:AuthorizeSecurityGroupIngress", &one_more), "RulesPerSecurityGroupLimitExceeded");
    let ipv6 = rule(&group, "tcp", "61", ("IpPermissions.1.Ipv6Ranges.1.CidrIpv6", "::/0"));
    account.good("ec2:AuthorizeSecurityGroupIngress", &ipv6);
    let reference = rule(&group, "tcp", "62", ("IpPermissions.1.Groups.1.GroupId", NODES));
    assert_eq!(account.refused("ec2:AuthorizeSecurityGroupIngress", &reference), "RulesPerSecurityGroupLimitExceeded");
}

#[test]
fn group_in_use_cannot_be_deleted() {
    let mut account = Account::new(1);
    let group = account.new_group("a");
    let delete = [("GroupId", group.as_str())];
    let allow = rule(NODES, "-1", "-1", ("IpPermissions.1.Groups.1.GroupId", &group));
    account.good("ec2:AuthorizeSecurityGroupIngress", &allow);
    assert_eq!(account.refused("ec2:DeleteSecurityGroup", &delete), "DependencyViolation");
    let body = account.good(
        "ec2:DescribeSecurityGroups",
        &[("Filter.1.Name", "ip-permission.group-id"), ("Filter.1.Value.1", &group)],
    );
    assert!(body.contains("<groupName>demo-nodes</groupName>"), "{body}");
    account.good("ec2:RevokeSecurityGroupIngress", &allow);
    let self_reference = rule(&group, "tcp", "80", ("IpPermissions.1.Groups.1.GroupId", &group));
    account.good("ec2:AuthorizeSecurityGroupIngress", &self_reference);
    account.good("ec2:DeleteSecurityGroup", &delete);
    assert_eq!(account.refused("ec2:DeleteSecurityGroup", &delete), "InvalidGroup.NotFound");
    assert_eq!(account.refused("ec2:DeleteSecurityGroup", &[("GroupId", NODES)]), "DependencyViolation");
    assert_eq!(account.refused("ec2:DeleteSecurityGroup", &[("GroupId", "sg-0a1b2c3d4e5f60001")]), "CannotDelete");
}

#[test]
fn new_group_is_hidden_until_the_visibility_delay_is_over() {
    let mut account = Account::new(0);
    account.adjust(|knobs| knobs.delays.group_visible_ms = 300);
    let group = account.new_group("a");
    assert_eq!(account.refused("ec2:DescribeSecurityGroups", &[("GroupId.1", &group)]), "InvalidGroup.NotFound");
    assert_eq!(
        account.refused("ec2:AuthorizeSecurityGroupIngress", &rule(&group, "tcp", "80", ANY)),
        "InvalidGroup.NotFound"
    );
    account.wait(300);
    account.good("ec2:AuthorizeSecurityGroupIngress", &rule(&group, "tcp", "80", ANY));
}

#[test]
fn public_subnets_are_told_by_their_route_table() {
    let mut account = Account::new(0);
    let body = account.good("ec2:DescribeSubnets", &[("Filter.1.Name", "vpc-id"), ("Filter.1.Value.1", VPC)]);
    assert_eq!(values(&body, "subnetId").len(), 6);
    let body = account.good("ec2:DescribeRouteTables", &[]);
    let tables = values(&body, "routeSet");
    let public = tables.iter().find(|routes| routes.contains("igw-")).unwrap();
    assert!(public.contains("<destinationCidrBlock>0.0.0.0/0</destinationCidrBlock>"), "{public}");
    assert!(body.contains("<main>true</main>"));
    assert!(body.contains(&format!("<subnetId>{}</subnetId>", SUBNETS[0])));
    assert_eq!(account.refused("ec2:DescribeSubnets", &[("SubnetId.1", "subnet-0")]), "InvalidSubnetID.NotFound");
    let body = account.good("ec2:DescribeVpcs", &[("VpcId.1", VPC)]);
    assert_eq!(values(&body, "cidrBlock")[0], "10.0.0.0/16");
    let body = account.good("ec2:DescribeAvailabilityZones", &[]);
    assert_eq!(values(&body, "zoneId"), ["use1-az1", "use1-az2", "use1-az3"]);
}

#[test]
fn routes_follow_their_instance() {
    let mut account = Account::new(2);
    let nodes = account.nodes();
    let table = "rtb-0a1b2c3d4e5f60001";
    let route = |node| [("RouteTableId", table), ("DestinationCidrBlock", "100.64.1.7/24"), ("InstanceId", node)];
    account.good("ec2:CreateRoute", &route(&nodes[0]));
    account.good("ec2:CreateRoute", &route(&nodes[0]));
    assert_eq!(account.refused("ec2:CreateRoute", &route(&nodes[1])), "RouteAlreadyExists");
    let described = |account: &mut Account| account.good("ec2:DescribeRouteTables", &[("RouteTableId.1", table)]);
    let body = described(&mut account);
    assert!(body.contains("<destinationCidrBlock>100.64.1.0/24</destinationCidrBlock>"), "{body}");
    account.core.frame.state.change_instance(&nodes[0], InstanceState::Stopped, None);
    assert!(described(&mut account).contains("<state>blackhole</state>"));
    account.good("ec2:DeleteRoute", &route(&nodes[0])[..2]);
    assert_eq!(account.refused("ec2:DeleteRoute", &route(&nodes[0])[..2]), "InvalidRoute.NotFound");
    for (parameters, code) in [
        (route("i-00000001").to_vec(), "InvalidInstanceID.NotFound"),
        (
            vec![("RouteTableId", "rtb-0"), ("DestinationCidrBlock", "1.0.0.0/8"), ("InstanceId", &nodes[1])],
            "InvalidRouteTableID.NotFound",
        ),
        (
            vec![("RouteTableId", table), ("DestinationCidrBlock", "fd00::/8"), ("InstanceId", &nodes[1])],
            "InvalidParameterValue",
        ),
        (vec![("RouteTableId", table), ("DestinationCidrBlock", "1.0.0.0/8")], "InvalidParameterCombination"),
    ] {
        assert_eq!(account.refused("ec2:CreateRoute", &parameters), code, "{parameters:?}");
    }
}

#[test]
fn interfaces_of_other_owners_are_found_by_address() {
    let mut account = Account::new(2);
    let mut fargate = NetworkInterface::new("eni-0f", PRIVATE, "10.0.128.77".parse().unwrap());
    fargate.private_dns_name = "ip-10-0-128-77.ec2.internal".into();
    account.core.frame.state.network_interfaces.insert(fargate.id.clone(), fargate);
    let parameters = [
        ("Filter.1.Name", "attachment.status"),
        ("Filter.1.Value.1", "attached"),
        ("Filter.2.Name", "vpc-id"),
        ("Filter.2.Value.1", VPC),
        ("Filter.3.Name", "private-ip-address"),
        ("Filter.3.Value.1", "10.0.128.77"),
    ];
    let body = account.good("ec2:DescribeNetworkInterfaces", &parameters);
    assert_eq!(values(&body, "networkInterfaceId"), ["eni-0f"]);
    assert_eq!(first(&body, "availabilityZone"), "us-east-1a");
    assert_eq!(values(&account.good("ec2:DescribeNetworkInterfaces", &[]), "networkInterfaceId").len(), 4);
}
