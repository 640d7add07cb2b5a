//! Neutron.

use serde_json::{Value, json};

use super::{World, texts};
use crate::document::Fields as _;

const PORTS: &str = "/networking/v2.0/ports";

impl World {
    fn node_port(&mut self) -> Value {
        let ports = self.get(&format!("{PORTS}?device_owner=compute%3Anova"));
        ports["ports"][0].clone()
    }

    fn put_port(&mut self, id: &str, port: &Value) -> Value {
        self.good("PUT", &format!("{PORTS}/{id}"), &json!({ "port": port }))["port"].clone()
    }

    fn group(&mut self, name: &str) -> String {
        let made =
            self.good("POST", "/networking/v2.0/security-groups", &json!({ "security_group": { "name": name } }));
        made["security_group"]["id"].as_str().unwrap().to_owned()
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap()
}

#[test]
fn lists_are_filtered_paged_sorted_and_cut_to_fields() {
    let mut world = World::new(5);
    let port = world.node_port();
    let address = port.pointer("/fixed_ips/0/ip_address").unwrap().as_str().unwrap().to_owned();
    for (query, count) in [
        (format!("device_id={}", text(&port, "device_id")), 1),
        (format!("fixed_ips=ip_address%3D{address}&network_id={}", world.ids.network), 1),
        (format!("fixed_ips=subnet_id%3D{}", world.ids.subnet), 6),
        (format!("security_groups={}", world.ids.security_group), 5),
        ("status=active".into(), 6),
        ("admin_state_up=False".into(), 0),
        ("device_owner=compute:nova&device_owner=network:router_interface".into(), 6),
        ("name=".into(), 6),
    ] {
        let found = world.get(&format!("{PORTS}?{query}"));
        assert_eq!(found["ports"].as_array().unwrap().len(), count, "{query}");
    }
    assert_eq!(
        world.refused("GET", &format!("{PORTS}?colour=blue"), &Value::Null),
        (400, "['colour'] is invalid attribute for filtering".into())
    );
    let page = world.get(&format!("{PORTS}?limit=4&fields=id&fields=name"));
    assert_eq!((page["ports"].as_array().unwrap().len(), page["ports"][0].as_object().unwrap().len()), (4, 2));
    assert_eq!(texts(&page["ports_links"], "rel"), ["next", "previous"]);
    let next = page.pointer("/ports_links/0/href").unwrap().as_str().unwrap();
    let rest = world.get(next.strip_prefix("http://127.0.0.1:1").unwrap());
    assert_eq!(
        (rest["ports"].as_array().unwrap().len(), texts(&rest["ports_links"], "rel")),
        (2, vec!["previous".into()])
    );
    assert!(world.get(PORTS)["ports_links"].is_null(), "links only with a limit");
    let macs = texts(&world.get(&format!("{PORTS}?sort_key=mac_address&sort_dir=desc"))["ports"], "mac_address");
    assert!(macs.is_sorted_by(|a, b| a >= b), "{macs:?}");
    assert!(world.get("/networking/v2.0/subnets/")["subnets"].is_array(), "an empty ID is the list");
}

#[test]
fn negated_tags_leave_out_what_has_all_or_any() {
    let mut world = World::new(3);
    let ids = texts(&world.get(&format!("{PORTS}?device_owner=compute:nova"))["ports"], "id");
    for (id, tags) in ids.iter().zip([json!(["a", "b"]), json!(["a"]), json!([])]) {
        world.good("PUT", &format!("{PORTS}/{id}/tags"), &json!({ "tags": tags }));
    }
    for (query, expected) in [
        ("tags=a,b", vec![0]),
        ("tags-any=a,b", vec![0, 1]),
        ("not-tags=a,b", vec![1, 2]),
        ("not-tags-any=a,b", vec![2]),
    ] {
        let found = texts(&world.get(&format!("{PORTS}?device_owner=compute:nova&{query}"))["ports"], "id");
        let expected: Vec<String> = expected.into_iter().map(|place: usize| ids[place].clone()).collect();
        assert_eq!(found, expected, "{query}");
    }
    let tag = format!("{PORTS}/{}/tags/c", ids[2]);
    assert_eq!(world.send("PUT", &tag, &Value::Null).status, 201);
    assert_eq!(world.send("GET", &tag, &Value::Null).status, 204);
    assert_eq!(world.send("DELETE", &tag, &Value::Null).status, 204);
    assert_eq!(world.refused("DELETE", &tag, &Value::Null).0, 404);
}

#[test]
fn security_groups_are_checked_used_and_held() {
    let mut world = World::new(1);
    let (port, group) = (world.node_port(), world.group("lb-sg"));
    let path = "/networking/v2.0/security-group-rules";
    let rule = |more: Value| {
        let mut rule = json!({ "security_group_id": group, "direction": "ingress", "ethertype": "IPv4", "protocol": "tcp",
            "port_range_min": 80, "port_range_max": 80, "remote_ip_prefix": "10.20.0.0/16" });
        rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "security_group_rule": rule })
    };
    let own = world.get(&format!("{path}?security_group_id={group}"));
    assert_eq!(texts(&own["security_group_rules"], "direction"), ["egress", "egress"]);
    let made = world.good("POST", path, &rule(json!({ "protocol": "TCP" })));
    assert_eq!(made["security_group_rule"]["protocol"], "tcp");
    for (change, status, kind) in [
        (json!({}), 409, "SecurityGroupRuleExists"),
        (json!({ "ethertype": "IPv6" }), 400, "SecurityGroupRuleParameterConflict"),
        (json!({ "port_range_min": 90 }), 400, "SecurityGroupInvalidPortRange"),
        (json!({ "protocol": null }), 400, "SecurityGroupProtocolRequiredWithPorts"),
        (json!({ "protocol": "tpc" }), 400, "SecurityGroupRuleInvalidProtocol"),
        (json!({ "security_group_id": world.ids.network }), 404, "SecurityGroupNotFound"),
        (json!({ "colour": "blue" }), 400, "HTTPBadRequest"),
    ] {
        let got = world.send("POST", path, &rule(change.clone()));
        assert_eq!((got.status, &got.body["NeutronError"]["type"]), (status, &json!(kind)), "{change}: {}", got.body);
    }
    let many = json!({ "security_group_rules": [rule(json!({ "port_range_max": 81 }))["security_group_rule"],
        rule(json!({ "port_range_max": 82 }))["security_group_rule"]] });
    assert_eq!(world.good("POST", path, &many)["security_group_rules"].as_array().unwrap().len(), 2);

    let mut groups = texts(&json!([{ "id": world.ids.security_group }]), "id");
    groups.push(group.clone());
    let id = text(&port, "id").to_owned();
    world.put_port(&id, &json!({ "security_groups": groups }));
    assert_eq!(texts(&world.get(&format!("{PORTS}?security_groups={group}"))["ports"], "id"), [id.as_str()]);
    let delete = format!("/networking/v2.0/security-groups/{group}");
    assert_eq!(world.refused("DELETE", &delete, &Value::Null), (409, format!("Security Group {group} in use.")));
    world.put_port(&id, &json!({ "security_groups": [world.ids.security_group.clone()] }));
    world.good("DELETE", &delete, &Value::Null);
    assert_eq!(world.get(&format!("{path}?security_group_id={group}"))["security_group_rules"], json!([]));
    world.adjust(|knobs| knobs.quotas.security_groups = Some(1));
    let got = world.send("POST", "/networking/v2.0/security-groups", &json!({ "security_group": { "name": "x" } }));
    assert_eq!((got.status, &got.body["NeutronError"]["type"]), (409, &json!("OverQuota")));
}

