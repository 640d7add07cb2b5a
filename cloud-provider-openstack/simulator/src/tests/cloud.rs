//! What all services share: faults, limits, stale reads, picked writes, the call log; and Nova.

use cloud_provider_simulation::at_write::Picked;
use serde_json::{Value, json};

use super::{World, texts};
use crate::{AtWrite, Effect, Fault, RateLimit, core::Answer};

const SERVERS: &str = "/compute/v2.1/servers/detail";
const NETWORKS: &str = "/networking/v2.0/networks";

#[test]
fn faults_strike_before_or_after_the_write() {
    let mut world = World::new(0);
    let group = json!({ "security_group": { "name": "a" } });
    let path = "/networking/v2.0/security-groups";
    world.core.frame.knobs.faults.push(Fault::error("neutron.CreateSecurityGroup", "503").times(1));
    let got = world.send("POST", path, &group);
    assert_eq!((got.status, got.header("retry-after")), (503, "1"));
    assert_eq!(world.core.frame.state.security_groups.len(), 1);
    world.core.frame.knobs.faults.push(Fault { after: true, ..Fault::error("CreateSecurityGroup", "500") }.times(1));
    assert_eq!(world.send("POST", path, &group).status, 500);
    assert_eq!(world.core.frame.state.security_groups.len(), 2, "carried out, though an error was answered");
    world.core.frame.knobs.faults.push(Fault::lost_answer("neutron.*").times(1));
    assert_eq!(world.answer("POST", path, &[], &group), Answer::Disconnect);
    assert_eq!(world.core.frame.state.security_groups.len(), 3);
    world.core.frame.knobs.faults.push(Fault::error("ListNetworks", "OverQuota").times(1));
    assert_eq!(world.send("GET", NETWORKS, &Value::Null).body["NeutronError"]["type"], "OverQuota");
    let truncated = Fault { effect: Effect::Truncate, ..Fault::error("ListNetworks", "") }.times(1);
    world.core.frame.knobs.faults.push(truncated);
    let Answer::Document { status: 200, body, .. } = world.answer("GET", NETWORKS, &[], &Value::Null) else { panic!() };
    assert!(serde_json::from_str::<Value>(&body).is_err());
    let outcomes: Vec<_> =
        world.core.frame.calls.calls().iter().map(|call| (call.outcome.clone(), call.executed)).collect();
    let expected = [("503", false), ("500", true), ("Disconnect", true), ("409", false), ("Truncate", false)];
    assert_eq!(outcomes, expected.map(|(outcome, executed)| (outcome.to_owned(), executed)));
}

#[test]
fn too_many_calls_are_told_when_to_come_again() {
    let mut world = World::new(0);
    world
        .adjust(|knobs| knobs.rate_limits.push(RateLimit { action: "neutron.*".into(), burst: 2.0, per_second: 0.25 }));
    world.get(NETWORKS);
    world.get(NETWORKS);
    let got = world.send("GET", NETWORKS, &Value::Null);
    assert_eq!((got.status, got.header("retry-after")), (429, "4"));
    world.get(SERVERS);
    world.wait(4000);
    world.get(NETWORKS);
}

#[test]
fn stale_reads_see_the_past_while_writes_see_the_present() {
    let mut world = World::new(2);
    let now = world.now;
    world.core.frame.freeze("nova.*", 5000, now);
    let id = world.get(SERVERS)["servers"][0]["id"].as_str().unwrap().to_owned();
    world.core.frame.state.delete_server(&id);
    assert_eq!(world.get(SERVERS)["servers"].as_array().unwrap().len(), 2);
    assert_eq!(world.send("DELETE", &format!("/compute/v2.1/servers/{id}"), &Value::Null).status, 404);
    world.wait(5000);
    assert_eq!(world.get(SERVERS)["servers"].as_array().unwrap().len(), 1);
}

const GROUPS: &str = "/networking/v2.0/security-groups";

fn new_group(world: &mut World, name: &str) -> Answer {
    world.answer("POST", GROUPS, &[], &json!({ "security_group": { "name": name } }))
}

