//! Helpers for nodes, and their names and provider IDs.

use std::collections::BTreeMap;

use cloud_provider::cloud::Metadata;
use cloud_provider::cluster::objects::{AddressKind, Key, Node, NodeAddress, Object as _, Taint};
use cloud_provider::node::unmanaged::Unmanaged;
use cloud_provider::node::{addresses, labels, taints};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::json;

fn some_taints() -> impl Strategy<Value = Vec<Taint>> {
    let key = prop_oneof![Just(taints::UNINITIALIZED.to_owned()), Just(taints::SHUTDOWN.to_owned()), "[a-c]"];
    let taint = (key, "(NoSchedule|NoExecute)", proptest::option::of("[a-b]?"));
    vec(taint.prop_map(|(key, effect, value)| Taint { key, effect, value, time_added: None }), 0..8)
}

fn some_addresses() -> impl Strategy<Value = Vec<NodeAddress>> {
    let kind = prop_oneof![
        Just(AddressKind::InternalIp),
        Just(AddressKind::ExternalIp),
        Just(AddressKind::Hostname),
        Just(AddressKind::InternalDns),
        "[A-Za-z]{0,4}".prop_map(AddressKind::from),
    ];
    vec(
        (kind, "10[.]0[.]0[.][1-4]|fc00::[1-4]|[a-c]").prop_map(|(kind, address)| NodeAddress::new(kind, address)),
        0..8,
    )
}

fn some_labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    let well_known: Vec<&str> = [labels::ZONE, labels::REGION, labels::INSTANCE_TYPE].concat();
    let key = prop_oneof![
        proptest::sample::select(well_known).prop_map(str::to_owned),
        "[a-c]",
        "(x[.])?(kubernetes|k8s)[.]io/[a-c]",
        any::<String>(),
    ];
    btree_map(key, "[a-c]?", 0..8)
}

