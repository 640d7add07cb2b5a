//! The flags of a cloud controller manager: one struct for each section of help, with upstream's names and defaults.
//!
//! [`Options`] are flags as they were given; [`Options::validate`] makes [`Settings`] of them, which is all that the
//! manager looks at. "Set or not" is visible where it matters: the flags that pace (`--kube-api-qps`,
//! `--kube-api-burst`, `--concurrent-*`) are `Option`s, and none means automatic.

mod access;
mod controllers;
mod debugging;
mod generic;
mod global;
mod leader_election;
mod node_ipam;
mod serving;
pub mod values;
mod webhook;

#[cfg(test)]
mod tests;

use std::{fmt, path::PathBuf, time::Duration};

use clap::Args;

pub use self::{
    access::{Authentication, AuthenticationSettings, Authorization, AuthorizationSettings, RequestHeaders},
    controllers::{Node, NodeLifecycle, NodeLifecycleSettings, NodeSettings, Service, ServiceSettings, Workers},
    debugging::Debugging,
    generic::{CloudSettings, Generic},
    global::{Global, Misc, VersionFlag},
    leader_election::{LeaderElection, LeaderElectionSettings, LeaderMigration},
    node_ipam::{NodeIpam, NodeIpamSettings},
    serving::{SecureServing, ServingCertificate, ServingSettings, TlsVersion},
    webhook::{Webhook, WebhookServing, WebhookSettings},
};
use super::{
    cli::Program,
    logging::LoggingSettings,
    names::{Controller, NODE_IPAM, Selection},
};
use crate::{
    cluster::client::Limit,
    config::{feature_gates::FeatureGates, leader_migration::Owner},
};

/// All flags of the core, as given.
#[derive(Args, Clone, Debug)]
#[group(skip)]
#[expect(missing_docs, reason = "each field is the section that its type documents")]
pub struct Options {
    #[command(flatten)]
    pub debugging: Debugging,
    #[command(flatten)]
    pub leader_migration: LeaderMigration,
    #[command(flatten)]
    pub generic: Generic,
    #[command(flatten)]
    pub leader_election: LeaderElection,
    #[command(flatten)]
    pub node: Node,
    #[command(flatten)]
    pub node_lifecycle: NodeLifecycle,
    #[command(flatten)]
    pub service: Service,
    #[command(flatten)]
    pub node_ipam: NodeIpam,
    #[command(flatten)]
    pub webhook: Webhook,
    #[command(flatten)]
    pub webhook_serving: WebhookServing,
    #[command(flatten)]
    pub secure_serving: SecureServing,
    #[command(flatten)]
    pub authentication: Authentication,
    #[command(flatten)]
    pub authorization: Authorization,
    #[command(flatten)]
    pub misc: Misc,
    #[command(flatten)]
    pub global: Global,
}

/// Validated settings of a cloud controller manager.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Whether profiles are served.
    pub profiling: bool,
    /// Whether blocking is profiled too.
    pub contention_profiling: bool,
    /// The shortest time after which everything is looked at again; twice it is the longest.
    pub min_resync_period: Duration,
    /// How to reach the API server.
    pub client: ClientSettings,
    /// Time between the starts of controllers.
    pub controller_start_interval: Duration,
    /// The controllers to run.
    pub controllers: Selection,
    /// None to run without election.
    pub leader_election: Option<LeaderElectionSettings>,
    /// Whether each controller uses its own service account.
    pub use_service_account_credentials: bool,
    /// The state of the feature gates.
    pub feature_gates: FeatureGates,
    /// What the cloud provider is told.
    pub cloud: CloudSettings,
    /// The node controller.
    pub node: NodeSettings,
    /// The node lifecycle controller.
    pub node_lifecycle: NodeLifecycleSettings,
    /// The service controller.
    pub service: ServiceSettings,
    /// The node IPAM controller; none where nothing is to be allocated.
    pub node_ipam: Option<NodeIpamSettings>,
    /// None if no webhook is enabled.
    pub webhook: Option<WebhookSettings>,
    /// The secure port; none if it is turned off.
    pub serving: Option<ServingSettings>,
    /// Who asks on the secure port.
    pub authentication: AuthenticationSettings,
    /// Who may see what on the secure port.
    pub authorization: AuthorizationSettings,
    /// Logging.
    pub logging: LoggingSettings,
}

