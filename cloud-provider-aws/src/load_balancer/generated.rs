//! Services, cloud configs and accounts for property tests: as operators have them, and as they should not.

#![expect(clippy::unwrap_used, reason = "a generator that fails fails its test")]

use std::sync::Arc;

use cloud_provider::cluster::objects::Service;
use proptest::{
    collection::{btree_map, vec},
    prelude::*,
    sample::{select, subsequence},
};
use serde_json::{Map, Value, json};

use super::{annotations, names};
use crate::{
    client::network::{Rule, SecurityGroup, Source, Subnet, Tags},
    cluster_id::ClusterId,
    config::{self, Settings},
};

pub(super) const UID: &str = "11111111-2222-4333-8444-555555555555";
const CLUSTER: &str = "demo";
/// Another load balancer of the same cluster.
const OTHER: &str = "a2222222222224333844455555555555";
/// The groups of every account. Which tags and rules they have is another matter.
pub(super) const GROUPS: [&str; 6] = ["sg-nodes", "sg-own", "sg-user", "sg-other", "sg-controller", "sg-default"];

/// So many cases; `PROPTEST_CASES` may ask for more.
pub(super) fn cases(least: u32) -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig { cases: usual.cases.max(least), failure_persistence: None, ..usual }
}

pub(super) fn cluster() -> ClusterId {
    ClusterId::new("", CLUSTER).unwrap().unwrap()
}

/// The name of the service's load balancer.
pub(super) fn name() -> String {
    names::load_balancer(UID)
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => select(&["true", "false", "*", "", "tcp", "http", "HTTP", "ssl", "traffic-port", "ipv4", "dualstack", "80,443"][..])
            .prop_map(str::to_owned),
        2 => "[0-9]{1,5}",
        1 => "-?[0-9]{1,22}",
        2 => subsequence(&GROUPS[..], 0..4).prop_map(|groups| groups.join(",")),
        1 => "(preserve_client_ip|proxy_protocol_v2)\\.enabled=(true|false|)",
        1 => "([a-zA-Z0-9./-]{0,8}=?,? ?){0,5}",
        1 => any::<String>(),
    ]
}

fn port() -> impl Strategy<Value = Value> {
    let protocol = prop_oneof![12 => Just("TCP"), 2 => Just("UDP"), 1 => Just("SCTP")];
    (protocol, 1..=6_i32, prop_oneof![Just(0), 30_000..=30_006_i32]).prop_map(|(protocol, port, node_port)| {
        json!({"name": format!("p{port}"), "protocol": protocol, "port": port * 80, "nodePort": node_port})
    })
}

/// A service of UID [`UID`] with any of our annotations.
pub(super) fn service() -> impl Strategy<Value = Service> {
    let annotations = vec((select(annotations::ALL), value()), 0..5);
    let range = select(&["0.0.0.0/0", "192.0.2.0/24", "198.51.100.7/32", "::/0", "2001:db8::/32", "x"][..]);
    let families = select(&["", "IPv4", "IPv4,IPv6"][..]);
    let policies =
        (select(&["Cluster", "Local"][..]), select(&["SingleStack", "PreferDualStack", "RequireDualStack"][..]));
    (annotations, vec(port(), 1..5), subsequence(vec![0, 1, 2], 0..3), vec(range, 3), families, policies).prop_map(
        |(annotations, ports, chosen, ranges, families, (traffic, families_policy))| {
            let annotations: Map<String, Value> =
                annotations.into_iter().map(|(annotation, value)| (annotation.key.to_owned(), json!(value))).collect();
            let families: Vec<&str> = families.split(',').filter(|family| !family.is_empty()).collect();
            let ranges: Vec<&str> = chosen.into_iter().map(|index: usize| ranges[index]).collect();
            let service = json!({
                "metadata": {"name": "web", "namespace": "shop", "uid": UID, "annotations": annotations},
                "spec": {
                    "type": "LoadBalancer", "externalTrafficPolicy": traffic, "healthCheckNodePort": 32_000, "ports": ports,
                    "loadBalancerSourceRanges": ranges, "ipFamilies": families, "ipFamilyPolicy": families_policy,
                },
            });
            serde_json::from_value(service).unwrap()
        },
    )
}

