//! Classic load balancers.

use super::{Account, CERTIFICATE, NODES, PRIVATE, SUBNETS, first, values};
use crate::model::InstanceState;

const NAME: (&str, &str) = ("LoadBalancerName", "a1");

fn wanted(name: &'static str, port: &'static str) -> Vec<(&'static str, &'static str)> {
    vec![
        ("LoadBalancerName", name),
        ("Listeners.member.1.Protocol", "tcp"),
        ("Listeners.member.1.LoadBalancerPort", port),
        ("Listeners.member.1.InstanceProtocol", "tcp"),
        ("Listeners.member.1.InstancePort", "30080"),
        ("Subnets.member.1", SUBNETS[0]),
        ("Subnets.member.2", SUBNETS[1]),
        ("SecurityGroups.member.1", NODES),
        ("Tags.member.1.Key", "kubernetes.io/service-name"),
        ("Tags.member.1.Value", "default/web"),
    ]
}

fn account() -> Account {
    let mut account = Account::new(3);
    account.good("elb:CreateLoadBalancer", &wanted("a1", "80"));
    account
}

#[test]
fn new_load_balancer_has_the_defaults_of_aws() {
    let mut account = account();
    let body = account.good("elb:DescribeLoadBalancers", &[("LoadBalancerNames.member.1", "a1")]);
    let dns = first(&body, "DNSName");
    let digits = dns.strip_prefix("a1-").and_then(|rest| rest.strip_suffix(".us-east-1.elb.amazonaws.com")).unwrap();
    assert!(digits.len() >= 9 && digits.bytes().all(|byte| byte.is_ascii_digit()), "{dns}");
    assert!(
        body.contains(
            "<HealthCheck><Target>TCP:30080</Target><Interval>30</Interval><Timeout>5</Timeout>\
             <UnhealthyThreshold>2</UnhealthyThreshold><HealthyThreshold>10</HealthyThreshold></HealthCheck>"
        ),
        "{body}"
    );
    assert!(body.contains("<Protocol>TCP</Protocol>"), "protocols are told in upper case: {body}");
    assert_eq!(first(&body, "Scheme"), "internet-facing");
    let body = account.good("elb:DescribeLoadBalancerAttributes", &[NAME]);
    assert!(
        body.contains("<ConnectionDraining><Enabled>false</Enabled><Timeout>300</Timeout></ConnectionDraining>"),
        "{body}"
    );
    let body = account.good("elb:DescribeTags", &[("LoadBalancerNames.member.1", "a1")]);
    assert_eq!(values(&body, "Value"), ["default/web"]);
}

#[test]
fn internal_load_balancer_has_the_prefix_in_its_name() {
    let mut account = Account::new(0);
    let mut parameters = wanted("a2", "80");
    parameters.push(("Scheme", "internal"));
    let body = account.good("elb:CreateLoadBalancer", &parameters);
    assert!(first(&body, "DNSName").starts_with("internal-a2-"), "{body}");
}