/// How to reach the API server.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientSettings {
    /// `--master`.
    pub master: Option<String>,
    /// `--kubeconfig`; none, and no master, means the cluster that the process runs in.
    pub kubeconfig: Option<PathBuf>,
    /// The limit of each client; none for no limit on our side.
    pub limit: Option<Limit>,
}

/// A flag or setting that is not valid. Displays as upstream's text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

/// All that is wrong with the flags, in order. Displays as upstream does: `e1`, or `[e1, e2]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Errors(Vec<Error>);

impl Errors {
    pub(super) fn add(&mut self, text: impl Into<String>) {
        let error = Error(text.into());
        if !self.0.contains(&error) {
            self.0.push(error);
        }
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The errors in order.
    pub fn iter(&self) -> impl Iterator<Item = &Error> {
        self.0.iter()
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [error] => write!(f, "{error}"),
            errors => {
                let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
                write!(f, "[{}]", texts.join(", "))
            }
        }
    }
}

impl std::error::Error for Errors {}

impl Settings {
    /// Under which lease a controller runs.
    pub fn owner(&self, controller: &Controller) -> Owner {
        match self.leader_election.as_ref().and_then(|election| election.migration.as_ref()) {
            Some(migration) => {
                let names: Vec<_> = controller.aliases.iter().copied().chain([controller.name]).collect();
                migration.owner(&names)
            }
            None => Owner::Main,
        }
    }
}

impl Options {
    /// Checks all flags and derives the settings. All errors are collected, in upstream's order: logging and gates
    /// (which upstream checks while parsing), generic, nodes, lifecycle, services, node IPAM, serving, authentication,
    /// authorization, webhooks, webhook serving, the clash of ports, the empty provider.
    pub fn validate(&self, program: &Program) -> Result<Settings, Errors> {
        let mut errors = Errors::default();
        let feature_gates = self.generic.feature_gates(program.gates(), &mut errors);
        let logging = self.global.logging(&feature_gates, &mut errors);
        let leader_election = self.leader_election.validate(&self.leader_migration, &mut errors);
        let controllers = program.registry().select(&values::flatten(&self.generic.controllers));
        if let Err(unknown) = &controllers {
            unknown.iter().for_each(|error| errors.add(error.to_string()));
        }
        let node = self.node.validate(self.misc.node_status_update_frequency, &mut errors);
        let node_lifecycle = self.node_lifecycle.validate(&mut errors);
        let service = self.service.validate(&mut errors);
        let cloud = self.generic.cloud();
        let allocates = controllers.as_ref().is_ok_and(|selected| selected.is_enabled(&NODE_IPAM));
        let node_ipam = self.node_ipam.validate(&cloud, allocates, &mut errors);
        let serving = self.secure_serving.validate(&mut errors);
        let authentication = self.authentication.validate(&feature_gates, &mut errors);
        let authorization = self.authorization.settings();
        let webhooks = self.webhook.validate(program.known_webhooks(), &mut errors);
        let webhook_serving = self.webhook_serving.validate(&mut errors);
        let (port, webhook_port) = (self.secure_serving.secure_port, self.webhook_serving.webhook_secure_port);
        if port == webhook_port && port != 0 {
            errors.add("--webhook-secure-port cannot be the same value as --secure-port");
        }
        if self.generic.cloud_provider.is_empty() {
            errors.add("--cloud-provider cannot be empty");
        }
        let (Ok(controllers), true) = (controllers, errors.is_empty()) else { return Err(errors) };
        Ok(Settings {
            profiling: self.debugging.profiling,
            contention_profiling: self.debugging.contention_profiling,
            min_resync_period: self.generic.min_resync_period.to_std(),
            client: ClientSettings {
                master: Some(self.misc.master.clone()).filter(|master| !master.is_empty()),
                kubeconfig: path(&self.misc.kubeconfig),
                limit: self.generic.limit(),
            },
            controller_start_interval: self.generic.controller_start_interval.to_std(),
            controllers,
            leader_election,
            use_service_account_credentials: self.generic.use_service_account_credentials,
            feature_gates,
            cloud,
            node,
            node_lifecycle,
            service,
            node_ipam,
            webhook: webhook_serving
                .filter(|_| !webhooks.is_empty())
                .map(|serving| WebhookSettings { names: webhooks, serving }),
            serving,
            authentication,
            authorization,
            logging,
        })
    }
}

/// A file flag; the empty text means none.
fn path(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| PathBuf::from(text))
}
