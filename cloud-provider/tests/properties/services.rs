//! Helpers for services.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use cloud_provider::cloud::LoadBalancerStatus;
use cloud_provider::cluster::objects::Service;
use cloud_provider::service::{predicates, source_ranges};
use ipnet::IpNet;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

fn network() -> impl Strategy<Value = IpNet> {
    let v4 = (any::<Ipv4Addr>(), 0..=32_u8).prop_map(|(ip, length)| (IpAddr::V4(ip), length));
    let v6 = (any::<Ipv6Addr>(), 0..=128_u8).prop_map(|(ip, length)| (IpAddr::V6(ip), length));
    prop_oneof![v4, v6].prop_filter_map("a prefix that fits", |(ip, length)| IpNet::new(ip, length).ok())
}

fn service(annotation: &str, ranges: &[String]) -> Result<Service, TestCaseError> {
    let value: Value = json!({
        "metadata": { "name": "s", "namespace": "d", "annotations": { (source_ranges::ANNOTATION): annotation } },
        "spec": { "type": "LoadBalancer", "loadBalancerSourceRanges": ranges },
    });
    serde_json::from_value(value).map_err(|error| TestCaseError::fail(error.to_string()))
}

proptest! {
    #[test]
    fn ranges_are_the_same_from_the_spec_and_from_the_annotation(networks in vec(network(), 1..6)) {
        let expected: BTreeSet<IpNet> = networks.iter().map(IpNet::trunc).collect();
        let texts: Vec<String> = networks.iter().map(ToString::to_string).collect();
        let from_spec = source_ranges::of(&service("", &texts)?);
        prop_assert_eq!(from_spec.ok(), Some(expected.clone()));
        let from_annotation = source_ranges::of(&service(&texts.join(" , "), &[])?);
        prop_assert_eq!(from_annotation.ok(), Some(expected.clone()));
        let everything = expected.iter().any(|range| range.to_string() == "0.0.0.0/0");
        prop_assert_eq!(source_ranges::allow_all(&expected), everything);
    }

    #[test]
    fn no_text_makes_source_ranges_panic_and_none_opens_more_than_it_says(text in "[0-9a-f.:/, x]{1,40}|\\PC{1,20}") {
        if let Ok(ranges) = source_ranges::of(&service(&text, &[])?) {
            let named = text.split(',').count();
            prop_assert!(ranges.len() <= named);
            prop_assert!(!source_ranges::allow_all(&ranges) || text.contains("/0") || text.trim().is_empty(), "{text:?}");
        }
        if let Ok(ranges) = source_ranges::of(&service("", std::slice::from_ref(&text))?) {
            prop_assert!(!source_ranges::allow_all(&ranges) || text.contains("/0"), "{text:?}");
        }
    }

    #[test]
    fn a_service_that_did_not_change_needs_no_update(
        kind in "(ClusterIP|NodePort|LoadBalancer|ExternalName|[a-z]{0,4})", class in proptest::option::of("[a-z/]{0,8}"),
        policy in proptest::option::of("(Local|Cluster|[a-z]{0,4})"), ports in vec((any::<u16>(), any::<u16>(), "(TCP|UDP|SCTP|[a-z]{0,3})"), 0..4),
        finalizers in vec("(service.kubernetes.io/load-balancer-cleanup|[a-z]{1,4})", 0..3),
    ) {
        let ports: Vec<Value> = ports.iter().map(|(port, node_port, protocol)| json!({ "port": port, "nodePort": node_port, "protocol": protocol })).collect();
        let service: Service = serde_json::from_value(json!({
            "metadata": { "name": "s", "namespace": "d", "uid": "u", "finalizers": finalizers },
            "spec": { "type": kind, "loadBalancerClass": class, "externalTrafficPolicy": policy, "ports": ports },
        })).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert!(!predicates::needs_update(&service, &service));
        prop_assert_eq!(predicates::wants_load_balancer(&service), kind == "LoadBalancer" && class.is_none());
        let held = finalizers.iter().any(|finalizer| finalizer == predicates::FINALIZER);
        prop_assert_eq!(predicates::has_finalizer(&service), held);
    }

    #[test]
    fn a_status_is_stored_as_itself(names in vec("[a-z.]{1,12}", 0..3), ips in vec(any::<Ipv4Addr>(), 0..3)) {
        let mut ingress: Vec<Value> = names.iter().map(|name| json!({ "hostname": name })).collect();
        ingress.extend(ips.iter().map(|ip| json!({ "ip": ip })));
        let read = serde_json::from_value::<LoadBalancerStatus>(json!({ "ingress": ingress }));
        let status = read.map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert!(status.is_stored_as(&status));
        let printed = serde_json::to_value(&status).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(serde_json::from_value::<LoadBalancerStatus>(printed).ok(), Some(status));
    }
}
