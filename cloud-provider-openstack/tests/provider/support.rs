//! A cloud in the simulator, and the provider that serves it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use cloud_provider::{
    Error,
    cloud::{Freshness, Gate, Instance, Instances as _, Metadata, Want},
    cluster::objects::Node,
    metrics::Metrics,
};
use cloud_provider_openstack::{
    client::Client,
    config::{self, Surroundings},
    instances::{self, Servers},
};
use cloud_provider_openstack_simulator::{Handle, Knobs, Options, Seed, Simulator};
use serde_json::json;

/// How a cloud is set up.
#[derive(Default)]
pub(crate) struct Setup {
    pub(crate) nodes: usize,
    pub(crate) knobs: Knobs,
    /// What is added to the simulator's own configuration.
    pub(crate) config: &'static str,
    pub(crate) seed: Option<Seed>,
    pub(crate) gate: Option<Gate>,
    pub(crate) regional: bool,
}

/// A simulator, and the provider that talks to it.
pub(crate) struct Cloud {
    pub(crate) handle: Handle,
    pub(crate) client: Client,
    pub(crate) servers: Servers,
    pub(crate) metrics: Metrics,
    _simulator: Simulator,
}

pub(crate) fn surroundings() -> Surroundings {
    Surroundings::new(BTreeMap::new(), Vec::new())
}

impl Cloud {
    pub(crate) async fn new(nodes: usize) -> Self {
        Self::with(Setup { nodes, ..Setup::default() }).await
    }

    pub(crate) async fn with(setup: Setup) -> Self {
        let seed = setup.seed.unwrap_or_else(|| Seed::cluster("demo", setup.nodes));
        let simulator = Simulator::start(Options { seed, knobs: setup.knobs, ..Options::default() }).await.unwrap();
        let text = format!("{}{}", simulator.cloud_conf(), setup.config);
        let (settings, warnings) = config::parse(Some(&text), &surroundings()).unwrap();
        assert!(warnings.is_empty(), "{warnings:?}");
        let metrics = Metrics::new();
        let gate = setup.gate.unwrap_or_else(Gate::open);
        let client = Client::connect(settings.client.clone(), gate, &metrics).await.unwrap();
        let handle = simulator.handle();
        handle.reset_calls();
        let servers = Servers::new(
            client.clone(),
            instances::Settings {
                networking: settings.networking.clone(),
                regional: setup.regional,
                remove_without_provider_id: settings.remove_nodes_without_provider_id,
            },
        );
        Self { handle, client, servers, metrics, _simulator: simulator }
    }

    /// Nodes that registered with nothing but their names.
    pub(crate) fn nodes_by_name(&self) -> Vec<Arc<Node>> {
        let name = |server: &serde_json::Map<String, serde_json::Value>| server["name"].as_str().unwrap().to_owned();
        self.handle.all("servers").iter().map(|server| node(&name(server), None)).collect()
    }

    /// Nodes with provider IDs.
    pub(crate) fn nodes_by_id(&self) -> Vec<Arc<Node>> {
        let ids = self.handle.ids("servers");
        ids.iter().map(|id| node(&format!("node-{id}"), Some(&format!("openstack:///{id}")))).collect()
    }

    pub(crate) async fn state(&self, nodes: &[Arc<Node>], freshness: Freshness) -> Vec<Result<Instance, Error>> {
        self.servers.look_up(nodes, Want::State, freshness).await
    }

    pub(crate) async fn metadata(&self, nodes: &[Arc<Node>]) -> Vec<Result<Metadata, Error>> {
        let found = self.servers.look_up(nodes, Want::Metadata, Freshness::Within(Duration::from_secs(1))).await;
        let metadata = |instance: Instance| match instance {
            Instance::Present { metadata: Some(metadata), .. } => *metadata,
            other => panic!("{other:?}"),
        };
        found.into_iter().map(|result| result.map(metadata)).collect()
    }

    /// All calls but those to Keystone.
    pub(crate) fn calls(&self) -> u64 {
        ["nova.", "neutron.", "cinder.", "octavia.", "barbican."].iter().map(|service| self.calls_to(service)).sum()
    }

    /// The calls to a service, such as `nova.`.
    pub(crate) fn calls_to(&self, service: &str) -> u64 {
        let counts = self.handle.counts();
        counts.iter().filter(|(action, _)| action.starts_with(service)).map(|(_, count)| count.calls).sum()
    }
}

pub(crate) fn node(name: &str, provider_id: Option<&str>) -> Arc<Node> {
    let spec = provider_id.map_or_else(|| json!({}), |id| json!({ "providerID": id }));
    Arc::new(serde_json::from_value(json!({ "metadata": { "name": name, "uid": name }, "spec": spec })).unwrap())
}

/// A node with addresses, as the node controller left it.
pub(crate) fn node_at(name: &str, addresses: &[&str]) -> Arc<Node> {
    let addresses: Vec<_> = addresses.iter().map(|address| json!({"type": "InternalIP", "address": address})).collect();
    let node = json!({ "metadata": { "name": name, "uid": name }, "status": { "addresses": addresses } });
    Arc::new(serde_json::from_value(node).unwrap())
}
