//! Failed AWS calls as failures of each thing that was asked for.

pub(crate) use cloud_provider::error::Failure;

use crate::client;

impl From<&client::Error> for Failure {
    fn from(error: &client::Error) -> Self {
        Self::new(error.kind().clone(), error.to_string()).with_request_id(error.request_id())
    }
}
