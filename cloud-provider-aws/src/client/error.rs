//! Failures of AWS calls, told apart by their error code, never by their text.

use std::{error::Error as StdError, fmt};

use cloud_provider::Kind;

use super::Service;

/// The result of an AWS call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed AWS call: what was called, AWS's error code and message, the request ID, and what can be done about it.
///
/// Printed as `ec2:DescribeSubnets: InvalidSubnetID.NotFound: The subnet ID 'subnet-1' does not exist`.
pub struct Error(Box<Inner>);

struct Inner {
    service: Service,
    operation: &'static str,
    kind: Kind,
    code: Option<String>,
    message: String,
    status: Option<u16>,
    request_id: Option<String>,
}

impl Error {
    /// An answer that makes no sense, such as a missing identifier of what was just made.
    pub fn odd_answer(service: Service, operation: &'static str, problem: impl Into<String>) -> Self {
        Self::of_kind(service, operation, Kind::Transient, problem)
    }

    /// A failure on our side of the call.
    pub(crate) fn of_kind(service: Service, operation: &'static str, kind: Kind, message: impl Into<String>) -> Self {
        let message = message.into();
        Self(Box::new(Inner { service, operation, kind, code: None, message, status: None, request_id: None }))
    }

    /// A failure with a code, for tests of what is made of it.
    #[cfg(test)]
    pub(crate) fn answered(service: Service, operation: &'static str, code: &str, message: &str) -> Self {
        let mut error = Self::of_kind(service, operation, kind(service, operation, Some(code), Some(400)), message);
        error.0.code = Some(code.to_owned());
        error
    }

    /// Whether a code, or a status without one, is a refusal for the rate of calls.
    #[cfg(feature = "sdk")]
    pub(crate) fn is_refusal(service: Service, code: Option<&str>, status: u16) -> bool {
        matches!(kind(service, "", code, Some(status)), Kind::Throttled { .. })
    }

    /// A failure that AWS answered with, or an answer that never came.
    #[cfg(feature = "sdk")]
    pub(crate) fn from_sdk<E>(
        service: Service,
        operation: &'static str,
        error: &aws_smithy_runtime_api::client::result::SdkError<
            E,
            aws_smithy_runtime_api::client::orchestrator::HttpResponse,
        >,
    ) -> Self
    where
        E: aws_smithy_types::error::metadata::ProvideErrorMetadata + StdError + 'static,
    {
        use aws_types::request_id::RequestId as _;

        let meta = error.as_service_error().map(|error| error.meta());
        let code = meta.and_then(|meta| meta.code()).filter(|code| !code.is_empty()).map(str::to_owned);
        let status = error.raw_response().map(|response| response.status().as_u16());
        let request_id = meta.and_then(|meta| meta.request_id()).or_else(|| error.request_id()).map(str::to_owned);
        let message = match meta.and_then(|meta| meta.message()) {
            Some(message) => message.to_owned(),
            None => chain(error),
        };
        let kind = kind(service, operation, code.as_deref(), status);
        Self(Box::new(Inner { service, operation, kind, code, message, status, request_id }))
    }

    /// AWS's error code, such as `InvalidGroup.Duplicate`.
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// What can be done about it.
    pub fn kind(&self) -> &Kind {
        &self.0.kind
    }

    /// AWS's message. For people, and for the identifiers that only stand there; never to tell failures apart.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The HTTP status, where there was an answer.
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// The request ID that AWS's support asks for.
    pub fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref()
    }

    /// True for a positive "does not exist" of the thing that was asked for.
    pub fn is_not_found(&self) -> bool {
        self.0.kind == Kind::NotFound
    }

    /// The AWS error code behind a failure of the core's type.
    pub fn code_of(error: &cloud_provider::Error) -> Option<&str> {
        let mut next = error.source();
        while let Some(cause) = next {
            if let Some(error) = cause.downcast_ref::<Self>() {
                return error.code();
            }
            next = cause.source();
        }
        None
    }
}

/// All causes in one line. The SDKs' errors name no secrets.
#[cfg(feature = "sdk")]
pub(crate) fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

