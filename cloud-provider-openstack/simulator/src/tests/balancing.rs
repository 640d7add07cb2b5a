//! Octavia.

use serde_json::{Value, json};

use super::{World, texts};

const LBAAS: &str = "/load-balancer/v2.0/lbaas";

impl World {
    fn lbaas(&mut self, method: &str, path: &str, body: &Value) -> Value {
        self.good(method, &format!("{LBAAS}/{path}"), body)
    }

    fn lbaas_refused(&mut self, method: &str, path: &str, body: &Value) -> (u16, String) {
        self.refused(method, &format!("{LBAAS}/{path}"), body)
    }

    /// The ID of a new load balancer, which is `ACTIVE` by the next request.
    fn balancer(&mut self, more: &Value) -> String {
        let mut asked = json!({ "name": "lb", "vip_subnet_id": self.ids.subnet });
        asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let made = self.lbaas("POST", "loadbalancers", &json!({ "loadbalancer": asked }));
        made["loadbalancer"]["id"].as_str().unwrap().to_owned()
    }

    /// The ID of a new listener, pool or monitor.
    fn child(&mut self, kind: &str, asked: &Value) -> String {
        let made = self.lbaas("POST", &format!("{kind}s"), &json!({ kind: asked }));
        made[kind]["id"].as_str().unwrap().to_owned()
    }

    fn status(&mut self, path: &str) -> String {
        let found = self.lbaas("GET", path, &Value::Null);
        let one = found.as_object().unwrap().values().next().unwrap();
        one["provisioning_status"].as_str().unwrap().to_owned()
    }
}

fn full() -> Value {
    let pool = json!({ "name": "web", "protocol": "TCP", "lb_algorithm": "ROUND_ROBIN",
        "session_persistence": { "type": "SOURCE_IP" },
        "members": [{ "address": "10.20.0.5", "protocol_port": 30080 }, { "address": "10.20.0.6", "protocol_port": 30080 }],
        "healthmonitor": { "type": "TCP", "delay": 5, "timeout": 3, "max_retries": 1 } });
    json!({ "tags": ["t"], "listeners": [
        { "name": "web", "protocol": "TCP", "protocol_port": 80, "default_pool": pool },
        { "name": "dns", "protocol": "UDP", "protocol_port": 80 },
    ] })
}

#[test]
fn a_change_makes_the_whole_load_balancer_immutable_for_its_time() {
    let mut world = World::new(2);
    world.adjust(|knobs| {
        knobs.delays.load_balancer_create_ms = 2000;
        knobs.delays.load_balancer_update_ms = 500;
        knobs.delays.load_balancer_delete_ms = 1000;
    });
    let lb = world.balancer(&full());
    let one = format!("loadbalancers/{lb}");
    assert_eq!(world.status(&one), "PENDING_CREATE");
    let pool = texts(&world.lbaas("GET", "pools", &Value::Null)["pools"], "id").remove(0);
    assert_eq!(world.status(&format!("pools/{pool}")), "PENDING_CREATE");
    let member = json!({ "member": { "address": "10.20.0.7", "protocol_port": 1 } });
    assert_eq!(
        world.lbaas_refused("POST", &format!("pools/{pool}/members"), &member),
        (409, format!("Pool {pool} is immutable and cannot be updated."))
    );
    let listener = json!({ "listener": { "loadbalancer_id": lb, "protocol": "SCTP", "protocol_port": 9 } });
    assert_eq!(
        world.lbaas_refused("POST", "listeners", &listener),
        (409, format!("Load Balancer {lb} is immutable and cannot be updated."))
    );
    assert_eq!(
        world.lbaas_refused("PUT", &one, &json!({ "loadbalancer": { "name": "x" } })),
        (409, format!("Invalid state PENDING_CREATE of loadbalancer resource {lb}"))
    );
    assert_eq!(world.lbaas_refused("DELETE", &format!("{one}?cascade=true"), &Value::Null).0, 409);
    world.wait(2000);
    assert_eq!((world.status(&one), world.status(&format!("pools/{pool}"))), ("ACTIVE".into(), "ACTIVE".into()));
    world.lbaas("POST", &format!("pools/{pool}/members"), &member);
    assert_eq!(world.status(&one), "PENDING_UPDATE");
    let touched = world.lbaas("GET", "listeners?protocol=TCP", &Value::Null);
    assert_eq!(
        texts(&touched["listeners"], "provisioning_status"),
        ["PENDING_UPDATE"],
        "the pool's listener is touched"
    );
    world.wait(500);
    assert_eq!(world.status(&one), "ACTIVE");
    assert_eq!(
        world.lbaas_refused("DELETE", &one, &Value::Null),
        (400, format!("Validation failure: Cannot delete Load Balancer {lb} - it has children"))
    );
    let vip = world.lbaas("GET", &one, &Value::Null)["loadbalancer"]["vip_port_id"].as_str().unwrap().to_owned();
    world.lbaas("DELETE", &format!("{one}?cascade=true"), &Value::Null);
    assert_eq!(world.status(&one), "PENDING_DELETE");
    world.get(&format!("/networking/v2.0/ports/{vip}"));
    world.wait(1000);
    assert_eq!(world.lbaas_refused("GET", &one, &Value::Null), (404, format!("Load Balancer {lb} not found.")));
    assert_eq!(world.lbaas("GET", "pools", &Value::Null)["pools"], json!([]));
    assert_eq!(world.refused("GET", &format!("/networking/v2.0/ports/{vip}"), &Value::Null).0, 404);
}

