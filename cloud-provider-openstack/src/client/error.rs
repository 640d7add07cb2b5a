//! How OpenStack's services tell of failures.

use cloud_provider::{
    Kind,
    http::{Dialect, Explanation, HeaderMap, StatusCode},
};
use serde_json::Value;

/// The dialects of Keystone, Nova, Neutron, Octavia, Barbican and Cinder.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenStack;

impl Dialect for OpenStack {
    fn explain(&self, status: StatusCode, _headers: &HeaderMap, body: &[u8]) -> Explanation {
        let body = serde_json::from_slice::<Value>(body).unwrap_or_default();
        let (code, message) = code_and_message(&body);
        let kind = kind(status, code.as_deref().unwrap_or_default(), &message);
        Explanation { code, message, kind }
    }

    fn request_ids(&self) -> &'static [&'static str] {
        &["x-openstack-request-id", "x-compute-request-id", "x-request-id"]
    }
}

fn code_and_message(body: &Value) -> (Option<String>, String) {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    if let Some(error) = body.get("NeutronError") {
        let message = text(error, "message").or_else(|| error.as_str().map(str::to_owned));
        return (text(error, "type"), message.unwrap_or_default());
    }
    if let Some(message) = text(body, "faultstring") {
        return (text(body, "faultcode"), message);
    }
    if let Some(description) = text(body, "description") {
        return (text(body, "title"), description);
    }
    if let Some(message) = text(body, "message") {
        return (text(body, "code").or_else(|| text(body, "title")), message);
    }
    // Keystone's `error`, and Nova's and Cinder's `itemNotFound`, `overLimit`, …: a map with one entry that has a message.
    let mut entries = body.as_object().into_iter().flatten();
    match (entries.next(), entries.next()) {
        (Some((name, error)), None) => match text(error, "message") {
            Some(message) => (text(error, "title").or_else(|| Some(name.clone())), message),
            None => (None, String::new()),
        },
        _ => (None, String::new()),
    }
}

/// Where the status alone tells a wrong kind: quotas are 403, 409 or 413.
fn kind(status: StatusCode, code: &str, message: &str) -> Option<Kind> {
    let is_quota = match status.as_u16() {
        409 => code == "OverQuota" || code.ends_with("QuotaExceeded") || code.ends_with("LimitExceeded"),
        // Octavia and Nova have no code for it.
        403 => message.starts_with("Quota") || code == "OverQuota",
        413 => code != "overLimit" && code != "overLimitFault",
        _ => false,
    };
    match (status.as_u16(), is_quota) {
        (_, true) => Some(Kind::Quota),
        (400, false) if code == "RoutersExhausted" || code.ends_with("Exhausted") => Some(Kind::Quota),
        (413, false) => Some(Kind::Throttled { retry_after: None }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn explain(status: u16, body: &Value) -> Explanation {
        OpenStack.explain(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.to_string().as_bytes())
    }

    #[test]
    fn each_service_is_understood() {
        for (status, body, code, message, kind) in [
            (
                404,
                json!({"itemNotFound": {"code": 404, "message": "Instance x"}}),
                Some("itemNotFound"),
                "Instance x",
                None,
            ),
            (
                409,
                json!({"NeutronError": {"type": "OverQuota", "message": "Quota exceeded", "detail": ""}}),
                Some("OverQuota"),
                "Quota exceeded",
                Some(Kind::Quota),
            ),
            (
                409,
                json!({"faultcode": "Client", "faultstring": "Load Balancer x is immutable", "debuginfo": null}),
                Some("Client"),
                "Load Balancer x is immutable",
                None,
            ),
            (
                403,
                json!({"faultcode": "Client", "faultstring": "Quota has been met for resources: loadbalancer"}),
                Some("Client"),
                "Quota has been met for resources: loadbalancer",
                Some(Kind::Quota),
            ),
            (403, json!({"forbidden": {"code": 403, "message": "Policy"}}), Some("forbidden"), "Policy", None),
            (
                401,
                json!({"error": {"code": 401, "message": "m", "title": "Unauthorized"}}),
                Some("Unauthorized"),
                "m",
                None,
            ),
            (
                404,
                json!({"title": "Not Found", "description": "no secret", "code": 404}),
                Some("Not Found"),
                "no secret",
                None,
            ),
            (
                413,
                json!({"overLimit": {"code": 413, "message": "later"}}),
                Some("overLimit"),
                "later",
                Some(Kind::Throttled { retry_after: None }),
            ),
            (500, json!([1, 2]), None, "", None),
            (500, json!({"a": {"message": "x"}, "b": 1}), None, "", None),
        ] {
            let found = explain(status, &body);
            assert_eq!((found.code.as_deref(), found.message.as_str(), found.kind), (code, message, kind), "{body}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_body_panics(status in 100u16..600, body in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            OpenStack.explain(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), &body);
        }
    }
}
