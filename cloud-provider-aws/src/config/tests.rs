use proptest::prelude::*;

use super::*;

fn settings(text: &str) -> Settings {
    parse(Some(text)).unwrap().0
}

fn problems(text: &str) -> Vec<String> {
    parse(Some(text)).unwrap_err().problems
}

#[test]
fn an_empty_file_means_the_defaults() {
    for settings in [Settings::default(), settings(""), settings("[Global]\n")] {
        assert_eq!(settings.ip_families, [IpFamily::V4]);
        assert_eq!(settings.health_probe.mode, HealthProbeMode::ServiceNodePort);
        assert_eq!(
            (settings.health_probe.shared_port, settings.health_probe.shared_path.as_str()),
            (10256, "/healthz")
        );
        assert_eq!(settings.nlb_security_groups, NlbSecurityGroups::Off);
        assert!(settings.region.is_none() && settings.cluster_id.is_none() && !settings.is_off_cluster());
    }
}

/// aws.md 12.4.
#[test]
fn zones_name_regions_as_in_12_4() {
    for (zone, region) in [
        ("us-west-2a", "us-west-2"),
        ("us-west-2-lax-1a", "us-west-2"),
        ("ap-northeast-2a", "ap-northeast-2"),
        ("us-gov-east-1a", "us-gov-east-1"),
        ("us-iso-east-1a", "us-iso-east-1"),
        ("us-isob-east-1a", "us-isob-east-1"),
        ("eu-west-1a", "eu-west-1"),
    ] {
        let settings = settings(&format!("[global]\nzone = {zone}\nregion = other-1"));
        assert_eq!(settings.region.as_deref(), Some(region));
    }
    assert_eq!(problems("[Global]\nZone = some-fake-zone"), ["invalid AZ: some-fake-zone"]);
}

#[test]
fn ip_families_keep_their_order() {
    let families = |text: &str| settings(&format!("[Global]\n{text}")).ip_families;
    assert_eq!(families("NodeIPFamilies = ipv6\nNodeIPFamilies = ipv4"), [IpFamily::V6, IpFamily::V4]);
    assert_eq!(families("NodeIPFamilies = ipv5\nNodeIPFamilies = ipv6"), [IpFamily::V6]);
    assert_eq!(problems("[Global]\nNodeIPFamilies = IPv4").len(), 1);
}

#[test]
fn every_key_is_read() {
    let settings = settings(
        "[Global]\nRegion=eu-central-1\nVPC=vpc-1\nSubnetID=subnet-1\nRouteTableID=rtb-1\n\
         RoleARN=arn:aws:iam::123456789012:role/ccm\nSourceARN=arn:aws:eks:x\nKubernetesClusterID=c\n\
         DisableSecurityGroupIngress=yes\nElbSecurityGroup=sg-1\nClusterServiceLoadBalancerHealthProbeMode=Shared\n\
         ClusterServiceSharedLoadBalancerHealthProbePort=8080\nClusterServiceSharedLoadBalancerHealthProbePath=/x\n\
         SupportedTopologyInstanceTypePattern=^m5\nNLBSecurityGroupMode=Managed\nKeepNodesWithoutProviderID\n\
         ReconcileLoadBalancerTags\n",
    );
    assert!(settings.is_off_cluster() && settings.disable_security_group_ingress);
    assert!(settings.keep_nodes_without_provider_id && settings.reconcile_load_balancer_tags);
    assert!(settings.topology_types.is_match("m5.large"));
    let role = settings.role.unwrap();
    assert_eq!((role.account.as_str(), role.source_arn.as_deref()), ("123456789012", Some("arn:aws:eks:x")));
    assert_eq!(settings.cluster_id.unwrap().as_str(), "c");
    assert_eq!(
        settings.health_probe,
        HealthProbe { mode: HealthProbeMode::Shared, shared_port: 8080, shared_path: "/x".into() }
    );
    assert_eq!(settings.nlb_security_groups, NlbSecurityGroups::Managed);
    assert_eq!(
        [settings.vpc, settings.subnet, settings.route_table, settings.elb_security_group].map(Option::unwrap),
        ["vpc-1", "subnet-1", "rtb-1", "sg-1"]
    );
}

#[test]
fn all_problems_are_told_together() {
    let text = "[Global]\nZone=nowhere\nRoleARN=role\nKubernetesClusterTag=a\nKubernetesClusterID=b\n\
                SupportedTopologyInstanceTypePattern=(\nClusterServiceSharedLoadBalancerHealthProbePort=-1\n\
                [ServiceOverride \"1\"]\nService=ec2\n";
    let problems = problems(text);
    assert_eq!(problems.len(), 8, "{problems:#?}");
    assert!(problems.contains(&"url is missing [URL is \"\"] in override 1".to_owned()));
    let arn = parse(Some("[Global]\nRoleARN=arn:aws:iam::1")).unwrap_err();
    assert_eq!(arn.to_string(), "RoleARN \"arn:aws:iam::1\": arn: not enough sections");
}

#[test]
fn unknown_keys_and_sections_are_warnings() {
    let (_, warnings) = parse(Some("[Global]\nDisableStrictZoneCheck = true\n[Other]\nx = 1\n")).unwrap();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    let both = parse(Some("[Global]\nRoleArns = x\nRoleARN = arn:aws:iam::1\n")).unwrap_err();
    assert_eq!((both.problems.len(), both.warnings.len()), (1, 1), "{both}");
    assert!(both.to_string().contains("RoleArns"), "{both}");
}