proptest! {
    #[test]
    fn a_taint_that_was_added_is_there_once_and_the_others_stay(list in some_taints(), at in 0..3_usize) {
        let taint = [taints::shutdown(), Taint { key: "a".into(), effect: "NoExecute".into(), ..Taint::default() }]
            .into_iter().cycle().nth(at).unwrap_or_default();
        let added = taints::with(&list, &taint);
        prop_assert!(taints::has(&added, &taint));
        prop_assert_eq!(taints::with(&added, &taint), added.clone(), "adding it again changes nothing");
        prop_assert_eq!(added.len(), list.len() + usize::from(!taints::has(&list, &taint)));
        let removed = taints::without(&added, &taint);
        prop_assert!(!taints::has(&removed, &taint));
        prop_assert_eq!(removed, taints::without(&list, &taint), "the others stay in their order");
    }

    #[test]
    fn a_node_is_initialised_by_taking_that_taint_and_no_other(list in some_taints()) {
        let rest = taints::without_uninitialized(&list);
        prop_assert!(rest.iter().all(|taint| taint.key != taints::UNINITIALIZED));
        let others: Vec<Taint> = list.iter().filter(|taint| taint.key != taints::UNINITIALIZED).cloned().collect();
        prop_assert_eq!(&rest, &others);
        let mut node = Node::default();
        node.spec.taints = rest;
        prop_assert!(!taints::is_uninitialized(&node));
    }

    #[test]
    fn labels_of_an_instance_never_overwrite_foreign_ones_and_settle_at_once(
        zone in "[a-c]?", region in "[a-c]?", instance_type in "[a-c]?",
        additional_labels in some_labels(), mut current in some_labels(),
    ) {
        let metadata = Metadata { zone, region, instance_type, additional_labels, ..Metadata::default() };
        let written = labels::of_instance(&metadata, Some(&current));
        let ours: Vec<&str> = [labels::ZONE, labels::REGION, labels::INSTANCE_TYPE].concat();
        for (key, value) in &written {
            prop_assert!(current.get(key) != Some(value), "{key} stands there already");
            prop_assert!(ours.contains(&key.as_str()) || !current.contains_key(key), "{key} is another's");
        }
        current.extend(written);
        prop_assert!(labels::of_instance(&metadata, Some(&current)).is_empty());
        prop_assert!(labels::topology(&metadata, Some(&current)).is_empty());
    }

    #[test]
    fn refreshed_labels_settle_at_once(additional_labels in some_labels(), mut current in some_labels()) {
        let metadata = Metadata { additional_labels, ..Metadata::default() };
        current.extend(labels::additional(&metadata, Some(&current)));
        prop_assert!(labels::additional(&metadata, Some(&current)).is_empty());
    }

    #[test]
    fn current_labels_follow_older_ones_and_then_rest(mut current in some_labels()) {
        let before = current.clone();
        let changes = labels::follow_older_keys(&current);
        current.extend(changes.clone());
        prop_assert!(labels::follow_older_keys(&current).is_empty());
        for pair in [labels::ZONE, labels::REGION, labels::INSTANCE_TYPE] {
            prop_assert_eq!(before.get(pair[0]), current.get(pair[0]), "the older one is never touched");
        }
    }

    #[test]
    fn without_a_provided_ip_every_address_of_the_cloud_stays(cloud in some_addresses(), current in some_addresses()) {
        let wanted = addresses::wanted(&cloud, &current, None);
        let wanted = wanted.map_err(TestCaseError::fail)?;
        prop_assert_eq!(&wanted[..cloud.len()], &cloud[..]);
        prop_assert!(wanted[cloud.len()..].iter().all(|address| address.kind == AddressKind::Hostname && current.contains(address)));
        let again = addresses::wanted(&cloud, &wanted, None).map_err(TestCaseError::fail)?;
        prop_assert_eq!(again, wanted, "it settles at once");
    }

    #[test]
    fn with_a_provided_ip_only_addresses_of_the_cloud_are_chosen(
        cloud in some_addresses(), provided in "(10[.]0[.]0[.][1-4]|fc00::[1-4])(,(10[.]0[.]0[.][1-4]|fc00::[1-4]))?",
    ) {
        if let Ok(wanted) = addresses::wanted(&cloud, &[], Some(&provided)) {
            prop_assert!(wanted.iter().all(|address| cloud.contains(address)));
            let first = provided.split(',').next().unwrap_or_default();
            prop_assert_eq!(&wanted[0].address, first);
            prop_assert_eq!(addresses::wanted(&cloud, &wanted, Some(&provided)), Ok(wanted), "it settles at once");
        }
    }

    #[test]
    fn no_provided_ip_makes_it_panic(cloud in some_addresses(), provided in "[0-9a-f.:,/ ]{0,40}|\\PC{0,20}") {
        let _ = addresses::wanted(&cloud, &[], Some(&provided));
    }

    #[test]
    fn selectors_read_back_or_are_refused(text in "([a-c]{1,2}(=|==|!=| in | notin |!|\\(|\\)|,| ){0,3}){0,5}|\\PC{0,30}", current in some_labels()) {
        if let Ok(selector) = text.parse::<Unmanaged>() {
            let mut node = Node::default();
            node.metadata.labels = Some(current);
            let again: Result<Unmanaged, _> = selector.to_string().parse();
            prop_assert_eq!(again.map(|again| again.matches(&node)), Ok(selector.matches(&node)), "{}", selector);
        }
    }

    #[test]
    fn keys_read_back(namespace in "[a-z0-9-]{0,10}", name in "[a-z0-9.-]{1,20}") {
        let key = if namespace.is_empty() { Key::cluster(name) } else { Key::new(namespace, name) };
        prop_assert_eq!(key.to_string().parse(), Ok(key));
    }

    #[test]
    fn no_text_makes_a_key_panic(text: String) {
        if let Ok(key) = text.parse::<Key>() {
            prop_assert_eq!(key.to_string().matches('/').count(), usize::from(!key.namespace.is_empty()));
        }
    }

    #[test]
    fn whatever_a_node_holds_it_is_decoded(
        name in "\\PC{1,20}", id in any::<Option<String>>(), address in any::<String>(), kind in any::<String>(),
        status in any::<String>(),
    ) {
        let node = serde_json::from_value::<Node>(json!({
            "metadata": { "name": name, "uid": "u", "labels": { (kind.clone()): address } },
            "spec": { "providerID": id, "taints": [{ "key": kind, "effect": status, "extra": 1 }] },
            "status": {
                "addresses": [{ "type": kind, "address": address }],
                "conditions": [{ "type": "Ready", "status": status }, { "type": kind, "status": "True" }],
            },
        })).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(node.name(), &name);
        prop_assert_eq!(node.key(), Key::cluster(name));
        prop_assert_eq!(node.provider_id(), id.as_deref().filter(|id| !id.is_empty()));
        prop_assert_eq!(node.ready(), Some(status.as_str()));
        prop_assert_eq!(String::from(node.status.addresses[0].kind.clone()), kind);
    }
}
