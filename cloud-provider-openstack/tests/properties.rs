//! What holds for every input from outside: names, annotation values, patterns, provider IDs. Bounded, so that it runs with
//! every build; `PROPTEST_CASES` raises the bound.

#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]

use cloud_provider::cluster::objects::{Node, Service};
use cloud_provider_openstack::{
    config::{self, Surroundings},
    load_balancer::{
        annotations::{self, ALL},
        features::{Features, Version},
        floating::SubnetSpec,
        members::{self, Family},
        names::{self, Names},
    },
    provider_id::ProviderId,
};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

/// A value as operators write them, and as they should not.
fn value() -> impl Strategy<Value = String> {
    prop_oneof!["(true|false|v1|v2|)", "-?[0-9]{1,22}", "([a-zA-Z0-9./-]{0,8}=?,? ?){0,5}", any::<String>()]
}

/// A service with any of our annotations.
fn service() -> impl Strategy<Value = Service> {
    (vec((select(ALL), value()), 0..10), "[a-z0-9-]{1,20}", "[a-z0-9-]{1,20}").prop_map(|(chosen, namespace, name)| {
        let annotations: Map<String, Value> =
            chosen.into_iter().map(|(annotation, value)| (annotation.key.to_owned(), json!(value))).collect();
        serde_json::from_value(json!({
            "metadata": { "name": name, "namespace": namespace, "uid": "0-1-2", "annotations": annotations },
            "spec": { "type": "LoadBalancer" },
        }))
        .unwrap()
    })
}

/// What stands in the place of a cluster's name: what people write, and what is hard to tell from the rest of a name.
fn cluster() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z0-9-]{1,30}", "[a-z0-9_-]{1,30}", "(kube|service|listener|0|_){1,4}"]
}

