//! The services on the one port, and how a request is assigned to one.

use crate::{
    context::Context,
    ec2, ecr, elb, elbv2,
    error::ApiError,
    params::{Dialect, Params},
    sts,
    xml::Xml,
};

/// A service. All but the registries speak a query protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Service {
    Ec2,
    Elb,
    ElbV2,
    Sts,
    Ecr,
    EcrPublic,
}

/// What a request asks for, with its effect on the account.
pub(crate) struct Action {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) run: fn(&mut Context<'_>, &Params<'_>) -> Result<Xml, ApiError>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
    Write,
}

impl Action {
    pub(crate) const fn read(
        name: &'static str,
        run: fn(&mut Context<'_>, &Params<'_>) -> Result<Xml, ApiError>,
    ) -> Self {
        Self { name, kind: Kind::Read, run }
    }

    pub(crate) const fn write(
        name: &'static str,
        run: fn(&mut Context<'_>, &Params<'_>) -> Result<Xml, ApiError>,
    ) -> Self {
        Self { name, kind: Kind::Write, run }
    }
}

impl Service {
    const QUERY: [Self; 4] = [Self::Ec2, Self::Elb, Self::ElbV2, Self::Sts];

    /// The service that has this API version.
    pub(crate) fn of_version(version: &str) -> Option<Self> {
        Self::QUERY.into_iter().find(|service| service.version() == version)
    }

    /// The service and action of a JSON request's `X-Amz-Target`.
    pub(crate) fn of_target(target: &str) -> Option<(Self, &str)> {
        let (service, action) = target.split_once('.')?;
        match service {
            "AmazonEC2ContainerRegistry_V20150921" => Some((Self::Ecr, action)),
            "SpencerFrontendService" => Some((Self::EcrPublic, action)),
            _ => None,
        }
    }

    /// Whether requests and answers are JSON.
    pub(crate) fn is_json(self) -> bool {
        matches!(self, Self::Ecr | Self::EcrPublic)
    }

    /// The type of answers.
    pub(crate) fn content_type(self) -> &'static str {
        if self.is_json() { "application/x-amz-json-1.1" } else { "text/xml;charset=UTF-8" }
    }

    /// The service that is signed with `name`; both load balancing services share one.
    pub(crate) fn of_signing_name(name: &str) -> Option<Self> {
        Self::QUERY.into_iter().find(|service| service.signing_name() == name)
    }

    /// The name in the call log, and the prefix of actions in knobs: `EC2`, `ELB`, `ELBv2`, `STS`, `ECR`, `ECRPublic`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ec2 => "EC2",
            Self::Elb => "ELB",
            Self::ElbV2 => "ELBv2",
            Self::Sts => "STS",
            Self::Ecr => "ECR",
            Self::EcrPublic => "ECRPublic",
        }
    }

    pub(crate) fn version(self) -> &'static str {
        match self {
            Self::Ec2 => "2016-11-15",
            Self::Elb => "2012-06-01",
            Self::ElbV2 => "2015-12-01",
            Self::Sts => "2011-06-15",
            Self::Ecr => "2015-09-21",
            Self::EcrPublic => "2020-10-30",
        }
    }

    /// The service in a credential scope, which is also the prefix of its IAM actions.
    pub(crate) fn signing_name(self) -> &'static str {
        match self {
            Self::Ec2 => "ec2",
            Self::Elb | Self::ElbV2 => "elasticloadbalancing",
            Self::Sts => "sts",
            Self::Ecr => "ecr",
            Self::EcrPublic => "ecr-public",
        }
    }

    pub(crate) fn namespace(self) -> &'static str {
        match self {
            Self::Ec2 => "http://ec2.amazonaws.com/doc/2016-11-15/",
            Self::Elb => "http://elasticloadbalancing.amazonaws.com/doc/2012-06-01/",
            Self::ElbV2 => "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/",
            Self::Sts => "https://sts.amazonaws.com/doc/2011-06-15/",
            Self::Ecr | Self::EcrPublic => "",
        }
    }

    pub(crate) fn dialect(self) -> Dialect {
        match self {
            Self::Ec2 => Dialect::Ec2,
            _ => Dialect::Query,
        }
    }

    pub(crate) fn action(self, name: &str) -> Option<&'static Action> {
        let actions: &'static [Action] = match self {
            Self::Ec2 => ec2::ACTIONS,
            Self::Elb => elb::ACTIONS,
            Self::ElbV2 => elbv2::ACTIONS,
            Self::Sts => sts::ACTIONS,
            Self::Ecr => ecr::PRIVATE,
            Self::EcrPublic => ecr::PUBLIC,
        };
        actions.iter().find(|action| action.name == name)
    }

    /// The answer of `action` around `body`.
    pub(crate) fn document(self, action: &str, body: &Xml, request_id: &str) -> String {
        let namespace = self.namespace();
        let mut inner = String::new();
        body.write(&mut inner);
        match self {
            Self::Ec2 => format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{action}Response xmlns=\"{namespace}\"><requestId>\
                 {request_id}</requestId>{inner}</{action}Response>"
            ),
            Self::Ecr | Self::EcrPublic => body.json().to_string(),
            Self::Elb | Self::ElbV2 | Self::Sts => format!(
                "<{action}Response xmlns=\"{namespace}\"><{action}Result>{inner}</{action}Result><ResponseMetadata>\
                 <RequestId>{request_id}</RequestId></ResponseMetadata></{action}Response>"
            ),
        }
    }
}
