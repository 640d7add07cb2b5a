//! The program, and the endpoints that other processes use.
#![expect(clippy::unwrap_used, reason = "a test may end with a panic")]

use std::{
    process::Command,
    time::{Duration, Instant},
};

use cloud_provider_simulation::running::Running;
use serde_json::{Value, json};

/// The simulator as a program.
struct Program(Running);

impl Program {
    fn start(arguments: &[&str]) -> Self {
        Self(Running::start(env!("CARGO_BIN_EXE_aws-simulator"), arguments).unwrap())
    }

    /// Status, and body.
    fn http(&self, request: &str, headers: &str, body: &str) -> (u16, String) {
        self.0.http(request, headers, body).unwrap()
    }

    fn control(&self, request: &str, body: &Value) -> Value {
        self.0.control(request, body).unwrap()
    }

    /// An EC2 call whose signature nobody could check.
    fn unsigned(&self, action: &str) -> (u16, String) {
        self.http(
            "POST /",
            "content-type: application/x-www-form-urlencoded\r\n",
            &format!("Action={action}&Version=2016-11-15"),
        )
    }
}

#[test]
fn program_tells_its_endpoint_and_ends_with_its_parent() {
    let mut program = Program::start(&["--nodes", "7", "--cluster", "x"]);
    assert!(program.0.ready["url"].as_str().unwrap().starts_with("http://127.0.0.1:"));
    let state = program.control("GET state", &Value::Null);
    assert_eq!(state["instances"].as_object().unwrap().len(), 8);
    assert!(program.0.ends_with_parent().unwrap());
}

#[test]
fn addresses_off_loopback_are_refused() {
    let output = Command::new(env!("CARGO_BIN_EXE_aws-simulator")).args(["--listen", "0.0.0.0:0"]).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("is not on loopback"), "{output:?}");
}

#[test]
fn control_endpoint_moves_instances_and_counts_calls() {
    let program = Program::start(&["--nodes", "0"]);
    assert_eq!(program.control("GET health", &Value::Null), json!({ "ready": true }));
    let ids = program.control("POST instances", &json!({ "count": 2 }));
    let id = ids["ids"][0].as_str().unwrap().to_owned();
    let state = |program: &Program| program.control("GET state", &Value::Null)["instances"][&id]["state"].clone();
    for (action, expected) in [("stop", "stopped"), ("start", "running"), ("terminate", "terminated")] {
        program.control(&format!("POST instances/{id}/{action}"), &Value::Null);
        assert_eq!(state(&program), expected);
    }
    program.control(&format!("DELETE instances/{id}"), &Value::Null);
    assert_eq!(state(&program), Value::Null);
    assert_eq!(program.http(&format!("POST /_simulator/instances/{id}/stop"), "", "").0, 404);

    assert_eq!(program.unsigned("DescribeVpcs").0, 403);
    let counts = program.control("GET calls/counts", &Value::Null);
    assert_eq!(counts["EC2.DescribeVpcs"], json!({ "calls": 1, "failures": { "MissingAuthenticationToken": 1 } }));
    assert_eq!(program.control("GET calls", &Value::Null)[0]["executed"], false);
    program.control("DELETE calls", &Value::Null);
    assert_eq!(program.control("GET calls/counts", &Value::Null), json!({}));
    program.control("POST reset", &Value::Null);
    assert_eq!(program.control("GET state", &Value::Null)["instances"].as_object().unwrap().len(), 1);
}

#[test]
fn control_endpoint_sets_knobs() {
    let program = Program::start(&["--latency", "30ms"]);
    let start = Instant::now();
    program.unsigned("DescribeVpcs");
    assert!(start.elapsed() >= Duration::from_millis(30));
    program.control("PATCH knobs", &json!({ "latency": [], "delays": { "provisioning_ms": 70 } }));
    let knobs = program.control("GET knobs", &Value::Null);
    assert_eq!((&knobs["latency"], &knobs["delays"]["provisioning_ms"]), (&json!([]), &json!(70)));
    assert_eq!(knobs["quotas"]["rules_per_group"], 60);
    let fault = json!({ "action": "EC2.*", "times": 1, "effect": "disconnect" });
    program.control("POST faults", &fault);
    assert_eq!(program.unsigned("DescribeVpcs"), (0, String::new()), "the connection ends without an answer");
    let fault = json!({ "action": "DescribeVpcs", "effect": { "error": { "code": "InternalError" } } });
    program.control("POST faults", &fault);
    program.control("DELETE faults", &Value::Null);
    program.control("POST stale", &json!({ "ms": 10 }));
    program.control("PUT policy", &json!(["ec2:*"]));
    assert_eq!(program.http("PUT /_simulator/knobs", "", "{\"speed\":1}").0, 400);
    assert_eq!(program.http("GET /_simulator/nothing", "", "").0, 404);
}

#[test]
fn metadata_needs_a_token_that_is_alive() {
    let program = Program::start(&[]);
    let get = |token: &str| {
        let header = format!("X-aws-ec2-metadata-token: {token}\r\n");
        program.http("GET /latest/meta-data/instance-id", &header, "")
    };
    let put = |seconds: &str| {
        let header = format!("X-aws-ec2-metadata-token-ttl-seconds: {seconds}\r\n");
        program.http("PUT /latest/api/token", &header, "")
    };
    assert_eq!(program.http("GET /latest/meta-data/instance-id", "", "").0, 401);
    assert_eq!(get("wrong").0, 401);
    assert_eq!(program.http("PUT /latest/api/token", "", "").0, 400);
    assert_eq!(put("0").0, 400);
    assert_eq!(put("21601").0, 400);
    let (status, token) = put("1");
    assert_eq!(status, 200);
    assert_eq!(get(&token), (200, "i-0a1b2c3d4e5f60001".into()));
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(get(&token).0, 401);
    let (_, token) = put("21600");
    let header = format!("X-aws-ec2-metadata-token: {token}\r\n");
    assert_eq!(program.http("GET /latest/meta-data/none", &header, "").0, 404);
    assert_eq!(program.http("GET /latest/meta-data/iam/security-credentials/", &header, "").1, "demo-control-plane");
}

#[test]
fn requests_without_action_or_with_an_unknown_version_are_refused() {
    let program = Program::start(&[]);
    for (body, status, code) in [
        ("Version=2016-11-15", 400, "MissingAction"),
        ("Action=DescribeVpcs", 400, "NoSuchVersion"),
        ("Action=DescribeVpcs&Version=2010-01-01", 400, "NoSuchVersion"),
    ] {
        let (found, text) = program.http("POST /", "", body);
        assert!(found == status && text.contains(&format!("<Code>{code}</Code>")), "{body}: {found} {text}");
    }
    assert_eq!(program.http("POST /other", "", "").0, 404);
    assert_eq!(program.http("DELETE /", "", "").0, 405);
}
