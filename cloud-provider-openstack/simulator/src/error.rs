//! Refusals as each service words them.

use serde_json::{Value, json};

use crate::service::Service;

/// An error answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    /// Neutron's type of the error; the other services have none.
    pub(crate) kind: String,
    pub(crate) message: String,
    /// Seconds in `Retry-After`.
    pub(crate) retry_after: Option<u64>,
}

impl ApiError {
    pub(crate) fn new(status: u16, message: impl Into<String>) -> Self {
        Self {
            status,
            kind: format!("HTTP{}", title(status).replace(' ', "")),
            message: message.into(),
            retry_after: None,
        }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(404, message)
    }

    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(409, message)
    }

    /// With a type, as Neutron tells them.
    pub(crate) fn of(status: u16, kind: &str, message: impl Into<String>) -> Self {
        Self { kind: kind.to_owned(), ..Self::new(status, message) }
    }

    /// No token, or one that is not good any more.
    pub(crate) fn unauthorized() -> Self {
        Self::new(401, "The request you have made requires authentication.")
    }

    /// There is nothing at the path.
    pub(crate) fn nothing_here() -> Self {
        Self::not_found("The resource could not be found.")
    }

    /// The document in the shape of `service`. A missing token is told by the middleware before every service.
    pub(crate) fn document(&self, service: Service) -> Value {
        let (status, message) = (self.status, &self.message);
        let keystone = || json!({ "error": { "code": status, "message": message, "title": title(status) } });
        match service {
            _ if status == 401 => keystone(),
            Service::Keystone => keystone(),
            Service::Nova | Service::Cinder => {
                let mut fault = json!({ "code": status, "message": message });
                if let Some(seconds) = self.retry_after {
                    fault["retryAfter"] = json!(seconds.to_string());
                }
                json!({ fault_name(status): fault })
            }
            Service::Neutron => json!({ "NeutronError": { "type": self.kind, "message": message, "detail": "" } }),
            Service::Octavia => {
                let side = if status >= 500 { "Server" } else { "Client" };
                json!({ "faultcode": side, "faultstring": message, "debuginfo": null })
            }
            Service::Barbican => json!({ "code": status, "title": title(status), "description": message }),
        }
    }
}

fn fault_name(status: u16) -> &'static str {
    match status {
        400 => "badRequest",
        401 => "unauthorized",
        403 => "forbidden",
        404 => "itemNotFound",
        405 => "badMethod",
        409 => "conflictingRequest",
        413 | 429 => "overLimit",
        415 => "badMediaType",
        501 => "notImplemented",
        503 => "serviceUnavailable",
        _ => "computeFault",
    }
}

/// The reason phrase.
pub(crate) fn title(status: u16) -> &'static str {
    http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Error")
}
