//! One request: rate limit, outage, gate, attempts, metrics.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode, header};
use kube::client::Body;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::debug;

use super::connection::Connection;
use super::identity::{Answer, Own};
use super::metrics::RequestMetrics;
use super::{Access, Gate, Policy, Refused};
use crate::cluster::outage::Outage;
use crate::cluster::refusal::{Lacking, Refusals};
use crate::cluster::token_bucket::TokenBucket;

pub(super) type BoxError = Box<dyn StdError + Send + Sync>;

/// Pause before a read is sent again after its connection broke.
const RECONNECT_PAUSE: Duration = Duration::from_millis(250);

/// No answer came in time.
#[derive(Debug, thiserror::Error)]
#[error("no answer from the API server within {0:?}")]
struct TimedOut(Duration);

pub(super) struct Transport {
    pub(super) connection: Connection,
    /// A controller's own identity, which goes before that of the connection.
    pub(super) own: Option<Own>,
    pub(super) host: String,
    pub(super) policy: Policy,
    pub(super) bucket: Option<TokenBucket>,
    pub(super) access: Access,
    pub(super) gate: Option<Gate>,
    pub(super) outage: Arc<Outage>,
    pub(super) refusals: Arc<Refusals>,
    pub(super) metrics: RequestMetrics,
}

impl Transport {
    pub(super) async fn send(self: Arc<Self>, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        let method = request.method().clone();
        if !is_watch(&request) {
            self.throttle(&method).await;
        }
        // The limit of the client is not the API server's fault.
        let deadline = Instant::now() + self.policy.total;
        let (parts, body) = request.into_parts();
        let mut body = Some(body);
        let mut attempt = 0;
        loop {
            if self.policy.spaced && timeout_at(deadline, self.outage.turn()).await.is_err() {
                return Err(TimedOut(self.policy.total).into());
            }
            // Right before sending: the gate may have closed while this request waited.
            self.permit(&method)?;
            let sent = match body.as_ref().and_then(Body::try_clone) {
                Some(copy) => copy,
                None => body.take().unwrap_or_else(Body::empty),
            };
            let request = Request::from_parts(parts.clone(), sent);
            let result = self.attempt(request, deadline).await;
            self.outage.note(matches!(&result, Ok(response) if !response.status().is_server_error()));
            let pause = body.as_ref().and_then(|_| self.pause(&method, &result, attempt));
            let Some(pause) = pause.filter(|pause| Instant::now() + *pause < deadline) else {
                return match result {
                    Ok(response) => self.told(response).await,
                    failed => failed,
                };
            };
            attempt += 1;
            debug!(%method, uri = %parts.uri, attempt, ?pause, "request is sent again");
            let code = code(&result);
            self.metrics.retries.with_label_values(&[code.as_str(), method.as_str(), &self.host]).inc();
            sleep(pause).await;
        }
    }

    /// Tells of a missing permission, and hands the answer on.
    async fn told(&self, response: Response<Body>) -> Result<Response<Body>, BoxError> {
        if response.status() != StatusCode::FORBIDDEN {
            return Ok(response);
        }
        let (response, lacking) = lacking(response).await?;
        if let Some(lacking) = lacking {
            self.refusals.tell(lacking);
        }
        Ok(response)
    }

    fn permit(&self, method: &Method) -> Result<(), Refused> {
        if *method == Method::GET || *method == Method::HEAD {
            return Ok(());
        }
        match (self.access, &self.gate) {
            (Access::ReadOnly, _) => Err(Refused::DryRun),
            (Access::ReadWrite, Some(gate)) if !gate() => Err(Refused::NotLeading),
            _ => Ok(()),
        }
    }

    async fn throttle(&self, method: &Method) {
        if let Some(bucket) = &self.bucket {
            let waited = bucket.take().await;
            self.metrics.limited.with_label_values(&[method.as_str(), &self.host]).observe(waited.as_secs_f64());
        }
    }

