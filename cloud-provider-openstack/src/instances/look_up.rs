//! The look-up of many nodes at once.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use async_trait::async_trait;
use cloud_provider::{
    Error,
    cloud::{Freshness, Instance, Instances, Metadata, Power, Want},
    cluster::objects::Node,
    error::{Failure, Result},
    snapshot::since,
};
use tokio::time::Instant;

use super::{
    addresses,
    labels::{is_label_value, zone},
    ports::KnownPorts,
    servers::{Failures, Known, KnownServers, NameAnswer},
};
use crate::{
    client::{Client, compute::Server},
    config::Networking,
    provider_id::ProviderId,
};

/// What look-ups need to know.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Which addresses nodes get.
    pub networking: Networking,
    /// Whether the provider IDs of new nodes hold the region: `OS_CCM_REGIONAL=true`.
    pub regional: bool,
    /// Whether a node without provider ID is gone when no server has its name.
    pub remove_without_provider_id: bool,
}

/// Nova's servers.
pub struct Servers {
    client: Client,
    settings: Settings,
    servers: KnownServers,
    ports: KnownPorts,
}

/// What a node says about its server.
#[derive(Debug)]
enum Target {
    Id(String),
    Name(String),
    Foreign,
    Invalid(String),
}

/// What was found behind a node.
enum Seen {
    Found(Arc<Server>),
    Gone,
    Foreign,
}

impl Servers {
    /// Look-ups through `client`.
    pub fn new(client: Client, settings: Settings) -> Self {
        Self { servers: KnownServers::new(client.clone()), ports: KnownPorts::new(client.clone()), client, settings }
    }

    fn target(&self, node: &Node) -> Target {
        match node.provider_id().map(|text| ProviderId::parse(text, self.client.region())) {
            Some(Ok(ProviderId::Server(id))) => Target::Id(id),
            Some(Ok(ProviderId::Foreign | ProviderId::OtherRegion(_))) => Target::Foreign,
            Some(Err(invalid)) => Target::Invalid(invalid.to_string()),
            None => Target::Name(node.name().to_owned()),
        }
    }

    fn seen(&self, target: &Target, want: Want, oldest: Instant, failures: &Failures) -> Result<Seen> {
        match target {
            Target::Foreign => Ok(Seen::Foreign),
            Target::Invalid(problem) => Err(Error::invalid("spec.providerID", problem)),
            Target::Id(id) => self.by_id(id, oldest, failures),
            Target::Name(name) => match self.servers.name(name, oldest) {
                Some(NameAnswer::One(id)) => self.by_id(&id, oldest, failures),
                Some(NameAnswer::Many) => Err(Error::transient(format!(
                    "multiple results where only one expected: servers with the name {name}"
                ))),
                Some(NameAnswer::None) if want == Want::State && self.settings.remove_without_provider_id => {
                    Ok(Seen::Gone)
                }
                Some(NameAnswer::None) => {
                    Err(Error::not_found(format!("failed to find object: no server has the name {name}")))
                }
                None => Err(unknown(failures.names.get(name), format!("look up the server of node {name}"))),
            },
        }
    }

    fn by_id(&self, id: &str, oldest: Instant, failures: &Failures) -> Result<Seen> {
        match self.servers.server(id, oldest) {
            Some(Known::Found(server)) => Ok(Seen::Found(server)),
            Some(Known::Gone) => Ok(Seen::Gone),
            None => Err(unknown(failures.ids.get(id), format!("look up server {id}"))),
        }
    }

    /// The instance types of these servers, by server.
    async fn types(&self, servers: &[Arc<Server>]) -> HashMap<String, Result<String, Failure>> {
        let mut types = HashMap::with_capacity(servers.len());
        for server in servers {
            let found = self.instance_type(server).await.map_err(|error| Failure::from(&error));
            types.insert(server.id.clone(), found);
        }
        types
    }