/// What a code, or a status without one, means for the caller.
///
/// Not found is only what names the very thing that was asked for. The load balancer services also say "not found" of
/// subnets, certificates and the like that a request refers to: those are wrong input.
#[cfg_attr(not(any(feature = "sdk", test)), expect(dead_code, reason = "only calls fail"))]
fn kind(service: Service, operation: &str, code: Option<&str>, status: Option<u16>) -> Kind {
    let Some(code) = code else {
        return match status {
            Some(429) => Kind::Throttled { retry_after: None },
            _ => Kind::Transient,
        };
    };
    let code = code.strip_prefix("Client.").or_else(|| code.strip_prefix("Server.")).unwrap_or(code);
    match code {
        "RequestLimitExceeded"
        | "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "TooManyRequestsException"
        | "TooManyRequests"
        | "BandwidthLimitExceeded"
        | "SlowDown"
        | "PriorRequestNotComplete"
        | "EC2ThrottledException"
        | "DependencyThrottle" => Kind::Throttled { retry_after: None },
        "UnauthorizedOperation" | "AccessDenied" | "AccessDeniedException" => {
            Kind::Denied { permission: Some(format!("{}:{operation}", service.iam_prefix())) }
        }
        "AuthFailure"
        | "InvalidClientTokenId"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "MissingAuthenticationToken"
        | "UnrecognizedClientException"
        | "OptInRequired"
        | "Blocked"
        | "PendingVerification" => Kind::Denied { permission: None },
        "LoadBalancerNotFound"
        | "AccessPointNotFound"
        | "TargetGroupNotFound"
        | "ListenerNotFound"
        | "PolicyNotFound"
        | "RuleNotFound" => Kind::NotFound,
        "DependencyViolation"
        | "ResourceInUse"
        | "PriorityInUse"
        | "OperationInProgress"
        | "OperationNotPermitted"
        | "IncorrectState"
        | "IncorrectInstanceState"
        | "InvalidState"
        | "RouteAlreadyExists"
        | "ConcurrentTagAccess"
        | "DuplicateLoadBalancerName"
        | "DuplicateAccessPointName"
        | "DuplicateTargetGroupName"
        | "DuplicateListener"
        | "DuplicatePolicyName" => Kind::Conflict,
        "UnsupportedOperation" | "Unsupported" | "InvalidAction" | "UnsupportedProtocol" => Kind::Unsupported,
        "MissingParameter"
        | "MissingAction"
        | "ValidationError"
        | "ValidationException"
        | "UnknownParameter"
        | "IncompatibleProtocols"
        | "DuplicateTagKeys"
        | "AvailabilityZoneNotSupported"
        | "SubnetNotFound"
        | "CertificateNotFound"
        | "SSLPolicyNotFound"
        | "AllocationIdNotFound"
        | "PolicyTypeNotFound" => Kind::Invalid { field: code.to_owned() },
        _ if code.ends_with(".NotFound") => Kind::NotFound,
        _ if code.ends_with(".Duplicate") || code.ends_with(".InUse") => Kind::Conflict,
        _ if code.ends_with("LimitExceeded") || code.starts_with("TooMany") => Kind::Quota,
        _ if code.starts_with("Invalid") || code.starts_with("Malformed") => Kind::Invalid { field: code.to_owned() },
        _ => Kind::Transient,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { service, operation, code, message, .. } = &*self.0;
        write!(f, "{}:{operation}: ", service.iam_prefix())?;
        match code {
            Some(code) => write!(f, "{code}: {message}"),
            None => f.write_str(message),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl StdError for Error {}

impl From<Error> for cloud_provider::Error {
    fn from(error: Error) -> Self {
        Self::new(error.0.kind.clone(), error.to_string())
            .with_request_id(error.0.request_id.clone())
            .with_source(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_become_kinds() {
        let of = |code| kind(Service::ElbV2, "CreateListener", Some(code), Some(400));
        for code in
            ["InvalidInstanceID.NotFound", "InvalidGroup.NotFound", "LoadBalancerNotFound", "TargetGroupNotFound"]
        {
            assert_eq!(of(code), Kind::NotFound, "{code}");
        }
        for code in ["RequestLimitExceeded", "Throttling", "Client.RequestLimitExceeded"] {
            assert_eq!(of(code), Kind::Throttled { retry_after: None }, "{code}");
        }
        for code in ["RulesPerSecurityGroupLimitExceeded", "TooManyTargets", "TooManyLoadBalancers"] {
            assert_eq!(of(code), Kind::Quota, "{code}");
        }
        for code in ["InvalidGroup.Duplicate", "DependencyViolation", "ResourceInUse", "InvalidPermission.Duplicate"] {
            assert_eq!(of(code), Kind::Conflict, "{code}");
        }
        for code in ["SubnetNotFound", "InvalidTarget", "InvalidParameterValue", "InvalidInstanceID.Malformed"] {
            assert_eq!(of(code), Kind::Invalid { field: code.into() }, "{code}");
        }
        let denied = Kind::Denied { permission: Some("elasticloadbalancing:CreateListener".into()) };
        assert_eq!(of("AccessDenied"), denied);
        assert_eq!(of("UnsupportedOperation"), Kind::Unsupported);
        for code in ["InternalError", "Unavailable", "ExpiredToken", "RequestExpired"] {
            assert_eq!(of(code), Kind::Transient, "{code}");
        }
        assert_eq!(kind(Service::Ec2, "DescribeSubnets", None, Some(503)), Kind::Transient);
        assert_eq!(kind(Service::Ec2, "DescribeSubnets", None, None), Kind::Transient);
    }

    #[test]
    fn the_code_survives_the_way_into_the_core() {
        let error = Error(Box::new(Inner {
            service: Service::Ec2,
            operation: "DeleteSecurityGroup",
            kind: Kind::Conflict,
            code: Some("DependencyViolation".into()),
            message: "sg-1 has a dependent object".into(),
            status: Some(400),
            request_id: Some("r-1".into()),
        }));
        let error = cloud_provider::Error::from(error).context("remove security group sg-1");
        assert_eq!(Error::code_of(&error), Some("DependencyViolation"));
        assert_eq!(
            error.chain(),
            "remove security group sg-1: ec2:DeleteSecurityGroup: DependencyViolation: sg-1 has a dependent object \
             (request ID r-1)"
        );
    }
}
