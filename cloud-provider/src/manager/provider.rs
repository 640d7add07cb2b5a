//! What a cloud crate hands to the manager.

use std::{fmt, future::Future, sync::Arc};

use super::{
    cli::Program,
    parts::{Parts, Start},
    webhook::Webhook,
};
use crate::{
    cloud::{Cloud, Gate},
    controllers::Managed,
    error::Result,
    metrics::Metrics,
};

/// One provider: its names, its flags and how its cloud is built. The `main` of a controller manager is
/// `manager::run::<TheProvider>()`.
pub trait Provider: 'static {
    /// The value of `--cloud-provider`.
    const NAME: &'static str;
    /// The name of the program.
    const COMMAND: &'static str;
    /// The version, without `v`.
    const VERSION: &'static str;
    /// The exit status of wrong flags and of every other error before the controllers run: 1 in most of upstream's
    /// programs, 255 in some.
    const FAILURE_EXIT: u8 = 1;
    /// The provider's own flags.
    type Flags: clap::Args + Send + Sync;

    /// Names, version, controllers, webhooks and gates of the program. A provider with controllers or webhooks of its own
    /// registers them here.
    fn program() -> Program {
        Program::new(Self::COMMAND, Self::VERSION).with_usage_error_code(Self::FAILURE_EXIT)
    }

    /// Reads the cloud configuration and gets the cloud ready. Called once, before leader election; reads only.
    ///
    /// # Errors
    ///
    /// A configuration that is wrong, or a cloud that cannot be reached; the process ends.
    fn build(flags: &Self::Flags, context: Context) -> impl Future<Output = Result<Built>> + Send;
}

/// What [`Provider::build`] made: the cloud, and the provider's own controllers and webhooks.
pub struct Built {
    pub(super) cloud: Arc<dyn Cloud>,
    pub(super) controllers: Vec<(&'static str, Start)>,
    pub(super) webhooks: Vec<Webhook>,
}

impl Built {
    /// Adds a controller that [`Provider::program`] registered under the canonical `name`. `start` is called once, when
    /// this process leads, and only where `--controllers` enables the controller; `None` where it has nothing to do, after
    /// logging why.
    #[must_use]
    pub fn with_controller(
        mut self,
        name: &'static str,
        start: impl Fn(Parts) -> Result<Option<Box<dyn Managed>>> + Send + Sync + 'static,
    ) -> Self {
        self.controllers.push((name, Box::new(start)));
        self
    }

    /// Adds a webhook whose name [`Provider::program`] told with [`Program::with_webhooks`]. It is served where `--webhooks`
    /// enables it, on every replica, whether it leads or not.
    #[must_use]
    pub fn with_webhook(mut self, webhook: Webhook) -> Self {
        self.webhooks.push(webhook);
        self
    }
}

impl<C: Cloud> From<C> for Built {
    fn from(cloud: C) -> Self {
        Self { cloud: Arc::new(cloud), controllers: Vec::new(), webhooks: Vec::new() }
    }
}

impl fmt::Debug for Built {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let controllers: Vec<_> = self.controllers.iter().map(|(name, _)| name).collect();
        f.debug_struct("Built")
            .field("cloud", &self.cloud.name())
            .field("controllers", &controllers)
            .finish_non_exhaustive()
    }
}

/// What a provider gets to build its cloud from.
#[derive(Clone)]
pub struct Context {
    /// The text of the file named by `--cloud-config`; `None` where the flag is empty.
    pub cloud_config: Option<Arc<str>>,
    /// `--cluster-name`.
    pub cluster_name: Arc<str>,
    /// Every client of the cloud asks this gate before it writes.
    pub gate: Gate,
    /// Where the provider registers its metrics.
    pub metrics: Metrics,
    /// The canonical names of the controllers that are enabled beyond the core's own.
    pub provider_controllers: Arc<[String]>,
}