    /// Sends with the controller's own identity where it has one, else, and where that is not allowed to, with the main one.
    async fn attempt(&self, request: Request<Body>, deadline: Instant) -> Result<Response<Body>, BoxError> {
        let Some(own) = &self.own else { return self.attempt_as_main(request, deadline).await };
        match own.attempt(self, request, deadline).await? {
            Answer::Given(response) => Ok(response),
            Answer::Declined(request) => self.attempt_as_main(request, deadline).await,
        }
    }

    /// Sends once; after a 401 once more if there are new credentials.
    async fn attempt_as_main(&self, request: Request<Body>, deadline: Instant) -> Result<Response<Body>, BoxError> {
        let again = copy(&request);
        let (client, generation) = timeout_at(deadline, self.connection.current(false)).await?;
        let result = self.exchange(&client, request, deadline).await;
        let refused = matches!(&result, Ok(response) if response.status() == StatusCode::UNAUTHORIZED);
        let Some(again) = again.filter(|_| refused) else { return result };
        let (fresh, newer) = timeout_at(deadline, self.connection.current(true)).await?;
        if newer == generation { result } else { self.exchange(&fresh, again, deadline).await }
    }

    pub(super) async fn exchange(
        &self,
        client: &kube::Client,
        request: Request<Body>,
        deadline: Instant,
    ) -> Result<Response<Body>, BoxError> {
        let start = Instant::now();
        let limit = self.policy.attempt.min(deadline.saturating_duration_since(start));
        let method = request.method().clone();
        self.metrics.sending(&request, &self.host);
        let result = match timeout(limit, client.send(request)).await {
            Ok(result) => result.map_err(BoxError::from),
            Err(_) => Err(TimedOut(limit).into()),
        };
        let labels = [method.as_str(), &self.host];
        self.metrics.duration.with_label_values(&labels).observe(start.elapsed().as_secs_f64());
        self.metrics.requests.with_label_values(&[code(&result).as_str(), method.as_str(), &self.host]).inc();
        result
    }

    /// How long to wait before the next attempt; none when this was the last one.
    fn pause(&self, method: &Method, result: &Result<Response<Body>, BoxError>, attempt: u32) -> Option<Duration> {
        if attempt >= self.policy.retries {
            return None;
        }
        match result {
            Ok(response) => retry_after(response),
            Err(error) if *method == Method::GET && !error.is::<TimedOut>() => Some(RECONNECT_PAUSE),
            Err(_) => None,
        }
    }
}

/// The permission that is missing, by the answer to a request that was refused; none where something else forbids it.
pub(super) async fn lacking(response: Response<Body>) -> Result<(Response<Body>, Option<Lacking>), BoxError> {
    let (parts, body) = response.into_parts();
    let bytes = body.collect_bytes().await?;
    let status: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let lacking = status["message"].as_str().and_then(Lacking::of);
    Ok((Response::from_parts(parts, Body::from(bytes.to_vec())), lacking))
}

/// A second request like the first; none where the body can be read only once.
pub(super) fn copy(request: &Request<Body>) -> Option<Request<Body>> {
    let mut copy = Request::new(request.body().try_clone()?);
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    Some(copy)
}

/// When the server asks to come back: it says so only for requests that it did not execute.
fn retry_after(response: &Response<Body>) -> Option<Duration> {
    let status = response.status();
    if status != StatusCode::TOO_MANY_REQUESTS && !status.is_server_error() {
        return None;
    }
    let seconds: u64 = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    // A little apart, so that those turned away together do not come back together.
    Some(Duration::from_secs(seconds).max(Duration::from_millis(100)).mul_f64(1.0 + 0.1 * rand::random::<f64>()))
}

pub(super) fn is_watch(request: &Request<Body>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1"))
}

fn code(result: &Result<Response<Body>, BoxError>) -> String {
    result.as_ref().map_or_else(|_| "<error>".to_owned(), |response| response.status().as_u16().to_string())
}