/// Two new groups, with something at the second: what was answered.
fn at_second_group(what: AtWrite) -> (World, Answer) {
    let mut world = World::new(0);
    world.core.frame.picked = Picked::at(2, what);
    assert!(matches!(new_group(&mut world, "first"), Answer::Document { status: 201, .. }));
    // A token, a read and a refused write do not count.
    world.log_in("demo", "demo");
    world.get(GROUPS);
    world.refused("DELETE", &format!("{GROUPS}/none"), &Value::Null);
    assert_eq!(world.core.frame.picked.struck(), None);
    let answer = new_group(&mut world, "second");
    assert_eq!(world.core.frame.picked.struck(), Some("neutron.CreateSecurityGroup"));
    (world, answer)
}

/// Without the project's default group.
fn groups(world: &World) -> usize {
    world.core.frame.state.security_groups.len() - 1
}

#[test]
fn silence_begins_with_the_picked_write_and_lasts() {
    let (mut world, answer) = at_second_group(AtWrite::Silence);
    assert_eq!((answer, groups(&world)), (Answer::Hang, 2));
    assert_eq!(world.answer("GET", GROUPS, &[], &Value::Null), Answer::Hang);
    assert_eq!((new_group(&mut world, "third"), groups(&world)), (Answer::Hang, 2));
}

#[test]
fn the_picked_write_can_lose_its_answer_be_answered_falsely_or_refused() {
    let (world, answer) = at_second_group(AtWrite::LostAnswer);
    assert_eq!((answer, groups(&world)), (Answer::Disconnect, 2));
    for (what, carried_out) in [(AtWrite::FalseError, 2), (AtWrite::Refusal, 1)] {
        let (mut world, answer) = at_second_group(what);
        assert!(matches!(answer, Answer::Document { status: 400, .. }), "{answer:?}");
        assert_eq!(groups(&world), carried_out);
        assert!(matches!(new_group(&mut world, "third"), Answer::Document { status: 201, .. }));
    }
}

#[test]
fn reads_do_not_see_the_picked_write_for_a_while() {
    let (mut world, _) = at_second_group(AtWrite::StaleReads(1000));
    let seen = |world: &mut World| world.get(GROUPS)["security_groups"].as_array().unwrap().len() - 1;
    assert_eq!((groups(&world), seen(&mut world)), (2, 1));
    world.wait(1001);
    assert_eq!(seen(&mut world), 2);
}

#[test]
fn call_log_has_names_queries_and_bodies_but_no_secrets() {
    let mut world = World::new(1);
    world.log_in("demo", "demo");
    world.get("/networking/v2.0/ports?device_id=a&device_id=b");
    let calls = world.core.frame.calls.calls();
    assert_eq!((calls[0].action.as_str(), calls[0].parameters.len()), ("CreateToken", 0));
    assert_eq!(calls[1].parameters["device_id"], "a,b");
    assert_eq!(calls[1].access_key.as_deref(), Some(world.ids.user.as_str()));
    assert_eq!(world.core.frame.calls.counts()["neutron.ListPorts"].calls, 1);
}

#[test]
fn a_thousand_servers_are_made_quickly_and_listed_in_pages() {
    let started = std::time::Instant::now();
    let mut world = World::new(1000);
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
    let first = world.get(SERVERS);
    assert_eq!(first["servers"].as_array().unwrap().len(), 1000);
    world.adjust(|knobs| knobs.release.nova_page = 400);
    let (mut names, mut path) = (Vec::new(), SERVERS.to_owned());
    loop {
        let page = world.get(&path);
        names.extend(texts(&page["servers"], "name"));
        let Some(next) = page.pointer("/servers_links/0/href").and_then(Value::as_str) else { break };
        next.strip_prefix("http://127.0.0.1:1").unwrap().clone_into(&mut path);
    }
    assert_eq!((names.len(), names[0].as_str(), names[999].as_str()), (1000, "demo-node-1000", "demo-node-1"));
    assert_eq!(world.refused("GET", &format!("{SERVERS}?marker=none"), &Value::Null).0, 400);
    let found = world.get(&format!("{SERVERS}?name=%5Edemo-node-77%24"));
    assert_eq!(texts(&found["servers"], "name"), ["demo-node-77"]);
    let address = found.pointer("/servers/0/addresses/private/0/addr").unwrap().clone();
    let id = found.pointer("/servers/0/id").unwrap().as_str().unwrap().to_owned();
    let ports = world.get(&format!("/networking/v2.0/ports?device_id={id}"));
    assert_eq!(ports.pointer("/ports/0/fixed_ips/0/ip_address"), Some(&address));
}

