//! One failure that stands for many things that were asked for together.

use cloud_provider::{Error, Kind};

use crate::client;

/// What went wrong with one call, for each of the nodes or volumes that the call was made for.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    kind: Kind,
    text: String,
    request_id: Option<String>,
}

impl Failure {
    pub(crate) fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), request_id: None }
    }

    /// Whether the next call would fail in the same way.
    pub(crate) fn is_general(&self) -> bool {
        matches!(self.kind, Kind::Throttled { .. } | Kind::Denied { .. } | Kind::Refused)
    }

    /// The error of one of them.
    pub(crate) fn to_error(&self, context: impl Into<String>) -> Error {
        Error::new(self.kind.clone(), context).with_request_id(self.request_id.clone()).with_source(self.text.clone())
    }
}

impl From<&client::Error> for Failure {
    fn from(error: &client::Error) -> Self {
        Self { kind: error.kind().clone(), text: error.to_string(), request_id: error.request_id().map(str::to_owned) }
    }
}
