//! The errors of a cloud, as the controllers see them.
//!
//! A cloud crate turns every failure of its API into one [`Error`] with a [`Kind`]; controllers act on the kind and
//! never look into a message. The message says what was being done, and to what; the source says why.

use std::{error::Error as StdError, fmt, time::Duration};

use crate::cluster::refusal::Lacking;

/// What a controller can do about a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// The cloud said positively that the thing does not exist.
    NotFound,
    /// The cloud asked for fewer calls; with the wait it named, where it named one.
    Throttled {
        /// How long the cloud asked to wait.
        retry_after: Option<Duration>,
    },
    /// Somebody else changed the thing at the same time, or it is busy.
    Conflict,
    /// The credentials are good but a permission is missing.
    Denied {
        /// The missing permission, in the cloud's own spelling.
        permission: Option<String>,
    },
    /// A limit of the account or of a resource is reached.
    Quota,
    /// Input of the user is wrong: an annotation, a field of the spec, a key of the configuration.
    Invalid {
        /// The field, annotation or key.
        field: String,
    },
    /// The cloud, or this version of it, cannot do what was asked.
    Unsupported,
    /// A step that is not finished yet and goes on by itself.
    Pending {
        /// When to look again.
        retry_after: Duration,
    },
    /// A write was held back: a dry run, or leadership was lost.
    Refused,
    /// Anything that may go away by itself: timeouts, 5xx, broken connections, answers that make no sense.
    Transient,
}

/// A failure, with what was being done, its kind, the cloud's request ID and its cause.
pub struct Error {
    inner: Box<Inner>,
}

struct Inner {
    kind: Kind,
    context: String,
    request_id: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The result of a call into a cloud.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A failure of `kind` while doing `context`, for example `"create target group k8s-default-web-0123456789"`.
    pub fn new(kind: Kind, context: impl Into<String>) -> Self {
        Self { inner: Box::new(Inner { kind, context: context.into(), request_id: None, source: None }) }
    }

    /// Wrong input of the user in `field`; `problem` names the value and the fix.
    pub fn invalid(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::new(Kind::Invalid { field: field.into() }, problem)
    }

    /// A failure that may go away by itself.
    pub fn transient(context: impl Into<String>) -> Self {
        Self::new(Kind::Transient, context)
    }

    /// A positive "does not exist".
    pub fn not_found(context: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, context)
    }

    /// Keeps the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.inner.source = Some(source.into());
        self
    }

    /// Keeps the request ID that the cloud's support asks for.
    #[must_use]
    pub fn with_request_id(mut self, id: Option<impl Into<String>>) -> Self {
        self.inner.request_id = id.map(Into::into);
        self
    }

    /// The same failure seen from one step further up: the kind stays, `context` is put in front.
    #[must_use]
    pub fn context(self, context: impl fmt::Display) -> Self {
        let kind = self.inner.kind.clone();
        Self::new(kind, context.to_string()).with_source(self)
    }

    /// What can be done about it.
    pub fn kind(&self) -> &Kind {
        &self.inner.kind
    }

    /// The request ID of the failing call or of the call behind it.
    pub fn request_id(&self) -> Option<&str> {
        self.inner.request_id.as_deref().or_else(|| {
            let source = self.inner.source.as_deref()?;
            source.downcast_ref::<Error>().and_then(Error::request_id)
        })
    }

    /// True for a positive "does not exist".
    pub fn is_not_found(&self) -> bool {
        self.inner.kind == Kind::NotFound
    }

    /// Whether it tells of a server that fails or has enough, and nothing about the thing that was asked for.
    pub fn is_outage(&self) -> bool {
        matches!(self.inner.kind, Kind::Transient | Kind::Throttled { .. })
    }

    /// Whether the API server refused what no role of this program grants. The client of the API server tells of each such
    /// permission once; who tries again and again need not.
    pub(crate) fn lacks_role(&self) -> bool {
        let mut cause = self.source();
        while let Some(error) = cause {
            if error.is::<NoRole>() {
                return true;
            }
            cause = error.source();
        }
        false
    }

    /// How long to wait before the next try, where the cloud or the provider said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self.inner.kind {
            Kind::Throttled { retry_after } => retry_after,
            Kind::Pending { retry_after } => Some(retry_after),
            _ => None,
        }
    }

    /// The whole chain in one line, `what: why: why`, with the request ID at the end. For events and logs, printed once.
    pub fn chain(&self) -> String {
        let mut text = self.text();
        if let Some(id) = self.request_id() {
            text.push_str(&format!(" (request ID {id})"));
        }
        text
    }

    /// The chain without the request ID.
    fn text(&self) -> String {
        let mut text = self.inner.context.clone();
        let mut next = self.source();
        while let Some(cause) = next {
            let cause_text = cause.to_string();
            if !cause_text.is_empty() && !text.ends_with(&cause_text) {
                text.push_str(": ");
                text.push_str(&cause_text);
            }
            next = cause.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.context)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.inner.kind, self.chain())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner.source.as_deref().map(|source| source as _)
    }
}

