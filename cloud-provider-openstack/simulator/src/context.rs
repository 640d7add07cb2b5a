//! What an action sees.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    document::{Document, Fields as _},
    error::ApiError,
    keystone::tokens::Token,
    knobs::Knobs,
    policy::{Access, Policy, with_implied},
    service::Service,
    state::State,
};

/// Whose request it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caller {
    pub(crate) user: String,
    pub(crate) project: String,
    /// With those that they imply.
    pub(crate) roles: Vec<String>,
}

impl Caller {
    pub(crate) fn of(token: &Token) -> Self {
        Self {
            user: token.user.clone(),
            project: token.project.clone().unwrap_or_default(),
            roles: with_implied(&token.roles),
        }
    }

    pub(crate) fn has(&self, role: &str) -> bool {
        self.roles.iter().any(|own| own == role)
    }
}

pub(crate) struct Context<'a> {
    pub(crate) state: &'a mut State,
    pub(crate) tokens: &'a mut BTreeMap<String, Token>,
    pub(crate) knobs: &'a Knobs,
    pub(crate) policy: &'a Policy,
    pub(crate) now: Timestamp,
    pub(crate) service: Service,
    pub(crate) caller: Caller,
    /// `http://127.0.0.1:PORT`
    pub(crate) root: &'a str,
    /// Nova's and Cinder's microversion of this request, as its minor number.
    pub(crate) minor: u32,
}

impl Context<'_> {
    pub(crate) fn is_admin(&self) -> bool {
        match self.service {
            Service::Octavia => self.caller.has("admin") || self.caller.has("load-balancer_admin"),
            _ => self.caller.has("admin"),
        }
    }

    /// Whether a further rule lets the caller do something.
    pub(crate) fn may(&self, rule: &str, access: Access) -> bool {
        self.policy.allows(&format!("{}:{rule}", self.service.name()), access, &self.caller.roles)
    }

    /// Whether the caller sees a document by its project; administrators see all.
    pub(crate) fn owns(&self, document: &Document) -> bool {
        self.is_admin() || document.text("project_id") == self.caller.project
    }

    /// The project of a new resource: only administrators choose another than their own.
    pub(crate) fn project_of(&self, body: &Document) -> Result<String, ApiError> {
        let asked = ["project_id", "tenant_id"].map(|name| body.text(name)).into_iter().find(|id| !id.is_empty());
        match asked {
            Some(project) if project != self.caller.project && !self.is_admin() => Err(ApiError::bad_request(
                "Specifying 'project_id' other than the authenticated project in request requires admin privileges",
            )),
            Some(project) => Ok(project.to_owned()),
            None => Ok(self.caller.project.clone()),
        }
    }
}
