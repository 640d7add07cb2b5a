//! Network Load Balancers.

use super::{Account, CERTIFICATE, NODES, PRIVATE, SUBNETS, VPC, first, values};
use crate::model::InstanceState;

fn wanted(name: &str) -> Vec<(&str, &str)> {
    vec![
        ("Name", name),
        ("Type", "network"),
        ("SubnetMappings.member.1.SubnetId", SUBNETS[0]),
        ("SubnetMappings.member.2.SubnetId", SUBNETS[1]),
        ("Tags.member.1.Key", "kubernetes.io/cluster/demo"),
        ("Tags.member.1.Value", "owned"),
    ]
}

fn group(name: &str) -> Vec<(&str, &str)> {
    vec![("Name", name), ("Protocol", "TCP"), ("Port", "30080"), ("VpcId", VPC), ("HealthCheckProtocol", "TCP")]
}

/// A load balancer with one listener: their ARNs, and that of the target group.
struct Made {
    account: Account,
    balancer: String,
    group: String,
    listener: String,
}

fn made(nodes: usize) -> Made {
    let mut account = Account::new(nodes);
    let balancer = first(&account.good("elbv2:CreateLoadBalancer", &wanted("n1")), "LoadBalancerArn");
    let group = first(&account.good("elbv2:CreateTargetGroup", &group("t1")), "TargetGroupArn");
    let listener = account.good("elbv2:CreateListener", &listener(&balancer, "TCP", "80", &group));
    let listener = first(&listener, "ListenerArn");
    account.wait(1);
    Made { account, balancer, group, listener }
}

fn listener<'a>(balancer: &'a str, protocol: &'a str, port: &'a str, group: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("LoadBalancerArn", balancer),
        ("Protocol", protocol),
        ("Port", port),
        ("DefaultActions.member.1.Type", "forward"),
        ("DefaultActions.member.1.TargetGroupArn", group),
    ]
}

fn targets(group: &str, ids: &[String], port: &str) -> Vec<(String, String)> {
    let mut all = vec![("TargetGroupArn".to_owned(), group.to_owned())];
    for (number, id) in ids.iter().enumerate() {
        all.push((format!("Targets.member.{}.Id", number + 1), id.clone()));
        all.push((format!("Targets.member.{}.Port", number + 1), port.to_owned()));
    }
    all
}