#[test]
fn fully_populated_creation_answers_all_that_it_made() {
    let mut world = World::new(0);
    let mut asked = full();
    asked["name"] = json!("lb");
    asked["vip_subnet_id"] = json!(world.ids.subnet);
    let made = world.lbaas("POST", "loadbalancers", &json!({ "loadbalancer": asked }))["loadbalancer"].clone();
    assert_eq!(texts(&made["listeners"], "name"), ["web", "dns"]);
    let pool = &made["pools"][0];
    assert_eq!((pool["members"].as_array().unwrap().len(), &pool["healthmonitor"]["type"]), (2, &json!("TCP")));
    assert_eq!(made["listeners"][0]["default_pool_id"], pool["id"]);
    assert_eq!(made["vip_address"], "10.20.0.2");
    let read = world.lbaas("GET", &format!("loadbalancers/{}", made["id"].as_str().unwrap()), &Value::Null);
    assert_eq!(read["loadbalancer"]["pools"], json!([{ "id": pool["id"] }]));
    let read = world.lbaas("GET", &format!("pools/{}", pool["id"].as_str().unwrap()), &Value::Null)["pool"].clone();
    assert_eq!(read["listeners"], json!([{ "id": made["listeners"][0]["id"] }]));
    assert_eq!(read["session_persistence"]["cookie_name"], Value::Null);
    assert!(read["healthmonitor_id"].is_string());
    asked["listeners"][1]["default_pool"] = json!({ "name": "other" });
    let (status, text) = world.lbaas_refused("POST", "loadbalancers", &json!({ "loadbalancer": asked }));
    assert!(status == 400 && text.contains("'other' was referenced but no full definition"), "{text}");
    assert_eq!(world.core.frame.state.load_balancers.len(), 1, "a refused request leaves nothing");
    asked["listeners"][1] = json!({ "protocol": "HTTP", "protocol_port": 80 });
    assert_eq!(world.lbaas_refused("POST", "loadbalancers", &json!({ "loadbalancer": asked })).0, 409);
}

