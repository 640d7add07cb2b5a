//! The control endpoint below `/_simulator`, for other processes. Bodies and answers are JSON.
//!
//! | Request | What it does |
//! |---|---|
//! | `GET health` | `{"ready":true}` |
//! | `GET calls` | all calls in order |
//! | `GET calls/counts` | calls and failures by `SERVICE.Action` |
//! | `DELETE calls` (or `POST calls/reset`) | forgets all calls |
//! | `GET state` | the whole account |
//! | `PUT state` | replaces the account by what `GET state` answered, changed or not |
//! | `POST reset` | starts again from the seed in the body, or from the first one without a body |
//! | `GET knobs`, `PUT knobs` | all knobs; what the body leaves out gets its default |
//! | `PATCH knobs` | only the top-level fields in the body |
//! | `POST faults` | adds a failure |
//! | `DELETE faults` | removes all failures |
//! | `POST stale` | `{"action":"EC2.*","ms":5000}` freezes what reads see |
//! | `PUT policy` | a list of allowed actions |
//! | `POST instances` | `{"count":N}` by the template, or one whole instance; answers the IDs |
//! | `POST instances/ID/start`, `…/stop`, `…/terminate` | moves an instance |
//! | `DELETE instances/ID` | makes its ID unknown |
//! | `POST certificates` | `{"arn":"…"}` lets listeners use a certificate |
//! | `PUT load-balancers/NAME/state` | `"active_impaired"` or `null` |
//! | `DELETE load-balancers/NAME` | removes one by hand, of either kind |

use http::Method;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    handle::Handle,
    knobs::{Fault, Knobs},
    model::Instance,
    policy::Policy,
    seed::Seed,
    server::{Shared, lock},
};

pub(crate) const PREFIX: &str = "/_simulator/";

/// What is wrong with a request: status and reason.
type Refusal = (u16, String);

pub(crate) fn answer(core: &Shared, method: &Method, path: &str, query: &str, body: &[u8]) -> (u16, String) {
    let path: Vec<&str> = path.trim_end_matches('/').split('/').collect();
    if !query.is_empty() {
        return (400, json!({ "error": "queries are not understood" }).to_string());
    }
    match act(&Handle { core: core.clone() }, method, &path, body) {
        Ok(value) => (200, value.to_string()),
        Err((status, reason)) => (status, json!({ "error": reason }).to_string()),
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| (400, error.to_string()))
}

fn json_of(value: &impl serde::Serialize) -> Result<Value, Refusal> {
    serde_json::to_value(value).map_err(|error| (500, error.to_string()))
}

fn done(found: bool) -> Result<Value, Refusal> {
    if found { Ok(json!({})) } else { Err((404, "there is no such resource in a state for this".into())) }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StaleReads {
    #[serde(default = "every")]
    action: String,
    ms: u64,
}

fn every() -> String {
    "*".into()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Certificate {
    arn: String,
}

fn act(handle: &Handle, method: &Method, path: &[&str], body: &[u8]) -> Result<Value, Refusal> {
    match (method.as_str(), path) {
        ("GET", ["health"]) => Ok(json!({ "ready": true })),
        ("GET", ["calls"]) => json_of(&handle.calls()),
        ("GET", ["calls", "counts"]) => json_of(&handle.counts()),
        ("DELETE", ["calls"]) | ("POST", ["calls", "reset"]) => {
            handle.reset_calls();
            done(true)
        }
        ("GET", ["state"]) => Ok(handle.state()),
        ("PUT", ["state"]) => {
            handle.set_state(parse(body)?).map_err(|error| (400, error.to_string()))?;
            done(true)
        }
        ("POST", ["reset"]) => {
            let seed: Seed = if body.is_empty() { lock(&handle.core).seed.clone() } else { parse(body)? };
            handle.reset(&seed);
            done(true)
        }
        ("GET", ["knobs"]) => json_of(&handle.knobs()),
        ("PUT", ["knobs"]) => {
            handle.set_knobs(parse(body)?);
            done(true)
        }
        ("PATCH", ["knobs"]) => patch_knobs(handle, body),
        ("POST", ["faults"]) => {
            handle.fault(parse::<Fault>(body)?);
            done(true)
        }
        ("DELETE", ["faults"]) => {
            handle.clear_faults();
            done(true)
        }
        ("POST", ["stale"]) => {
            let StaleReads { action, ms } = parse(body)?;
            handle.stale_reads(&action, ms);
            done(true)
        }
        ("PUT", ["policy"]) => {
            handle.set_policy(parse::<Policy>(body)?);
            done(true)
        }
        ("POST", ["certificates"]) => {
            let Certificate { arn } = parse(body)?;
            handle.add_certificate(&arn);
            done(true)
        }
        ("POST", ["instances"]) => add_instances(handle, body),
        ("POST", ["instances", id, "start"]) => done(handle.start(id)),
        ("POST", ["instances", id, "stop"]) => done(handle.stop(id)),
        ("POST", ["instances", id, "terminate"]) => done(handle.terminate(id)),
        ("DELETE", ["instances", id]) => done(handle.delete_instance(id)),
        ("PUT", ["load-balancers", name, "state"]) => {
            let state: Option<String> = parse(body)?;
            done(handle.force_load_balancer_state(name, state.as_deref()))
        }
        ("DELETE", ["load-balancers", name]) => done(handle.remove_load_balancer(name)),
        _ => Err((404, format!("{method} {} is not understood", path.join("/")))),
    }
}

fn patch_knobs(handle: &Handle, body: &[u8]) -> Result<Value, Refusal> {
    let changes: serde_json::Map<String, Value> = parse(body)?;
    let mut all = json_of(&handle.knobs())?;
    if let Value::Object(all) = &mut all {
        all.extend(changes);
    }
    let knobs: Knobs = serde_json::from_value(all).map_err(|error| (400, error.to_string()))?;
    handle.set_knobs(knobs);
    done(true)
}

fn add_instances(handle: &Handle, body: &[u8]) -> Result<Value, Refusal> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Wanted {
        Many { count: usize },
        One(Box<Instance>),
    }
    match parse(body)? {
        Wanted::Many { count } => Ok(json!({ "ids": handle.add_instances(count) })),
        Wanted::One(instance) => {
            let id = instance.id.clone();
            handle.add_instance(*instance);
            Ok(json!({ "ids": [id] }))
        }
    }
}
