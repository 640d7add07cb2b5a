//! A controller's own identity, and when it gives way to the main one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use kube::client::Body;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, warn};

use super::connection::Connection;
use super::service_account::{self, Tokens};
use super::transport::{BoxError, Transport, copy, is_watch, lacking};

/// How long the main identity does what the own one may not; roles can be granted at any time.
const DENIED_FOR: Duration = Duration::from_secs(300);

/// The service account of a controller.
pub(super) struct Own {
    name: String,
    connection: Connection,
    tokens: Arc<Tokens>,
    /// What it may not do, and since when that is known.
    denied: Mutex<HashMap<Action, Instant>>,
    warned: AtomicBool,
}

/// What came of an attempt with the own identity.
pub(super) enum Answer {
    Given(Response<Body>),
    /// It is for the main identity.
    Declined(Request<Body>),
}

/// What a role allows: a verb on a resource.
type Action = (Method, String);

impl Own {
    pub(super) fn new(name: &str, connection: Connection, tokens: Arc<Tokens>) -> Self {
        Self { name: name.to_owned(), connection, tokens, denied: Mutex::default(), warned: AtomicBool::new(false) }
    }

    /// Sends once; after a 401 once more with a new token. A request that the account has no role for is
    /// declined, and so are those like it for the next five minutes.
    pub(super) async fn attempt(
        &self,
        transport: &Transport,
        request: Request<Body>,
        deadline: Instant,
    ) -> Result<Answer, BoxError> {
        let action = action(&request);
        // What can be sent only once is not tried with an identity that may be refused.
        let Some(kept) = copy(&request).filter(|_| !self.is_denied(&action)) else {
            return Ok(Answer::Declined(request));
        };
        let Some(token) = self.token(deadline).await? else { return Ok(Answer::Declined(request)) };
        let (client, _) = timeout_at(deadline, self.connection.current(false)).await?;
        let mut response = transport.exchange(&client, authorized(request, &token)?, deadline).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            self.tokens.refused(&token);
            let (Some(token), Some(again)) = (self.token(deadline).await?, copy(&kept)) else {
                return Ok(Answer::Declined(kept));
            };
            response = transport.exchange(&client, authorized(again, &token)?, deadline).await?;
        }
        if response.status() != StatusCode::FORBIDDEN {
            return Ok(Answer::Given(response));
        }
        let (response, lacking) = lacking(response).await?;
        // What something else forbids, the main identity must not get around.
        let lacking = lacking.filter(|lacking| lacking.user == service_account::user(&self.name));
        let Some(lacking) = lacking else { return Ok(Answer::Given(response)) };
        self.deny(action, &lacking.permission);
        Ok(Answer::Declined(kept))
    }

    async fn token(&self, deadline: Instant) -> Result<Option<Arc<str>>, BoxError> {
        Ok(timeout_at(deadline, self.tokens.token()).await??)
    }

    fn is_denied(&self, action: &Action) -> bool {
        let mut denied = self.denied.lock().unwrap_or_else(PoisonError::into_inner);
        denied.retain(|_, since| since.elapsed() < DENIED_FOR);
        denied.contains_key(action)
    }

    fn deny(&self, action: Action, lacking: &str) {
        self.denied.lock().unwrap_or_else(PoisonError::into_inner).insert(action, Instant::now());
        let account = service_account::user(&self.name);
        if self.warned.swap(true, Ordering::Relaxed) {
            debug!(account, lacking, "the main identity is used");
        } else {
            warn!(
                account,
                lacking, "the service account of this controller lacks a permission, the main identity is used instead"
            );
        }
    }
}

fn authorized(mut request: Request<Body>, token: &str) -> Result<Request<Body>, BoxError> {
    let mut value = HeaderValue::try_from(format!("Bearer {token}"))?;
    value.set_sensitive(true);
    request.headers_mut().insert(header::AUTHORIZATION, value);
    Ok(request)
}

/// What a request does, without the name and the namespace of the object, which roles seldom tell apart.
fn action(request: &Request<Body>) -> Action {
    let mut parts = request.uri().path().split('/').filter(|part| !part.is_empty());
    let group = match parts.next() {
        Some("api") => parts.next().map(str::to_owned),
        Some("apis") => parts.next().zip(parts.next()).map(|(group, version)| format!("{group}/{version}")),
        _ => None,
    };
    let rest: Vec<_> = parts.collect();
    let rest = match rest.as_slice() {
        ["namespaces", _, rest @ ..] if !rest.is_empty() => rest,
        rest => rest,
    };
    let resource = match (group, rest) {
        (Some(group), [resource, _, sub, ..]) => format!("{group}/{resource}/{sub}"),
        (Some(group), [resource, _]) => format!("{group}/{resource}"),
        // Lists and watches need other verbs than a get.
        (Some(group), [resource]) => format!("{group}/{resource}?{}", is_watch(request)),
        _ => request.uri().path().to_owned(),
    };
    (request.method().clone(), resource)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_that_need_the_same_permission_are_the_same_action() {
        let of = |method: &str, uri: &str| {
            let (method, resource) = action(&Request::builder().method(method).uri(uri).body(Body::empty()).unwrap());
            format!("{method} {resource}")
        };
        for (method, uri, action) in [
            ("GET", "/api/v1/nodes?limit=500", "GET v1/nodes?false"),
            ("GET", "/api/v1/nodes?watch=true", "GET v1/nodes?true"),
            ("GET", "/api/v1/nodes/a", "GET v1/nodes"),
            ("PATCH", "/api/v1/nodes/b", "PATCH v1/nodes"),
            ("PATCH", "/api/v1/nodes/b/status", "PATCH v1/nodes/status"),
            ("PATCH", "/api/v1/namespaces/x/services/s/status", "PATCH v1/services/status"),
            ("POST", "/api/v1/namespaces/x/events", "POST v1/events?false"),
            ("GET", "/api/v1/namespaces/x", "GET v1/namespaces"),
            ("PUT", "/apis/coordination.k8s.io/v1/namespaces/x/leases/l", "PUT coordination.k8s.io/v1/leases"),
            ("GET", "/healthz", "GET /healthz"),
        ] {
            assert_eq!(of(method, uri), action, "{method} {uri}");
        }
    }
}
