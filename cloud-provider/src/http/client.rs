//! The one way through which every call goes.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};

use super::{
    Authorization, Dialect, Error, HeaderMap, Limits, Method, Observed, Observer, Plain, Request, Result, Retry,
    StatusCode, Transport, Url, error, header, redact, retry,
};
use crate::{cloud::Gate, cluster::token_bucket::TokenBucket, pace::Paces};

/// How long an attempt may take, unless it is set.
const TIME: Duration = Duration::from_secs(60);
/// How large an answer may be, unless it is set.
const BODY: usize = 64 << 20;
/// Calls at the same time, unless it is set.
const IN_FLIGHT: usize = 64;
/// Redirections of one request.
const REDIRECTIONS: usize = 5;

/// Sends requests. Cheap to clone; clones share connections, tokens and pacing.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    transport: Arc<dyn Transport>,
    gate: Gate,
    authorization: Option<Arc<dyn Authorization>>,
    dialect: Arc<dyn Dialect>,
    observer: Option<Arc<dyn Observer>>,
    retry: Retry,
    bucket: Option<Arc<TokenBucket>>,
    /// By service: an origin, and the first part of the path where one origin has several services.
    paces: Paces<String>,
    in_flight: Arc<Semaphore>,
    limits: Limits,
    secrets: Vec<String>,
}

/// Makes a [`Client`].
#[must_use]
pub struct Builder(Inner);

/// An answer: a status that is a success or was tolerated, and the whole body.
#[derive(Clone)]
pub struct Response {
    request: Request,
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Client {
    /// A client that sends through `transport`, as far as `gate` lets it.
    pub fn builder(transport: Arc<dyn Transport>, gate: Gate) -> Builder {
        Builder(Inner {
            transport,
            gate,
            authorization: None,
            dialect: Arc::new(Plain),
            observer: None,
            retry: Retry::default(),
            bucket: None,
            paces: Paces::default(),
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT)),
            limits: Limits { time: TIME, body: BODY },
            secrets: Vec::new(),
        })
    }

    /// Whether writes may leave, and why not.
    pub fn gate(&self) -> &Gate {
        &self.0.gate
    }

    /// Sends a request, as often as its nature and the client's [`Retry`] allow.
    ///
    /// # Errors
    ///
    /// That of the last attempt. [`Kind::Refused`](crate::Kind::Refused) for a write that the gate holds back, which then was not sent.
    pub async fn send(&self, request: Request) -> Result<Response> {
        let began = Instant::now();
        let mut call = Call { client: &self.0, request, attempts: 0, waited: Duration::ZERO, status: None };
        let result = call.run(began).await;
        let (attempts, took) = (call.attempts, began.elapsed());
        let operation = call.request.operation;
        if let Some(observer) = self.0.observer.as_ref().filter(|_| attempts > 0 && call.request.measured) {
            observer.call(&Observed { operation, took, status: call.status, failed: result.is_err(), attempts });
        }
        result.map_err(|error| error.after(attempts, took))
    }

    /// Sends a request and reads its answer.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send), and where the answer is not what was expected.
    pub async fn json<T: DeserializeOwned>(&self, request: Request) -> Result<T> {
        self.send(request).await?.json()
    }
}

/// What came of one attempt.
type Sent = std::result::Result<::http::Response<Bytes>, super::Failure>;
/// Who said who we are, and with which of its proofs.
type Proof = (Arc<dyn Authorization>, u64);

struct Call<'a> {
    client: &'a Inner,
    request: Request,
    attempts: u32,
    /// For its turns. Does not count against the time in which a request may be tried again.
    waited: Duration,
    status: Option<StatusCode>,
}

