//! The look-up of many nodes at once.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use cloud_provider::{
    Error,
    cloud::{Freshness, Instance, Instances, Metadata, Power, Want},
    cluster::objects::{Node, Object},
    error::Result,
    snapshot::since,
};
use regex::Regex;
use tokio::time::Instant;

use super::{
    addresses,
    by_name::NameAnswer,
    failure::Failure,
    fargate::Fargate,
    snapshot::{Failures, Known, Record, Snapshot},
    topology::{self, Layers, Topology},
    zones::Zones,
};
use crate::{
    client::{
        Client,
        ec2_types::{NetworkInterface, State, Zone},
    },
    config::IpFamily,
    provider_id::{InstanceId, ProviderId, fargate_address, instance_in_name},
};

/// The label with the ID of a node's zone.
const ZONE_ID: &str = "topology.k8s.aws/zone-id";

/// What look-ups need to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The families of node addresses, in order.
    pub ip_families: Vec<IpFamily>,
    /// Instance types whose nodes wait for their topology.
    pub topology_types: Regex,
    /// Whether no node waits for its topology.
    pub ignore_topology_failures: bool,
    /// Whether a node without provider ID is kept when no instance has its name.
    pub keep_nodes_without_provider_id: bool,
    /// The VPC of Fargate nodes.
    pub vpc: String,
    /// The private DNS name and the ID of the machine that we run on, where it belongs to the cluster: the node of this
    /// name needs no search.
    pub own_node: Option<(String, InstanceId)>,
}

/// EC2's and Fargate's instances.
pub struct Ec2Instances {
    settings: Settings,
    region: String,
    snapshot: Arc<Snapshot>,
    zones: Arc<Zones>,
    topology: Topology,
    fargate: Fargate,
}

/// What a node says about its instance.
#[derive(Debug)]
enum Target {
    Id(InstanceId),
    Name(String),
    Fargate(String, IpAddr),
    Foreign,
    Invalid(String),
}

/// What was found behind a node.
enum Seen {
    Ec2(Arc<Record>),
    Fargate(String, NetworkInterface),
    Gone,
    Foreign,
}

impl Ec2Instances {
    /// Look-ups through `snapshot` and `zones`, which others may share.
    pub fn new(client: &Client, snapshot: Arc<Snapshot>, zones: Arc<Zones>, settings: Settings) -> Self {
        Self {
            region: client.region().to_owned(),
            topology: Topology::new(
                client.clone(),
                settings.topology_types.clone(),
                !settings.ignore_topology_failures,
            ),
            fargate: Fargate::new(client.clone(), settings.vpc.clone()),
            snapshot,
            zones,
            settings,
        }
    }

    /// The instance ID that a node stands for, where it can be told without a call.
    pub fn instance_id(&self, node: &Node) -> Option<InstanceId> {
        match self.target(node) {
            Target::Id(id) => Some(id),
            _ => None,
        }
    }

    /// The instance IDs of nodes, from answers not older than `within`; `None` where no EC2 instance of the cluster stands
    /// behind a node.
    pub async fn ids(&self, nodes: &[Arc<Node>], within: Duration) -> Vec<Result<Option<InstanceId>>> {
        let (oldest, targets) = (since(within), nodes.iter().map(|node| self.target(node)).collect::<Vec<_>>());
        let names = targets.iter().filter_map(|target| match target {
            Target::Name(name) => Some(name.clone()),
            _ => None,
        });
        let failures = self.snapshot.refresh(HashSet::new(), names.collect(), oldest, true).await;
        let id = |target| match target {
            Target::Id(id) => Ok(Some(id)),
            Target::Fargate(..) | Target::Foreign => Ok(None),
            Target::Invalid(problem) => Err(Error::invalid("spec.providerID", problem)),
            Target::Name(name) => match self.snapshot.name(&name, oldest) {
                Some(NameAnswer::One(id)) => Ok(Some(id)),
                Some(NameAnswer::None) => Ok(None),
                Some(NameAnswer::Many) => Err(Error::transient(format!("multiple instances found for name: {name}"))),
                None => Err(unknown(failures.names.get(&name), format!("look up the instance of node {name}"))),
            },
        };
        targets.into_iter().map(id).collect()
    }

