//! What holds for every input from outside: names, annotation values, provider IDs. Bounded, so that it runs with every
//! build; `PROPTEST_CASES` raises the bound.

use cloud_provider::cluster::objects::{Node, Service};
use cloud_provider_aws::config;
use cloud_provider_aws::load_balancer::annotations::{self, ALL, Kind, SslPorts};
use cloud_provider_aws::load_balancer::health_check::{self, ProbeMode};
use cloud_provider_aws::load_balancer::names::{self, TargetGroupName};
use cloud_provider_aws::provider_id::{self, InstanceId, ProviderId};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

/// A value as operators write them, and as they should not.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        "(true|false|T|0|1|)",
        "-?[0-9]{1,22}",
        "([a-zA-Z0-9./-]{0,8}=?,? ?){0,5}",
        "(TCP|HTTP|https|ssl|traffic-port|nlb|external|\\*)",
        any::<String>(),
    ]
}

/// A service with any of our annotations.
fn service() -> impl Strategy<Value = Service> {
    let chosen = vec((select(ALL), value()), 0..10);
    let policy = prop_oneof![Just("Cluster"), Just("Local")];
    (chosen, policy, any::<u16>()).prop_map(|(chosen, policy, health_check_port)| {
        let annotations: Map<String, Value> =
            chosen.into_iter().map(|(annotation, value)| (annotation.key.to_owned(), json!(value))).collect();
        let service = json!({
            "metadata": { "name": "web", "namespace": "shop", "uid": "u", "annotations": annotations },
            "spec": { "type": "LoadBalancer", "externalTrafficPolicy": policy, "healthCheckNodePort": health_check_port },
        });
        serde_json::from_value(service).unwrap_or_default()
    })
}

/// A cloud config of our keys and of others, with sections and values as they should not be.
fn cloud_config() -> impl Strategy<Value = String> {
    let known = select(config::keys::GLOBAL).prop_map(|key| key.name.to_owned());
    let overridden = select(config::keys::SERVICE_OVERRIDE).prop_map(|key| key.name.to_owned());
    let key = prop_oneof![6 => known, 2 => overridden, 1 => "[a-zA-Z-]{1,12}"];
    let section = prop_oneof![4 => Just("[Global]".to_owned()), 2 => "\\[ServiceOverride \"[0-9]?\"\\]", 1 => "\\[?[a-z \"]{0,8}\\]?"];
    let line = prop_oneof![
        2 => section,
        8 => (key.clone(), value()).prop_map(|(key, value)| format!("{key} = {value}")),
        1 => key,
        1 => "[;#\"\\\\=]{0,4}.{0,12}",
    ];
    prop_oneof![8 => vec(line, 0..10).prop_map(|lines| lines.join("\n")), 1 => any::<String>()]
}

fn uid() -> impl Strategy<Value = String> {
    "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
}

fn is_plain(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn cases(least: u32) -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig { cases: usual.cases.max(least), ..usual }
}

proptest! {
    #![proptest_config(cases(2_000))]

    #[test]
    fn no_cloud_config_makes_the_parser_panic(text in cloud_config()) {
        match config::parse(Some(&text)) {
            Ok((settings, _)) => prop_assert!(settings.health_probe.shared_port > 0),
            Err(problems) => prop_assert!(!problems.to_string().is_empty()),
        }
    }
}