#[test]
fn address_pairs_need_port_security_and_have_a_limit() {
    let mut world = World::new(1);
    let port = world.node_port();
    let id = text(&port, "id").to_owned();
    let pairs =
        |count: usize| -> Value { (0..count).map(|n| json!({ "ip_address": format!("10.244.{n}.0/24") })).collect() };
    let changed = world.put_port(&id, &json!({ "allowed_address_pairs": pairs(2) }));
    assert_eq!(
        changed["allowed_address_pairs"][1],
        json!({ "ip_address": "10.244.1.0/24", "mac_address": port["mac_address"] })
    );
    let path = format!("{PORTS}/{id}");
    assert_eq!(world.refused("PUT", &path, &json!({ "port": { "allowed_address_pairs": pairs(11) } })).0, 400);
    let twice =
        json!({ "port": { "allowed_address_pairs": [{ "ip_address": "1.2.3.4" }, { "ip_address": "1.2.3.4" }] } });
    assert_eq!(world.refused("PUT", &path, &twice).0, 400);
    assert_eq!(world.refused("PUT", &path, &json!({ "port": { "port_security_enabled": false } })).0, 409);
    let revision = changed["revision_number"].as_i64().unwrap();
    let match_header = format!("revision_number={}", revision - 1);
    let got = world.send_with("PUT", &path, &[("if-match", &match_header)], &json!({ "port": { "name": "x" } }));
    assert_eq!((got.status, &got.body["NeutronError"]["type"]), (412, &json!("RevisionNumberConstraintFailed")));
    world.adjust(|knobs| _ = knobs.release.neutron_without.insert("allowed-address-pairs".into()));
    assert!(world.get(&path)["port"]["allowed_address_pairs"].is_null());
    assert_eq!(world.refused("PUT", &path, &json!({ "port": { "allowed_address_pairs": [] } })).0, 400);
}

