//! The services on the one port, their actions, and how a request finds one.

use cloud_provider_simulation::form::path_part;
use http::Method;

use crate::{
    barbican, cinder,
    context::Context,
    error::ApiError,
    keystone, neutron, nova, octavia,
    policy::Access,
    request::{Reply, Request},
};

/// A service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Service {
    Keystone,
    Nova,
    Neutron,
    Octavia,
    Barbican,
    Cinder,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Read,
    Write,
}

type Run = fn(&mut Context<'_>, &Request) -> Result<Reply, ApiError>;

/// What a request asks for.
pub(crate) struct Action {
    /// Its name in the call log and in knobs.
    pub(crate) name: &'static str,
    pub(crate) method: Method,
    /// The path below the service, with `{}` for what differs.
    pub(crate) path: &'static str,
    pub(crate) effect: Effect,
    /// The rule of the service's policy, and what it asks for by default.
    pub(crate) rule: &'static str,
    pub(crate) access: Access,
    pub(crate) run: Run,
}

impl Action {
    pub(crate) const fn get(
        name: &'static str,
        path: &'static str,
        rule: &'static str,
        access: Access,
        run: Run,
    ) -> Self {
        Self { name, method: Method::GET, path, effect: Effect::Read, rule, access, run }
    }

    pub(crate) const fn write(
        name: &'static str,
        method: Method,
        path: &'static str,
        rule: &'static str,
        access: Access,
        run: Run,
    ) -> Self {
        Self { name, method, path, effect: Effect::Write, rule, access, run }
    }

    /// What stands for `{}`, if the path is this action's.
    fn captures(&self, path: &str) -> Option<Vec<String>> {
        let (mut captures, mut own, mut parts) = (Vec::new(), self.path.split('/'), path.split('/'));
        loop {
            match (own.next(), parts.next()) {
                (None, None) => return Some(captures),
                (Some("{}"), Some(part)) if !part.is_empty() => captures.push(path_part(part)),
                (Some(own), Some(part)) if own == part => {}
                _ => return None,
            }
        }
    }
}

impl Service {
    pub(crate) const ALL: [Self; 6] =
        [Self::Keystone, Self::Nova, Self::Neutron, Self::Octavia, Self::Barbican, Self::Cinder];

    /// The name in the call log, and the prefix of actions in knobs and rules.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Keystone => "keystone",
            Self::Nova => "nova",
            Self::Neutron => "neutron",
            Self::Octavia => "octavia",
            Self::Barbican => "barbican",
            Self::Cinder => "cinder",
        }
    }

    /// The type in the catalog.
    pub(crate) fn catalog_type(self) -> &'static str {
        match self {
            Self::Keystone => "identity",
            Self::Nova => "compute",
            Self::Neutron => "network",
            Self::Octavia => "load-balancer",
            Self::Barbican => "key-manager",
            Self::Cinder => "block-storage",
        }
    }

    /// The first part of its paths.
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Self::Keystone => "identity",
            Self::Nova => "compute",
            Self::Neutron => "networking",
            Self::Octavia => "load-balancer",
            Self::Barbican => "key-manager",
            Self::Cinder => "volume",
        }
    }

    /// What the catalog has behind the prefix. Networks and load balancers tell no version, as in a usual deployment.
    pub(crate) fn catalog_suffix(self) -> &'static str {
        match self {
            Self::Nova => "/v2.1",
            Self::Cinder => "/v3",
            Self::Keystone | Self::Neutron | Self::Octavia | Self::Barbican => "",
        }
    }

    pub(crate) fn of_prefix(prefix: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|service| service.prefix() == prefix)
    }

    fn actions(self) -> Vec<&'static [Action]> {
        match self {
            Self::Keystone => vec![keystone::ACTIONS],
            Self::Nova => vec![nova::ACTIONS],
            Self::Neutron => neutron::actions(),
            Self::Octavia => octavia::actions(),
            Self::Barbican => vec![barbican::ACTIONS],
            Self::Cinder => vec![cinder::ACTIONS],
        }
    }

    /// The action of a request, with what stands in its path.
    pub(crate) fn action(self, method: &Method, path: &str) -> Result<(&'static Action, Vec<String>), ApiError> {
        let mut elsewhere = false;
        for action in self.actions().into_iter().flatten() {
            if let Some(captures) = action.captures(path) {
                if action.method == *method {
                    return Ok((action, captures));
                }
                elsewhere = true;
            }
        }
        Err(if elsewhere {
            ApiError::new(405, "The method is not allowed for the requested URL.")
        } else {
            ApiError::nothing_here()
        })
    }

    /// Paths as the service understands them: without a slash at the end, versions in one spelling.
    pub(crate) fn normal_path(self, path: &str) -> String {
        let path = path.trim_end_matches('/');
        let short = match self {
            Self::Octavia => ("/v2/", "/v2.0/"),
            Self::Nova => ("/v2/", "/v2.1/"),
            _ => return path.to_owned(),
        };
        match path.strip_prefix(short.0) {
            Some(rest) => format!("{}{rest}", short.1),
            None => path.to_owned(),
        }
    }
}
