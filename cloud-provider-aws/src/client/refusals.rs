//! Each attempt of the SDKs that AWS refuses for its rate puts the calls after it in line.

use std::{borrow::Cow, sync::Arc};

use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{Intercept, context::FinalizerInterceptorContextRef},
        orchestrator::Metadata,
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::config_bag::ConfigBag;
use cloud_provider::pace::Paces;

use super::{Error, Service};

/// What AWS has one budget for: an action of a service.
pub(super) type Calls = (Service, Cow<'static, str>);

/// Sees the attempts of one service's SDK, which tries again by itself and tells of the last attempt only.
#[derive(Debug)]
pub(super) struct Refusals {
    service: Service,
    paces: Arc<Paces<Calls>>,
}

impl Refusals {
    pub(super) fn new(service: Service, paces: Arc<Paces<Calls>>) -> Self {
        Self { service, paces }
    }
}

impl Intercept for Refusals {
    fn name(&self) -> &'static str {
        "Refusals"
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let (Some(answer), Some(operation)) = (context.response(), config.load::<Metadata>()) else { return Ok(()) };
        let calls = (self.service, Cow::Owned(operation.name().to_owned()));
        let status = answer.status().as_u16();
        if status >= 400 && Error::is_refusal(self.service, answer.body().bytes().and_then(code), status) {
            self.paces.refused(&calls, None);
        } else {
            self.paces.answered(&calls);
        }
        Ok(())
    }
}

/// The error code in an answer of the query protocols.
fn code(body: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(body).ok()?;
    let (_, rest) = text.split_once("<Code>")?;
    Some(rest.split_once("</Code>")?.0.trim())
}
