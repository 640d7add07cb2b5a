//! The services on the one port, and how a request is assigned to one.

use crate::{
    context::Context,
    ec2, elb, elbv2,
    error::ApiError,
    params::{Dialect, Params},
    sts,
    xml::Xml,
};

/// A service that speaks a query protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Service {
    Ec2,
    Elb,
    ElbV2,
    Sts,
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
    const ALL: [Self; 4] = [Self::Ec2, Self::Elb, Self::ElbV2, Self::Sts];

    /// The service that has this API version.
    pub(crate) fn of_version(version: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|service| service.version() == version)
    }

    /// The service that is signed with `name`; both load balancing services share one.
    pub(crate) fn of_signing_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|service| service.signing_name() == name)
    }

    /// The name in the call log, and the prefix of actions in knobs: `EC2`, `ELB`, `ELBv2`, `STS`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ec2 => "EC2",
            Self::Elb => "ELB",
            Self::ElbV2 => "ELBv2",
            Self::Sts => "STS",
        }
    }

    pub(crate) fn version(self) -> &'static str {
        match self {
            Self::Ec2 => "2016-11-15",
            Self::Elb => "2012-06-01",
            Self::ElbV2 => "2015-12-01",
            Self::Sts => "2011-06-15",
        }
    }

    /// The service in a credential scope, which is also the prefix of its IAM actions.
    pub(crate) fn signing_name(self) -> &'static str {
        match self {
            Self::Ec2 => "ec2",
            Self::Elb | Self::ElbV2 => "elasticloadbalancing",
            Self::Sts => "sts",
        }
    }

    pub(crate) fn namespace(self) -> &'static str {
        match self {
            Self::Ec2 => "http://ec2.amazonaws.com/doc/2016-11-15/",
            Self::Elb => "http://elasticloadbalancing.amazonaws.com/doc/2012-06-01/",
            Self::ElbV2 => "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/",
            Self::Sts => "https://sts.amazonaws.com/doc/2011-06-15/",
        }
    }

    pub(crate) fn dialect(self) -> Dialect {
        match self {
            Self::Ec2 => Dialect::Ec2,
            Self::Elb | Self::ElbV2 | Self::Sts => Dialect::Query,
        }
    }

    pub(crate) fn action(self, name: &str) -> Option<&'static Action> {
        let actions: &'static [Action] = match self {
            Self::Ec2 => ec2::ACTIONS,
            Self::Elb => elb::ACTIONS,
            Self::ElbV2 => elbv2::ACTIONS,
            Self::Sts => sts::ACTIONS,
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
            Self::Elb | Self::ElbV2 | Self::Sts => format!(
                "<{action}Response xmlns=\"{namespace}\"><{action}Result>{inner}</{action}Result><ResponseMetadata>\
                 <RequestId>{request_id}</RequestId></ResponseMetadata></{action}Response>"
            ),
        }
    }
}