    fn target(&self, node: &Node) -> Target {
        let name = node.name();
        match node.provider_id().map(ProviderId::parse) {
            Some(Ok(ProviderId::Instance(id))) => Target::Id(id),
            Some(Ok(ProviderId::Foreign)) => Target::Foreign,
            Some(Ok(ProviderId::Fargate(id))) => match fargate_address(&id) {
                Some(address) => Target::Fargate(id, address),
                None => Target::Invalid(format!("Invalid format for AWS instance ({id})")),
            },
            Some(Err(invalid)) => Target::Invalid(invalid.to_string()),
            None => match &self.settings.own_node {
                Some((own, id)) if own == name => Target::Id(id.clone()),
                _ => instance_in_name(name).map_or_else(|| Target::Name(name.to_owned()), Target::Id),
            },
        }
    }

    fn seen(&self, target: &Target, want: Want, oldest: Instant, answers: &Answers) -> Result<Seen> {
        match target {
            Target::Foreign => Ok(Seen::Foreign),
            Target::Invalid(problem) => Err(Error::invalid("spec.providerID", problem)),
            Target::Id(id) => self.by_id(id, oldest, &answers.failures),
            Target::Name(name) => match self.snapshot.name(name, oldest) {
                Some(NameAnswer::One(id)) => self.by_id(&id, oldest, &answers.failures),
                Some(NameAnswer::Many) => Err(Error::transient(format!("multiple instances found for name: {name}"))),
                Some(NameAnswer::None) if want == Want::State && !self.settings.keep_nodes_without_provider_id => {
                    Ok(Seen::Gone)
                }
                Some(NameAnswer::None) => {
                    Err(Error::not_found(format!("no instance of the cluster has the name {name}")))
                }
                None => Err(unknown(answers.failures.names.get(name), format!("look up the instance of node {name}"))),
            },
            Target::Fargate(id, address) => match answers.fargate.get(address) {
                Some(Ok(Some(interface))) => Ok(Seen::Fargate(id.clone(), interface.clone())),
                Some(Ok(None)) => Ok(Seen::Gone),
                Some(Err(failure)) => Err(failure.to_error(format!("look up the network interface of {id}"))),
                None => Err(unknown(None, format!("look up the network interface of {id}"))),
            },
        }
    }

    fn by_id(&self, id: &InstanceId, oldest: Instant, failures: &Failures) -> Result<Seen> {
        let context = || format!("failed to get instance by ID {id}");
        match self.snapshot.instance(id, oldest) {
            Some(Known::Found(record)) if record.state == State::Terminated => Ok(Seen::Gone),
            Some(Known::Found(record)) => Ok(Seen::Ec2(record)),
            Some(Known::Gone) => Ok(Seen::Gone),
            Some(Known::NoId(failure)) => Err(failure.to_error(context())),
            None => Err(unknown(failures.ids.get(id), context())),
        }
    }

    /// The labels' sources for those nodes that lack a label.
    async fn labels(&self, nodes: &[(&Node, &Result<Seen>)]) -> Labels {
        let records = || {
            nodes.iter().filter_map(|(node, seen)| match seen {
                Ok(Seen::Ec2(record)) => Some((*node, record)),
                _ => None,
            })
        };
        let zones: HashSet<&str> = records()
            .filter(|(node, record)| {
                node.label(ZONE_ID).is_none() && record.zone_id.is_empty() && !record.zone.is_empty()
            })
            .map(|(_, record)| record.zone.as_str())
            .collect();
        let zones = match zones.is_empty() {
            true => Ok(HashMap::new()),
            false => self.zones.look_up(&zones.into_iter().collect::<Vec<_>>()).await,
        };
        let first_layer = format!("{}1", topology::LABEL);
        let without_topology = records().filter(|(node, _)| node.label(&first_layer).is_none());
        let instances = without_topology.map(|(_, record)| (record.id.clone(), record.instance_type.clone())).collect();
        Labels { zones, layers: self.topology.layers(instances).await }
    }

    fn metadata(&self, node: &Node, seen: &Seen, labels: &Labels) -> Result<Option<Box<Metadata>>> {
        let metadata = match seen {
            Seen::Ec2(record) => Metadata {
                provider_id: provider_id(node, || ProviderId::print(&record.zone, &record.id)),
                instance_type: record.instance_type.clone(),
                addresses: record.addresses.clone().map_err(|error| Error::transient(error.to_string()))?,
                zone: record.zone.clone(),
                region: self.region.clone(),
                additional_labels: labels.of(node, record)?,
            },
            Seen::Fargate(id, interface) => Metadata {
                provider_id: provider_id(node, || format!("aws:///{}/{id}", interface.zone)),
                addresses: addresses::of_fargate(interface, &self.settings.ip_families)
                    .map_err(|error| Error::transient(error.to_string()))?,
                zone: interface.zone.clone(),
                region: self.region.clone(),
                ..Metadata::default()
            },
            Seen::Gone | Seen::Foreign => return Ok(None),
        };
        Ok(Some(Box::new(metadata)))
    }
}

