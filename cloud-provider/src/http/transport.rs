//! What carries requests.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;

/// Sends one request once. [`Https`](super::Https) is the one of production.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Sends a request and reads the whole answer. Redirects are not followed.
    ///
    /// # Errors
    ///
    /// Where no whole answer came; statuses are no failures.
    async fn send(
        &self,
        request: ::http::Request<Bytes>,
        limits: Limits,
    ) -> std::result::Result<::http::Response<Bytes>, Failure>;
}

/// What one attempt may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From sending to the last byte of the answer.
    pub time: Duration,
    /// The size of the answer's body in bytes.
    pub body: usize,
}

/// Why no whole answer came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// How far it got.
    pub stage: Stage,
    /// What happened, without URL.
    pub text: String,
}

/// How far an attempt got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The request cannot be sent at all, now or later: a URL or a setting that is of no use.
    Unusable,
    /// No connection: the cloud has not seen the request.
    Connect,
    /// It was sent, at least in part, and the connection broke: it may have been carried out.
    Broken,
    /// No whole answer in time: it may have been carried out.
    TimedOut,
    /// The answer is larger than it may be. The request was carried out.
    TooLarge,
}

impl Failure {
    /// A failure with its text.
    pub fn new(stage: Stage, text: impl Into<String>) -> Self {
        Self { stage, text: text.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}
