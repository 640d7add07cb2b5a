//! The program, and the endpoints that other processes use.
#![expect(clippy::unwrap_used, reason = "a test may end with a panic")]

use cloud_provider_simulation::running::Running;
use serde_json::{Value, json};

fn start(arguments: &[&str]) -> Running {
    Running::start(env!("CARGO_BIN_EXE_openstack-simulator"), arguments).unwrap()
}

/// A token of the user `demo`, as a line of headers.
fn token(program: &Running) -> String {
    let text = |name: &str| program.ready[name].as_str().unwrap().to_owned();
    let user = json!({ "name": text("user"), "domain": { "id": "default" }, "password": text("password") });
    let scope = json!({ "project": { "id": program.ready["ids"]["project"] } });
    let auth =
        json!({ "auth": { "identity": { "methods": ["password"], "password": { "user": user } }, "scope": scope } });
    let (status, body) = program.http("POST /identity/v3/auth/tokens", "", &auth.to_string()).unwrap();
    assert_eq!(status, 201, "{body}");
    let known = program.http("GET /identity/v3/auth/tokens", "x-auth-token: none\r\n", "").unwrap();
    assert_eq!(known.0, 401);
    let credential = json!({ "auth": { "identity": { "methods": ["token"], "token": { "id": "none" } } } });
    assert_eq!(program.http("POST /identity/v3/auth/tokens", "", &credential.to_string()).unwrap().0, 401);
    body
}

#[test]
fn openstack_program_tells_its_endpoint_and_ends_with_its_parent() {
    let mut program = start(&["--nodes", "7", "--cluster", "x", "--dual-stack"]);
    assert!(program.ready["auth_url"].as_str().unwrap().ends_with("/identity/v3"));
    assert!(program.ready["cloud_conf"].as_str().unwrap().contains("[LoadBalancer]\nfloating-network-id="));
    let state = program.control("GET state", &Value::Null).unwrap();
    assert_eq!(state["servers"].as_object().unwrap().len(), 7);
    let ports = program.control("GET resources/ports", &Value::Null).unwrap();
    let of_servers = ports.as_array().unwrap().iter().filter(|port| port["device_owner"] == "compute:nova");
    assert!(
        of_servers.clone().count() == 7
            && of_servers.clone().all(|port| port["fixed_ips"].as_array().unwrap().len() == 2)
    );
    let document: Value = serde_json::from_str(&token(&program)).unwrap();
    assert_eq!(document["token"]["project"]["name"], "demo");
    assert!(program.ends_with_parent().unwrap());
}

#[test]
fn openstack_control_endpoint_changes_the_cloud_and_its_behaviour() {
    let program = start(&["--nodes", "1", "--latency", "10ms", "--pending", "2s"]);
    let control = |request: &str, body: Value| program.control(request, &body).unwrap();
    assert_eq!(control("GET knobs", Value::Null)["delays"]["load_balancer_update_ms"], 2000);
    let made = control("POST servers", json!({ "count": 2 }));
    let id = made["ids"][0].as_str().unwrap().to_owned();
    control(&format!("PUT servers/{id}/status"), json!("SHUTOFF"));
    assert_eq!(control(&format!("GET resources/servers/{id}"), Value::Null)["status"], "SHUTOFF");
    control(&format!("PATCH resources/servers/{id}"), json!({ "metadata": { "a": "b" } }));
    control(&format!("DELETE servers/{id}"), Value::Null);
    assert!(program.control(&format!("GET resources/servers/{id}"), &Value::Null).is_err());
    control("POST resources/networks", json!({ "id": "n", "name": "made" }));
    assert_eq!(control("GET resources/networks/n", Value::Null)["name"], "made");
    control("DELETE resources/networks/n", Value::Null);
    control("PATCH knobs", json!({ "latency": [], "release": { "octavia_minor": 5 } }));
    assert_eq!(control("GET knobs", Value::Null)["release"]["nova_minor"], 104);
    control("POST faults", json!({ "action": "keystone.*", "times": 1, "effect": "disconnect" }));
    assert_eq!(program.http("GET /identity", "", "").unwrap(), (0, String::new()));
    control("PUT policy", json!({ "deny": ["nova:*"] }));
    control("DELETE tokens", Value::Null);
    control("POST reset", Value::Null);
    assert_eq!(control("GET state", Value::Null)["servers"].as_object().unwrap().len(), 1);
    assert_eq!(program.http("GET /nothing", "", "").unwrap().0, 404);
    assert!(program.control("PUT knobs", &json!({ "speed": 1 })).is_err());
}
