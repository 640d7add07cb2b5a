//! The cloud config file, `cloud.conf`: parsed, validated, and turned into typed settings, with all problems reported together.

use std::{collections::BTreeMap, time::Duration};

use cloud_provider::config::{Notes, duration::GoDuration};
use serde::Deserialize;

use crate::client;

pub mod clouds;
mod global;
pub mod keys;
mod load_balancer;
mod networking;

pub use cloud_provider::config::Problems;
pub use global::Surroundings;
pub use load_balancer::{Class, ContainerStore, LoadBalancer, Repair};
pub use networking::Networking;
#[cfg(test)]
pub(crate) use networking::sort_order;

/// What `[Metadata] request-timeout` is where it is absent or 0.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The file as it is written. Upstream ignores unknown sections and keys; here they are warnings.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct File {
    global: global::Section,
    load_balancer: load_balancer::Section,
    load_balancer_class: BTreeMap<String, load_balancer::ClassSection>,
    networking: networking::Section,
    route: Route,
    metadata: Metadata,
    block_storage: BlockStorage,
    node: Node,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default, rename_all = "kebab-case")]
struct Route {
    router_id: String,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default, rename_all = "kebab-case")]
struct Metadata {
    search_order: String,
    request_timeout: Option<GoDuration>,
}

/// For the CSI driver, which reads the same file. The values have no effect here, and are not looked at.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default, rename_all = "kebab-case")]
struct BlockStorage {
    // Lists, which take any value and none.
    node_volume_attach_limit: Vec<String>,
    rescan_on_resize: Vec<String>,
    ignore_volume_az: Vec<String>,
    ignore_volume_microversion: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default, rename_all = "kebab-case")]
struct Node {
    remove_without_provider_id: bool,
}

/// What the cloud config says, validated.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How OpenStack is reached, and who we are there.
    pub client: client::Settings,
    /// `[LoadBalancer]` and `[LoadBalancerClass]`.
    pub load_balancer: LoadBalancer,
    /// `[Networking]`.
    pub networking: Networking,
    /// `[Route] router-id`; without it there are no routes.
    pub router: Option<String>,
    /// `[Node] remove-without-provider-id`, a key of ours: a node that has no provider ID is gone when no server has its name.
    pub remove_nodes_without_provider_id: bool,
}

/// Reads a cloud config, and the `clouds.yaml` that it names. The second value says what has no effect.
///
/// # Errors
///
/// Where there is no file, since the credentials stand there; the first syntax or type error; or else everything that is wrong
/// with the values, and what would have had no effect.
pub fn parse(text: Option<&str>, surroundings: &Surroundings) -> Result<(Settings, Vec<String>), Problems> {
    let Some(text) = text else {
        let problem = "--cloud-config is needed: a file with a section [Global] that holds auth-url and credentials";
        return Err(Problems { problems: vec![problem.to_owned()], warnings: Vec::new() });
    };
    let (file, mut notes) = Notes::read::<File>(text)?;
    let settings = validate(file, surroundings, &mut notes);
    notes.conclude(settings)
}

fn validate(file: File, surroundings: &Surroundings, notes: &mut Notes) -> Option<Settings> {
    let File { global, load_balancer, load_balancer_class, networking, route, metadata, block_storage: _, node } = file;
    search_order(&metadata.search_order, notes);
    let time_limit = match metadata.request_timeout {
        None | Some(GoDuration::ZERO) => REQUEST_TIMEOUT,
        Some(time) if time < GoDuration::ZERO => {
            notes.problems.push(format!("[Metadata] request-timeout {time}: a time cannot be negative"));
            REQUEST_TIMEOUT
        }
        Some(time) => time.to_std(),
    };
    let networking = networking::validate(networking, notes);
    let load_balancer = load_balancer::validate(load_balancer, load_balancer_class, notes);
    let client = global::validate(global, time_limit, surroundings, notes);
    Some(Settings {
        client: client?,
        load_balancer: load_balancer?,
        networking,
        router: non_empty(route.router_id),
        remove_nodes_without_provider_id: node.remove_without_provider_id,
    })
}

/// Only the CSI driver reads metadata of the machine; here the value is only checked, as upstream does.
fn search_order(value: &str, notes: &mut Notes) {
    if value.is_empty() {
        return;
    }
    let names: Vec<&str> = value.split(',').map(str::trim).collect();
    if names.len() > 2 || names.iter().any(|name| !matches!(*name, "configDrive" | "metadataService")) {
        notes.problems.push(format!(
            "[Metadata] search-order {value:?}: one or both of configDrive and metadataService, with a comma between"
        ));
    }
}

fn non_empty(value: String) -> Option<String> {
    (!value.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests;