fn borrowed(parameters: &[(String, String)]) -> Vec<(&str, &str)> {
    parameters.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

#[test]
fn new_load_balancer_is_provisioning_then_active() {
    let mut account = Account::new(0);
    account.adjust(|knobs| knobs.delays.provisioning_ms = 1000);
    let body = account.good("elbv2:CreateLoadBalancer", &wanted("n1"));
    assert_eq!(first(&body, "Code"), "provisioning");
    let dns = first(&body, "DNSName");
    let id = dns.strip_prefix("n1-").and_then(|rest| rest.strip_suffix(".elb.us-east-1.amazonaws.com")).unwrap();
    assert!(id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{dns}");
    let arn = format!("arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/net/n1/{id}");
    assert_eq!(first(&body, "LoadBalancerArn"), arn);
    let state = |account: &mut Account| {
        first(&account.good("elbv2:DescribeLoadBalancers", &[("Names.member.1", "n1")]), "Code")
    };
    account.wait(999);
    assert_eq!(state(&mut account), "provisioning");
    account.wait(2);
    assert_eq!(state(&mut account), "active");
    let again = account.good("elbv2:CreateLoadBalancer", &wanted("n1"));
    assert_eq!(first(&again, "LoadBalancerArn"), arn, "the same request finds what is there");
}

#[test]
fn bad_load_balancers_are_refused() {
    let mut account = Account::new(0);
    account.good("elbv2:CreateLoadBalancer", &wanted("n1"));
    let with = |more: &[(&'static str, &'static str)]| {
        let mut parameters = wanted("n2");
        parameters.extend_from_slice(more);
        parameters
    };
    let mut other_scheme = wanted("n1");
    other_scheme.push(("Scheme", "internal"));
    for (parameters, code) in [
        (wanted("a23456789012345678901234567890123"), "ValidationError"),
        (wanted("internal-n2"), "ValidationError"),
        (wanted("n2-"), "ValidationError"),
        (vec![("Name", "n2"), ("Type", "network")], "ValidationError"),
        (vec![("Type", "network")], "ValidationError"),
        (vec![("Name", "n2"), ("Type", "network"), ("Subnets", "")], "ValidationError"),
        (with(&[("SubnetMappings.member.3.SubnetId", PRIVATE)]), "InvalidConfigurationRequest"),
        (with(&[("SubnetMappings.member.3.SubnetId", "subnet-0")]), "SubnetNotFound"),
        (with(&[("SubnetMappings.member.1.AllocationId", "eipalloc-0")]), "AllocationIdNotFound"),
        (
            with(&[("SubnetMappings.member.1.AllocationId", "eipalloc-0a1b2c3d4e5f60001")]),
            "InvalidConfigurationRequest",
        ),
        (with(&[("SubnetMappings.member.1.PrivateIPv4Address", "10.0.0.99")]), "InvalidConfigurationRequest"),
        (with(&[("SecurityGroups.member.1", "sg-0")]), "InvalidSecurityGroup"),
        (with(&[("Scheme", "public")]), "InvalidScheme"),
        (with(&[("IpAddressType", "dualstack")]), "InvalidConfigurationRequest"),
        (with(&[("Colour", "red")]), "InvalidQueryParameter"),
        (with(&[("Tags.member.2.Key", "kubernetes.io/cluster/demo")]), "DuplicateTagKeys"),
        (with(&[("Tags.member.2.Key", "a*")]), "ValidationError"),
        (other_scheme, "DuplicateLoadBalancerName"),
    ] {
        assert_eq!(account.refused("elbv2:CreateLoadBalancer", &parameters), code, "{parameters:?}");
    }
    assert_eq!(account.core.frame.state.load_balancers.len(), 1);
}

#[test]
fn fixed_addresses_are_kept_with_their_subnet() {
    let mut account = Account::new(0);
    let mut parameters = wanted("n1");
    parameters.push(("SubnetMappings.member.1.AllocationId", "eipalloc-0a1b2c3d4e5f60001"));
    parameters.push(("SubnetMappings.member.2.AllocationId", "eipalloc-0a1b2c3d4e5f60002"));
    let body = account.good("elbv2:CreateLoadBalancer", &parameters);
    assert_eq!(values(&body, "IpAddress"), ["198.51.100.1", "198.51.100.2"]);
    parameters[0] = ("Name", "n2");
    assert_eq!(account.refused("elbv2:CreateLoadBalancer", &parameters), "ResourceInUse");
    let mut internal = wanted("n3");
    internal.extend([("Scheme", "internal"), ("SubnetMappings.member.1.PrivateIPv4Address", "10.0.0.99")]);
    assert_eq!(values(&account.good("elbv2:CreateLoadBalancer", &internal), "PrivateIPv4Address"), ["10.0.0.99"]);
}

#[test]
fn target_groups_are_linked_by_listeners_only_and_outlive_the_load_balancer() {
    let Made { mut account, balancer, group, listener } = made(1);
    let of_balancer = [("LoadBalancerArn", balancer.as_str())];
    let this = [("TargetGroupArn", group.as_str())];
    assert_eq!(values(&account.good("elbv2:DescribeTargetGroups", &of_balancer), "TargetGroupName"), ["t1"]);
    assert_eq!(account.refused("elbv2:DeleteTargetGroup", &this), "ResourceInUse");
    account.good("elbv2:DeleteLoadBalancer", &of_balancer);
    account.good("elbv2:DeleteLoadBalancer", &of_balancer);
    assert_eq!(account.refused("elbv2:DescribeListeners", &[("ListenerArns.member.1", &listener)]), "ListenerNotFound");
    assert_eq!(account.refused("elbv2:DescribeTargetGroups", &of_balancer), "LoadBalancerNotFound");
    let body = account.good("elbv2:DescribeTargetGroups", &[("TargetGroupArns.member.1", &group)]);
    assert!(body.contains("<LoadBalancerArns></LoadBalancerArns>"), "{body}");
    account.good("elbv2:DeleteTargetGroup", &this);
    account.good("elbv2:DeleteTargetGroup", &this);
    assert_eq!(account.refused("elbv2:DescribeTargetGroups", &[("Names.member.1", "t1")]), "TargetGroupNotFound");
}

#[test]
fn target_groups_have_the_defaults_of_aws_and_unique_names() {
    let mut account = Account::new(0);
    let body = account.good("elbv2:CreateTargetGroup", &group("t1"));
    for (element, expected) in [
        ("HealthCheckPort", "traffic-port"),
        ("HealthCheckIntervalSeconds", "30"),
        ("HealthCheckTimeoutSeconds", "10"),
        ("HealthyThresholdCount", "5"),
        ("UnhealthyThresholdCount", "2"),
        ("TargetType", "instance"),
    ] {
        assert_eq!(first(&body, element), expected, "{element}");
    }
    account.good("elbv2:CreateTargetGroup", &group("t1"));
    let with = |name: &'static str, more: &[(&'static str, &'static str)]| {
        let mut parameters = group(name);
        for (key, value) in more {
            parameters.retain(|(known, _)| known != key);
            parameters.push((key, value));
        }
        parameters
    };
    let http: &[(&str, &str)] = &[("HealthCheckProtocol", "HTTP"), ("HealthCheckPath", "/healthz")];
    let body = account.good("elbv2:CreateTargetGroup", &with("t2", http));
    assert_eq!((first(&body, "HealthCheckTimeoutSeconds"), first(&body, "HttpCode")), ("6".into(), "200-399".into()));
    for (parameters, code) in [
        (with("t1", &[("Port", "30081")]), "DuplicateTargetGroupName"),
        (with("t3", &[("Port", "0")]), "ValidationError"),
        (with("t3", &[("Protocol", "SCTP")]), "ValidationError"),
        (with("t3", &[("VpcId", "vpc-0")]), "ValidationError"),
        (with("t3", &[("HealthCheckIntervalSeconds", "4")]), "ValidationError"),
        (with("t3", &[("HealthCheckIntervalSeconds", "301")]), "ValidationError"),
        (with("t3", &[("HealthyThresholdCount", "1")]), "ValidationError"),
        (with("t3", &[("HealthCheckProtocol", "UDP")]), "ValidationError"),
        (with("t3", &[("HealthCheckPath", "/x")]), "InvalidConfigurationRequest"),
        (with("t3", &[("HealthCheckPort", "http")]), "ValidationError"),
        (with("t3", &[("HealthCheckTimeoutSeconds", "31")]), "ValidationError"),
        (with("k8s-0123456789012345678901234567890", &[]), "ValidationError"),
    ] {
        assert_eq!(account.refused("elbv2:CreateTargetGroup", &parameters), code, "{parameters:?}");
    }
}

#[test]
fn health_checks_of_target_groups_are_changed_in_place() {
    let Made { mut account, group, .. } = made(0);
    let this = ("TargetGroupArn", group.as_str());
    let change = [this, ("HealthCheckProtocol", "HTTP"), ("HealthCheckPath", "/healthz"), ("HealthCheckPort", "10256")];
    let body = account.good("elbv2:ModifyTargetGroup", &change);
    assert_eq!((first(&body, "HealthCheckPath"), first(&body, "HealthCheckPort")), ("/healthz".into(), "10256".into()));
    let body = account.good("elbv2:ModifyTargetGroup", &[this, ("HealthCheckProtocol", "TCP")]);
    assert!(values(&body, "HealthCheckPath").is_empty(), "a TCP check has no path: {body}");
    assert_eq!(
        account.refused("elbv2:ModifyTargetGroup", &[this, ("UnhealthyThresholdCount", "11")]),
        "ValidationError"
    );
}

#[test]
fn listeners_must_fit_their_load_balancer_and_target_group() {
    let Made { mut account, balancer, group: tcp, .. } = made(0);
    let mut udp = group("t2");
    udp[1] = ("Protocol", "UDP");
    let udp = first(&account.good("elbv2:CreateTargetGroup", &udp), "TargetGroupArn");
    let second = first(&account.good("elbv2:CreateLoadBalancer", &wanted("n2")), "LoadBalancerArn");
    let tls = |certificate: &'static str| {
        let mut parameters = listener(&balancer, "TLS", "443", &tcp);
        parameters.push(("Certificates.member.1.CertificateArn", certificate));
        parameters
    };
    let mut certificate_on_tcp = listener(&balancer, "TCP", "81", &tcp);
    certificate_on_tcp.push(("Certificates.member.1.CertificateArn", CERTIFICATE));
    let mut unknown_policy = tls(CERTIFICATE);
    unknown_policy.push(("SslPolicy", "ELBSecurityPolicy-none"));
    let mut redirect = listener(&balancer, "TCP", "81", &tcp);
    redirect[3] = ("DefaultActions.member.1.Type", "redirect");
    let unknown_group = tcp.replace("/t1/", "/t9/");
    for (parameters, code) in [
        (listener(&balancer, "TLS", "80", &tcp), "ValidationError"),
        (listener(&balancer, "UDP", "81", &tcp), "IncompatibleProtocols"),
        (listener(&balancer, "TCP", "81", &udp), "IncompatibleProtocols"),
        (listener(&balancer, "UDP", "80", &udp), "DuplicateListener"),
        (listener(&balancer, "HTTP", "81", &tcp), "ValidationError"),
        (listener(&balancer, "TCP", "65536", &tcp), "ValidationError"),
        (listener(&second, "TCP", "80", &tcp), "TargetGroupAssociationLimit"),
        (listener(&balancer, "TCP", "81", &unknown_group), "TargetGroupNotFound"),
        (listener(&balancer[..balancer.len() - 1], "TCP", "81", &tcp), "LoadBalancerNotFound"),
        (listener("n1", "TCP", "81", &tcp), "ValidationError"),
        (listener(&balancer, "TCP", "81", &tcp)[..3].to_vec(), "ValidationError"),
        (tls("arn:aws:acm:us-east-1:123456789012:certificate/none"), "CertificateNotFound"),
        (certificate_on_tcp, "InvalidConfigurationRequest"),
        (unknown_policy, "SSLPolicyNotFound"),
        (redirect, "InvalidLoadBalancerAction"),
    ] {
        assert_eq!(account.refused("elbv2:CreateListener", &parameters), code, "{parameters:?}");
    }
    account.good("elbv2:CreateListener", &listener(&balancer, "TCP", "80", &tcp));
    let body = account.good("elbv2:CreateListener", &tls(CERTIFICATE));
    assert_eq!(first(&body, "SslPolicy"), "ELBSecurityPolicy-2016-08");
    assert_eq!(first(&body, "CertificateArn"), CERTIFICATE);
    assert_eq!(account.core.frame.state.listeners.len(), 2);
}