#[test]
fn listeners_share_a_port_only_below_other_protocols() {
    let mut world = World::new(0);
    let lb = world.balancer(&json!({}));
    let listener = |protocol: &str| json!({ "loadbalancer_id": lb, "protocol": protocol, "protocol_port": 443 });
    world.child("listener", &listener("HTTPS"));
    world.child("listener", &listener("UDP"));
    for protocol in ["TCP", "HTTP", "HTTPS"] {
        let (status, text) = world.lbaas_refused("POST", "listeners", &json!({ "listener": listener(protocol) }));
        assert_eq!(
            (status, text.as_str()),
            (409, "Another Listener on this Load Balancer is already using protocol HTTPS and protocol_port 443")
        );
    }
    for (change, text) in [
        (json!({ "protocol": "tcp" }), "Invalid input for field/attribute protocol. Value: 'tcp'."),
        (json!({ "protocol_port": 0 }), "Invalid input for field/attribute protocol_port. Value: '0'."),
        (json!({ "colour": 1 }), "Unknown attribute: colour"),
        (
            json!({ "protocol": "TERMINATED_HTTPS", "protocol_port": 1 }),
            "Validation failure: An SNI or default certificate",
        ),
        (
            json!({ "protocol": "TCP", "protocol_port": 1, "insert_headers": { "X-Forwarded-For": "true" } }),
            "insert-headers is not",
        ),
        (
            json!({ "protocol": "TCP", "protocol_port": 1, "allowed_cidrs": ["::/0"] }),
            "Validation failure: CIDR ::/0 IP version",
        ),
        (
            json!({ "protocol": "TCP", "protocol_port": 1, "allowed_cidrs": ["10.0.0.1"] }),
            "Invalid input for field/attribute allowed_cidrs",
        ),
    ] {
        let mut asked = listener("TCP");
        asked.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let (status, found) = world.lbaas_refused("POST", "listeners", &json!({ "listener": asked }));
        assert!(status == 400 && found.starts_with(text), "{change}: {status} {found}");
    }
}

#[test]
fn pools_fit_their_listener_and_leave_it_when_they_go() {
    let mut world = World::new(0);
    let lb = world.balancer(&json!({}));
    let listener = world.child("listener", &json!({ "loadbalancer_id": lb, "protocol": "TCP", "protocol_port": 80 }));
    let pool = |protocol: &str| json!({ "listener_id": listener, "protocol": protocol, "lb_algorithm": "ROUND_ROBIN" });
    assert_eq!(world.lbaas_refused("POST", "pools", &json!({ "pool": pool("UDP") })).0, 400);
    let id = world.child("pool", &pool("PROXYV2"));
    assert_eq!(
        world.lbaas_refused("POST", "pools", &json!({ "pool": pool("TCP") })),
        (409, "This listener already has a default pool".into())
    );
    let monitor =
        json!({ "pool_id": id, "type": "HTTP", "delay": 5, "timeout": 3, "max_retries": 1, "url_path": "/healthz" });
    let made = world.child("healthmonitor", &monitor);
    assert_eq!(world.lbaas_refused("POST", "healthmonitors", &json!({ "healthmonitor": monitor })).0, 409);
    let seen = world.lbaas("GET", &format!("healthmonitors/{made}"), &Value::Null)["healthmonitor"].clone();
    assert_eq!(
        (&seen["expected_codes"], &seen["max_retries_down"], &seen["http_method"]),
        (&json!("200"), &json!(3), &json!("GET"))
    );
    let (_, text) = world.lbaas_refused("PUT", &format!("pools/{id}"), &json!({ "pool": { "lb_algorithm": null } }));
    assert_eq!(text, "None is not a valid option for lb_algorithm");
    world.lbaas("DELETE", &format!("pools/{id}"), &Value::Null);
    assert_eq!(
        world.lbaas("GET", &format!("listeners/{listener}"), &Value::Null)["listener"]["default_pool_id"],
        Value::Null
    );
    assert_eq!(world.lbaas("GET", "healthmonitors", &Value::Null)["healthmonitors"], json!([]));
}