#[test]
fn microversions_change_what_a_server_shows() {
    let mut world = World::new(1);
    let at = |world: &mut World, version: &str| {
        world.send_with("GET", SERVERS, &[("openstack-api-version", &format!("compute {version}"))], &Value::Null)
    };
    let old = at(&mut world, "2.1");
    assert_eq!(old.header("openstack-api-version"), "compute 2.1");
    let flavor = &old.body["servers"][0]["flavor"];
    assert!(flavor["id"].is_string() && flavor["original_name"].is_null() && old.body["servers"][0]["tags"].is_null());
    let new = at(&mut world, "2.47");
    let server = &new.body["servers"][0];
    assert_eq!((&server["flavor"]["original_name"], &server["tags"]), (&json!("m1.small"), &json!([])));
    assert!(server["flavor"]["id"].is_null());
    assert_eq!(at(&mut world, "latest").header("x-openstack-nova-api-version"), "2.104");
    assert_eq!(at(&mut world, "2.105").status, 406);
    assert_eq!(at(&mut world, "three").status, 400);
    world.adjust(|knobs| knobs.release.nova_minor = 40);
    assert_eq!(at(&mut world, "2.47").status, 406);
}

#[test]
fn other_projects_are_not_seen() {
    let mut world = World::new(2);
    let server = world.get(SERVERS)["servers"][0]["id"].as_str().unwrap().to_owned();
    let container = format!("/key-manager/v1/containers/{}", world.ids.container);
    world.get(&container);
    world.core.frame.policy = world.core.frame.policy.clone().requiring("*", &["member"]);
    let project = world.ids.project.clone();
    let token = world.core.tokens.values_mut().next().unwrap();
    token.project = Some("other".into());
    assert_eq!(world.get(SERVERS)["servers"], json!([]));
    assert_eq!(world.refused("GET", &format!("/compute/v2.1/servers/{server}"), &Value::Null).0, 404);
    assert_eq!(texts(&world.get(NETWORKS)["networks"], "name"), ["public"]);
    assert_eq!(world.get("/networking/v2.0/ports")["ports"], json!([]));
    assert_eq!(world.refused("GET", &container, &Value::Null).0, 403);
    world.log_in("admin", "demo");
    assert_eq!(world.get(SERVERS)["servers"].as_array().unwrap().len(), 2);
    assert_eq!(
        world.get("/networking/v2.0/ports?project_id=".to_owned().as_str())["ports"].as_array().unwrap().len(),
        1
    );
    assert_ne!(project, "other");
}

#[test]
fn state_dump_can_be_loaded_again() {
    let mut world = World::new(3);
    let balancer = json!({ "loadbalancer": { "name": "a", "vip_subnet_id": world.ids.subnet } });
    world.adjust(|knobs| knobs.delays.load_balancer_create_ms = 1000);
    world.good("POST", "/load-balancer/v2.0/lbaas/loadbalancers", &balancer);
    let dump = serde_json::to_value(&world.core.frame.state).unwrap();
    assert_eq!(dump["servers"].as_object().unwrap().len(), 3);
    world.core.frame.state = serde_json::from_value(dump.clone()).unwrap();
    assert_eq!(serde_json::to_value(&world.core.frame.state).unwrap(), dump);
    world.wait(1000);
    let all = world.get("/load-balancer/v2.0/lbaas/loadbalancers");
    assert_eq!(all.pointer("/loadbalancers/0/provisioning_status"), Some(&json!("ACTIVE")));
}