impl Call<'_> {
    async fn run(&mut self, began: Instant) -> Result<Response> {
        let mut pauses = self.client.retry.pauses();
        let (mut renewed, mut redirections) = (false, 0);
        loop {
            let (result, proof) = self.attempt().await?;
            let (error, may_repeat, asked) = match result {
                Ok(answer) => {
                    let (status, headers) = (answer.status(), answer.headers());
                    self.status = Some(status);
                    if self.request.accepts(status) {
                        let (parts, body) = answer.into_parts();
                        let request = self.request.clone();
                        return Ok(Response { request, status, headers: parts.headers, body });
                    }
                    if let (StatusCode::UNAUTHORIZED, false, Some((authorization, number))) = (status, renewed, &proof)
                    {
                        authorization.refused(*number);
                        renewed = true;
                        continue;
                    }
                    if let Some(url) =
                        redirection(&self.request, status, headers).filter(|_| redirections < REDIRECTIONS)
                    {
                        redirections += 1;
                        self.request = self.request.clone().to(url);
                        continue;
                    }
                    let may_repeat = retry::may_repeat_status(&self.request, status, headers);
                    (self.error(&answer), may_repeat, retry::retry_after(headers))
                }
                Err(failure) => {
                    let may_repeat = retry::may_repeat_stage(&self.request, failure.stage);
                    (Error::broken(&self.request, failure), may_repeat, None)
                }
            };
            let pause = pauses.next().filter(|_| may_repeat).map(|pause| pause.max(asked.unwrap_or_default()));
            let Some(pause) = pause.filter(|pause| began.elapsed() - self.waited + *pause <= self.client.retry.total)
            else {
                return Err(error);
            };
            tracing::debug!(operation = self.request.operation, attempt = self.attempts, ?pause, %error, "tried again");
            sleep(pause).await;
        }
    }

    /// One attempt, with the proof that it used.
    async fn attempt(&mut self) -> Result<(Sent, Option<Proof>)> {
        let client = self.client;
        let service = service(&self.request.url);
        self.waited += client.paces.turn(&service).await;
        let _turn = client.in_flight.acquire().await;
        if let Some(bucket) = &client.bucket {
            bucket.take().await;
        }
        let mut request = ::http::Request::new(self.request.body.clone());
        *request.method_mut() = self.request.method.clone();
        *request.headers_mut() = self.request.headers.clone();
        let uri = self.request.url.as_str().parse();
        *request.uri_mut() = uri.map_err(|_| Error::unusable(&self.request, "the URL cannot be sent"))?;
        let mut proof = None;
        if let Some(authorization) = &client.authorization {
            let number = authorization.authorize(&mut request).await;
            let number = number.map_err(|error| Error::before(&self.request, &error))?;
            proof = Some((authorization.clone(), number));
        }
        // Right before sending: the gate may have closed while this request waited.
        let admitted = client.gate.admit(self.request.access, self.request.operation);
        admitted.map_err(|error| Error::before(&self.request, &error))?;
        self.attempts += 1;
        self.log_request(&request);
        let limits = Limits { time: self.request.time.unwrap_or(client.limits.time), ..client.limits };
        let began = Instant::now();
        let result = client.transport.send(request, limits).await;
        self.note(&result, began.elapsed());
        match &result {
            Ok(answer) if answer.status() == StatusCode::TOO_MANY_REQUESTS => {
                client.paces.refused(&service, retry::retry_after(answer.headers()));
            }
            Ok(_) => client.paces.answered(&service),
            Err(_) => {}
        }
        Ok((result, proof))
    }

    fn error(&self, answer: &::http::Response<Bytes>) -> Error {
        let of_tokens = self.client.authorization.as_ref().map(|authorization| authorization.secrets());
        let of_tokens = of_tokens.unwrap_or_default();
        let secrets = self.client.secrets.iter().chain(&of_tokens).map(String::as_str);
        Error::answered(&self.request, answer, &*self.client.dialect, secrets)
    }

    fn log_request(&self, request: &::http::Request<Bytes>) {
        if tracing::enabled!(tracing::Level::TRACE) {
            let body = if self.request.secret { redact::MASK.to_owned() } else { redact::body(&self.request.body) };
            let headers = redact::headers(request.headers());
            tracing::trace!(operation = self.request.operation, target = %self.request.target(), %headers, %body, "request");
        }
    }

    fn note(&self, result: &Sent, took: Duration) {
        let (operation, attempts) = (self.request.operation, self.attempts);
        let status = result.as_ref().ok().map(::http::Response::status);
        let failed = !status.is_some_and(|status| self.request.accepts(status));
        if let Some(observer) = self.client.observer.as_ref().filter(|_| self.request.measured) {
            observer.attempt(&Observed { operation, took, status, failed, attempts });
        }
        let target = self.request.target();
        match result {
            Ok(answer) => {
                let request_id = error::request_id(answer.headers(), &*self.client.dialect);
                let status = answer.status().as_u16();
                tracing::debug!(operation, %target, status, ?took, request_id, "answer");
                if tracing::enabled!(tracing::Level::TRACE) {
                    let body = if self.request.secret { redact::MASK.to_owned() } else { redact::body(answer.body()) };
                    tracing::trace!(operation, headers = %redact::headers(answer.headers()), %body, "answer");
                }
            }
            Err(failure) => tracing::debug!(operation, %target, ?took, error = %failure, "no answer"),
        }
    }
}

