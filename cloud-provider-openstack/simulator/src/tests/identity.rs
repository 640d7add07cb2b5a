//! Keystone and the rules of all services.

use serde_json::{Value, json};

use super::World;
use crate::{Options, PASSWORD, Policy, Seed};

const TOKENS: &str = "/identity/v3/auth/tokens";

fn password(user: &Value, scope: &Value) -> Value {
    json!({ "auth": { "identity": { "methods": ["password"], "password": { "user": user } }, "scope": scope } })
}

#[test]
fn every_form_of_authentication_is_understood() {
    let mut world = World::new(0);
    let ids = world.ids.clone();
    let scope = json!({ "project": { "id": ids.project } });
    let by_id = password(&json!({ "id": ids.user, "password": PASSWORD }), &scope);
    let got = world.send("POST", TOKENS, &by_id);
    assert_eq!((got.status, &got.body["token"]["project"]["name"]), (201, &json!("demo")));
    assert_eq!(got.body["token"]["methods"], json!(["password"]));
    let compute =
        got.body["token"]["catalog"].as_array().unwrap().iter().find(|entry| entry["type"] == "compute").unwrap();
    assert_eq!(compute["endpoints"][0]["url"], "http://127.0.0.1:1/compute/v2.1");
    assert_eq!(compute["endpoints"][1]["interface"], "internal");

    let token = got.header("x-subject-token").to_owned();
    let by_token =
        json!({ "auth": { "identity": { "methods": ["token"], "token": { "id": token } }, "scope": scope } });
    let again = world.send("POST", TOKENS, &by_token);
    assert_eq!((again.status, &again.body["token"]["methods"]), (201, &json!(["token", "password"])));
    assert_eq!(
        again.body["token"]["expires_at"], got.body["token"]["expires_at"],
        "a token is not made to last longer"
    );

    let credential = |by: Value| json!({ "auth": { "identity": { "methods": ["application_credential"], "application_credential": by } } });
    for by in [
        json!({ "id": ids.application_credential, "secret": PASSWORD }),
        json!({ "name": "controller", "user": { "id": ids.user }, "secret": PASSWORD }),
        json!({ "name": "controller", "user": { "name": "demo", "domain": { "name": "Default" } }, "secret": PASSWORD }),
    ] {
        let got = world.send("POST", TOKENS, &credential(by.clone()));
        assert_eq!(
            (got.status, &got.body["token"]["application_credential"]["restricted"]),
            (201, &json!(true)),
            "{by}"
        );
    }
    let wrong = world.send("POST", TOKENS, &credential(json!({ "id": ids.application_credential, "secret": "wrong" })));
    assert_eq!(wrong.status, 401);
    let mut scoped = credential(json!({ "id": ids.application_credential, "secret": PASSWORD }));
    scoped["auth"]["scope"] = scope;
    assert_eq!(world.send("POST", TOKENS, &scoped).status, 400);

    let trust = json!({ "OS-TRUST:trust": { "id": ids.trust } });
    let trustee = json!({ "name": "trustee", "domain": { "id": "default" }, "password": PASSWORD });
    let got = world.send("POST", TOKENS, &password(&trustee, &trust));
    assert_eq!((got.status, &got.body["token"]["user"]["name"]), (201, &json!("demo")), "the trustor is impersonated");
    let other = password(&json!({ "id": ids.user, "password": PASSWORD }), &trust);
    assert_eq!(world.send("POST", TOKENS, &other).status, 403);
}

#[test]
fn wrong_passwords_projects_and_domains_are_refused_alike() {
    let mut world = World::new(0);
    let scope = json!({ "project": { "name": "demo", "domain": { "id": "default" } } });
    let named = |password: &str| json!({ "name": "demo", "domain": { "id": "default" }, "password": password });
    for (user, scope) in [
        (named("wrong"), scope.clone()),
        (json!({ "name": "nobody", "domain": { "id": "default" }, "password": PASSWORD }), scope.clone()),
        (json!({ "name": "demo", "domain": { "id": "other" }, "password": PASSWORD }), scope),
        (named(PASSWORD), json!({ "project": { "name": "admin", "domain": { "id": "default" } } })),
    ] {
        let got = world.send("POST", TOKENS, &password(&user, &scope));
        assert_eq!((got.status, &got.body["error"]["title"]), (401, &json!("Unauthorized")), "{user} {scope}");
    }
    assert_eq!(world.send("POST", TOKENS, &json!({ "auth": {} })).status, 400);
}

#[test]
fn tokens_end_by_time_and_by_revocation() {
    let mut world = World::new(1);
    world.get("/compute/v2.1/servers");
    world.wait(3_600_000);
    let got = world.send("GET", "/compute/v2.1/servers", &Value::Null);
    assert_eq!((got.status, got.header("www-authenticate")), (401, "Keystone uri=\"http://127.0.0.1:1/identity\""));
    world.log_in("demo", "demo");
    let token = world.token.clone();
    let subject = [("x-subject-token", token.as_str())];
    assert_eq!(world.send_with("GET", TOKENS, &subject, &Value::Null).body["token"]["user"]["name"], "demo");
    assert_eq!(world.send_with("DELETE", TOKENS, &subject, &Value::Null).status, 204);
    assert_eq!(world.send("GET", "/networking/v2.0/ports", &Value::Null).status, 401);
    world.adjust(|knobs| knobs.delays.token_s = 5);
    world.log_in("demo", "demo");
    world.wait(5000);
    assert_eq!(world.send("GET", "/networking/v2.0/ports", &Value::Null).status, 401);
}