#[test]
fn bad_load_balancers_are_refused() {
    let mut account = account();
    let long = "a23456789012345678901234567890123";
    let change = |index: usize, to: (&'static str, &'static str)| {
        let mut parameters = wanted("b1", "80");
        parameters[index] = to;
        parameters
    };
    let mut unknown = wanted("b1", "80");
    unknown.push(("Colour", "red"));
    for (parameters, code, status) in [
        (change(0, ("LoadBalancerName", long)), "ValidationError", 400),
        (change(0, ("LoadBalancerName", "a_b")), "ValidationError", 400),
        (change(0, ("LoadBalancerName", "-b")), "ValidationError", 400),
        (change(1, ("Listeners.member.1.Protocol", "quic")), "UnsupportedProtocol", 400),
        (change(1, ("Listeners.member.1.Protocol", "http")), "ValidationError", 400),
        (change(1, ("Listeners.member.1.Protocol", "ssl")), "ValidationError", 400),
        (change(2, ("Listeners.member.1.LoadBalancerPort", "0")), "ValidationError", 400),
        (change(4, ("Listeners.member.1.InstancePort", "70000")), "ValidationError", 400),
        (change(4, ("Listeners.member.1.InstancePort", "http")), "ValidationError", 400),
        (change(5, ("Subnets.member.1", "subnet-0")), "SubnetNotFound", 400),
        (change(6, ("Subnets.member.2", PRIVATE)), "InvalidConfigurationRequest", 409),
        (change(7, ("SecurityGroups.member.1", "sg-0")), "InvalidSecurityGroup", 400),
        (change(8, ("Scheme", "public")), "InvalidScheme", 400),
        (unknown, "InvalidQueryParameter", 400),
        (wanted("a1", "81"), "DuplicateLoadBalancerName", 400),
        (vec![("LoadBalancerName", "b1")], "ValidationError", 400),
    ] {
        assert_eq!(account.call("elb:CreateLoadBalancer", &parameters), Err((code.into(), status)), "{parameters:?}");
    }
    account.good("elb:CreateLoadBalancer", &wanted("a1", "80"));
    assert_eq!(account.core.frame.state.classic_load_balancers.len(), 1, "nothing was made by a refused call");
}

#[test]
fn listeners_come_and_go_by_port() {
    let mut account = account();
    let listener = |port: &'static str, protocol: &'static str, certificate: &'static str| {
        vec![
            NAME,
            ("Listeners.member.1.Protocol", protocol),
            ("Listeners.member.1.LoadBalancerPort", port),
            ("Listeners.member.1.InstancePort", "30443"),
            ("Listeners.member.1.SSLCertificateId", certificate),
        ]
    };
    account.good("elb:CreateLoadBalancerListeners", &listener("443", "ssl", CERTIFICATE));
    for (parameters, code) in [
        (listener("443", "tcp", ""), "DuplicateListener"),
        (listener("444", "ssl", "arn:aws:acm:us-east-1:123456789012:certificate/unknown"), "CertificateNotFound"),
        (listener("444", "tcp", CERTIFICATE), "ValidationError"),
    ] {
        assert_eq!(account.refused("elb:CreateLoadBalancerListeners", &parameters), code, "{parameters:?}");
    }
    let body = account.good("elb:DescribeLoadBalancers", &[]);
    assert!(body.contains("<PolicyNames><member>ELBSecurityPolicy-2016-08</member></PolicyNames>"), "{body}");
    account.good(
        "elb:DeleteLoadBalancerListeners",
        &[NAME, ("LoadBalancerPorts.member.1", "80"), ("LoadBalancerPorts.member.2", "9")],
    );
    assert_eq!(values(&account.good("elb:DescribeLoadBalancers", &[]), "LoadBalancerPort"), ["443"]);
}

