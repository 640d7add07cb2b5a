//! The HTTP kit of clouds that are spoken to without an SDK.
//!
//! | part | does |
//! |---|---|
//! | [`Client`] | sends a [`Request`]: pacing, the gate of dry runs, authorization, attempts, measurement |
//! | [`Https`] | the production [`Transport`]: TLS with the files of the configuration, followed when they change |
//! | [`Retry`] | which failures are tried again, and when: by idempotency, with `Retry-After` |
//! | [`Authorization`], [`TokenCache`] | tokens: one fetch at a time, renewed early, fetched again once after a 401 |
//! | [`pages()`] | lists whose pages are chained by links |
//! | [`Polling`] | operations of the cloud that take their time |
//! | [`redact`] | what logs and errors do not show |
//! | [`Error`], [`Dialect`] | failures: from status and body to a [`Kind`](crate::Kind) |
//! | [`Observer`] | where metrics are counted |
//!
//! A request says whether it reads or writes, since HTTP methods do not tell, and whether it may be repeated. Answers are
//! outside input: none of them makes the kit panic, and none is read beyond its limit.

mod authorization;
mod client;
mod error;
mod https;
mod observer;
mod pages;
mod polling;
pub mod redact;
mod request;
mod retry;
mod transport;

#[cfg(test)]
mod tests;

pub use authorization::{Authorization, Fetch, Lease, Token, TokenCache};
pub use client::{Builder, Client, Response};
pub use error::{Dialect, Error, Explanation, Plain, Result};
pub use https::{Https, Identity, Pem, Settings};
pub use observer::{Observed, Observer};
pub use pages::{Page, pages};
pub use polling::{Polling, Progress};
pub use request::Request;
pub use retry::Retry;
pub use transport::{Failure, Limits, Stage, Transport};

pub use ::http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request as HttpRequest, Response as HttpResponse, StatusCode, header,
};
pub use reqwest::Url;