/// Any cloud config that can be read.
pub(super) fn settings() -> impl Strategy<Value = Settings> {
    let lines = &[
        "DisableSecurityGroupIngress",
        "ElbSecurityGroup=sg-user",
        "ClusterServiceLoadBalancerHealthProbeMode=Shared",
        "NLBSecurityGroupMode=Managed",
        "ReconcileLoadBalancerTags",
        "ReconcileLoadBalancerSubnets",
        "AllowLoadBalancerTypeChange",
        "NLBExtensions",
        "MergeNodeSecurityGroupRules",
    ];
    subsequence(&lines[..], 0..lines.len()).prop_map(|lines| {
        let text = format!("[Global]\n{}\n", lines.join("\n"));
        config::parse(Some(&text)).unwrap().0
    })
}

/// Three subnets in three zones, of which some have IPv6 ranges.
pub(super) fn subnets() -> impl Strategy<Value = Vec<Subnet>> {
    vec(any::<bool>(), 3).prop_map(|ipv6| {
        let subnet = |(number, ipv6): (usize, bool)| Subnet {
            id: format!("subnet-{number}"),
            vpc: "vpc-1".into(),
            zone: format!("zone-{number}"),
            cidr: format!("10.0.{number}.0/24"),
            ipv6,
            tags: Tags::new(),
        };
        ipv6.into_iter().enumerate().map(subnet).collect()
    })
}

fn rule() -> impl Strategy<Value = Rule> {
    let own = name();
    let descriptions = [
        Some(names::client_rule(&own)),
        Some(names::health_rule(&own)),
        Some(names::client_rule(OTHER)),
        Some(names::health_rule(OTHER)),
        Some(names::health_rule("a333")),
        Some(names::MTU_RULE.to_owned()),
        Some(names::SHARED_HEALTH_RULE.to_owned()),
        Some("by hand".to_owned()),
        None,
    ];
    let ports = prop_oneof![
        3 => (30_000..=30_006_i32).prop_map(|port| Some((port, port))),
        1 => (30_000..=30_003_i32, 30_003..=30_006_i32).prop_map(Some),
        1 => Just(Some((30_000, 32_767))),
        1 => Just(Some((3, 4))),
        1 => Just(None),
    ];
    let source = prop_oneof![
        select(&["0.0.0.0/0", "192.0.2.0/24", "10.0.0.0/24", "10.0.1.0/24"][..]).prop_map(|it| Source::Ipv4(it.into())),
        select(&["::/0", "2001:db8::/32"][..]).prop_map(|it| Source::Ipv6(it.into())),
        select(&GROUPS[..]).prop_map(Source::group_id),
        Just(Source::PrefixList("pl-1".into())),
    ];
    let protocol = select(&["tcp", "tcp", "udp", "icmp", "-1"][..]);
    (protocol, ports, source, select(descriptions.to_vec()))
        .prop_map(|(protocol, ports, source, description)| Rule { description, ..Rule::new(protocol, ports, source) })
}

fn tags() -> impl Strategy<Value = Tags> {
    let mine = format!("kubernetes.io/cluster/{CLUSTER}");
    let keys = select(vec![mine.clone(), mine, "kubernetes.io/cluster/other".to_owned(), "team".to_owned()]);
    btree_map(keys, select(&["owned", "owned", "shared", ""][..]).prop_map(str::to_owned), 0..3)
}

/// The security groups of an account; `own` is the name of the one that is made for the service.
pub(super) fn security_groups(own: String) -> impl Strategy<Value = Arc<Vec<SecurityGroup>>> {
    (vec((tags(), vec(rule(), 0..12)), GROUPS.len()), 1..=GROUPS.len()).prop_map(move |(contents, count)| {
        let group = |(id, (mut tags, ingress)): (&&str, (Tags, Vec<Rule>))| {
            let name = match *id {
                "sg-own" => own.clone(),
                "sg-other" | "sg-controller" => {
                    format!("k8s-shop-web-{}", if *id == "sg-other" { "0123456789" } else { "abcdef0123" })
                }
                other => other.to_owned(),
            };
            if *id == "sg-controller" {
                tags.insert(names::LOAD_BALANCER_CONTROLLER_TAG.to_owned(), CLUSTER.to_owned());
            }
            SecurityGroup { id: (*id).to_owned(), name, vpc: "vpc-1".into(), tags, ingress }
        };
        Arc::new(GROUPS.iter().zip(contents).take(count).map(group).collect())
    })
}

/// Some of the groups of an account.
pub(super) fn some_groups() -> impl Strategy<Value = Vec<String>> {
    subsequence(&GROUPS[..], 0..3).prop_map(|groups| groups.into_iter().map(str::to_owned).collect())
}
