//! Refusals as AWS words them.

use crate::{service::Service, xml};

/// An error answer: AWS's code, its message and the HTTP status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) status: u16,
}

impl ApiError {
    /// A client error with status 400, which is what nearly all codes have.
    pub(crate) fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), status: 400 }
    }

    pub(crate) fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// The elastic load balancing services' catch-all for values outside their limits.
    pub(crate) fn validation(message: impl Into<String>) -> Self {
        Self::new("ValidationError", message)
    }

    /// The error document in the shape of `service`.
    pub(crate) fn document(&self, service: Service, request_id: &str) -> String {
        let mut code = String::new();
        xml::escape(&self.code, &mut code);
        let mut message = String::new();
        xml::escape(&self.message, &mut message);
        match service {
            Service::Ecr | Service::EcrPublic => {
                serde_json::json!({"__type": self.code, "message": self.message}).to_string()
            }
            Service::Ec2 => format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>{code}</Code><Message>{message}\
                 </Message></Error></Errors><RequestID>{request_id}</RequestID></Response>"
            ),
            Service::Elb | Service::ElbV2 | Service::Sts => {
                let fault = if self.status >= 500 { "Receiver" } else { "Sender" };
                let namespace = service.namespace();
                format!(
                    "<ErrorResponse xmlns=\"{namespace}\">\n  <Error><Type>{fault}</Type><Code>{code}</Code><Message>\
                     {message}</Message></Error>\n  <RequestId>{request_id}</RequestId>\n</ErrorResponse>\n"
                )
            }
        }
    }
}

/// The HTTP status which AWS sends with `code` when a test asks for that error without a status.
pub(crate) fn usual_status(service: Service, code: &str) -> u16 {
    match (service, code) {
        (Service::Ec2, "RequestLimitExceeded" | "Unavailable" | "InsufficientInstanceCapacity") => 503,
        (_, "ServiceUnavailable") => 503,
        (_, "InternalError" | "InternalFailure" | "ServerException" | "HealthUnavailable" | "InsufficientCapacity") => {
            500
        }
        (Service::Ec2, "AuthFailure") => 401,
        (_, "PriorRequestNotComplete") => 429,
        (Service::Elb, "InvalidConfigurationRequest") => 409,
        (
            _,
            "UnauthorizedOperation"
            | "AccessDenied"
            | "InvalidClientTokenId"
            | "SignatureDoesNotMatch"
            | "ExpiredToken"
            | "MissingAuthenticationToken",
        ) => 403,
        _ => 400,
    }
}