/// aws.md 12.4, "NLBSecurityGroupMode".
#[test]
fn nlb_security_group_mode_is_exact() {
    let mode = |value: &str| settings(&format!("[Global]\nNLBSecurityGroupMode=\"{value}\"")).nlb_security_groups;
    assert_eq!(mode("Managed"), NlbSecurityGroups::Managed);
    assert_eq!(mode(""), NlbSecurityGroups::Off);
    for value in ["managed", "MANAGED", "Disabled", "byo", " ", " Managed "] {
        let expected = format!("invalid NLB security group mode: {value:?}. Expected: \"Managed\"");
        assert_eq!(mode(value).problem(), Some(expected));
    }
}

fn entry(name: &str, service: &str, region: &str) -> String {
    format!(
        "[ServiceOverride \"{name}\"]\nService = \"{service}\"\nRegion = {region}\nURL = https://{name}.example\nSigningRegion = s-{region}\nSigningName = n{name}\n"
    )
}

/// aws.md 12.4, overrides.
#[test]
fn overrides_are_validated_as_in_12_4() {
    for key in ["Service", "Region", "URL", "SigningRegion"] {
        let text: String = entry("1", "s3", "r1")
            .lines()
            .filter(|line| !line.starts_with(&format!("{key} ")))
            .collect::<Vec<_>>()
            .join("\n");
        assert_eq!(problems(&text).len(), 1, "{key}");
    }
    let duplicate = problems(&(entry("1", "s3      ", "sregion1") + &entry("2", "s3", "sregion1")));
    assert_eq!(duplicate, ["duplicate entry found for service override [2] (s3 in sregion1)"]);
    settings(&(entry("1", "s3      ", "sregion1") + &entry("2", "s3", "sregion2")));
    let url = entry("1", "EC2", "r").replace("https://1.example", "ec2.example");
    assert_eq!(problems(&url), ["URL \"ec2.example\" in override 1 is not an http or https URL"]);
}

#[test]
fn overrides_apply_by_both_names_in_their_region() {
    let v2 = settings(
        &(entry("a", "EC2", "r1")
            + &entry("b", "Elastic Load Balancing", "r1")
            + &entry("c", "elastic load balancing V2", "r1")
            + &entry("d", "ec2imds", "elsewhere")),
    );
    let endpoints = v2.endpoints("r1");
    let names =
        [endpoints.ec2, endpoints.elb, endpoints.elbv2, v2.imds_endpoint()].map(|found| found.unwrap().signing_name);
    assert_eq!(names, ["na", "nb", "nc", "nd"]);
    assert_eq!(v2.endpoints("r2").ec2, None);

    let v1 = settings(&(entry("a", "ec2", "r1") + &entry("b", "elasticloadbalancing", "r1")));
    let endpoints = v1.endpoints("r1");
    assert_eq!(endpoints.ec2.unwrap().signing_region, "s-r1");
    assert_eq!(endpoints.elb.unwrap().url, "https://b.example");
    assert_eq!(endpoints.elbv2.unwrap().url, "https://b.example");

    let mixed = settings(&(entry("a", "elasticloadbalancing", "r1") + &entry("b", "Elastic Load Balancing v2", "r1")));
    let endpoints = mixed.endpoints("r1");
    assert_eq!(
        (endpoints.elb.unwrap().signing_name, endpoints.elbv2.unwrap().signing_name),
        ("na".into(), "nb".into())
    );
}

/// aws.md 12.8, "Topology types requiring response".
#[test]
fn topology_types_as_in_12_8() {
    let types = Settings::default().topology_types;
    for name in [
        "hpc6a.48xlarge",
        "hpc6id.32xlarge",
        "hpc7a.12xlarge",
        "hpc7g.4xlarge",
        "p3dn.24xlarge",
        "p4d.24xlarge",
        "p4de.24xlarge",
        "p5.48xlarge",
        "p5en.48xlarge",
        "p6e-gb200.36xlarge",
        "p6-b200.48xlarge",
        "trn1.2xlarge",
        "trn1n.32xlarge",
        "trn2.48xlarge",
    ] {
        assert!(types.is_match(name), "{name}");
    }
    for name in ["m6g.large", "t3.large", "c3.large", "m5.large", "inf2.48xlarge"] {
        assert!(!types.is_match(name), "{name}");
    }
}

proptest! {
    #[test]
    fn no_file_panics(text in "(\\[(Global|ServiceOverride \"[a-z]\"|[A-Za-z]{1,6})\\]|(Zone|Region|RoleARN|NodeIPFamilies|SupportedTopologyInstanceTypePattern|Service|URL|SigningRegion|[A-Za-z]{1,8}) ?=? ?.{0,20}|.{0,30}|\n){0,24}") {
        let _ = parse(Some(&text));
    }

    #[test]
    fn no_zone_panics_and_a_region_is_its_start(zone in ".{0,24}") {
        if let Some(region) = region_of_zone(&zone) {
            prop_assert!(zone.starts_with(region));
        }
    }
}