#[test]
fn listener_is_moved_to_another_target_group() {
    let Made { mut account, group: old, listener, .. } = made(0);
    let new = first(&account.good("elbv2:CreateTargetGroup", &group("t2")), "TargetGroupArn");
    let parameters = [
        ("ListenerArn", listener.as_str()),
        ("DefaultActions.member.1.Type", "forward"),
        ("DefaultActions.member.1.TargetGroupArn", &new),
    ];
    account.good("elbv2:ModifyListener", &parameters);
    account.good("elbv2:DeleteTargetGroup", &[("TargetGroupArn", &old)]);
    let tls = [
        ("ListenerArn", listener.as_str()),
        ("Protocol", "TLS"),
        ("Certificates.member.1.CertificateArn", CERTIFICATE),
    ];
    account.good("elbv2:ModifyListener", &tls);
    let body = account.good("elbv2:ModifyListener", &[("ListenerArn", &listener), ("Protocol", "TCP")]);
    assert!(values(&body, "CertificateArn").is_empty() && values(&body, "SslPolicy").is_empty(), "{body}");
    account.good("elbv2:DeleteListener", &[("ListenerArn", &listener)]);
    assert_eq!(account.refused("elbv2:DeleteListener", &[("ListenerArn", &listener)]), "ListenerNotFound");
}

