//! The AWS API in our own plain types; the SDKs stop here.
//!
//! Every call goes through `Client::call`, which holds writes back when the gate is closed, slows down after
//! throttling, records the metrics and gives failures a [`Kind`](cloud_provider::Kind) by their code.

#[cfg(feature = "sdk")]
mod api;
#[cfg(feature = "sdk")]
mod credential;
pub mod delay;
#[cfg(feature = "sdk")]
pub mod ec2;
pub mod ec2_types;
#[cfg(feature = "sdk")]
pub mod ecr;
pub mod elb;
pub mod elbv2;
#[cfg(feature = "sdk")]
mod endpoints;
mod error;
pub mod network;
mod paging;
#[cfg(feature = "sdk")]
mod refusals;
#[cfg(feature = "sdk")]
mod trust;

#[cfg(feature = "sdk")]
pub use api::Client;
#[cfg(feature = "sdk")]
pub use credential::Imds;
pub use error::{Error, Result};
#[cfg(feature = "sdk")]
pub(crate) use paging::all_pages;

/// The services that are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// EC2.
    Ec2,
    /// Classic load balancers.
    Elb,
    /// Network load balancers.
    ElbV2,
    /// The token service, for `RoleARN`.
    Sts,
    /// Private container registries.
    Ecr,
    /// The public container registry.
    EcrPublic,
}

impl Service {
    /// The SDKs' name of the service, as in metrics and in `[ServiceOverride]`.
    pub fn sdk_id(self) -> &'static str {
        match self {
            Self::Ec2 => "EC2",
            Self::Elb => "Elastic Load Balancing",
            Self::ElbV2 => "Elastic Load Balancing v2",
            Self::Sts => "STS",
            Self::Ecr => "ECR",
            Self::EcrPublic => "ECR PUBLIC",
        }
    }

    /// The prefix of the service's IAM actions.
    pub fn iam_prefix(self) -> &'static str {
        match self {
            Self::Ec2 => "ec2",
            Self::Elb | Self::ElbV2 => "elasticloadbalancing",
            Self::Sts => "sts",
            Self::Ecr => "ecr",
            Self::EcrPublic => "ecr-public",
        }
    }
}

/// What a [`Client`] is made from.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The region of all calls.
    pub region: String,
    /// Endpoints other than the region's own.
    pub endpoints: Endpoints,
    /// A role to take on with the credentials of the default chain.
    pub role: Option<Role>,
}

/// Endpoints from `[ServiceOverride]`; what is absent follows the region and the environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// EC2.
    pub ec2: Option<Endpoint>,
    /// Classic load balancers.
    pub elb: Option<Endpoint>,
    /// Network load balancers.
    pub elbv2: Option<Endpoint>,
    /// The token service. Never from the config file, since upstream has no override for it; the environment's
    /// `AWS_ENDPOINT_URL_STS` counts where this is absent.
    pub sts: Option<Endpoint>,
    /// The instance metadata service; only the URL counts.
    pub imds: Option<Endpoint>,
}

/// Where a service is reached and how its requests are signed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// The URL.
    pub url: String,
    /// The region in the credential scope; empty means the region of the client.
    pub signing_region: String,
    /// The service name in the credential scope; empty means the service's own.
    pub signing_name: String,
}

/// The role of `RoleARN`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Role {
    /// The role's ARN.
    pub arn: String,
    /// The account in it, sent as `x-amz-source-account`.
    pub account: String,
    /// `SourceARN`, sent as `x-amz-source-arn`.
    pub source_arn: Option<String>,
}