#[test]
fn catalog_tells_interfaces_and_regions_and_the_log_knows_which_was_used() {
    let mut seed = Seed::cluster("demo", 0);
    seed.regions.push("RegionTwo".into());
    let mut world = World::with(Options { seed, ..Options::default() });
    world.adjust(|knobs| _ = knobs.release.catalog_without.insert("load-balancer".into()));
    let catalog = world.get("/identity/v3/auth/catalog")["catalog"].clone();
    let types = super::texts(&catalog, "type");
    assert!(types.contains(&"network".to_owned()) && !types.contains(&"load-balancer".to_owned()), "{types:?}");
    let endpoints =
        catalog.as_array().unwrap().iter().find(|entry| entry["type"] == "network").unwrap()["endpoints"].clone();
    let of_two = endpoints
        .as_array()
        .unwrap()
        .iter()
        .find(|endpoint| endpoint["region"] == "RegionTwo" && endpoint["interface"] == "admin");
    let url = of_two.unwrap()["url"].as_str().unwrap().to_owned();
    assert_eq!(url, "http://127.0.0.1:1/region-RegionTwo/admin/networking");
    world.get("/region-RegionTwo/admin/networking/v2.0/networks");
    let call = world.core.frame.calls.calls().pop().unwrap();
    assert_eq!(
        (call.action.as_str(), call.parameters["endpoint"].as_str()),
        ("ListNetworks", "region-RegionTwo/admin")
    );
}

#[test]
fn refusals_have_the_shape_of_their_service() {
    let mut world = World::with(Options {
        policy: Policy::default().denying(&[
            "nova:*",
            "neutron:create_floatingip",
            "octavia:*:get_all",
            "barbican:*",
            "cinder:*",
        ]),
        seed: Seed::cluster("demo", 1),
        ..Options::default()
    });
    let server = world.core.frame.state.servers.values().next().unwrap()["id"].as_str().unwrap().to_owned();
    for (method, path, pointer) in [
        ("GET", format!("/compute/v2.1/servers/{server}"), "/forbidden/message"),
        ("POST", "/networking/v2.0/floatingips".into(), "/NeutronError/type"),
        ("GET", "/load-balancer/v2.0/lbaas/pools".into(), "/faultstring"),
        ("GET", "/key-manager/v1/secrets/x".into(), "/title"),
        ("GET", "/volume/v3/volumes/x".into(), "/forbidden/code"),
    ] {
        let got = world.send(method, &path, &Value::Null);
        assert_eq!(got.status, 403, "{path}");
        assert!(got.body.pointer(pointer).is_some(), "{path}: {}", got.body);
    }
    let needed = &world.core.frame.needed;
    assert!(
        needed.contains("neutron:create_floatingip") && needed.contains("nova:os_compute_api:servers:show"),
        "{needed:?}"
    );
    world.core.frame.policy = Policy::default().requiring("octavia:*", &["member"]);
    world.get("/load-balancer/v2.0/lbaas/pools");
    assert_eq!(world.send("GET", "/compute/v2.1/servers/none", &Value::Null).body["itemNotFound"]["code"], 404);
    assert_eq!(
        world.send("GET", "/networking/v2.0/ports/none", &Value::Null).body["NeutronError"]["type"],
        "PortNotFound"
    );
    assert_eq!(world.send("PATCH", "/networking/v2.0/ports", &Value::Null).status, 405);
    assert_eq!(world.send("GET", "/networking/v2.0/nothing", &Value::Null).status, 404);
}

#[test]
fn version_documents_need_no_token() {
    let mut world = World::new(0);
    world.token.clear();
    for (path, status, pointer, expected) in [
        ("/identity", 300, "/versions/values/0/id", "v3.14"),
        ("/identity/v3/", 200, "/version/status", "stable"),
        ("/compute/", 200, "/versions/1/version", "2.104"),
        ("/compute/v2.1", 200, "/version/id", "v2.1"),
        ("/networking/", 200, "/versions/0/id", "v2.0"),
        ("/load-balancer", 200, "/versions/30/status", "CURRENT"),
        ("/key-manager/", 300, "/versions/0/id", "v1"),
        ("/volume/", 300, "/versions/0/id", "v3.0"),
    ] {
        let got = world.send("GET", path, &Value::Null);
        assert_eq!((got.status, got.body.pointer(pointer)), (status, Some(&json!(expected))), "{path}: {}", got.body);
    }
    world.adjust(|knobs| knobs.release.octavia_minor = 4);
    let all = world.get("/load-balancer/")["versions"].clone();
    assert_eq!((all.as_array().unwrap().len(), &all[4]["id"]), (5, &json!("v2.4")));
}