/// Whose rate a request counts against.
fn service(url: &Url) -> String {
    let part = url.path_segments().and_then(|mut parts| parts.next()).unwrap_or_default();
    format!("{}/{part}", url.origin().ascii_serialization())
}

/// Where a redirected request goes: on the same host only, since what proves who we are is not for others, and never from
/// TLS to plain text.
fn redirection(request: &Request, status: StatusCode, headers: &HeaderMap) -> Option<Url> {
    let moved = matches!(status.as_u16(), 301 | 302 | 307 | 308);
    let target = headers.get(header::LOCATION)?.to_str().ok().filter(|_| moved && request.method == Method::GET)?;
    let (from, to) = (&request.url, request.url.join(target).ok()?);
    let upgraded = from.scheme() == "http" && to.scheme() == "https";
    (from.host() == to.host() && (from.origin() == to.origin() || upgraded)).then_some(to)
}

impl Response {
    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The body as it came.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The body as JSON.
    ///
    /// # Errors
    ///
    /// [`Kind::Transient`](crate::Kind::Transient) where it is not what was expected.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let problem = match self.request.secret {
                true => format!("line {} column {}", error.line(), error.column()),
                false => redact::text(&error.to_string(), []),
            };
            Error::odd(&self.request, format!("the answer is not what was expected: {problem}"))
        })
    }

    /// A failure of the call that this is the answer to.
    pub fn odd(&self, problem: impl Into<String>) -> Error {
        Error::odd(&self.request, problem)
    }
}

impl Builder {
    /// Who we are.
    pub fn authorization(mut self, authorization: Arc<dyn Authorization>) -> Self {
        self.0.authorization = Some(authorization);
        self
    }

    /// How the cloud tells of failures.
    pub fn dialect(mut self, dialect: Arc<dyn Dialect>) -> Self {
        self.0.dialect = dialect;
        self
    }

    /// Who counts.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.0.observer = Some(observer);
        self
    }

    /// What is tried again.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.0.retry = retry;
        self
    }

    /// How many attempts there may be in a second; shared by whoever has the same bucket.
    pub fn rate(mut self, bucket: Arc<TokenBucket>) -> Self {
        self.0.bucket = Some(bucket);
        self
    }

    /// How many attempts there may be at the same time, at least one.
    pub fn in_flight(mut self, attempts: usize) -> Self {
        self.0.in_flight = Arc::new(Semaphore::new(attempts.clamp(1, Semaphore::MAX_PERMITS)));
        self
    }

    /// How long an attempt may take.
    pub fn time_limit(mut self, time: Duration) -> Self {
        self.0.limits.time = time;
        self
    }

    /// How large an answer may be, in bytes.
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.0.limits.body = bytes;
        self
    }

    /// Values that are taken out of what a server says.
    pub fn secrets(mut self, secrets: impl IntoIterator<Item = String>) -> Self {
        self.0.secrets.extend(secrets);
        self
    }

    /// The client.
    pub fn build(self) -> Client {
        Client(Arc::new(self.0))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("gate", &self.0.gate).field("retry", &self.0.retry).finish_non_exhaustive()
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("retry", &self.0.retry).finish_non_exhaustive()
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response").field("request", &self.request).field("status", &self.status).finish_non_exhaustive()
    }
}