#[test]
fn members_are_replaced_or_added_in_one_request() {
    let mut world = World::new(0);
    let lb = world.balancer(&json!({}));
    let pool = world.child("pool", &json!({ "loadbalancer_id": lb, "protocol": "TCP", "lb_algorithm": "ROUND_ROBIN" }));
    let path = format!("pools/{pool}/members");
    let member =
        |last: u8| json!({ "address": format!("10.20.0.{last}"), "protocol_port": 30080, "name": format!("n{last}") });
    let body = |all: &[u8]| json!({ "members": all.iter().map(|last| member(*last)).collect::<Vec<_>>() });
    let names = |world: &mut World| {
        let mut names = texts(&world.lbaas("GET", &path, &Value::Null)["members"], "name");
        names.sort();
        names
    };
    let put = |world: &mut World, query: &str, body: &Value| {
        world.send("PUT", &format!("{LBAAS}/{path}{query}"), body).status
    };
    assert_eq!(put(&mut world, "", &body(&[1, 2, 3])), 202);
    assert_eq!(names(&mut world), ["n1", "n2", "n3"]);
    let before = world.lbaas("GET", &path, &Value::Null)["members"][0].clone();
    assert_eq!(put(&mut world, "?additive_only=true", &body(&[4])), 202);
    assert_eq!(names(&mut world), ["n1", "n2", "n3", "n4"]);
    let mut kept = member(1);
    kept["weight"] = json!(7);
    assert_eq!(put(&mut world, "", &json!({ "members": [kept] })), 202);
    let after = world.lbaas("GET", &path, &Value::Null)["members"].clone();
    assert_eq!((after.as_array().unwrap().len(), &after[0]["id"], &after[0]["weight"]), (1, &before["id"], &json!(7)));
    assert_eq!(put(&mut world, "", &body(&[1, 1])), 400, "updated twice");
    assert_eq!(put(&mut world, "", &body(&[5, 5])), 409, "made twice");
    assert_eq!(names(&mut world), ["n1"], "refused as a whole");
    assert_eq!(world.lbaas_refused("POST", &path, &json!({ "member": member(1) })).0, 409);
    assert_eq!(put(&mut world, "", &json!({ "members": [] })), 202);
    assert_eq!(names(&mut world), [""; 0]);
    world.adjust(|knobs| knobs.quotas.members = Some(2));
    assert_eq!(
        world.lbaas_refused("PUT", &path, &body(&[1, 2, 3])),
        (403, "Quota has been met for resources: Member".into())
    );
    world.adjust(|knobs| knobs.release.octavia_minor = 10);
    assert_eq!(put(&mut world, "", &body(&[1, 2])), 202);
    assert_eq!(put(&mut world, "?additive_only=true", &body(&[2])), 202);
    assert_eq!(names(&mut world), ["n2"], "before v2.11 nothing is additive");
}

#[test]
fn broken_load_balancers_are_repaired_by_failover_or_removed() {
    let mut world = World::new(0);
    world.adjust(|knobs| _ = knobs.failing_load_balancers.insert("l*".into()));
    let lb = world.balancer(&full());
    let one = format!("loadbalancers/{lb}");
    assert_eq!(world.status(&one), "ERROR");
    assert_eq!(world.lbaas_refused("PUT", &one, &json!({ "loadbalancer": { "name": "x" } })).0, 409);
    world.adjust(|knobs| knobs.failing_load_balancers.clear());
    assert_eq!(world.lbaas_refused("PUT", &format!("{one}/failover"), &Value::Null).0, 403, "only for administrators");
    world.log_in("admin", "demo");
    world.lbaas("PUT", &format!("{one}/failover"), &Value::Null);
    let listeners = world.lbaas("GET", "listeners", &Value::Null);
    assert_eq!(
        (world.status(&one), texts(&listeners["listeners"], "provisioning_status")),
        ("ACTIVE".into(), vec!["ACTIVE".to_owned(); 2])
    );
    world.core.frame.state.load_balancers.get_mut(&lb).unwrap().insert("provisioning_status".into(), json!("ERROR"));
    world.lbaas("DELETE", &format!("{one}?cascade=true"), &Value::Null);
    assert_eq!(world.lbaas_refused("GET", &one, &Value::Null).0, 404);
}

