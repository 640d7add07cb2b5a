//! What the control endpoint understands besides what [`cloud_provider_simulation::control`] lists.
//!
//! | Request | What it does |
//! |---|---|
//! | `POST instances` | `{"count":N}` by the template, or one whole instance; answers the IDs |
//! | `POST instances/ID/start`, `…/stop`, `…/terminate` | moves an instance |
//! | `DELETE instances/ID` | makes its ID unknown |
//! | `POST certificates` | `{"arn":"…"}` lets listeners use a certificate |
//! | `PUT load-balancers/NAME/state` | `"active_impaired"` or `null` |
//! | `DELETE load-balancers/NAME` | removes one by hand, of either kind |

use cloud_provider_simulation::control::{self, Refusal, Request, done};
use http::request::Parts;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{handle::Handle, model::Instance};

pub(crate) fn answer(handle: &Handle, parts: &Parts, path: &str, body: &[u8]) -> (u16, String) {
    control::answer(handle, parts, path, body, |request| own(handle, request))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Certificate {
    arn: String,
}

fn own(handle: &Handle, request: &Request<'_>) -> Option<Result<Value, Refusal>> {
    let answer = match (request.method.as_str(), request.path.as_slice()) {
        ("POST", ["certificates"]) => request.parse().and_then(|Certificate { arn }| {
            handle.add_certificate(&arn);
            done(true)
        }),
        ("POST", ["instances"]) => add_instances(handle, request),
        ("POST", ["instances", id, "start"]) => done(handle.start(id)),
        ("POST", ["instances", id, "stop"]) => done(handle.stop(id)),
        ("POST", ["instances", id, "terminate"]) => done(handle.terminate(id)),
        ("DELETE", ["instances", id]) => done(handle.delete_instance(id)),
        ("PUT", ["load-balancers", name, "state"]) => request
            .parse()
            .and_then(|state: Option<String>| done(handle.force_load_balancer_state(name, state.as_deref()))),
        ("DELETE", ["load-balancers", name]) => done(handle.remove_load_balancer(name)),
        _ => return None,
    };
    Some(answer)
}

fn add_instances(handle: &Handle, request: &Request<'_>) -> Result<Value, Refusal> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Wanted {
        Many { count: usize },
        One(Box<Instance>),
    }
    match request.parse()? {
        Wanted::Many { count } => Ok(json!({ "ids": handle.add_instances(count) })),
        Wanted::One(instance) => {
            let id = instance.id.clone();
            handle.add_instance(*instance);
            Ok(json!({ "ids": [id] }))
        }
    }
}
