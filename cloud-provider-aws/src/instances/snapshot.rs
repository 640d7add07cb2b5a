//! What is known of instances, and how old that is.
//!
//! One snapshot serves the node controllers and the load balancers. Reads are made one after the other; who waited looks
//! first at what the others brought meanwhile, so that no instance is read twice for the same question.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use cloud_provider::{
    cluster::objects::NodeAddress,
    snapshot::{self, since},
};
use tokio::time::Instant;

use super::{
    addresses::{self, BadAddress},
    by_id::{Answer, IDS, ReadById},
    by_name::{self, NameAnswer, NameRead},
    failure::Failure,
};
use crate::{
    client::{
        Client,
        ec2::{FILTER_VALUES, PAGE},
        ec2_types::{Instance, SecurityGroupRef, State},
    },
    cluster_id::ClusterId,
    config::IpFamily,
    provider_id::InstanceId,
};

/// How old the answers for load balancers may be, as upstream has it.
const BACKENDS_AGE: Duration = Duration::from_secs(10 * 60);
/// After this time an answer is forgotten.
const FORGET: Duration = Duration::from_secs(15 * 60);
/// How long "does not exist" is believed: an instance that was just launched is not known everywhere at once.
const GONE: Duration = Duration::from_secs(30);
/// How long an ID counts as none without being asked for again, also by live reads.
const NO_ID: Duration = Duration::from_secs(10 * 60);

/// An instance, as much of it as nodes and load balancers need.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) id: InstanceId,
    pub(super) state: State,
    pub(super) instance_type: String,
    pub(super) zone: String,
    pub(super) zone_id: String,
    pub(super) addresses: Result<Vec<NodeAddress>, BadAddress>,
    vpc: String,
    subnet: String,
    security_groups: Vec<SecurityGroupRef>,
    tagged: bool,
}

/// An instance as a backend of load balancers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendInstance {
    /// Its ID.
    pub id: InstanceId,
    /// Where it is in its life.
    pub state: State,
    /// Its VPC.
    pub vpc: String,
    /// Its subnet.
    pub subnet: String,
    /// The name of its zone.
    pub zone: String,
    /// The security groups of its first interface.
    pub security_groups: Vec<SecurityGroupRef>,
    /// Whether it has the cluster's tag; upstream takes only such instances.
    pub tagged: bool,
}

/// What is known of one ID.
#[derive(Debug, Clone)]
pub(super) enum Known {
    Found(Arc<Record>),
    Gone,
    NoId(Failure),
}

/// What could not be found out, by ID and by name.
pub(super) type Failures = snapshot::Failures<InstanceId>;

/// The snapshot.
pub struct Snapshot {
    client: Client,
    cluster: ClusterId,
    families: Vec<IpFamily>,
    instances: snapshot::Snapshot<InstanceId, Known>,
    names: snapshot::Snapshot<String, NameAnswer>,
    /// How many instances the last listing had.
    listed: AtomicUsize,
}

impl Snapshot {
    /// An empty snapshot.
    pub fn new(client: Client, cluster: ClusterId, families: Vec<IpFamily>) -> Self {
        let (instances, names) = (snapshot::Snapshot::new(FORGET), snapshot::Snapshot::new(FORGET));
        Self { client, cluster, families, instances, names, listed: AtomicUsize::new(0) }
    }

    /// The instances with these IDs, from answers at most ten minutes old; only what is missing is asked for. IDs that do
    /// not exist are left out; terminated instances are not.
    ///
    /// # Errors
    ///
    /// When one of them could not be found out about: a load balancer must not lose a backend for that.
    pub async fn for_backends(
        &self,
        ids: &[InstanceId],
    ) -> cloud_provider::error::Result<HashMap<InstanceId, BackendInstance>> {
        let oldest = since(BACKENDS_AGE);
        let failures = self.refresh(ids.iter().cloned().collect(), HashSet::new(), oldest, true).await;
        if let Some((id, failure)) = failures.ids.iter().next() {
            return Err(failure.to_error(format!(
                "look up {} of {} instances, {id} among them",
                failures.ids.len(),
                ids.len()
            )));
        }
        let mut found = HashMap::with_capacity(ids.len());
        for id in ids {
            if let Some(Known::Found(record)) = self.instance(id, oldest) {
                found.insert(id.clone(), record.backend());
            }
        }
        Ok(found)
    }

    /// What is known of an ID from reads that began at `oldest` or later.
    pub(super) fn instance(&self, id: &InstanceId, oldest: Instant) -> Option<Known> {
        self.instances.get_if(id, |began, known| match known {
            Known::Found(_) => began >= oldest,
            Known::Gone => began >= oldest && began.elapsed() < GONE,
            Known::NoId(_) => began >= oldest || began.elapsed() < NO_ID,
        })
    }

    /// What is known of a name from reads that began at `oldest` or later.
    pub(super) fn name(&self, name: &str, oldest: Instant) -> Option<NameAnswer> {
        let answer = self.names.get(&name.to_owned(), oldest)?;
        match &answer {
            NameAnswer::One(id) => self.instance(id, oldest).map(|_| answer),
            NameAnswer::Many | NameAnswer::None => Some(answer),
        }
    }