#[test]
fn fifty_listeners_fit_on_a_load_balancer() {
    let Made { mut account, balancer, group, .. } = made(0);
    let ports: Vec<String> = (1001..1051).map(|port| port.to_string()).collect();
    for port in &ports[..49] {
        account.good("elbv2:CreateListener", &listener(&balancer, "TCP", port, &group));
    }
    assert_eq!(
        account.refused("elbv2:CreateListener", &listener(&balancer, "TCP", &ports[49], &group)),
        "TooManyListeners"
    );
}

#[test]
fn targets_must_be_running_instances_of_the_vpc() {
    let Made { mut account, group, .. } = made(3);
    let nodes = account.nodes();
    account.core.frame.state.change_instance(&nodes[1], InstanceState::Stopped, None);
    account.core.frame.state.instances.get_mut(&nodes[2]).unwrap().subnet = "subnet-of-another-vpc".into();
    for id in [&nodes[1], &nodes[2], &"i-00000001".to_owned()] {
        let parameters = targets(&group, &[nodes[0].clone(), id.clone()], "30080");
        assert_eq!(account.refused("elbv2:RegisterTargets", &borrowed(&parameters)), "InvalidTarget", "{id}");
    }
    assert!(account.core.frame.state.target_groups[&group].targets.is_empty(), "no target of a refused call stays");
    account.good("elbv2:RegisterTargets", &borrowed(&targets(&group, &nodes[..1], "30080")));
    account.good("elbv2:RegisterTargets", &borrowed(&targets(&group, &nodes[..1], "30080")));
    assert_eq!(account.core.frame.state.target_groups[&group].targets.len(), 1);
}