fn cases(least: u32) -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig { cases: usual.cases.max(least), ..usual }
}

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn no_cloud_config_makes_the_parser_panic(lines in vec(("[a-zA-Z-]{1,20}", value()), 0..8), text in any::<String>()) {
        let surroundings = || Surroundings::new(std::collections::BTreeMap::new(), Vec::new());
        let keys: Vec<String> = lines.iter().map(|(key, value)| format!("{key} = {value}")).collect();
        let known = format!("[Global]\nauth-url = http://k\nuser-id = u\npassword = p\ntenant-id = t\n[LoadBalancer]\n{}", keys.join("\n"));
        for text in [known, text] {
            if let Err(problems) = config::parse(Some(&text), &surroundings()) {
                prop_assert!(!problems.to_string().is_empty());
            }
        }
    }

    #[test]
    fn every_annotation_can_be_read_whatever_stands_there(service in service(), default in any::<i64>()) {
        for annotation in ALL {
            let number = annotation.number(&service, default);
            let text = annotation.of(&service);
            prop_assert!(text.and_then(|text| text.parse().ok()).unwrap_or(default) == number);
            prop_assert_eq!(annotation.flag(&service, true) != annotation.flag(&service, false), !matches!(text, Some("true" | "false")));
        }
        prop_assert!(annotations::proxy_protocol(&service).is_none_or(|it| it.starts_with("PROXY")));
    }

    #[test]
    fn names_fit_and_tell_services_apart(service in service(), cluster in cluster(), index in 0usize..1000) {
        let names = Names::of(&service, &cluster);
        for name in [names.load_balancer.clone(), names.listener(index), names.pool(index), names.monitor(index), names.security_group.clone()] {
            prop_assert!(name.len() <= 255);
        }
        prop_assert!(names.load_balancer.starts_with(names::PREFIX));
        prop_assert_eq!(names.former_cluster(&names.load_balancer), None, "its own name is no former one");
    }

    #[test]
    fn a_renamed_cluster_is_found_and_renaming_gives_the_name_of_today(service in service(), old in cluster(), new in cluster()) {
        prop_assume!(old != new);
        let (before, now) = (Names::of(&service, &old), Names::of(&service, &new));
        prop_assert_eq!(now.former_cluster(&before.load_balancer), Some(old.clone()));
        prop_assert_eq!(now.renamed(&before.load_balancer, &old), now.load_balancer.clone());
        prop_assert_eq!(now.renamed(&before.listener(7), &old), now.listener(7));
        prop_assert_eq!(now.renamed(&now.listener(7), &new), now.listener(7));
    }

    #[test]
    fn any_text_can_be_renamed_and_searched_for_a_cluster(text in any::<String>(), old in any::<String>(), new in any::<String>()) {
        prop_assert!(names::rename(&text, &old, &new).len() <= text.len().max(255));
        if let Some(cluster) = names::cluster_of(&text) {
            let marked = format!("{}{cluster}", names::PREFIX);
            prop_assert!(text.contains(&marked));
        }
    }

    #[test]
    fn no_pattern_of_subnets_makes_the_process_end(
        pattern in prop_oneof!["[!~]?[a-z*?{},\\[\\]/^$|&-]{0,16}", any::<String>()],
        tags in prop_oneof!["[!]?[&]?([a-z]{1,4}[, ]?){0,4}", any::<String>()],
        name in "[a-z/-]{0,12}",
    ) {
        let spec = SubnetSpec::new("", &pattern, &tags);
        if let Ok(matcher) = spec.matcher() {
            matcher.matches(&name);
            // The opposite of a pattern matches whatever it does not.
            if !pattern.is_empty() && !pattern.starts_with('!') {
                let opposite = SubnetSpec::new("", &format!("!{pattern}"), "").matcher().unwrap();
                prop_assert_ne!(matcher.matches(&name), opposite.matches(&name));
            }
        }
        prop_assert_eq!(spec.tag_filter().is_some(), !tags.is_empty());
    }

    #[test]
    fn a_glob_without_signs_matches_its_own_text_only(name in "[a-z.+()|^$-]{1,12}", other in "[a-z.+()|^$-]{1,12}") {
        let matcher = SubnetSpec::new("", &name, "").matcher().unwrap();
        prop_assert!(matcher.matches(&name));
        prop_assert_eq!(matcher.matches(&other), name == other);
    }

    #[test]
    fn selected_nodes_have_every_label(labels in btree_map("[a-c]", "[x-z]?", 0..3), text in "([a-c](=[x-z]?)?,){0,3}") {
        let node: Node = serde_json::from_value(json!({ "metadata": { "name": "n", "labels": labels } })).unwrap();
        let selector = annotations::pairs(&text);
        let has_all = selector.iter().all(|(key, value)| labels.get(key).is_some_and(|actual| value.is_empty() || actual == value));
        prop_assert_eq!(members::is_selected(&node, &selector), has_all);
    }

    #[test]
    fn a_member_has_an_address_of_the_family(addresses in vec((select(vec!["InternalIP", "ExternalIP", "Hostname", "ExternalDNS"]), prop_oneof!["10\\.0\\.0\\.[0-9]", "fd00::[0-9]", "[a-z]{1,5}"]), 0..6)) {
        let addresses: Vec<Value> = addresses.iter().map(|(kind, address)| json!({ "type": kind, "address": address })).collect();
        let node: Node = serde_json::from_value(json!({ "metadata": { "name": "n" }, "status": { "addresses": addresses } })).unwrap();
        for family in [None, Some(Family::V4), Some(Family::V6)] {
            if let Some(address) = members::address(&node, family) {
                prop_assert!(Family::of(address).is_some_and(|actual| family.is_none_or(|wanted| wanted == actual)));
            }
        }
    }

    #[test]
    fn a_newer_octavia_can_do_whatever_an_older_one_can(minor in 0u32..40, provider in select(vec!["amphora", "ovn", "f5"])) {
        let (old, new) = (Features::of(Version(2, minor), provider), Features::of(Version(2, minor + 1), provider));
        let all = |it: Features| {
            [it.timeouts, it.tags, it.flavors, it.allowed_cidrs, it.availability_zones, it.http_monitors, it.http_monitors_on_udp, it.additional_vips]
        };
        prop_assert!(all(old).iter().zip(all(new)).all(|(old, new)| !old || new));
        prop_assert_eq!(Version::parse(&format!("v2.{minor}")), Some(Version(2, minor)));
    }

    #[test]
    fn any_text_can_be_asked_for_a_provider_id(text in any::<String>(), region in "[a-zA-Z0-9]{0,8}") {
        _ = ProviderId::parse(&text, &region);
    }
}
