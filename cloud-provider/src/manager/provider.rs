//! What a cloud crate hands to the manager.

use std::{future::Future, sync::Arc};

use super::cli::Program;
use crate::{
    cloud::{Cloud, Gate},
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

    /// Names, version, controllers and gates of the program. A provider with controllers of its own registers them here.
    fn program() -> Program {
        Program::new(Self::COMMAND, Self::VERSION).with_usage_error_code(Self::FAILURE_EXIT)
    }

    /// Reads the cloud configuration and gets the cloud ready. Called once, before leader election; reads only.
    ///
    /// # Errors
    ///
    /// A configuration that is wrong, or a cloud that cannot be reached; the process ends.
    fn build(flags: &Self::Flags, context: Context) -> impl Future<Output = Result<Arc<dyn Cloud>>> + Send;
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