#[test]
fn ovn_does_less() {
    let mut world = World::new(0);
    let lb = world.balancer(&json!({ "provider": "ovn" }));
    let listener = |more: Value| {
        let mut asked = json!({ "loadbalancer_id": lb, "protocol": "TCP", "protocol_port": 80 });
        asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "listener": asked })
    };
    for (kind, asked) in [
        ("listeners", listener(json!({ "protocol": "HTTP" }))),
        ("listeners", listener(json!({ "allowed_cidrs": ["0.0.0.0/0"] }))),
        ("pools", json!({ "pool": { "loadbalancer_id": lb, "protocol": "TCP", "lb_algorithm": "ROUND_ROBIN" } })),
        ("pools", json!({ "pool": { "loadbalancer_id": lb, "protocol": "PROXY", "lb_algorithm": "SOURCE_IP_PORT" } })),
    ] {
        let (status, text) = world.lbaas_refused("POST", kind, &asked);
        assert!(
            status == 501 && text.starts_with("Provider 'ovn' does not support a requested option"),
            "{asked}: {text}"
        );
    }
    let pool =
        world.child("pool", &json!({ "loadbalancer_id": lb, "protocol": "TCP", "lb_algorithm": "SOURCE_IP_PORT" }));
    let monitor = |kind: &str| json!({ "pool_id": pool, "type": kind, "delay": 5, "timeout": 3, "max_retries": 1 });
    assert_eq!(world.lbaas_refused("POST", "healthmonitors", &json!({ "healthmonitor": monitor("HTTP") })).0, 501);
    world.child("healthmonitor", &monitor("TCP"));
    let zone =
        json!({ "loadbalancer": { "vip_subnet_id": world.ids.subnet, "provider": "ovn", "availability_zone": "z" } });
    world
        .core
        .frame
        .state
        .lb_zones
        .insert(json!({ "id": "z", "name": "z", "enabled": true }).as_object().unwrap().clone());
    assert_eq!(world.lbaas_refused("POST", "loadbalancers", &zone).0, 501);
    let unknown = json!({ "loadbalancer": { "vip_subnet_id": world.ids.subnet, "provider": "f5" } });
    assert_eq!(world.lbaas_refused("POST", "loadbalancers", &unknown), (400, "Provider 'f5' is not enabled.".into()));
}

#[test]
fn old_versions_know_less() {
    let mut world = World::new(0);
    world.adjust(|knobs| knobs.release.octavia_minor = 4);
    let (status, text) = world.lbaas_refused(
        "POST",
        "loadbalancers",
        &json!({ "loadbalancer": { "vip_subnet_id": world.ids.subnet, "tags": [] } }),
    );
    assert_eq!((status, text.as_str()), (400, "Unknown attribute: tags"));
    let lb = world.balancer(&json!({}));
    let seen = world.lbaas("GET", &format!("loadbalancers/{lb}"), &Value::Null)["loadbalancer"].clone();
    assert!(seen.get("tags").is_none() && seen.get("availability_zone").is_none() && seen.get("flavor_id").is_none());
    let asked =
        json!({ "listener": { "loadbalancer_id": lb, "protocol": "TCP", "protocol_port": 1, "allowed_cidrs": [] } });
    assert_eq!(world.lbaas_refused("POST", "listeners", &asked).1, "Unknown attribute: allowed_cidrs");
    let listener = world.child(
        "listener",
        &json!({ "loadbalancer_id": lb, "protocol": "TCP", "protocol_port": 1, "timeout_client_data": 7 }),
    );
    let seen = world.lbaas("GET", &format!("listeners/{listener}"), &Value::Null)["listener"].clone();
    assert_eq!((&seen["timeout_client_data"], &seen["timeout_member_data"]), (&json!(7), &json!(50000)));
}

