//! A request after it was read, and what an action answers.

use http::{HeaderMap, Method};
use serde_json::Value;

use crate::{
    document::{Document, Fields as _},
    error::ApiError,
};

/// A request for an action.
pub(crate) struct Request {
    pub(crate) method: Method,
    /// The path without the part that finds the service, such as `/v2.0/ports`.
    pub(crate) path: String,
    /// The URL up to the path, for links.
    pub(crate) base: String,
    /// What stands in the path where the action has `{}`.
    pub(crate) captures: Vec<String>,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    /// None without a body.
    pub(crate) body: Option<Result<Value, String>>,
}

impl Request {
    /// The first thing that the path names.
    pub(crate) fn id(&self) -> &str {
        self.capture(0)
    }

    pub(crate) fn capture(&self, place: usize) -> &str {
        self.captures.get(place).map(String::as_str).unwrap_or_default()
    }

    /// The last value of a query parameter.
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// All values of a query parameter.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.query.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body, which must be JSON.
    pub(crate) fn json(&self) -> Result<&Value, ApiError> {
        match &self.body {
            Some(Ok(value)) => Ok(value),
            Some(Err(reason)) => Err(ApiError::bad_request(format!("Malformed request body: {reason}"))),
            None => Err(ApiError::bad_request("Missing request body")),
        }
    }

    /// The object under `name` in the body.
    pub(crate) fn object(&self, name: &str) -> Result<&Document, ApiError> {
        let text = || ApiError::bad_request(format!("Unable to find '{name}' in request body"));
        self.json()?.get(name).and_then(Value::as_object).ok_or_else(text)
    }

    /// What the log shows: names in the path, the query, the body; no secrets.
    pub(crate) fn logged(&self, secret: bool) -> std::collections::BTreeMap<String, String> {
        let mut all = std::collections::BTreeMap::new();
        for (place, capture) in self.captures.iter().enumerate() {
            let name = if place == 0 { "id".to_owned() } else { format!("id{}", place + 1) };
            all.insert(name, capture.clone());
        }
        for (name, value) in &self.query {
            all.entry(name.clone()).and_modify(|old| *old = format!("{old},{value}")).or_insert_with(|| value.clone());
        }
        if let Some(Ok(body)) = self.body.as_ref().filter(|_| !secret) {
            all.insert("body".to_owned(), body.to_string());
        }
        all
    }
}

/// An answer that is no error.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Option<Value>,
    pub(crate) headers: Vec<(&'static str, String)>,
}

impl Reply {
    pub(crate) fn new(status: u16, body: Value) -> Self {
        Self { status, body: Some(body), headers: Vec::new() }
    }

    pub(crate) fn ok(body: Value) -> Self {
        Self::new(200, body)
    }

    pub(crate) fn empty(status: u16) -> Self {
        Self { status, body: None, headers: Vec::new() }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// The text of a required member of a body.
pub(crate) fn required<'a>(document: &'a Document, name: &str) -> Result<&'a str, ApiError> {
    let text = document.text(name);
    if text.is_empty() { Err(ApiError::bad_request(format!("'{name}' is a required property"))) } else { Ok(text) }
}