#[test]
fn policies_are_made_and_attached() {
    let mut account = account();
    let proxy = [
        NAME,
        ("PolicyName", "k8s-proxyprotocol-enabled"),
        ("PolicyTypeName", "ProxyProtocolPolicyType"),
        ("PolicyAttributes.member.1.AttributeName", "ProxyProtocol"),
        ("PolicyAttributes.member.1.AttributeValue", "true"),
    ];
    account.good("elb:CreateLoadBalancerPolicy", &proxy);
    account.good("elb:CreateLoadBalancerPolicy", &proxy);
    let set = |port, policy| [NAME, ("InstancePort", port), ("PolicyNames.member.1", policy)];
    account.good("elb:SetLoadBalancerPoliciesForBackendServer", &set("30080", "k8s-proxyprotocol-enabled"));
    let body = account.good("elb:DescribeLoadBalancers", &[]);
    assert!(
        body.contains("<InstancePort>30080</InstancePort><PolicyNames><member>k8s-proxyprotocol-enabled"),
        "{body}"
    );
    account
        .good("elb:SetLoadBalancerPoliciesForBackendServer", &[NAME, ("InstancePort", "30080"), ("PolicyNames", "")]);
    let body = account.good("elb:DescribeLoadBalancers", &[]);
    assert!(body.contains("<BackendServerDescriptions></BackendServerDescriptions>"), "{body}");
    for (call, parameters, code) in [
        ("elb:SetLoadBalancerPoliciesForBackendServer", set("30080", "x").to_vec(), "PolicyNotFound"),
        (
            "elb:SetLoadBalancerPoliciesForBackendServer",
            set("1", "k8s-proxyprotocol-enabled").to_vec(),
            "InvalidConfigurationRequest",
        ),
        (
            "elb:SetLoadBalancerPoliciesOfListener",
            vec![NAME, ("LoadBalancerPort", "9"), ("PolicyNames", "")],
            "ListenerNotFound",
        ),
        ("elb:DescribeLoadBalancerPolicies", vec![NAME, ("PolicyNames.member.1", "x")], "PolicyNotFound"),
        (
            "elb:CreateLoadBalancerPolicy",
            vec![NAME, ("PolicyName", "x"), ("PolicyTypeName", "x")],
            "PolicyTypeNotFound",
        ),
    ] {
        assert_eq!(account.refused(call, &parameters), code, "{call} {parameters:?}");
    }
}

#[test]
fn health_checks_are_checked() {
    let mut account = account();
    let check = |target: &'static str, interval: &'static str, timeout: &'static str, healthy: &'static str| {
        vec![
            NAME,
            ("HealthCheck.Target", target),
            ("HealthCheck.Interval", interval),
            ("HealthCheck.Timeout", timeout),
            ("HealthCheck.UnhealthyThreshold", "6"),
            ("HealthCheck.HealthyThreshold", healthy),
        ]
    };
    for target in ["TCP:1", "SSL:65535", "HTTP:80/", "HTTPS:31224/healthz"] {
        account.good("elb:ConfigureHealthCheck", &check(target, "10", "5", "2"));
    }
    for (target, interval, timeout, healthy) in [
        ("TCP:0", "10", "5", "2"),
        ("TCP:80/x", "10", "5", "2"),
        ("HTTP:80", "10", "5", "2"),
        ("UDP:80", "10", "5", "2"),
        ("TCP", "10", "5", "2"),
        ("TCP:1", "4", "2", "2"),
        ("TCP:1", "10", "1", "2"),
        ("TCP:1", "10", "10", "2"),
        ("TCP:1", "10", "5", "1"),
        ("TCP:1", "10", "5", "11"),
    ] {
        let parameters = check(target, interval, timeout, healthy);
        assert_eq!(account.refused("elb:ConfigureHealthCheck", &parameters), "ValidationError", "{parameters:?}");
    }
    assert_eq!(first(&account.good("elb:DescribeLoadBalancers", &[]), "Target"), "HTTPS:31224/healthz");
}

#[test]
fn instances_must_be_alive_and_leave_with_their_end() {
    let mut account = account();
    let nodes = account.nodes();
    let two =
        [NAME, ("Instances.member.1.InstanceId", nodes[0].as_str()), ("Instances.member.2.InstanceId", &nodes[1])];
    account.good("elb:RegisterInstancesWithLoadBalancer", &two);
    account.core.frame.state.change_instance(&nodes[2], InstanceState::Terminated, None);
    for id in [nodes[2].as_str(), "i-00000001"] {
        let parameters = [NAME, ("Instances.member.1.InstanceId", id)];
        assert_eq!(account.refused("elb:RegisterInstancesWithLoadBalancer", &parameters), "InvalidInstance", "{id}");
    }
    account.core.frame.state.change_instance(&nodes[0], InstanceState::Terminated, None);
    let body = account.good("elb:DescribeInstanceHealth", &[NAME]);
    assert_eq!(values(&body, "InstanceId"), [nodes[1].clone()]);
    assert_eq!(first(&body, "State"), "InService");
    account.good("elb:DeregisterInstancesFromLoadBalancer", &[NAME, ("Instances.member.1.InstanceId", &nodes[1])]);
    assert!(account.core.frame.state.classic_load_balancers["a1"].instances.is_empty());
}