proptest! {
    #[test]
    fn no_annotation_makes_a_reader_panic(service in service()) {
        for annotation in ALL {
            let text = annotation.of(&service).unwrap_or_default();
            if let Ok(Some(flag)) = annotation.boolean(&service) {
                prop_assert_eq!(text.chars().any(|c| "1tT".contains(c)), flag, "{}", text);
            }
            if let Ok(Some(number)) = annotation.number(&service) {
                prop_assert_eq!(text.trim_start_matches('+').parse(), Ok(number));
            }
            prop_assert!(annotation.list(&service).iter().all(|entry| !entry.is_empty() && entry.trim() == entry));
            let raw = annotation.raw_list(&service);
            prop_assert_eq!(raw.map(|entries| entries.join(",")), annotation.of(&service).map(str::to_owned));
            prop_assert!(annotation.pairs(&service).keys().all(|key| !key.is_empty()));
        }
        let _ = (Kind::of(&service), annotations::is_internal(&service), SslPorts::of(&service).contains(80, "web"));
        let _ = annotations::selects(&service, &Node::default());
    }

    #[test]
    fn no_annotation_makes_health_checks_panic_or_leave_their_limits(service in service(), port in 1..=65_535) {
        let shared = ProbeMode::Shared { port: 10256, path: "/healthz".into() };
        for mode in [ProbeMode::NodePort, shared, ProbeMode::Unknown("odd".into())] {
            if let Ok(check) = health_check::network(&service, &mode, true) {
                prop_assert!(["TCP", "HTTP", "HTTPS"].contains(&check.protocol.as_str()));
                prop_assert!(check.protocol != "TCP" || check.path.is_empty());
            }
            if let Ok(check) = health_check::classic(&service, port, &mode) {
                prop_assert!(check.healthy >= 2 && check.unhealthy >= 2 && check.timeout >= 2 && check.interval >= 5);
                prop_assert!(check.target.contains(':'));
            }
        }
    }

    #[test]
    fn pairs_read_back(pairs in btree_map("[a-zA-Z0-9:/._-]{1,12}", "[a-zA-Z0-9:/._@-]{0,12}", 0..6)) {
        let text: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
        prop_assert_eq!(annotations::pairs(&text.join(", ")), pairs);
    }

    #[test]
    fn ports_are_selected_by_number_and_by_name(numbers in vec(any::<u16>(), 1..5), name in "[a-z][a-z0-9-]{0,10}", other in any::<u16>()) {
        let list: Vec<String> = numbers.iter().map(ToString::to_string).chain([name.clone()]).collect();
        let ports = SslPorts::These(list);
        for number in &numbers {
            prop_assert!(ports.contains(i32::from(*number), "x1"));
        }
        prop_assert!(ports.contains(-1, &name));
        prop_assert_eq!(ports.contains(i32::from(other), ""), numbers.contains(&other));
    }

    #[test]
    fn names_of_load_balancers_fit_and_are_recognised(uid in uid(), other in any::<String>()) {
        let name = names::load_balancer(&uid);
        prop_assert!(names::is_load_balancer(&name) && name.len() == 32 && is_plain(&name), "{name}");
        prop_assert!(names::load_balancer(&other).len() <= 32);
        let rule = names::client_rule(&name);
        prop_assert!(names::is_client_rule(&rule) && names::health_rule_owner(&rule).is_none());
        prop_assert_eq!(names::client_rule_owner(&rule), Some(name.as_str()));
        let rule = names::health_rule(&name);
        prop_assert_eq!(names::health_rule_owner(&rule), Some(name.as_str()));
        prop_assert!(!names::is_client_rule(&rule));
    }

    #[test]
    fn names_of_target_groups_fit_and_differ(
        namespace in "[a-z0-9-]{1,63}", name in "[a-z0-9-]{1,63}", uid in uid(),
        service_port in 1..=65_535, node_port in 1..=65_535,
    ) {
        let group = TargetGroupName {
            cluster_id: "cluster", namespace: &namespace, name: &name, service_port, node_port,
            protocol: "TCP", target_type: "instance", health_protocol: "TCP", health_interval: 10,
        };
        let built = group.build();
        prop_assert!(built.len() <= 32 && is_plain(&built), "{built}");
        prop_assert!(built.starts_with(&names::resource_prefix(&namespace, &name)));
        let others = [
            TargetGroupName { protocol: "UDP", ..group },
            TargetGroupName { cluster_id: "other", ..group },
            TargetGroupName { health_interval: 30, ..group },
        ];
        prop_assert!(others.iter().all(|other| other.build() != built));
        let managed = names::managed_group("cluster", &namespace, &name, &uid);
        prop_assert!(managed.len() <= 255 && is_plain(&managed) && managed != built, "{managed}");
    }

    #[test]
    fn provider_ids_read_back_and_none_makes_it_panic(
        text in "(aws:/{0,4}|foo://|)[a-z0-9/.%?# -]{0,30}|\\PC{0,30}", host in "[a-z0-9]{0,12}", zone in "[a-z0-9-]{0,12}",
        digits in "[0-9a-f]{8}([0-9a-f]{9})?", suffix in "[.][a-z.]{0,12}",
    ) {
        if let Ok(ProviderId::Instance(id)) = ProviderId::parse(&text) {
            prop_assert!(text.trim_end_matches('/').ends_with(id.as_str()) && id.as_str().starts_with("i-"));
        }
        let id = InstanceId::new(&format!("i-{digits}"));
        prop_assert!(id.is_regular());
        for form in [ProviderId::print(&zone, &id), format!("aws://{host}/{zone}/{id}"), id.to_string()] {
            prop_assert_eq!(ProviderId::parse(&form), Ok(ProviderId::Instance(id.clone())), "{}", form);
        }
        prop_assert_eq!(provider_id::instance_in_name(&format!("{id}{suffix}")), Some(id));
        let _ = provider_id::fargate_address(&text);
    }
}