    /// Makes sure that these IDs and names are known from reads that began at `oldest` or later, apart from the failures
    /// that it gives. Whether to list the cluster or to ask for the single ones is decided by the number of calls.
    pub(super) async fn refresh(
        &self,
        ids: HashSet<InstanceId>,
        names: HashSet<String>,
        oldest: Instant,
        may_list: bool,
    ) -> Failures {
        if self.missing(&ids, &names, oldest).is_empty() {
            return Failures::default();
        }
        let _turn = self.instances.turn().await;
        let mut missing = self.missing(&ids, &names, oldest);
        if may_list && self.listing_is_cheaper(&missing) {
            match self.list().await {
                Ok(()) => missing = self.missing(&ids, &names, oldest),
                Err(failure) => return Failures::all(missing.ids, missing.names, &failure),
            }
        }
        let mut failures = Failures::default();
        self.read_names(missing.names, !may_list, &mut failures).await;
        self.read_ids(missing.ids, &mut failures).await;
        failures
    }

    async fn list(&self) -> Result<(), Failure> {
        let began = Instant::now();
        let instances = self.client.instances_of_cluster(&self.cluster).await.map_err(|error| Failure::from(&error))?;
        tracing::debug!(instances = instances.len(), "listed the cluster's instances");
        let mut by_name: HashMap<String, Vec<InstanceId>> = HashMap::new();
        self.listed.store(instances.len(), Ordering::Relaxed);
        for instance in &instances {
            if instance.state != State::Terminated && !instance.private_dns_name.is_empty() {
                by_name.entry(instance.private_dns_name.clone()).or_default().push(instance.id.clone());
            }
        }
        self.insert(began, instances);
        // A name that the listing lacks may belong to an instance that carries only the cluster's other tag.
        self.names.insert(began, by_name.into_iter().map(|(name, ids)| (name, NameAnswer::of(ids))));
        Ok(())
    }

    async fn read_names(&self, names: Vec<String>, confirm: bool, failures: &mut Failures) {
        let mut read = NameRead::new(names, confirm);
        while let Some(chunk) = read.next() {
            let began = Instant::now();
            let values: Vec<&str> = chunk.iter().map(String::as_str).collect();
            let result = self.client.instances_by_private_dns_name(&values).await;
            let result = result.map(|mut instances| {
                instances.retain(|instance| self.cluster.has_tag(&instance.tags));
                let named = |instance: &Instance| (instance.private_dns_name.clone(), instance.id.clone());
                let found = instances.iter().map(named).collect();
                self.insert(began, instances);
                found
            });
            read.take(chunk, result, began);
        }
        let by_name::Answers { found, failed } = read.into_answers();
        let mut reads: HashMap<Instant, Vec<(String, NameAnswer)>> = HashMap::new();
        for (name, (began, answer)) in found {
            reads.entry(began).or_default().push((name, answer));
        }
        reads.into_iter().for_each(|(began, answers)| self.names.insert(began, answers));
        failures.names.extend(failed);
    }

    async fn read_ids(&self, ids: Vec<InstanceId>, failures: &mut Failures) {
        let mut read = ReadById::new(ids);
        let began = Instant::now();
        while let Some(chunk) = read.next() {
            let result = self.client.instances_by_id(&chunk).await;
            read.take(chunk, result);
        }
        let mut known = Vec::new();
        for (id, answer) in read.into_answers() {
            match answer {
                Ok(Answer::Found(instance)) => known.push((id, Known::Found(Arc::new(self.record(*instance))))),
                Ok(Answer::Gone) => known.push((id, Known::Gone)),
                Ok(Answer::NoId(failure)) => known.push((id, Known::NoId(failure))),
                Err(failure) => drop(failures.ids.insert(id, failure)),
            }
        }
        self.instances.insert(began, known);
    }

    fn insert(&self, began: Instant, instances: Vec<Instance>) {
        let known = |instance: Instance| (instance.id.clone(), Known::Found(Arc::new(self.record(instance))));
        self.instances.insert(began, instances.into_iter().map(known));
    }

    fn record(&self, instance: Instance) -> Record {
        Record {
            addresses: addresses::of_instance(&instance, &self.families),
            tagged: self.cluster.has_tag(&instance.tags),
            id: instance.id,
            state: instance.state,
            instance_type: instance.instance_type,
            zone: instance.zone,
            zone_id: instance.zone_id,
            vpc: instance.vpc,
            subnet: instance.subnet,
            security_groups: instance.security_groups,
        }
    }

    fn missing(&self, ids: &HashSet<InstanceId>, names: &HashSet<String>, oldest: Instant) -> Missing {
        Missing {
            ids: ids.iter().filter(|id| self.instance(id, oldest).is_none()).cloned().collect(),
            names: names.iter().filter(|name| self.name(name, oldest).is_none()).cloned().collect(),
        }
    }

    /// Whether all pages of a listing are fewer calls than asking for what is missing. Where no listing was made yet, the
    /// cluster is taken to be as large as what is known and missing.
    fn listing_is_cheaper(&self, missing: &Missing) -> bool {
        let direct = missing.ids.len().div_ceil(IDS) + missing.names.len().div_ceil(FILTER_VALUES);
        let listed = match self.listed.load(Ordering::Relaxed) {
            0 => self.instances.len(),
            listed => listed,
        };
        listed.max(missing.ids.len() + missing.names.len()).div_ceil(PAGE) < direct
    }
}

struct Missing {
    ids: Vec<InstanceId>,
    names: Vec<String>,
}

impl Missing {
    fn is_empty(&self) -> bool {
        self.ids.is_empty() && self.names.is_empty()
    }
}

impl Record {
    fn backend(&self) -> BackendInstance {
        BackendInstance {
            id: self.id.clone(),
            state: self.state,
            vpc: self.vpc.clone(),
            subnet: self.subnet.clone(),
            zone: self.zone.clone(),
            security_groups: self.security_groups.clone(),
            tagged: self.tagged,
        }
    }
}