#[test]
fn subnets_and_groups_are_exchanged_but_one_subnet_stays() {
    let mut account = account();
    let subnets = |ids: [&'static str; 2]| [NAME, ("Subnets.member.1", ids[0]), ("Subnets.member.2", ids[1])];
    let all = subnets([SUBNETS[0], SUBNETS[1]]);
    assert_eq!(account.refused("elb:DetachLoadBalancerFromSubnets", &all), "InvalidConfigurationRequest");
    account.good("elb:DetachLoadBalancerFromSubnets", &all[..2]);
    account.good("elb:AttachLoadBalancerToSubnets", &[NAME, ("Subnets.member.1", SUBNETS[2])]);
    let twice = [NAME, ("Subnets.member.1", "subnet-0a1b2c3d4e5f62003")];
    assert_eq!(account.refused("elb:AttachLoadBalancerToSubnets", &twice), "InvalidConfigurationRequest");
    let group = account.new_group("b");
    account.good("elb:ApplySecurityGroupsToLoadBalancer", &[NAME, ("SecurityGroups.member.1", &group)]);
    let balancer = &account.core.frame.state.classic_load_balancers["a1"];
    assert_eq!(balancer.subnets.iter().collect::<Vec<_>>(), [SUBNETS[1], SUBNETS[2]]);
    assert_eq!(account.refused("ec2:DeleteSecurityGroup", &[("GroupId", &group)]), "DependencyViolation");
    account.adjust(|knobs| knobs.delays.groups_released_ms = 2000);
    account.good("elb:DeleteLoadBalancer", &[NAME]);
    account.good("elb:DeleteLoadBalancer", &[NAME]);
    assert_eq!(account.refused("ec2:DeleteSecurityGroup", &[("GroupId", &group)]), "DependencyViolation");
    account.wait(2000);
    account.good("ec2:DeleteSecurityGroup", &[("GroupId", &group)]);
}

#[test]
fn attributes_are_checked_and_kept() {
    let mut account = account();
    let prefix = "LoadBalancerAttributes";
    let one = |name: &str, value: &str| vec![(format!("{prefix}.{name}"), value.to_owned())];
    let log = |bucket: &str, interval: &str| {
        let mut all = one("AccessLog.Enabled", "true");
        all.extend(one("AccessLog.S3BucketName", bucket));
        all.extend(one("AccessLog.EmitInterval", interval));
        all
    };
    for (parameters, expected) in [
        (one("ConnectionSettings.IdleTimeout", "120"), Ok(())),
        (one("ConnectionSettings.IdleTimeout", "0"), Err("ValidationError")),
        (one("ConnectionSettings.IdleTimeout", "4001"), Err("ValidationError")),
        (one("CrossZoneLoadBalancing.Enabled", "true"), Ok(())),
        (one("CrossZoneLoadBalancing.Enabled", "yes"), Err("ValidationError")),
        (log("bucket", "5"), Ok(())),
        (log("bucket", "7"), Err("InvalidConfigurationRequest")),
        (log("", "60"), Err("InvalidConfigurationRequest")),
        (Vec::new(), Err("ValidationError")),
    ] {
        let mut all = vec![NAME];
        all.extend(parameters.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        let result = account.call("elb:ModifyLoadBalancerAttributes", &all);
        assert_eq!(result.map(|_| ()).map_err(|(code, _)| code), expected.map_err(str::to_owned), "{parameters:?}");
    }
    let attributes = &account.core.frame.state.classic_load_balancers["a1"].attributes;
    assert!(attributes.cross_zone && attributes.idle_timeout == 120 && attributes.access_log.is_some());
}
