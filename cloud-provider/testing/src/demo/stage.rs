//! The cloud of a demo for a controller that somebody else starts: in an image, for example.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::Value;

use super::cloud::{self, Cloud, Programs, Setup};
use crate::objects::LoadBalancerService;
use crate::process::Program;

/// A simulated cloud with instances for all nodes.
pub struct Stage {
    cloud: Box<dyn Cloud>,
    services: usize,
    dir: PathBuf,
}

impl Stage {
    /// Starts the simulator of a cloud, which ends when this is dropped. Its log, and the cloud config, go to `dir`.
    ///
    /// # Errors
    /// When there is no such cloud, or its simulator does not start.
    pub async fn start(
        name: &str,
        simulator: &Path,
        nodes: usize,
        services: usize,
        dir: &Path,
    ) -> anyhow::Result<Self> {
        let simulator = Some(simulator.to_owned());
        let controller = PathBuf::new();
        let programs = Programs { cloud: name.to_owned(), controller, simulator, latency: None, pending: None };
        let setup = Setup { programs, cloud_api: None, nodes, services, backends: nodes };
        Ok(Self { cloud: cloud::start(&setup, dir).await?, services, dir: dir.to_owned() })
    }

    /// The roles that operators grant its controller.
    pub fn roles(&self) -> Vec<Value> {
        self.cloud.roles()
    }

    /// The names that the nodes have.
    pub fn nodes(&self) -> &[String] {
        self.cloud.nodes()
    }

    /// Services, of each of the cloud's kinds in turn.
    ///
    /// # Errors
    /// When the cloud has no load balancers.
    pub fn services(&self) -> anyhow::Result<Vec<LoadBalancerService>> {
        cloud::services(self.cloud.as_ref(), self.services)
    }

    /// The text of the cloud config, and the variables that hold credentials.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn configuration(&self) -> anyhow::Result<(String, Vec<(String, String)>)> {
        let configured = self.cloud.configure(Program::new(""), &self.dir)?;
        let config = self.dir.join(cloud::CONFIG);
        let text = std::fs::read_to_string(&config).with_context(|| format!("read {}", config.display()))?;
        let variable = |(name, value): (&std::ffi::OsStr, &std::ffi::OsStr)| {
            (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
        };
        Ok((text, configured.variables().map(variable).collect()))
    }
}