#[test]
fn targets_become_healthy_and_drain() {
    let Made { mut account, group, .. } = made(3);
    account.adjust(|knobs| knobs.delays.target_healthy_ms = 1000);
    let mut nodes = account.nodes();
    // The load balancer has no subnet in the third zone.
    nodes.retain(|id| account.core.frame.state.instances[id].subnet != SUBNETS[2]);
    let both = targets(&group, &nodes, "30080");
    account.good("elbv2:RegisterTargets", &borrowed(&both));
    let this = [("TargetGroupArn", group.as_str())];
    let health = |account: &mut Account| values(&account.good("elbv2:DescribeTargetHealth", &this), "State");
    assert_eq!(health(&mut account), ["initial", "initial"]);
    account.wait(1000);
    assert_eq!(health(&mut account), ["healthy", "healthy"]);
    account.core.frame.state.change_instance(&nodes[0], InstanceState::Stopped, None);
    assert_eq!(health(&mut account), ["unused", "healthy"]);
    account.good("elbv2:DeregisterTargets", &borrowed(&targets(&group, &nodes[..1], "30080")));
    let body = account.good("elbv2:DescribeTargetHealth", &this);
    assert!(body.contains("<Reason>Target.DeregistrationInProgress</Reason>"), "{body}");
    account.wait(300_000);
    assert_eq!(health(&mut account), ["healthy"]);
    account.good("elbv2:DeregisterTargets", &borrowed(&both));
}

