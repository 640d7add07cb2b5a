//! The cloud in memory as a provider: what `memory-cloud-controller-manager` is.

use std::sync::Arc;
use std::time::Duration;

use cloud_provider::config::duration::GoDuration;
use cloud_provider::config::gcfg;
use cloud_provider::error::{Error, Result};
use cloud_provider::manager::{Built, Context, Provider};
use serde::Deserialize;

use super::{Backend, MemoryCloud, NAME};

/// A complete controller manager on the cloud in memory.
///
/// Its cloud config says where the cloud is: `Endpoint` names a [`Served`](super::Served) one, which several controllers
/// can share and which outlives them. Without it the cloud lives in this process, with as many machines as asked for.
///
/// ```text
/// [Global]
/// Endpoint = http://127.0.0.1:8080
/// ; or
/// Machines = 100          ; node-0, node-1, …
/// Prefix = node-
/// Zones = memory-1a
/// Zones = memory-1b
/// Latency = 20ms
/// Settling = 1s
/// ```
///
/// Either way `Routes = true` declares the route table.
#[derive(Debug)]
pub struct MemoryProvider;

/// It has no flags of its own.
#[derive(Debug, clap::Args)]
pub struct Flags {}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Config {
    global: Global,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Global {
    endpoint: String,
    machines: u32,
    prefix: String,
    zones: Vec<String>,
    latency: GoDuration,
    settling: GoDuration,
    routes: bool,
}

impl Default for Global {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            machines: 0,
            prefix: "node-".to_owned(),
            zones: Vec::new(),
            latency: GoDuration::ZERO,
            settling: GoDuration::ZERO,
            routes: false,
        }
    }
}

impl Provider for MemoryProvider {
    const NAME: &'static str = NAME;
    const COMMAND: &'static str = "memory-cloud-controller-manager";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Flags = Flags;

    async fn build(_flags: &Flags, context: Context) -> Result<Built> {
        let text = context.cloud_config.as_deref().unwrap_or_default();
        let (Config { global }, warnings) = gcfg::from_str::<Config>(text)
            .map_err(|error| Error::invalid("--cloud-config", "read the cloud config").with_source(error))?;
        for warning in warnings {
            tracing::warn!(%warning, "cloud config");
        }
        let cloud = match global.endpoint.as_str() {
            "" => MemoryCloud::new(&own(&global), context.gate),
            endpoint => MemoryCloud::remote(endpoint, context.gate)?,
        };
        Ok(if global.routes { cloud.with_routes() } else { cloud }.into())
    }
}

fn own(global: &Global) -> Arc<Backend> {
    let backend = Backend::new();
    backend.set_zones(global.zones.clone());
    for nth in 0..global.machines {
        backend.start_machine(format!("{}{nth}", global.prefix));
    }
    let pace = |time: GoDuration| -> Duration { time.to_std() };
    backend.set_latency(pace(global.latency));
    backend.set_settling(pace(global.settling));
    backend
}
