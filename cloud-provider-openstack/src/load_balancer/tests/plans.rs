//! What becomes of a load balancer that is the service's own.

use cloud_provider::cloud::{Ingress, IpMode, Mode, ServiceState};

use super::*;
use crate::{
    client::load_balancer::{NewLoadBalancer, PoolChanges},
    config::Repair,
    load_balancer::{apply::Made, observed::Mend, observed::Source, present},
};

const OWN: &str = "kube_service_kubernetes_default_web";

fn created(operations: &[Operation]) -> NewLoadBalancer {
    match &operations[0].step {
        Step::CreateLoadBalancer(new) => (**new).clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_new_service_gets_everything_in_one_call_and_then_nothing_more() {
    let round = Round::new(service_with(json!({})));
    let source = Source::New { network: "public".into(), subnets: Vec::new() };
    let operations = round.operations(&Observed { source, ..Observed::default() }, Mode::Full);
    let expected = [
        format!("create load balancer {OWN} with listeners TCP 80, TCP 443"),
        "create floating IP in network public".into(),
    ];
    assert_eq!(texts(&operations), expected);
    let new = created(&operations);
    assert_eq!((new.vip_subnet_id.as_deref(), new.provider.as_str()), (Some("subnet"), "amphora"));
    let pool = new.listeners[0].default_pool.as_deref().unwrap();
    assert_eq!((pool.name.as_str(), pool.members.len()), ("pool_0_kube_service_kubernetes_default_web", 2));
    assert_eq!(pool.healthmonitor.as_ref().unwrap().kind, "TCP");
    assert!(round.plan(&round.made()).is_empty());
    assert!(round.operations(&round.made(), Mode::Backends).is_empty());
}

#[test]
fn serial_providers_get_one_thing_after_the_other() {
    let settings =
        Settings { provider_requires_serial_api_calls: true, internal_lb: true, create_monitor: false, ..placed() };
    let mut round = Round::with(service_with(json!({})), settings);
    assert_eq!(
        round.plan(&Observed::default()),
        [
            format!("create load balancer {OWN}"),
            "create listener TCP 80".into(),
            format!("create pool pool_0_{OWN} (TCP, ROUND_ROBIN)"),
            "add member member_node-1_10.0.0.1_30080".into(),
            "add member member_node-2_10.0.0.2_30080".into(),
            "create listener TCP 443".into(),
            format!("create pool pool_1_{OWN} (TCP, ROUND_ROBIN)"),
            "add member member_node-1_10.0.0.1_30443".into(),
            "add member member_node-2_10.0.0.2_30443".into(),
        ]
    );
    let made = round.made();
    assert!(round.plan(&made).is_empty());
    round.nodes = 1;
    assert_eq!(
        round.plan(&made),
        ["remove member member_node-2_10.0.0.2_30080", "remove member member_node-2_10.0.0.2_30443"]
    );
}

#[test]
fn a_new_node_costs_one_call_for_each_pool() {
    let mut round = Round::new(service_with(json!({})));
    let made = round.made();
    round.nodes = 3;
    for mode in [Mode::Full, Mode::Backends] {
        let steps = steps(round.operations(&made, mode));
        assert!(
            matches!(&steps[..], [Step::SetMembers { members, .. }, Step::SetMembers { .. }] if members.len() == 3),
            "{steps:?}"
        );
    }
}

#[test]
fn members_that_somebody_else_took_out_come_back() {
    let round = Round::new(service_with(json!({})));
    let mut made = round.made();
    made.tree.as_mut().unwrap().pools[1].members.pop();
    assert_eq!(round.plan(&made), [format!("set the members of pool pool_1_{OWN}: node-1, node-2")]);
}

#[test]
fn ports_come_and_go() {
    let made = Round::new(service_with(json!({}))).made();
    let ports = json!([{ "name": "https", "protocol": "TCP", "port": 443, "nodePort": 30443 }, { "name": "dns", "protocol": "UDP", "port": 53, "nodePort": 30053 }]);
    let round = Round::new(service("web", json!({}), json!({ "ports": ports })));
    let monitor =
        "change monitor monitor_1_kube_service_kubernetes_default_web: delay 5 s, timeout 3 s, retries 1 and 3";
    assert_eq!(
        round.plan(&made),
        [
            // Its place in the spec is another one; upstream renames it too.
            monitor.to_owned(),
            "create listener UDP 53".into(),
            format!("create pool pool_1_{OWN} (UDP, ROUND_ROBIN)"),
            format!("set the members of pool pool_1_{OWN}: node-1, node-2"),
            format!("create monitor monitor_1_{OWN} (UDP-CONNECT)"),
            format!("delete pool pool_0_{OWN}"),
            format!("delete listener listener_0_{OWN}"),
        ]
    );
}

#[test]
fn a_protocol_is_switched_on_a_live_listener_by_making_room_first() {
    let made = Round::new(service_with(json!({}))).made();
    for annotations in
        [prefixed("x-forwarded-for", "true"), prefixed("default-tls-container-ref", "http://barbican/v1/containers/c")]
    {
        let plan = Round::new(service_with(annotations)).plan(&made);
        let kinds: Vec<&str> = plan.iter().map(|text| text.split(' ').take(2).last().unwrap()).collect();
        let expected = [
            "pool", "listener", "pool", "listener", "listener", "pool", "the", "monitor", "listener", "pool", "the",
            "monitor",
        ];
        assert_eq!(kinds, expected, "{plan:?}");
        assert!(plan[..4].iter().all(|text| text.starts_with("delete")), "{plan:?}");
    }
}

#[test]
fn single_ports_can_have_a_protocol_of_their_own() {
    let made = Round::new(service_with(json!({}))).made();
    let round = Round::new(service_with(prefixed("listener-protocols", "80=HTTP")));
    let plan = round.plan(&made);
    assert_eq!(
        plan[1..3],
        ["delete listener listener_0_kube_service_kubernetes_default_web", "create listener HTTP 80"]
    );
    assert!(plan.iter().all(|text| !text.contains("443")), "{plan:?}");
    let by_name = Round::new(service_with(prefixed("listener-protocols", "https=HTTP"))).desired();
    let ports = &by_name.wanted.unwrap().ports;
    assert_eq!((ports[0].listener.protocol.as_str(), ports[1].listener.protocol.as_str()), ("TCP", "HTTP"));
    for wrong in ["81=HTTP", "80=UDP", "80=QUIC", "80"] {
        assert!(desired::check(&service_with(prefixed("listener-protocols", wrong)), &settings()).is_err(), "{wrong}");
    }
}

#[test]
fn proxy_protocol_makes_pools_anew() {
    let made = Round::new(service_with(json!({}))).made();
    let plan = Round::new(service_with(prefixed("proxy-protocol", "v2"))).plan(&made);
    assert_eq!(
        plan[..2],
        [format!("delete pool pool_0_{OWN}"), format!("create pool pool_0_{OWN} (PROXYV2, ROUND_ROBIN)")]
    );
    assert!(plan.iter().all(|text| !text.contains("listener TCP")), "listeners stay: {plan:?}");
}

#[test]
fn section_12_4_listener_and_pool_protocols() {
    let protocols = |annotations: Value, protocol: &str| {
        let ports = json!([{ "protocol": protocol, "port": 80, "nodePort": 30080 }]);
        let round = Round::new(service("web", annotations, json!({ "ports": ports })));
        let port = round.desired().wanted.unwrap().ports.remove(0);
        let forwarded = port.listener.insert_headers.contains_key("X-Forwarded-For");
        (port.listener.protocol, port.pool.protocol, forwarded)
    };
    let of = |listener: &str, pool: &str, forwarded| (listener.to_owned(), pool.to_owned(), forwarded);
    for protocol in ["TCP", "UDP", "SCTP"] {
        assert_eq!(protocols(json!({}), protocol), of(protocol, protocol, false));
    }
    let tls = ("loadbalancer.openstack.org/default-tls-container-ref", "http://barbican/v1/secrets/s");
    let forwarded = ("loadbalancer.openstack.org/x-forwarded-for", "true");
    assert_eq!(protocols(json!({ (tls.0): tls.1 }), "TCP"), of("TERMINATED_HTTPS", "HTTP", false));
    assert_eq!(protocols(json!({ (forwarded.0): forwarded.1 }), "TCP"), of("HTTP", "HTTP", true));
    assert_eq!(
        protocols(json!({ (tls.0): tls.1, (forwarded.0): forwarded.1 }), "TCP"),
        of("TERMINATED_HTTPS", "HTTP", true)
    );
    assert_eq!(protocols(json!({ (forwarded.0): forwarded.1 }), "UDP").1, "HTTP", "as upstream has it");
    assert_eq!(protocols(prefixed("proxy-protocol", "true"), "TCP"), of("TCP", "PROXY", false));
    assert_eq!(protocols(prefixed("proxy-protocol", "v2"), "TCP"), of("TCP", "PROXYV2", false));
}

#[test]
fn section_12_4_listener_build_without_features() {
    let round = Round { version: Version(2, 0), ..Round::new(service_with(prefixed("connection-limit", "100"))) };
    let listener = round.desired().wanted.unwrap().ports.remove(0).listener;
    assert_eq!(listener.connection_limit, 100);
    assert!(listener.tags.is_empty() && listener.allowed_cidrs.is_empty());
    assert_eq!(listener.timeouts, Default::default());
    assert!(round.plan(&round.made()).is_empty());
}

#[test]
fn section_12_4_monitors() {
    let kind = |provider: &str, protocol: &str, health_check: bool, version| {
        let policy = if health_check { "Local" } else { "Cluster" };
        let spec = json!({ "ports": [{ "protocol": protocol, "port": 80, "nodePort": 30080 }],
            "externalTrafficPolicy": policy, "healthCheckNodePort": if health_check { 31000 } else { 0 } });
        let settings = Settings { lb_provider: provider.into(), ..placed() };
        let port = Round { version, ..Round::with(service("web", json!({}), spec), settings) }
            .desired()
            .wanted
            .unwrap()
            .ports
            .remove(0);
        let monitor = port.monitor.unwrap();
        (monitor.kind, monitor.url_path.is_some(), port.members[0].monitor_port)
    };
    let new = Version(2, 27);
    let of = |kind: &str, path, port| (kind.to_owned(), path, port);
    assert_eq!(kind("ovn", "UDP", true, new), of("UDP-CONNECT", false, None));
    assert_eq!(kind("ovn", "TCP", true, new), of("TCP", false, None));
    assert_eq!(kind("amphora", "TCP", false, new), of("TCP", false, None));
    assert_eq!(kind("amphora", "TCP", true, new), of("HTTP", true, Some(31000)));
    assert_eq!(kind("amphora", "UDP", true, new), of("HTTP", true, Some(31000)));
    assert_eq!(kind("amphora", "UDP", true, Version(2, 15)), of("UDP-CONNECT", false, None));
}

#[test]
fn monitors_are_made_changed_and_removed() {
    let made = Round::new(service_with(json!({}))).made();
    let off = Round::new(service_with(prefixed("enable-health-monitor", "false")));
    assert_eq!(off.plan(&made), [format!("delete monitor monitor_0_{OWN}"), format!("delete monitor monitor_1_{OWN}")]);
    let on = Round::new(service_with(json!({}))).plan(&off.made());
    assert_eq!(on, [format!("create monitor monitor_0_{OWN} (TCP)"), format!("create monitor monitor_1_{OWN} (TCP)")]);
    let slower = Round::new(service_with(prefixed("health-monitor-delay", "30"))).plan(&made);
    assert_eq!(slower[0], format!("change monitor monitor_0_{OWN}: delay 30 s, timeout 3 s, retries 1 and 3"));
    let zero = Round::new(service_with(prefixed("health-monitor-delay", "0"))).plan(&made);
    assert!(zero.is_empty(), "a zero is left out, and so no difference: {zero:?}");
    let local = service("web", json!({}), json!({ "externalTrafficPolicy": "Local", "healthCheckNodePort": 31000 }));
    let plan = Round::new(local).plan(&made);
    assert_eq!(
        plan[..3],
        [
            format!("set the members of pool pool_0_{OWN}: node-1, node-2"),
            format!("delete monitor monitor_0_{OWN}"),
            format!("create monitor monitor_0_{OWN} (HTTP)"),
        ]
    );
}

#[test]
fn listeners_change_only_where_they_differ_and_keep_what_others_put_on_them() {
    let round = Round::new(service_with(json!({})));
    let mut made = round.made();
    let listener = &mut made.tree.as_mut().unwrap().listeners[0];
    listener.tags = vec!["team=a".into(), OWN.into()];
    listener.insert_headers.insert("X-Forwarded-Port".into(), "true".into());
    assert!(round.plan(&made).is_empty());
    let limited = Round::new(service_with(prefixed("connection-limit", "5"))).plan(&made);
    assert_eq!(limited[0], format!("change listener listener_0_{OWN}: connection limit 5"));
    let ranges = service("web", json!({}), json!({ "loadBalancerSourceRanges": ["10.1.2.3/8"] }));
    let plan = Round::new(ranges).plan(&made);
    assert_eq!(plan[0], format!("change listener listener_0_{OWN}: source ranges 10.0.0.0/8"));
    let timeout = Round::new(service_with(prefixed("timeout-client-data", "1000"))).plan(&made);
    assert_eq!(timeout[1], format!("change listener listener_1_{OWN}: client data timeout 1000 ms"));
}

#[test]
fn source_ranges_of_the_annotation_are_separated_by_commas_or_blanks() {
    let annotated =
        |list: &str| service_with(json!({ "service.beta.kubernetes.io/load-balancer-source-ranges": list }));
    let ranges = |service| Round::new(service).desired().wanted.unwrap().ports.remove(0).listener.allowed_cidrs;
    assert_eq!(
        ranges(annotated("10.0.0.0/8, 192.0.2.0/24 2001:db8::/32")),
        ["10.0.0.0/8", "192.0.2.0/24", "2001:db8::/32"]
    );
    assert_eq!(ranges(service_with(json!({}))), ["0.0.0.0/0"]);
    assert_eq!(ranges(service("web", json!({}), json!({ "ipFamilies": [] }))), ["0.0.0.0/0"]);
    assert!(desired::check(&annotated("10.0.0.1"), &settings()).is_err());
}

#[test]
fn the_algorithm_is_followed_and_the_affinity_only_where_that_is_asked_for() {
    let made = Round::new(service_with(json!({}))).made();
    let method = Round::new(service_with(prefixed("lb-method", "LEAST_CONNECTIONS"))).plan(&made);
    assert_eq!(method[0], format!("change pool pool_0_{OWN}: algorithm LEAST_CONNECTIONS"));
    let sticky = service("web", json!({}), json!({ "sessionAffinity": "ClientIP" }));
    assert!(Round::new(sticky.clone()).plan(&made).is_empty(), "as upstream has it");
    let follows = Settings { update_session_affinity: true, ..placed() };
    let steps = steps(Round::with(sticky, follows.clone()).operations(&made, Mode::Full));
    assert!(
        matches!(&steps[0], Step::UpdatePool { changes: PoolChanges { session_persistence: Some(Some(it)), .. }, .. } if it.kind == "SOURCE_IP")
    );
}

#[test]
fn floating_ips_are_deleted_only_where_they_are_ours() {
    let internal = json!({ "service.beta.kubernetes.io/openstack-internal-load-balancer": "true" });
    let round = Round::new(service_with(internal));
    let mut made = Round::new(service_with(json!({}))).made();
    assert_eq!(round.plan(&made), ["delete floating IP 203.0.113.7"]);
    made.floating_ips = vec![floating_ip("somebody's")];
    assert_eq!(round.plan(&made), ["detach floating IP 203.0.113.7"]);

    let round = Round::new(service_with(json!({})));
    let mut made = round.made();
    made.left_behind.extend(made.tree.take());
    let both = ["delete floating IP 203.0.113.7".to_owned(), format!("delete load balancer lb ({OWN})")];
    assert_eq!(round.removal(&made), both);
    assert_eq!(Round::new(service_with(prefixed("keep-floatingip", "true"))).removal(&made), both[1..]);
    made.floating_ips = vec![floating_ip("somebody's")];
    assert_eq!(round.removal(&made), both[1..]);
}

#[test]
fn without_cascade_monitors_go_first_and_an_error_needs_the_cascade() {
    let settings = Settings { cascade_delete: false, internal_lb: true, ..placed() };
    let round = Round::with(service_with(json!({})), settings);
    let mut made = round.made();
    made.left_behind.extend(made.tree.take());
    let plan = round.removal(&made);
    let kinds: Vec<&str> = plan.iter().map(|text| text.split(' ').nth(1).unwrap()).collect();
    assert_eq!(kinds, ["monitor", "monitor", "pool", "listener", "pool", "listener", "load"]);
    made.left_behind[0].load_balancer.provisioning_status = "ERROR".into();
    let steps = steps(plan_of(&round.unwanted(), &made));
    assert!(matches!(&steps[..], [Step::DeleteLoadBalancer { cascade: true, .. }]), "{steps:?}");
}

fn plan_of(desired: &Desired, observed: &Observed) -> Vec<Operation> {
    plan(desired, observed, Mode::Full, false)
}

#[test]
fn a_load_balancer_that_is_made_anew_keeps_its_floating_ip() {
    let settings = Settings { repair_load_balancers: Repair::Recreate, ..placed() };
    let round = Round::with(service_with(json!({})), settings);
    let mut made = round.made();
    made.tree.as_mut().unwrap().load_balancer.provisioning_status = "ERROR".into();
    made.repair = Some(Mend::FailOver);
    assert_eq!(round.plan(&made), ["fail over load balancer lb"]);
    made.repair = Some(Mend::Recreate);
    let steps = steps(round.operations(&made, Mode::Full));
    assert!(
        matches!(
            &steps[..],
            [
                Step::DeleteLoadBalancer { cascade: true, .. },
                Step::CreateLoadBalancer(_),
                Step::AttachFloatingIp { port: None, .. }
            ]
        ),
        "{steps:?}"
    );
}

#[test]
fn section_12_4_status() {
    let status = |annotations: Value, settings: Settings| {
        let round = Round::with(service_with(annotations), settings);
        let (made, desired) = (round.made(), round.desired());
        let outcome = present(&round.service, desired.wanted.as_deref().unwrap(), &made, &Made::default());
        assert_eq!(
            outcome.annotations["loadbalancer.openstack.org/load-balancer-address"].as_deref(),
            Some("203.0.113.7")
        );
        assert_eq!(outcome.annotations["loadbalancer.openstack.org/load-balancer-id"].as_deref(), Some("lb"));
        match outcome.state {
            ServiceState::Present(mut status) => status.ingress.remove(0),
            other => panic!("{other:?}"),
        }
    };
    let hostname = |name: &str| Ingress { hostname: Some(name.into()), ..Ingress::default() };
    let ip = |mode| Ingress { ip: Some("203.0.113.7".into()), ip_mode: Some(mode), ..Ingress::default() };
    assert_eq!(status(json!({}), placed()), ip(IpMode::Vip));
    assert_eq!(status(prefixed("hostname", "web.example.com"), placed()), hostname("web.example.com"));
    assert_eq!(status(prefixed("proxy-protocol", "true"), placed()), ip(IpMode::Proxy));
    let suffixed =
        Settings { enable_ingress_hostname: true, ingress_hostname_suffix: "ingress-suffix".into(), ..placed() };
    assert_eq!(status(prefixed("proxy-protocol", "true"), suffixed.clone()), hostname("203.0.113.7.ingress-suffix"));
    assert_eq!(status(json!({}), suffixed), ip(IpMode::Vip));
}

#[test]
fn the_status_waits_for_the_floating_ip() {
    let round = Round::new(service_with(json!({})));
    let mut made = round.made();
    made.floating_ips.clear();
    made.source = Source::New { network: "public".into(), subnets: Vec::new() };
    let desired = round.desired();
    let outcome = present(&round.service, desired.wanted.as_deref().unwrap(), &made, &Made::default());
    assert_eq!(outcome.state, ServiceState::Unsettled);
    made.source = Source::None;
    let outcome = present(&round.service, desired.wanted.as_deref().unwrap(), &made, &Made::default());
    assert!(
        matches!(outcome.state, ServiceState::Present(status) if status.ingress[0].ip.as_deref() == Some("10.0.0.100"))
    );
}

#[test]
fn what_cannot_be_served_is_refused_before_anything_is_read() {
    let both = json!({ "loadbalancer.openstack.org/proxy-protocol": "true", "loadbalancer.openstack.org/x-forwarded-for": "true" });
    let error = desired::check(&service_with(both), &settings()).unwrap_err();
    assert!(error.to_string().contains("cannot be used together"), "{error}");
    assert!(desired::check(&service("web", json!({}), json!({ "ports": [] })), &settings()).is_err());
    let ovn = Settings { lb_provider: "ovn".into(), ..settings() };
    assert!(desired::check(&service_with(prefixed("x-forwarded-for", "true")), &ovn).is_err());
    assert!(desired::check(&service_with(json!({})), &ovn).is_ok());
}

#[test]
fn what_octavia_lacks_is_told_and_left_out() {
    let annotated = prefixed("availability-zone", "az1");
    let spec = json!({ "loadBalancerSourceRanges": ["10.0.0.0/8"] });
    let round = Round { version: Version(2, 5), ..Round::new(service("web", annotated, spec)) };
    let wanted = round.desired().wanted.unwrap();
    let reasons: Vec<&str> = wanted.notes.iter().map(|note| note.reason).collect();
    assert_eq!(reasons, ["LoadBalancerSourceRangesIgnored", "LoadBalancerAvailabilityZonesIgnored"]);
    assert_eq!(wanted.load_balancer.availability_zone, None);
    let plain = Round { version: Version(2, 5), ..Round::new(service_with(json!({}))) };
    assert!(plain.desired().wanted.unwrap().notes.is_empty(), "nothing was asked for");
}
