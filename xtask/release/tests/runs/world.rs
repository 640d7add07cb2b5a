//! The cloud that a controller in an image finds.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use cloud_provider_testing::cloud::{Backend, Served};
use cloud_provider_testing::demo::Stage;
use cloud_provider_testing::objects::LoadBalancerService;
use serde_json::Value;

/// The simulator's program; the cloud in memory is in this process.
const SIMULATOR: &str = "IMAGE_SIMULATOR";

pub(crate) enum World {
    Memory { backend: Arc<Backend>, served: Served, services: usize },
    Simulated(Stage),
}

impl World {
    pub(crate) async fn start(cloud: &str, nodes: usize, services: usize, dir: &Path) -> anyhow::Result<Self> {
        if cloud != "memory" {
            let simulator = PathBuf::from(std::env::var_os(SIMULATOR).context("IMAGE_SIMULATOR names no simulator")?);
            return Ok(Self::Simulated(Stage::start(cloud, &simulator, nodes, services, dir).await?));
        }
        let backend = Backend::new();
        for nth in 0..nodes {
            backend.start_machine(format!("node-{nth}"));
        }
        let served = backend.serve(0).await?;
        Ok(Self::Memory { backend, served, services })
    }

    /// The roles that operators grant.
    pub(crate) fn roles(&self) -> Vec<Value> {
        match self {
            Self::Memory { .. } => Vec::new(),
            Self::Simulated(stage) => stage.roles(),
        }
    }

    /// The names that nodes have.
    pub(crate) fn nodes(&self) -> Vec<String> {
        match self {
            Self::Memory { backend, .. } => backend.machines().into_iter().map(|machine| machine.name).collect(),
            Self::Simulated(stage) => stage.nodes().to_vec(),
        }
    }

    pub(crate) fn services(&self) -> anyhow::Result<Vec<LoadBalancerService>> {
        match self {
            Self::Memory { services, .. } => {
                let service = |nth| LoadBalancerService::new("default", format!("service-{nth}")).tcp(80);
                Ok((0..*services).map(service).collect())
            }
            Self::Simulated(stage) => stage.services(),
        }
    }

    /// The text of the cloud config, and variables with credentials.
    pub(crate) fn configuration(&self) -> anyhow::Result<(String, Vec<(String, String)>)> {
        match self {
            Self::Memory { served, .. } => Ok((served.cloud_config(), Vec::new())),
            Self::Simulated(stage) => stage.configuration(),
        }
    }
}
