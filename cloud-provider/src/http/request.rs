//! A request, with what the kit must know about it.

use std::{fmt, time::Duration};

use bytes::Bytes;
use reqwest::Url;
use serde::Serialize;

use super::{Error, HeaderMap, HeaderName, HeaderValue, Method, Result, StatusCode, header, redact};
use crate::cloud::Access;

/// A request. Clones are cheap.
#[derive(Clone)]
pub struct Request {
    pub(super) operation: &'static str,
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) access: Access,
    pub(super) idempotent: bool,
    pub(super) busy: Vec<StatusCode>,
    pub(super) tolerated: Vec<StatusCode>,
    pub(super) secret: bool,
    pub(super) time: Option<Duration>,
    pub(super) measured: bool,
}

impl Request {
    /// A request of the operation `operation`, which names it in metrics, logs and errors.
    ///
    /// `GET` and `HEAD` read, all else writes; `GET`, `HEAD`, `PUT`, `DELETE` and `OPTIONS` may be repeated. Where that is not
    /// so, [`access`](Self::access) and [`idempotent`](Self::idempotent) say it.
    pub fn new(operation: &'static str, method: Method, url: Url) -> Self {
        let access = if method.is_safe() { Access::Read } else { Access::Write };
        let idempotent = method.is_idempotent();
        Self {
            operation,
            method,
            url,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            access,
            idempotent,
            busy: Vec::new(),
            tolerated: Vec::new(),
            secret: false,
            time: None,
            measured: true,
        }
    }

    /// Adds to the query.
    #[must_use]
    pub fn query<K: AsRef<str>, V: AsRef<str>>(mut self, pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        let mut pairs = pairs.into_iter().peekable();
        if pairs.peek().is_some() {
            self.url.query_pairs_mut().extend_pairs(pairs);
        }
        self
    }

    /// Sets a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Sets a JSON body.
    ///
    /// # Errors
    ///
    /// For what JSON cannot hold.
    pub fn json(mut self, body: &impl Serialize) -> Result<Self> {
        let body = serde_json::to_vec(body);
        // The text of such an error tells a type, never a value.
        self.body = body.map_err(|error| Error::unusable(&self, error.to_string()))?.into();
        Ok(self.header(header::CONTENT_TYPE, HeaderValue::from_static("application/json")))
    }

    /// Says whether it reads or writes, where the method does not tell.
    #[must_use]
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// Says whether it may be sent again after it may have been carried out, where the method does not tell.
    #[must_use]
    pub fn idempotent(mut self, idempotent: bool) -> Self {
        self.idempotent = idempotent;
        self
    }

    /// This status means that the cloud is busy and has done nothing, and that the same request may succeed soon. A `429`
    /// always means that, and a `503` with `Retry-After`.
    #[must_use]
    pub fn busy(mut self, status: StatusCode) -> Self {
        self.busy.push(status);
        self
    }

    /// This status is an answer and not a failure, beyond those from 200 to 299: a `404` to a deletion, say.
    #[must_use]
    pub fn tolerate(mut self, status: StatusCode) -> Self {
        self.tolerated.push(status);
        self
    }

    /// Its bodies hold secrets: not even the names of their fields are shown.
    #[must_use]
    pub fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// How long one attempt may take, other than the client's limit.
    #[must_use]
    pub fn time_limit(mut self, time: Duration) -> Self {
        self.time = Some(time);
        self
    }

    /// The observer is not told of it.
    #[must_use]
    pub fn unmeasured(mut self) -> Self {
        self.measured = false;
        self
    }

    /// Where it goes.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The same request to another place, for the next page or a redirection.
    #[must_use]
    pub fn to(mut self, url: Url) -> Self {
        self.url = url;
        self
    }

    /// What it is, as logs and errors name it: method and URL, without secrets.
    pub fn target(&self) -> String {
        format!("{} {}", self.method, redact::url(&self.url))
    }

    pub(super) fn accepts(&self, status: StatusCode) -> bool {
        status.is_success() || self.tolerated.contains(&status)
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("operation", &self.operation)
            .field("target", &self.target())
            .finish_non_exhaustive()
    }
}
