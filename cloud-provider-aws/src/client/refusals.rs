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

/// What AWS has one budget for.
pub(super) type Calls = (Service, Cow<'static, str>);

/// The budget that a call is taken from. Elastic Load Balancing has one for all actions that read, one for registrations and one for what
/// else writes, in each version of its API (<https://docs.aws.amazon.com/elasticloadbalancing/latest/userguide/elb-api-throttling.html>);
/// the others have one for each action.
pub(super) fn budget(service: Service, operation: impl Into<Cow<'static, str>>) -> Calls {
    let operation = operation.into();
    let budget = match service {
        Service::Elb | Service::ElbV2 if operation.starts_with("Describe") => "reads".into(),
        Service::Elb | Service::ElbV2 if operation.contains("egister") => "registrations".into(),
        Service::Elb | Service::ElbV2 => "writes".into(),
        Service::Ec2 | Service::Sts | Service::Ecr | Service::EcrPublic => operation,
    };
    (service, budget)
}

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
        let calls = budget(self.service, operation.name().to_owned());
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