#[test]
fn addresses_come_from_ports_subnets_networks_or_the_request() {
    let mut world = World::new(0);
    let ids = world.ids.clone();
    let ask = |asked: Value| json!({ "loadbalancer": asked });
    let made =
        world.lbaas("POST", "loadbalancers", &ask(json!({ "vip_network_id": ids.network })))["loadbalancer"].clone();
    assert_eq!((&made["vip_subnet_id"], &made["vip_address"]), (&json!(ids.subnet), &json!("10.20.0.2")));
    let made = world.lbaas(
        "POST",
        "loadbalancers",
        &ask(json!({ "vip_network_id": ids.network, "vip_address": "10.20.3.3" })),
    );
    assert_eq!(made["loadbalancer"]["vip_address"], "10.20.3.3");
    assert_eq!(
        world
            .lbaas_refused(
                "POST",
                "loadbalancers",
                &ask(json!({ "vip_subnet_id": ids.subnet, "vip_address": "10.20.3.3" }))
            )
            .0,
        409
    );
    assert_eq!(world.lbaas_refused("POST", "loadbalancers", &ask(json!({}))).0, 400);
    assert_eq!(
        world.lbaas_refused("POST", "loadbalancers", &ask(json!({ "vip_subnet_id": ids.network }))).1,
        format!("Subnet {} not found.", ids.network)
    );
    let port =
        world.good("POST", "/networking/v2.0/ports", &json!({ "port": { "network_id": ids.network } }))["port"].clone();
    let made = world.lbaas("POST", "loadbalancers", &ask(json!({ "vip_port_id": port["id"] })))["loadbalancer"].clone();
    assert_eq!(made["vip_address"], port["fixed_ips"][0]["ip_address"]);
    assert_eq!(
        world.lbaas_refused("POST", "loadbalancers", &ask(json!({ "vip_port_id": port["id"] }))).0,
        400,
        "in use"
    );
    world.lbaas("DELETE", &format!("loadbalancers/{}", made["id"].as_str().unwrap()), &Value::Null);
    world.get(LBAAS.replace("/lbaas", "/lbaas/loadbalancers").as_str());
    let kept = world.get(&format!("/networking/v2.0/ports/{}", port["id"].as_str().unwrap()))["port"].clone();
    assert_eq!(kept["device_id"], "", "a port that was given stays");
}

#[test]
fn busy_workers_make_changes_wait() {
    let mut world = World::new(0);
    world.adjust(|knobs| {
        knobs.delays.load_balancer_create_ms = 1000;
        knobs.octavia_workers = Some(2);
    });
    let all: Vec<String> = (0..4).map(|_| world.balancer(&json!({}))).collect();
    let active =
        |world: &mut World| all.iter().filter(|id| world.status(&format!("loadbalancers/{id}")) == "ACTIVE").count();
    world.wait(1000);
    assert_eq!(active(&mut world), 2);
    world.wait(1000);
    assert_eq!(active(&mut world), 4);
}

#[test]
fn lists_are_filtered_by_name_owner_and_tags() {
    let mut world = World::new(0);
    let (a, b) = (
        world.balancer(&json!({ "name": "a", "tags": ["x", "y"] })),
        world.balancer(&json!({ "name": "b", "tags": ["x"] })),
    );
    world.child("listener", &json!({ "loadbalancer_id": a, "protocol": "TCP", "protocol_port": 1 }));
    for (query, expected) in [
        ("name=a", vec![&a]),
        ("tags=x,y", vec![&a]),
        ("tags-any=x,y", vec![&a, &b]),
        ("not-tags=x,y", vec![&b]),
        ("provisioning_status=ACTIVE", vec![&a, &b]),
        ("name=none", vec![]),
    ] {
        let found = texts(&world.lbaas("GET", &format!("loadbalancers?{query}"), &Value::Null)["loadbalancers"], "id");
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{query}");
    }
    let of = |world: &mut World, lb: &str| {
        world.lbaas("GET", &format!("listeners?loadbalancer_id={lb}"), &Value::Null)["listeners"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!((of(&mut world, &a), of(&mut world, &b)), (1, 0));
    assert_eq!(world.lbaas_refused("GET", "loadbalancers?colour=blue", &Value::Null).0, 400);
    let page = world.lbaas("GET", "loadbalancers?provisioning_status=ACTIVE&limit=1", &Value::Null);
    assert_eq!(texts(&page["loadbalancers_links"], "rel"), ["next"]);
    let next = page.pointer("/loadbalancers_links/0/href").and_then(Value::as_str).unwrap();
    assert!(next.ends_with(&format!("/loadbalancers?limit=1&marker={a}")), "links have no filters: {next}");
    assert_eq!(world.lbaas("GET", "loadbalancers?limit=3", &Value::Null)["loadbalancers_links"], json!([]));
    let status = world.lbaas("GET", &format!("loadbalancers/{a}/status"), &Value::Null);
    assert_eq!(status.pointer("/statuses/loadbalancer/listeners/0/provisioning_status"), Some(&json!("ACTIVE")));
}