/// What was read for one look-up, apart from what the snapshot holds.
struct Answers {
    failures: Failures,
    fargate: HashMap<IpAddr, Result<Option<NetworkInterface>, Failure>>,
}

struct Labels {
    zones: Result<HashMap<String, Zone>, Failure>,
    layers: Layers,
}

impl Labels {
    /// The labels of a node. It waits while the zones cannot be read, since it would go without the label for good.
    fn of(&self, node: &Node, record: &Record) -> Result<BTreeMap<String, String>> {
        let mut labels = BTreeMap::new();
        if node.label(ZONE_ID).is_none() && !record.zone.is_empty() {
            let listed = match &self.zones {
                _ if !record.zone_id.is_empty() => Some(record.zone_id.as_str()),
                Ok(zones) => zones.get(&record.zone).map(|zone| zone.id.as_str()),
                Err(failure) => {
                    return Err(failure.to_error(format!("Could not get zone ID from zone name {}", record.zone)));
                }
            };
            match listed.filter(|id| !id.is_empty()) {
                Some(id) => drop(labels.insert(ZONE_ID.to_owned(), id.to_owned())),
                None => {
                    tracing::warn!(node = %node.name(), zone = %record.zone, "the region does not list the zone, no zone ID")
                }
            }
        }
        match self.layers.get(&record.id) {
            Some(Ok(layers)) => {
                labels.extend(
                    layers
                        .iter()
                        .zip(1..)
                        .map(|(layer, number)| (format!("{}{number}", topology::LABEL), layer.clone())),
                );
            }
            Some(Err(failure)) => return Err(failure.to_error(format!("read the topology of {}", record.id))),
            None => {}
        }
        Ok(labels)
    }
}

/// The node's own provider ID stays as it is, odd forms too.
fn provider_id(node: &Node, print: impl FnOnce() -> String) -> String {
    node.provider_id().map_or_else(print, str::to_owned)
}

fn unknown(failure: Option<&Failure>, context: String) -> Error {
    match failure {
        Some(failure) => failure.to_error(context),
        None => Error::transient(context).with_source("no answer"),
    }
}

fn power(seen: &Seen) -> Power {
    match seen {
        Seen::Ec2(record) if record.state == State::Stopped => Power::Stopped,
        // As upstream has it: a Fargate node that is not ready counts as shut down as long as its interface exists.
        Seen::Fargate(..) => Power::Stopped,
        _ => Power::Running,
    }
}

#[async_trait]
impl Instances for Ec2Instances {
    async fn look_up(&self, nodes: &[Arc<Node>], want: Want, freshness: Freshness) -> Vec<Result<Instance>> {
        let (oldest, may_list) = match freshness {
            Freshness::Live => (Instant::now(), false),
            Freshness::Within(time) => (since(time), true),
        };
        let targets: Vec<Target> = nodes.iter().map(|node| self.target(node)).collect();
        let mut ids = HashSet::new();
        let mut names = HashSet::new();
        let mut fargate = HashSet::new();
        for target in &targets {
            match target {
                Target::Id(id) => drop(ids.insert(id.clone())),
                Target::Name(name) => drop(names.insert(name.clone())),
                Target::Fargate(_, address) => drop(fargate.insert(*address)),
                Target::Foreign | Target::Invalid(_) => {}
            }
        }
        let answers = Answers {
            failures: self.snapshot.refresh(ids, names, oldest, may_list).await,
            fargate: self.fargate.look_up(&fargate, oldest).await,
        };
        let seen: Vec<Result<Seen>> = targets.iter().map(|target| self.seen(target, want, oldest, &answers)).collect();
        let labels = match want {
            Want::State => None,
            Want::Metadata => {
                let pairs: Vec<_> = nodes.iter().map(|node| &**node).zip(&seen).collect();
                Some(self.labels(&pairs).await)
            }
        };
        let answer = |(node, seen): (&Arc<Node>, Result<Seen>)| {
            let seen = seen?;
            let metadata = match &labels {
                Some(labels) => self.metadata(node, &seen, labels)?,
                None => None,
            };
            Ok(match seen {
                Seen::Gone => Instance::Gone,
                Seen::Foreign => Instance::Foreign,
                seen => Instance::Present { power: power(&seen), metadata },
            })
        };
        nodes.iter().zip(seen).map(answer).collect()
    }
}