#[test]
fn floating_ips_lead_to_ports_that_a_router_reaches() {
    let mut world = World::new(2);
    let port = world.node_port();
    let (path, public) = ("/networking/v2.0/floatingips", world.ids.public_network.clone());
    let ask = |more: Value| {
        let mut asked = json!({ "floating_network_id": public });
        asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "floatingip": asked })
    };
    let made =
        world.good("POST", path, &ask(json!({ "port_id": port["id"], "description": "mine" })))["floatingip"].clone();
    assert_eq!((&made["status"], &made["router_id"]), (&json!("ACTIVE"), &json!(world.ids.router)));
    assert_eq!(made["port_details"]["device_id"], port["device_id"]);
    let (status, text_of) = world.refused("POST", path, &ask(json!({ "port_id": port["id"] })));
    assert!(status == 409 && text_of.contains("already has a floating IP"), "{text_of}");
    assert_eq!(world.refused("POST", path, &ask(json!({ "floating_ip_address": "203.0.113.99" }))).0, 403);
    assert_eq!(world.refused("POST", path, &ask(json!({ "floating_network_id": world.ids.network }))).0, 400);
    assert_eq!(
        texts(&world.get(&format!("{path}?port_id={}", text(&port, "id")))["floatingips"], "id"),
        [text(&made, "id")]
    );
    let one = format!("{path}/{}", text(&made, "id"));
    let kept = world.good("PUT", &one, &json!({ "floatingip": { "description": "still" } }));
    assert_eq!(kept["floatingip"]["port_id"], port["id"], "a body with another key leaves the port");
    let free = world.good("PUT", &one, &json!({ "floatingip": {} }));
    assert_eq!((&free["floatingip"]["port_id"], &free["floatingip"]["status"]), (&Value::Null, &json!("DOWN")));
    world.good("PUT", &one, &json!({ "floatingip": { "port_id": port["id"] } }));
    assert_eq!(
        world.good("PUT", &one, &json!({ "floatingip": { "port_id": null } }))["floatingip"]["port_id"],
        Value::Null
    );
    let second = world.ids.public_subnets[1].clone();
    let other = world.good("POST", path, &ask(json!({ "subnet_id": second })));
    assert!(text(&other["floatingip"], "floating_ip_address").starts_with("198.51.100."));
    world.core.frame.policy =
        world.core.frame.policy.clone().requiring("neutron:create_floatingip:floating_ip_address", &["member"]);
    let asked = world.good("POST", path, &ask(json!({ "floating_ip_address": "203.0.113.99" })));
    assert_eq!(asked["floatingip"]["floating_ip_address"], "203.0.113.99");
    assert_eq!(world.refused("POST", path, &ask(json!({ "floating_ip_address": "203.0.113.99" }))).0, 409);
    assert_eq!(world.refused("POST", path, &ask(json!({ "floating_ip_address": "9.9.9.9" }))).0, 400);
    world.adjust(|knobs| knobs.quotas.floating_ips = Some(3));
    assert_eq!(world.refused("POST", path, &ask(json!({}))).1, "Quota exceeded for resources: ['floatingip'].");
    world.good("DELETE", &one, &Value::Null);
    world.good("POST", path, &ask(json!({})));
}

