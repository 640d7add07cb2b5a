//! Failed calls: from status and body to a kind.

use std::{error::Error as StdError, fmt, time::Duration};

use bytes::Bytes;

use super::{Failure, HeaderMap, Request, StatusCode, redact, retry, transport::Stage};
use crate::Kind;

/// The result of a call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed call: what was called, the status, the cloud's code and message, the request ID, and what can be done about it.
///
/// Printed as `port_list: GET https://network.example.com/v2.0/ports: 503 Service Unavailable: busy (4 attempts in 7.2 s)`.
pub struct Error(Box<Inner>);

struct Inner {
    operation: &'static str,
    target: String,
    kind: Kind,
    status: Option<StatusCode>,
    code: Option<String>,
    message: String,
    request_id: Option<String>,
    attempts: u32,
    took: Duration,
}

/// How a cloud tells of failures.
pub trait Dialect: Send + Sync {
    /// What an answer with an error status says. The body may be anything.
    fn explain(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Explanation;

    /// The headers that hold the ID of a request, the best first.
    fn request_ids(&self) -> &'static [&'static str] {
        &["x-request-id"]
    }
}

/// What a cloud said about a failure.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Explanation {
    /// The cloud's own code, by which callers tell failures of one status apart.
    pub code: Option<String>,
    /// For people; what is empty is replaced by the status.
    pub message: String,
    /// The kind, where the status alone would tell a wrong one.
    pub kind: Option<Kind>,
}

/// The dialect of clouds that have none: the status tells the kind, the body is not looked at.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plain;

impl Dialect for Plain {
    fn explain(&self, _status: StatusCode, _headers: &HeaderMap, _body: &[u8]) -> Explanation {
        Explanation::default()
    }
}

impl Error {
    fn new(request: &Request, kind: Kind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            operation: request.operation,
            target: request.target(),
            kind,
            status: None,
            code: None,
            message: message.into(),
            request_id: None,
            attempts: 0,
            took: Duration::ZERO,
        }))
    }

    /// An answer that makes no sense.
    pub fn odd(request: &Request, problem: impl Into<String>) -> Self {
        Self::new(request, Kind::Transient, problem)
    }

    /// A request that cannot be sent.
    pub(super) fn unusable(request: &Request, problem: impl Into<String>) -> Self {
        Self::new(request, Kind::Invalid { field: "request".into() }, problem)
    }

    /// A failure of what must come before the request: the gate, the authorization.
    pub(super) fn before(request: &Request, error: &crate::Error) -> Self {
        let mut failed = Self::new(request, error.kind().clone(), error.chain());
        failed.0.request_id = error.request_id().map(str::to_owned);
        failed
    }

    /// No whole answer.
    pub(super) fn broken(request: &Request, failure: Failure) -> Self {
        let kind = match failure.stage {
            Stage::Unusable => Kind::Invalid { field: "endpoint".into() },
            _ => Kind::Transient,
        };
        Self::new(request, kind, failure.text)
    }

    /// An answer with a status that is a failure.
    pub(super) fn answered<'a>(
        request: &Request,
        answer: &::http::Response<Bytes>,
        dialect: &dyn Dialect,
        secrets: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let (status, headers) = (answer.status(), answer.headers());
        let Explanation { code, message, kind } = dialect.explain(status, headers, answer.body());
        let kind = kind.unwrap_or_else(|| of_status(status, headers));
        let kind = match kind {
            Kind::Denied { permission: None } if status == StatusCode::FORBIDDEN => {
                Kind::Denied { permission: Some(request.operation.to_owned()) }
            }
            kind => kind,
        };
        let mut error = Self::new(request, kind, redact::text(&message, secrets));
        error.0.status = Some(status);
        error.0.code = code;
        error.0.request_id = request_id(headers, dialect);
        error
    }

    pub(super) fn after(mut self, attempts: u32, took: Duration) -> Self {
        (self.0.attempts, self.0.took) = (attempts, took);
        self
    }

    /// The same failure with another kind, where the caller knows what it means.
    #[must_use]
    pub fn with_kind(mut self, kind: Kind) -> Self {
        self.0.kind = kind;
        self
    }

    /// What can be done about it.
    pub fn kind(&self) -> &Kind {
        &self.0.kind
    }

    /// The status, where there was an answer.
    pub fn status(&self) -> Option<StatusCode> {
        self.0.status
    }

    /// The cloud's own code.
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// The cloud's message. For people, never to tell failures apart.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The ID of the request that the cloud's support asks for.
    pub fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref()
    }

    /// True for a positive "does not exist".
    pub fn is_not_found(&self) -> bool {
        self.0.kind == Kind::NotFound
    }

    /// True where somebody else changed the thing, or it is busy.
    pub fn is_conflict(&self) -> bool {
        self.0.kind == Kind::Conflict
    }

    /// The failed call behind a failure of the core's type.
    pub fn of(error: &crate::Error) -> Option<&Self> {
        let mut next = error.source();
        while let Some(cause) = next {
            if let Some(error) = cause.downcast_ref::<Self>() {
                return Some(error);
            }
            next = cause.source();
        }
        None
    }
}

/// What a status means where the cloud says no more.
fn of_status(status: StatusCode, headers: &HeaderMap) -> Kind {
    let retry_after = retry::retry_after(headers);
    match status.as_u16() {
        429 | 498 => Kind::Throttled { retry_after },
        413 | 503 if retry_after.is_some() => Kind::Throttled { retry_after },
        400 | 406 | 414 | 415 | 422 | 431 => Kind::Invalid { field: "request".into() },
        401 | 403 => Kind::Denied { permission: None },
        402 | 413 => Kind::Quota,
        404 | 410 => Kind::NotFound,
        409 | 412 | 423 | 428 => Kind::Conflict,
        405 | 501 => Kind::Unsupported,
        _ => Kind::Transient,
    }
}

pub(super) fn request_id(headers: &HeaderMap, dialect: &dyn Dialect) -> Option<String> {
    let mut names = dialect.request_ids().iter();
    let id = names.find_map(|name| headers.get(*name)?.to_str().ok())?;
    let is_id = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '/' | '=');
    (!id.is_empty() && id.len() <= 200 && id.chars().all(is_id)).then(|| id.to_owned())
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { operation, target, status, message, attempts, took, .. } = &*self.0;
        write!(f, "{operation}: {target}: ")?;
        match status {
            Some(status) if message.is_empty() => write!(f, "{status}")?,
            Some(status) => write!(f, "{status}: {message}")?,
            None => f.write_str(message)?,
        }
        match attempts {
            0 | 1 => Ok(()),
            attempts => write!(f, " ({attempts} attempts in {:.1} s)", took.as_secs_f64()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl StdError for Error {}

impl From<Error> for crate::Error {
    fn from(error: Error) -> Self {
        Self::new(error.0.kind.clone(), error.to_string())
            .with_request_id(error.0.request_id.clone())
            .with_source(error)
    }
}
