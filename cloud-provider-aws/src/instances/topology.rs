//! The network nodes above instances, for workloads that want to be near each other.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use cloud_provider::Kind;
use regex::Regex;
use tokio::time::Instant;

use super::{by_id::names, failure::Failure};
use crate::{
    client::{self, Client, ec2::TOPOLOGY_IDS},
    provider_id::InstanceId,
};

/// The label of layer N is this and N, counted from 1.
pub const LABEL: &str = "topology.k8s.aws/network-node-layer-";
/// How long "no topology" is believed.
const NEGATIVE: Duration = Duration::from_secs(24 * 60 * 60);

/// The network nodes above instances.
///
/// Most instance types have none, and are not asked for again for a day; so is a region without this API, and one where
/// the permission for it is missing. Where the call fails otherwise, an instance goes without labels, unless its type is
/// one whose workloads rely on them: then its node waits.
pub(super) struct Topology {
    client: Client,
    /// The types whose nodes wait for their topology.
    required: Regex,
    /// Whether they wait also where it cannot be read.
    waits: bool,
    absent: Mutex<Absent>,
    asking: tokio::sync::Mutex<()>,
}

/// Where no topology was found, and when.
#[derive(Default)]
struct Absent {
    region: Option<Instant>,
    types: HashMap<String, Instant>,
    instances: HashMap<InstanceId, Instant>,
}

/// The layers of each instance that has some, from the top, and the failures of those that have to wait.
pub(super) type Layers = HashMap<InstanceId, Result<Vec<String>, Failure>>;

impl Topology {
    pub(super) fn new(client: Client, required: Regex, waits: bool) -> Self {
        Self { client, required, waits, absent: Mutex::default(), asking: tokio::sync::Mutex::default() }
    }

    /// The layers above `instances`, given with their types.
    pub(super) async fn layers(&self, mut instances: Vec<(InstanceId, String)>) -> Layers {
        let mut layers = Layers::new();
        instances.retain(|instance| !self.absent().knows(instance));
        if instances.is_empty() {
            return layers;
        }
        // One asks for all: what it finds to have no topology spares the others their calls.
        let _asking = self.asking.lock().await;
        let mut left_out = false;
        loop {
            instances.retain(|instance| !self.absent().knows(instance));
            if instances.is_empty() {
                return layers;
            }
            let rest = instances.split_off(instances.len().min(TOPOLOGY_IDS));
            let chunk = std::mem::replace(&mut instances, rest);
            let ids: Vec<InstanceId> = chunk.iter().map(|(id, _)| id.clone()).collect();
            match self.client.instance_topology(&ids).await {
                Ok(found) => self.found(chunk, found, &mut layers),
                Err(error) if self.is_for_good(&error) => return layers,
                Err(error) => {
                    // Who is gone meanwhile is left out, once; the others are asked for again.
                    let (bad, rest): (Vec<_>, Vec<_>) =
                        chunk.into_iter().partition(|(id, _)| names(error.message(), id));
                    instances.extend(rest);
                    if bad.is_empty() || left_out {
                        instances.extend(bad);
                        self.failed(instances, &error, &mut layers);
                        return layers;
                    }
                    left_out = true;
                    self.failed(bad, &error, &mut layers);
                }
            }
        }
    }

    fn found(
        &self,
        chunk: Vec<(InstanceId, String)>,
        mut found: HashMap<InstanceId, Vec<String>>,
        layers: &mut Layers,
    ) {
        let mut absent = self.absent();
        for (id, instance_type) in chunk {
            match found.remove(&id).filter(|nodes| !nodes.is_empty()) {
                Some(nodes) => drop(layers.insert(id, Ok(nodes))),
                None if self.required.is_match(&instance_type) => drop(absent.instances.insert(id, Instant::now())),
                None => drop(absent.types.insert(instance_type, Instant::now())),
            }
        }
    }

    /// Whether the region has no such API, or we may not call it.
    fn is_for_good(&self, error: &client::Error) -> bool {
        let for_good = matches!(error.kind(), Kind::Unsupported | Kind::Denied { .. });
        if for_good {
            tracing::warn!(%error, "nodes go without topology labels, this region is asked again in a day");
            self.absent().region = Some(Instant::now());
        }
        for_good
    }

    fn failed(&self, chunk: Vec<(InstanceId, String)>, error: &client::Error, layers: &mut Layers) {
        let failure = Failure::from(error);
        let all = chunk.len();
        let waits = |instance_type: &str| self.waits && self.required.is_match(instance_type);
        let waiting = chunk.into_iter().filter(|(_, instance_type)| waits(instance_type));
        let before = layers.len();
        layers.extend(waiting.map(|(id, _)| (id, Err(failure.clone()))));
        let waiting = layers.len() - before;
        tracing::warn!(%error, without = all - waiting, waiting, "topology of instances not read");
    }

    fn absent(&self) -> MutexGuard<'_, Absent> {
        self.absent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Absent {
    fn knows(&self, (id, instance_type): &(InstanceId, String)) -> bool {
        let lately = |since: Option<&Instant>| since.is_some_and(|since| since.elapsed() < NEGATIVE);
        instance_type.is_empty()
            || lately(self.region.as_ref())
            || lately(self.types.get(instance_type))
            || lately(self.instances.get(id))
    }
}