#[test]
fn extra_routes_are_added_and_removed_atomically() {
    let mut world = World::new(3);
    let router = format!("/networking/v2.0/routers/{}", world.ids.router);
    let hop = |n: u8| format!("10.20.0.{n}");
    let route = |n: u8| json!({ "destination": format!("10.244.{n}.0/24"), "nexthop": hop(n + 1) });
    let body = |routes: Vec<Value>| json!({ "router": { "routes": routes } });
    let (add, remove) = (format!("{router}/add_extraroutes"), format!("{router}/remove_extraroutes"));
    world.good("PUT", &add, &body(vec![route(1), route(2)]));
    let after = world.good("PUT", &add, &body(vec![route(2), route(3)]));
    assert_eq!(after["router"]["routes"], json!([route(1), route(2), route(3)]));
    let after = world.good("PUT", &remove, &body(vec![route(1), route(9)]));
    assert_eq!(after["router"]["routes"], json!([route(2), route(3)]));
    let far = json!({ "destination": "10.244.0.0/24", "nexthop": "192.0.2.1" });
    let (status, reason) = world.refused("PUT", &add, &body(vec![far]));
    assert!(status == 400 && reason.ends_with("the nexthop is not connected with router"), "{reason}");
    let own = json!({ "destination": "10.244.0.0/24", "nexthop": "10.20.0.1" });
    assert!(world.refused("PUT", &router, &body(vec![own])).1.ends_with("the nexthop is used by router"));
    world.good("PUT", &router, &body(vec![route(5)]));
    assert_eq!(world.get(&router)["router"]["routes"], json!([route(5)]));
    world.adjust(|knobs| knobs.release.max_routes = 1);
    assert_eq!(world.refused("PUT", &add, &body(vec![route(6)])).0, 409);
    world.adjust(|knobs| _ = knobs.release.neutron_without.insert("extraroute-atomic".into()));
    assert_eq!(world.refused("PUT", &remove, &body(vec![route(5)])).0, 404);
    let aliases = texts(&world.get("/networking/v2.0/extensions")["extensions"], "alias");
    assert!(aliases.contains(&"extraroute".into()) && !aliases.contains(&"extraroute-atomic".into()));
}

#[test]
fn ports_get_addresses_and_show_their_trunks() {
    let mut world = World::new(1);
    let network = world.ids.network.clone();
    let make = |more: Value| {
        let mut port = json!({ "network_id": network });
        port.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "port": port })
    };
    let made = world.good("POST", PORTS, &make(json!({})))["port"].clone();
    assert_eq!(made["security_groups"], json!([world.ids.security_group]));
    let asked = json!({ "fixed_ips": [{ "ip_address": "10.20.7.7" }] });
    let sub = world.good("POST", PORTS, &make(asked.clone()))["port"].clone();
    assert_eq!(sub["fixed_ips"], json!([{ "subnet_id": world.ids.subnet, "ip_address": "10.20.7.7" }]));
    assert_eq!(world.refused("POST", PORTS, &make(asked)).0, 409);
    assert_eq!(world.refused("POST", PORTS, &make(json!({ "fixed_ips": [{ "ip_address": "9.9.9.9" }] }))).0, 400);
    let parent = world.node_port();
    let trunk = json!({ "id": world.ids.router, "name": "t", "port_id": parent["id"], "project_id": world.ids.project,
        "sub_ports": [{ "port_id": sub["id"], "segmentation_id": 7, "segmentation_type": "vlan" }] });
    world.core.frame.state.trunks.insert(trunk.as_object().unwrap().clone());
    let seen = world.node_port();
    assert_eq!(seen["trunk_details"]["sub_ports"][0]["mac_address"], sub["mac_address"]);
    assert!(made.get("trunk_details").is_none() && seen.get("binding:host_id").is_none());
    assert_eq!(world.refused("DELETE", &format!("{PORTS}/{}", text(&parent, "id")), &Value::Null).0, 403);
    world.good("DELETE", &format!("{PORTS}/{}", text(&made, "id")), &Value::Null);
    let server = text(&parent, "device_id").to_owned();
    world.good("DELETE", &format!("/compute/v2.1/servers/{server}"), &Value::Null);
    assert!(world.core.frame.state.ports.values().all(|port| port.text("device_id") != server));
}