#[test]
fn five_hundred_targets_fit_in_a_zone() {
    let Made { mut account, group, .. } = made(1503);
    let mut by_zone: Vec<Vec<String>> = vec![Vec::new(); 3];
    for id in account.nodes() {
        let subnet = account.core.frame.state.instances[&id].subnet.clone();
        by_zone[SUBNETS.iter().position(|known| *known == subnet).unwrap()].push(id);
    }
    assert!(by_zone.iter().all(|zone| zone.len() == 501));
    account.good("elbv2:RegisterTargets", &borrowed(&targets(&group, &by_zone[0][..500], "30080")));
    let one_more = targets(&group, &by_zone[0][500..], "30080");
    assert_eq!(account.refused("elbv2:RegisterTargets", &borrowed(&one_more)), "TooManyTargets");
    account.good("elbv2:RegisterTargets", &borrowed(&targets(&group, &by_zone[1][..1], "30080")));
    let balancer = account.core.frame.state.load_balancers.keys().next().unwrap().clone();
    let cross_zone = [
        ("LoadBalancerArn", balancer.as_str()),
        ("Attributes.member.1.Key", "load_balancing.cross_zone.enabled"),
        ("Attributes.member.1.Value", "true"),
    ];
    account.good("elbv2:ModifyLoadBalancerAttributes", &cross_zone);
    let elsewhere = targets(&group, &by_zone[2][..1], "30080");
    assert_eq!(account.refused("elbv2:RegisterTargets", &borrowed(&elsewhere)), "TooManyTargets");
}

#[test]
fn security_groups_need_to_be_there_from_the_start() {
    let Made { mut account, balancer, .. } = made(0);
    let set = [("LoadBalancerArn", balancer.as_str()), ("SecurityGroups.member.1", NODES)];
    assert_eq!(account.refused("elbv2:SetSecurityGroups", &set), "InvalidConfigurationRequest");
    let mut with_group = wanted("n2");
    with_group.push(("SecurityGroups.member.1", NODES));
    let other = first(&account.good("elbv2:CreateLoadBalancer", &with_group), "LoadBalancerArn");
    let group = account.new_group("b");
    account.good("elbv2:SetSecurityGroups", &[("LoadBalancerArn", &other), ("SecurityGroups.member.1", &group)]);
    assert_eq!(account.refused("ec2:DeleteSecurityGroup", &[("GroupId", &group)]), "DependencyViolation");
}

#[test]
fn subnets_can_be_exchanged() {
    let Made { mut account, balancer, .. } = made(0);
    let set = |ids: [&'static str; 2]| {
        [("LoadBalancerArn", balancer.as_str()), ("Subnets.member.1", ids[0]), ("Subnets.member.2", ids[1])]
    };
    let body = account.good("elbv2:SetSubnets", &set([SUBNETS[1], SUBNETS[2]]));
    assert_eq!(values(&body, "ZoneName"), ["us-east-1b", "us-east-1c"]);
    assert_eq!(account.refused("elbv2:SetSubnets", &set([SUBNETS[0], PRIVATE])), "InvalidConfigurationRequest");
}

#[test]
fn both_families_need_ipv6_in_every_subnet_and_no_udp() {
    let Made { mut account, balancer, .. } = made(0);
    let set = |kind| [("LoadBalancerArn", balancer.as_str()), ("IpAddressType", kind)];
    assert_eq!(account.refused("elbv2:SetIpAddressType", &set("dualstack")), "InvalidConfigurationRequest");
    assert_eq!(account.refused("elbv2:SetIpAddressType", &set("ipv6")), "ValidationError");
    for (number, subnet) in account.core.frame.state.subnets.values_mut().enumerate() {
        subnet.ipv6_cidr = Some(format!("2001:db8:0:{number:x}::/64").parse().unwrap());
    }
    let body = account.good("elbv2:SetIpAddressType", &set("dualstack"));
    assert_eq!(first(&body, "IpAddressType"), "dualstack");
    let mut udp = group("t2");
    udp.retain(|(key, _)| *key != "Protocol");
    udp.push(("Protocol", "UDP"));
    let group = first(&account.good("elbv2:CreateTargetGroup", &udp), "TargetGroupArn");
    let over_udp = listener(&balancer, "UDP", "53", &group);
    assert_eq!(account.refused("elbv2:CreateListener", &over_udp), "InvalidConfigurationRequest");
    account.good("elbv2:SetIpAddressType", &set("ipv4"));
    account.good("elbv2:CreateListener", &over_udp);
    assert_eq!(account.refused("elbv2:SetIpAddressType", &set("dualstack")), "InvalidConfigurationRequest");
}

