//! What the control endpoint understands besides what [`cloud_provider_simulation::control`] lists.
//!
//! | Request | What it does |
//! |---|---|
//! | `POST servers` | `{"count":N}` by the template; answers the IDs |
//! | `DELETE servers/ID` | deletes a server with its ports |
//! | `PUT servers/ID/status` | `"SHUTOFF"` |
//! | `GET resources/COLLECTION` | all resources of a collection |
//! | `GET`, `PATCH`, `DELETE resources/COLLECTION/ID` | shows one, sets attributes of it, removes it |
//! | `POST resources/COLLECTION` | adds one, which has an `id` |
//! | `PUT load-balancers/ID/status` | `"ERROR"` |
//! | `DELETE load-balancers/ID` | removes one by hand, with everything below it |
//! | `DELETE tokens` | refuses every token that was given out |

use cloud_provider_simulation::control::{self, Refusal, Request, done};
use http::request::Parts;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::handle::Handle;

pub(crate) fn answer(handle: &Handle, parts: &Parts, path: &str, body: &[u8]) -> (u16, String) {
    control::answer(handle, parts, path, body, |request| own(handle, request))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Servers {
    count: usize,
}

fn own(handle: &Handle, request: &Request<'_>) -> Option<Result<Value, Refusal>> {
    let answer = match (request.method.as_str(), request.path.as_slice()) {
        ("POST", ["servers"]) => request.parse().map(|Servers { count }| json!({ "ids": handle.add_servers(count) })),
        ("DELETE", ["servers", id]) => done(handle.delete_server(id)),
        ("PUT", ["servers", id, "status"]) => {
            request.parse().and_then(|status: String| done(handle.set_server_status(id, &status)))
        }
        ("GET", ["resources", collection]) => Ok(json!(handle.all(collection))),
        ("POST", ["resources", collection]) => {
            request.parse().and_then(|resource: Value| done(handle.insert(collection, resource)))
        }
        ("GET", ["resources", collection, id]) => {
            handle.get(collection, id).map(Value::Object).map_or_else(|| done(false), Ok)
        }
        ("PATCH", ["resources", collection, id]) => {
            request.parse().and_then(|attributes: Value| done(handle.set(collection, id, &attributes)))
        }
        ("DELETE", ["resources", collection, id]) => done(handle.remove(collection, id)),
        ("PUT", ["load-balancers", id, "status"]) => {
            request.parse().and_then(|status: String| done(handle.set_load_balancer_status(id, &status)))
        }
        ("DELETE", ["load-balancers", id]) => done(handle.remove_load_balancer(id)),
        ("DELETE", ["tokens"]) => {
            handle.revoke_tokens();
            done(true)
        }
        _ => return None,
    };
    Some(answer)
}