    /// The name of the flavor where it can be a label, else its ID. Servers name their flavors since microversion 2.47; the ID
    /// of one whose name cannot be a label is then asked for as older ones had it.
    async fn instance_type(&self, server: &Server) -> Result<String> {
        let flavor = &server.flavor;
        if let Some(name) = flavor.original_name.as_ref().filter(|name| !name.is_empty() && is_label_value(name)) {
            return Ok(name.clone());
        }
        let id = match (&flavor.id, &flavor.original_name) {
            (Some(id), _) if !id.is_empty() => id.clone(),
            (_, Some(name)) => self.client.flavor_id(&server.id, name).await?,
            _ => return Err(Error::transient(format!("server {} does not name its flavor", server.id))),
        };
        let name = self.client.flavor_name(&id).await.map_err(|error| error.context(format!("read flavor {id}")))?;
        Ok(if is_label_value(&name) { name } else { id })
    }

    fn metadata(
        &self,
        node: &Node,
        server: &Server,
        oldest: Instant,
        ports: &Result<(), Failure>,
        types: &HashMap<String, Result<String, Failure>>,
    ) -> Result<Box<Metadata>> {
        let context = || format!("look up server {}", server.id);
        ports.as_ref().map_err(|failure| failure.to_error(context()))?;
        let Some(ports) = self.ports.of(&server.id, oldest) else { return Err(unknown(None, context())) };
        let instance_type = match types.get(&server.id) {
            Some(Ok(name)) => name.clone(),
            Some(Err(failure)) => return Err(failure.to_error(context())),
            None => return Err(unknown(None, context())),
        };
        let region = self.client.region();
        let printed = || ProviderId::print(self.settings.regional.then_some(region), &server.id);
        Ok(Box::new(Metadata {
            // The node's own provider ID stays as it is, odd forms too.
            provider_id: node.provider_id().map_or_else(printed, str::to_owned),
            instance_type,
            addresses: addresses::of_server(server, &ports, &self.settings.networking),
            zone: zone(&server.zone),
            region: region.to_owned(),
            additional_labels: BTreeMap::new(),
        }))
    }
}

fn unknown(failure: Option<&Failure>, context: String) -> Error {
    match failure {
        Some(failure) => failure.to_error(context),
        None => Error::transient(context).with_source("no answer"),
    }
}

fn power(server: &Server) -> Power {
    if server.is_shut_down() { Power::Stopped } else { Power::Running }
}

#[async_trait]
impl Instances for Servers {
    async fn look_up(&self, nodes: &[Arc<Node>], want: Want, freshness: Freshness) -> Vec<Result<Instance>> {
        let (oldest, may_list) = match freshness {
            Freshness::Live => (Instant::now(), false),
            Freshness::Within(time) => (since(time), true),
        };
        let targets: Vec<Target> = nodes.iter().map(|node| self.target(node)).collect();
        let mut ids = HashSet::new();
        let mut names = HashSet::new();
        for target in &targets {
            match target {
                Target::Id(id) => drop(ids.insert(id.clone())),
                Target::Name(name) => drop(names.insert(name.clone())),
                Target::Foreign | Target::Invalid(_) => {}
            }
        }
        let failures = self.servers.refresh(&ids, &names, oldest, may_list).await;
        let seen: Vec<Result<Seen>> = targets.iter().map(|target| self.seen(target, want, oldest, &failures)).collect();
        let mut details = None;
        if want == Want::Metadata {
            let found = seen.iter().filter_map(|seen| match seen {
                Ok(Seen::Found(server)) => Some(server.clone()),
                _ => None,
            });
            let found: Vec<Arc<Server>> = found.collect();
            details = Some((self.ports.refresh(&found, oldest).await, self.types(&found).await));
        }
        let answer = |(node, seen): (&Arc<Node>, Result<Seen>)| {
            Ok(match seen? {
                Seen::Gone => Instance::Gone,
                Seen::Foreign => Instance::Foreign,
                Seen::Found(server) => {
                    let metadata =
                        details.as_ref().map(|(ports, types)| self.metadata(node, &server, oldest, ports, types));
                    Instance::Present { power: power(&server), metadata: metadata.transpose()? }
                }
            })
        };
        nodes.iter().zip(seen).map(answer).collect()
    }
}