#[test]
fn attributes_are_checked() {
    let Made { mut account, balancer, group, .. } = made(0);
    let pair = |key, value| [("Attributes.member.1.Key", key), ("Attributes.member.1.Value", value)];
    for (key, value, expected) in [
        ("load_balancing.cross_zone.enabled", "true", Ok(())),
        ("load_balancing.cross_zone.enabled", "True", Err("ValidationError")),
        ("access_logs.s3.enabled", "true", Err("InvalidConfigurationRequest")),
        ("idle_timeout.timeout_seconds", "60", Err("ValidationError")),
        ("deletion_protection.enabled", "true", Ok(())),
    ] {
        let mut parameters = vec![("LoadBalancerArn", balancer.as_str())];
        parameters.extend(pair(key, value));
        let result = account.call("elbv2:ModifyLoadBalancerAttributes", &parameters);
        assert_eq!(result.map(|_| ()).map_err(|(code, _)| code), expected.map_err(str::to_owned), "{key}={value}");
    }
    assert_eq!(account.refused("elbv2:DeleteLoadBalancer", &[("LoadBalancerArn", &balancer)]), "OperationNotPermitted");
    for (key, value, expected) in [
        ("proxy_protocol_v2.enabled", "true", Ok(())),
        ("preserve_client_ip.enabled", "false", Ok(())),
        ("deregistration_delay.timeout_seconds", "3601", Err("ValidationError")),
        ("stickiness.type", "lb_cookie", Err("ValidationError")),
    ] {
        let mut parameters = vec![("TargetGroupArn", group.as_str())];
        parameters.extend(pair(key, value));
        let result = account.call("elbv2:ModifyTargetGroupAttributes", &parameters);
        assert_eq!(result.map(|_| ()).map_err(|(code, _)| code), expected.map_err(str::to_owned), "{key}={value}");
    }
}

#[test]
fn all_three_resources_have_tags() {
    let Made { mut account, balancer, group, listener } = made(0);
    for arn in [&balancer, &group, &listener] {
        let one = ("ResourceArns.member.1", arn.as_str());
        account.good("elbv2:AddTags", &[one, ("Tags.member.1.Key", "a"), ("Tags.member.1.Value", "b")]);
        let body = account.good("elbv2:DescribeTags", &[one]);
        assert!(body.contains("<Key>a</Key><Value>b</Value>"), "{body}");
        account.good("elbv2:RemoveTags", &[one, ("TagKeys.member.1", "a")]);
        assert!(!account.good("elbv2:DescribeTags", &[one]).contains("<Key>a</Key>"));
    }
}

#[test]
fn load_balancers_come_in_pages() {
    let mut account = Account::new(0);
    let names: Vec<String> = (0..5).map(|number| format!("n{number}")).collect();
    for name in &names {
        account.good("elbv2:CreateLoadBalancer", &wanted(name));
    }
    let body = account.good("elbv2:DescribeLoadBalancers", &[("PageSize", "3")]);
    assert_eq!(values(&body, "LoadBalancerName").len(), 3);
    let marker = first(&body, "NextMarker");
    let body = account.good("elbv2:DescribeLoadBalancers", &[("PageSize", "3"), ("Marker", &marker)]);
    assert_eq!(values(&body, "LoadBalancerName").len(), 2);
    assert!(values(&body, "NextMarker").is_empty());
    assert_eq!(account.refused("elbv2:DescribeLoadBalancers", &[("PageSize", "401")]), "ValidationError");
    assert_eq!(account.refused("elbv2:DescribeLoadBalancers", &[("Names.member.1", "none")]), "LoadBalancerNotFound");
}
