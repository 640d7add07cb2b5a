//! The control endpoint below `/_simulator/`, for other processes. Bodies and answers are JSON.
//!
//! | Request | What it does |
//! |---|---|
//! | `GET health` | `{"ready":true}` |
//! | `GET calls` | all calls in order |
//! | `GET calls/counts` | calls and failures by `SERVICE.Action` |
//! | `DELETE calls` (or `POST calls/reset`) | forgets all calls |
//! | `GET state` | the whole cloud |
//! | `PUT state` | replaces the cloud by what `GET state` answered, changed or not |
//! | `POST reset` | starts again from the seed in the body, or from the first one without a body |
//! | `GET knobs`, `PUT knobs` | all knobs; what the body leaves out gets its default |
//! | `PATCH knobs` | only the top-level fields in the body |
//! | `POST faults` | adds a failure |
//! | `DELETE faults` | removes all failures |
//! | `POST stale` | `{"action":"EC2.*","ms":5000}` freezes what reads see |
//! | `PUT policy` | who may do what |
//!
//! Each simulator adds its own.

use http::Method;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use crate::{
    faults::{Fault, every},
    frame::{Cloud, Core, Handle},
};

/// Where the endpoint begins.
pub const PREFIX: &str = "/_simulator/";

/// What is wrong with a request: status and reason.
pub type Refusal = (u16, String);

/// A request below the prefix.
pub struct Request<'a> {
    /// Its method.
    pub method: &'a Method,
    /// The parts of its path.
    pub path: Vec<&'a str>,
    /// Its body.
    pub body: &'a [u8],
}

impl Request<'_> {
    /// The body.
    ///
    /// # Errors
    /// When it is of another form.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        serde_json::from_slice(self.body).map_err(|error| (400, error.to_string()))
    }
}

/// Status and body of an answer; `own` knows what only this simulator understands, and answers none to what it does not.
pub fn answer<T: Core>(
    handle: &Handle<T>,
    parts: &http::request::Parts,
    path: &str,
    body: &[u8],
    own: impl FnOnce(&Request<'_>) -> Option<Result<Value, Refusal>>,
) -> (u16, String) {
    if parts.uri.query().is_some_and(|query| !query.is_empty()) {
        return (400, json!({ "error": "queries are not understood" }).to_string());
    }
    let request = Request { method: &parts.method, path: path.trim_end_matches('/').split('/').collect(), body };
    match own(&request).unwrap_or_else(|| act(handle, &request)) {
        Ok(value) => (200, value.to_string()),
        Err((status, reason)) => (status, json!({ "error": reason }).to_string()),
    }
}

/// A value as JSON.
///
/// # Errors
/// When it has none.
pub fn json_of(value: &impl Serialize) -> Result<Value, Refusal> {
    serde_json::to_value(value).map_err(|error| (500, error.to_string()))
}

/// An answer without content.
///
/// # Errors
/// When what was to be changed was not found.
pub fn done(found: bool) -> Result<Value, Refusal> {
    if found { Ok(json!({})) } else { Err((404, "there is no such resource in a state for this".into())) }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StaleReads {
    #[serde(default = "every")]
    action: String,
    ms: u64,
}

fn act<T: Core>(handle: &Handle<T>, request: &Request<'_>) -> Result<Value, Refusal> {
    match (request.method.as_str(), request.path.as_slice()) {
        ("GET", ["health"]) => Ok(json!({ "ready": true })),
        ("GET", ["calls"]) => json_of(&handle.calls()),
        ("GET", ["calls", "counts"]) => json_of(&handle.counts()),
        ("DELETE", ["calls"]) | ("POST", ["calls", "reset"]) => {
            handle.reset_calls();
            done(true)
        }
        ("GET", ["state"]) => Ok(handle.state()),
        ("PUT", ["state"]) => {
            handle.set_state(request.parse()?).map_err(|error| (400, error.to_string()))?;
            done(true)
        }
        ("POST", ["reset"]) => {
            let seed: <T::Cloud as Cloud>::Seed =
                if request.body.is_empty() { handle.lock().frame().seed.clone() } else { request.parse()? };
            handle.reset(&seed);
            done(true)
        }
        ("GET", ["knobs"]) => json_of(&handle.knobs()),
        ("PUT", ["knobs"]) => {
            handle.set_knobs(request.parse()?);
            done(true)
        }
        ("PATCH", ["knobs"]) => patch_knobs(handle, request),
        ("POST", ["faults"]) => {
            handle.fault(request.parse::<Fault>()?);
            done(true)
        }
        ("DELETE", ["faults"]) => {
            handle.clear_faults();
            done(true)
        }
        ("POST", ["stale"]) => {
            let StaleReads { action, ms } = request.parse()?;
            handle.stale_reads(&action, ms);
            done(true)
        }
        ("PUT", ["policy"]) => {
            handle.set_policy(request.parse()?);
            done(true)
        }
        (method, path) => Err((404, format!("{method} {} is not understood", path.join("/")))),
    }
}

fn patch_knobs<T: Core>(handle: &Handle<T>, request: &Request<'_>) -> Result<Value, Refusal> {
    let changes: Map<String, Value> = request.parse()?;
    let mut all = json_of(&handle.knobs())?;
    if let Value::Object(all) = &mut all {
        all.extend(changes);
    }
    handle.set_knobs(serde_json::from_value(all).map_err(|error| (400, error.to_string()))?);
    done(true)
}
