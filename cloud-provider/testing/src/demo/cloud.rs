//! What the demo needs of a cloud.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::bail;
use async_trait::async_trait;
use serde_json::Value;

use super::{Args, aws};
use crate::process::Program;

/// A kind of load balancer, and how a service asks for it.
pub(super) struct Kind {
    /// The first part of its services' names.
    pub(super) name: &'static str,
    pub(super) annotations: Vec<(&'static str, &'static str)>,
}

/// A cloud with instances for all nodes, simulated or mocked.
#[async_trait]
pub(super) trait Cloud: Send + Sync {
    /// The value of `--cloud-provider`.
    fn name(&self) -> &'static str;

    /// Where it is, in a few words.
    fn describe(&self) -> String;

    /// The names that the nodes have.
    fn nodes(&self) -> &[String];

    /// The kinds of load balancers that it has.
    fn services(&self) -> Vec<Kind>;

    /// The roles that operators grant its controller.
    fn roles(&self) -> Vec<Value>;

    /// Adds the cloud's configuration, credentials and flags to the controller's.
    fn configure(&self, controller: Program, dir: &Path) -> anyhow::Result<Program>;

    /// How often each action was called; empty where nobody counts.
    async fn calls(&self) -> anyhow::Result<BTreeMap<String, u64>>;

    /// What to try while it is up.
    fn hints(&self) -> Vec<String>;

    /// Fails when it has ended by itself.
    fn check(&self) -> anyhow::Result<()>;
}

/// Starts the cloud that was asked for.
pub(super) async fn start(args: &Args, dir: &Path) -> anyhow::Result<Box<dyn Cloud>> {
    match args.cloud.as_str() {
        "aws" => Ok(Box::new(aws::Aws::start(args, dir).await?)),
        other => bail!("there is no demo for cloud {other:?}"),
    }
}