/// One failure that stands for many things that were asked for together: what went wrong with one call, for each of the
/// nodes or volumes that the call was made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    kind: Kind,
    text: String,
    request_id: Option<String>,
}

impl Failure {
    /// A failure of `kind`.
    pub fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), request_id: None }
    }

    /// Keeps the request ID.
    #[must_use]
    pub fn with_request_id(mut self, id: Option<impl Into<String>>) -> Self {
        self.request_id = id.map(Into::into);
        self
    }

    /// What can be done about it.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// Whether the next call would fail in the same way.
    pub fn is_general(&self) -> bool {
        matches!(self.kind, Kind::Throttled { .. } | Kind::Denied { .. } | Kind::Refused)
    }

    /// The error of one of them.
    pub fn to_error(&self, context: impl Into<String>) -> Error {
        Error::new(self.kind.clone(), context).with_request_id(self.request_id.clone()).with_source(self.text.clone())
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        Self { kind: error.kind().clone(), text: error.text(), request_id: error.request_id().map(str::to_owned) }
    }
}

/// The API server's refusal of what no role grants.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NoRole(String);

/// Logs a failure that is tried again as a warning; as a debug message where a role is missing, which is told once elsewhere.
macro_rules! warn_of {
    ($error:expr, $($rest:tt)+) => {
        if $error.lacks_role() { tracing::debug!($($rest)+) } else { tracing::warn!($($rest)+) }
    };
}
pub(crate) use warn_of;

impl From<kube::Error> for Error {
    /// A failed call to the API server: 404 is [`Kind::NotFound`], 409 [`Kind::Conflict`], 403 [`Kind::Denied`],
    /// 422 and 400 [`Kind::Invalid`], 429 [`Kind::Throttled`], all else [`Kind::Transient`].
    fn from(error: kube::Error) -> Self {
        let kind = match &error {
            kube::Error::Api(status) => match status.code {
                404 => Kind::NotFound,
                409 => Kind::Conflict,
                403 => Kind::Denied { permission: Lacking::of(&status.message).map(|lacking| lacking.permission) },
                400 | 422 => Kind::Invalid { field: "request".into() },
                429 => Kind::Throttled {
                    retry_after: status
                        .details
                        .as_ref()
                        .map(|details| details.retry_after_seconds)
                        .filter(|seconds| *seconds > 0)
                        .map(|seconds| Duration::from_secs(seconds.into())),
                },
                _ => Kind::Transient,
            },
            _ => Kind::Transient,
        };
        let context = "call the Kubernetes API";
        match error {
            kube::Error::Api(status) if matches!(&kind, Kind::Denied { permission: Some(_) }) => {
                Self::new(kind, context).with_source(NoRole(status.message))
            }
            // Its message says it all; printed whole it says it three times.
            kube::Error::Api(status) => Self::new(kind, context).with_source(status.message),
            error => Self::new(kind, context).with_source(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn context_keeps_the_kind_and_the_chain_is_printed_once() {
        let error = Error::new(Kind::Quota, "authorize ingress of sg-1")
            .with_request_id(Some("req-7"))
            .with_source(std::io::Error::other("60 rules"))
            .context("ensure load balancer a1");
        assert_eq!(error.kind(), &Kind::Quota);
        assert_eq!(error.chain(), "ensure load balancer a1: authorize ingress of sg-1: 60 rules (request ID req-7)");
    }

    #[test]
    fn retry_after_comes_from_throttling_and_pending_only() {
        let wait = Duration::from_secs(42);
        assert_eq!(Error::new(Kind::Pending { retry_after: wait }, "x").retry_after(), Some(wait));
        assert_eq!(Error::new(Kind::Throttled { retry_after: None }, "x").retry_after(), None);
        assert_eq!(Error::transient("x").retry_after(), None);
    }
}
