//! What both kinds of load balancer look up before they plan: subnets, security groups, instances, tags.
//!
//! The network of the cluster changes rarely and is asked for often: it is read as a whole and kept for a short while.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use cloud_provider::{
    Error, Kind,
    cluster::objects::{Node, Object, Service},
    error::Result,
};
use tokio::time::Instant;

use super::{
    annotations,
    listing::Listings,
    names,
    security_groups::Revoked,
    subnets::{self, Choice},
};
use crate::{
    Environment,
    client::{
        self, Client,
        ec2_types::State,
        network::{Groups, RouteTable, RouteTables, SecurityGroup, Subnet, Tags},
    },
    cluster_id::ClusterId,
    config,
    instances::{BackendInstance, Snapshot, Zones},
    provider_id::{InstanceId, ProviderId},
};

/// How old what is known of security groups may be. Their writers read them once more.
const GROUPS_AGE: Duration = Duration::from_secs(20);
/// How old what is known of subnets and route tables may be.
const NETWORK_AGE: Duration = Duration::from_secs(60);

/// What both kinds of load balancer share.
pub(crate) struct Shared {
    client: Client,
    settings: config::Settings,
    cluster_id: ClusterId,
    vpc: String,
    own_subnet: Option<String>,
    instances: Arc<Snapshot>,
    zones: Arc<Zones>,
    groups: Aged<Vec<SecurityGroup>>,
    revoked: Revoked,
    subnets: Aged<Vec<Subnet>>,
    route_tables: Aged<Vec<RouteTable>>,
    listings: Listings,
    /// Whether tags of load balancers are read: where the configuration asks for it, and until AWS refuses it.
    reads_tags: AtomicBool,
}

impl Shared {
    pub(crate) fn new(environment: &Environment) -> Arc<Self> {
        Arc::new(Self {
            client: environment.client.clone(),
            settings: environment.settings.clone(),
            cluster_id: environment.cluster_id.clone(),
            vpc: environment.vpc.clone(),
            own_subnet: environment.subnet.clone(),
            instances: environment.snapshot.clone(),
            zones: environment.zones.clone(),
            groups: Aged::new(GROUPS_AGE),
            revoked: Revoked::default(),
            subnets: Aged::new(NETWORK_AGE),
            route_tables: Aged::new(NETWORK_AGE),
            listings: Listings::default(),
            reads_tags: AtomicBool::new(environment.settings.reconcile_load_balancer_tags),
        })
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// What there is of load balancers, shared by the rounds of all services.
    pub(crate) fn listings(&self) -> &Listings {
        &self.listings
    }

    pub(crate) fn settings(&self) -> &config::Settings {
        &self.settings
    }

    pub(crate) fn cluster_id(&self) -> &ClusterId {
        &self.cluster_id
    }

    pub(crate) fn vpc(&self) -> &str {
        &self.vpc
    }

    /// The subnets for a service's load balancer: those of the annotation, or else one per zone, discovered by tags.
    ///
    /// # Errors
    ///
    /// Upstream's, where an entry is not found or no subnet is left.
    pub(crate) async fn subnets(&self, service: &Service) -> Result<Choice> {
        if annotations::SUBNETS.of(service).is_some() {
            let chosen = self.named_subnets(&annotations::SUBNETS.list(service)).await?;
            return Ok(Choice { chosen, candidates: Vec::new() });
        }
        let all = self.all_subnets().await?;
        let route_tables =
            self.route_tables.get(|| self.client.describe_route_tables(RouteTables::OfVpc(&self.vpc))).await;
        let route_tables = route_tables.map_err(|error| error.context("read the route tables of the VPC"))?;
        let zones: BTreeSet<&str> = all.iter().map(|subnet| subnet.zone.as_str()).collect();
        let zones: Vec<&str> = zones.into_iter().filter(|zone| !zone.is_empty()).collect();
        let zones = self.zones.get(&zones).await?;
        let zone_kinds: BTreeMap<String, String> = zones.into_values().map(|zone| (zone.name, zone.kind)).collect();
        let discovery = subnets::Discovery {
            subnets: &all,
            route_tables: &route_tables,
            zone_kinds: &zone_kinds,
            cluster: &self.cluster_id,
            own_subnet: self.own_subnet.as_deref(),
            internal: annotations::is_internal(service),
        };
        let owned = |found: Vec<&Subnet>| found.into_iter().cloned().collect::<Vec<_>>();
        let choice = Choice { chosen: owned(discovery.choose()?), candidates: owned(discovery.candidates()?) };
        if choice.chosen.is_empty() { Err(subnets::none_suitable()) } else { Ok(choice) }
    }

    /// Looks into what is known first, and once more into what there is: a subnet may be new, or of a shared VPC.
    async fn named_subnets(&self, entries: &[String]) -> Result<Vec<Subnet>> {
        let owned = |found: Vec<&Subnet>| found.into_iter().cloned().collect::<Vec<_>>();
        let known = self.all_subnets().await?;
        if let Ok(found) = subnets::named(entries, &known, &self.vpc) {
            return Ok(owned(found));
        }
        self.subnets.forget();
        let mut all = self.all_subnets().await?.as_ref().clone();
        let elsewhere: Vec<String> = entries
            .iter()
            .filter(|entry| subnets::is_id(entry) && !all.iter().any(|subnet| subnet.id == **entry))
            .cloned()
            .collect();
        if !elsewhere.is_empty() {
            all.extend(self.client.describe_subnets_by_id(&elsewhere).await?);
        }
        subnets::named(entries, &all, &self.vpc).map(owned)
    }

    /// The subnets with these IDs.
    ///
    /// # Errors
    ///
    /// Where one of them is not found.
    pub(crate) async fn subnets_by_id(&self, ids: &[String]) -> Result<Vec<Subnet>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.named_subnets(ids).await
    }

    async fn all_subnets(&self) -> Result<Arc<Vec<Subnet>>> {
        let subnets = self.subnets.get(|| self.client.describe_subnets(&self.vpc)).await;
        subnets.map_err(|error| error.context("read the subnets of the VPC"))
    }

    /// All security groups of the VPC, as they were at most twenty seconds ago.
    pub(crate) async fn groups(&self) -> Result<Arc<Vec<SecurityGroup>>> {
        let read = || async {
            let mut groups = self.client.describe_security_groups(Groups::OfVpc(&self.vpc)).await?;
            self.revoked.hide(&mut groups);
            Ok::<_, client::Error>(groups)
        };
        let groups = self.groups.get(read).await;
        groups.map_err(|error| error.context("read the security groups of the VPC"))
    }

    /// All security groups of the VPC, as they are now.
    pub(crate) async fn fresh_groups(&self) -> Result<Arc<Vec<SecurityGroup>>> {
        self.forget_groups();
        self.groups().await
    }

    /// To be called after every write to a security group.
    pub(crate) fn forget_groups(&self) {
        self.groups.forget();
    }

    /// The rules that were taken out lately.
    pub(crate) fn revoked(&self) -> &Revoked {
        &self.revoked
    }

    /// One security group as it is now; `None` where it does not exist.
    pub(crate) async fn group(&self, id: &str) -> Result<Option<SecurityGroup>> {
        let ids = [id.to_owned()];
        let found = self.client.describe_security_groups(Groups::Ids(&ids)).await.map_err(Error::from);
        let mut found = found.map_err(|error| error.context(format!("read security group {id}")))?;
        self.revoked.hide(&mut found);
        Ok(found.into_iter().find(|group| group.id == id))
    }

    /// The instances of the nodes that the service selects, as far as they are the cluster's and run or are about to.
    pub(crate) async fn targets(&self, service: &Service, nodes: &[Arc<Node>]) -> Result<Vec<BackendInstance>> {
        let selected = nodes.iter().filter(|node| annotations::selects(service, node));
        let ids: BTreeSet<InstanceId> = selected.filter_map(|node| instance_of(node)).collect();
        let ids: Vec<InstanceId> = ids.into_iter().collect();
        let mut found = self.instances.for_backends(&ids).await?;
        let known = ids.iter().filter_map(|id| found.remove(id));
        Ok(known
            .filter(|instance| instance.tagged && matches!(instance.state, State::Pending | State::Running))
            .collect())
    }

    /// The security groups in which rules for load balancers belong: for each instance the one with the cluster's tag,
    /// or its only one.
    ///
    /// # Errors
    ///
    /// Where an instance has several to choose from.
    pub(crate) fn node_groups(
        &self,
        targets: &[BackendInstance],
        groups: &[SecurityGroup],
    ) -> Result<BTreeSet<String>> {
        let tagged: BTreeSet<&str> =
            groups.iter().filter(|group| self.cluster_id.has_tag(&group.tags)).map(|group| group.id.as_str()).collect();
        let mut chosen = BTreeSet::new();
        for target in targets {
            chosen.extend(node_group(target, &tagged)?);
        }
        Ok(chosen)
    }

    /// Reads tags of load balancers where the configuration asks for it. Without the permission for it they are not read
    /// any more, after one warning.
    pub(crate) async fn read_tags<T, F>(&self, read: impl FnOnce() -> F) -> Result<Option<T>>
    where
        F: Future<Output = client::Result<T>>,
    {
        if !self.reads_tags.load(Ordering::Relaxed) {
            return Ok(None);
        }
        match read().await {
            Err(error) if matches!(error.kind(), Kind::Denied { .. }) => {
                tracing::warn!(
                    %error,
                    "ReconcileLoadBalancerTags needs the permission elasticloadbalancing:DescribeTags; it is off now"
                );
                self.reads_tags.store(false, Ordering::Relaxed);
                Ok(None)
            }
            tags => Ok(Some(tags?)),
        }
    }

    /// The tags of what is made for a service. Load balancers, target groups and listeners also name the service,
    /// security groups do not.
    pub(crate) fn tags(&self, service: &Service, with_service_name: bool) -> Tags {
        let mut tags = annotations::ADDITIONAL_TAGS.pairs(service);
        if with_service_name {
            tags.insert(names::SERVICE_TAG.to_owned(), service.key().to_string());
        }
        self.cluster_id.owned_tags(&tags)
    }
}

/// The instance behind a node; none for nodes without a provider ID, on Fargate, or of another cloud.
pub(crate) fn instance_of(node: &Node) -> Option<InstanceId> {
    match ProviderId::parse(node.provider_id()?) {
        Ok(ProviderId::Instance(id)) => Some(id),
        Ok(ProviderId::Fargate(_) | ProviderId::Foreign) => None,
        Err(error) => {
            tracing::warn!(node = node.name(), %error, "a node is no target, since its provider ID cannot be read");
            None
        }
    }
}

fn node_group(target: &BackendInstance, tagged: &BTreeSet<&str>) -> Result<Option<String>> {
    let ours: Vec<_> = target.security_groups.iter().filter(|group| tagged.contains(group.id.as_str())).collect();
    match (ours.as_slice(), target.security_groups.as_slice()) {
        ([group], _) => Ok(Some(group.id.clone())),
        ([], []) => {
            tracing::warn!(instance = %target.id, "an instance has no security group");
            Ok(None)
        }
        ([], [group]) => Ok(Some(group.id.clone())),
        ([], _) => Err(Error::invalid(
            "security groups of nodes",
            format!(
                "Multiple untagged security groups found for instance {}; ensure the k8s security group is tagged",
                target.id
            ),
        )),
        (several, _) => {
            let groups: Vec<String> = several.iter().map(|group| format!("{}({})", group.id, group.name)).collect();
            Err(Error::invalid(
                "security groups of nodes",
                format!(
                    "Multiple tagged security groups found for instance {}; ensure only the k8s security group is \
                     tagged; the tagged groups were {}",
                    target.id,
                    groups.join(" ")
                ),
            ))
        }
    }
}

/// A value that is read again when it is too old; who asks meanwhile waits for the same read.
struct Aged<T> {
    age: Duration,
    kept: Mutex<Kept<T>>,
    reading: tokio::sync::Mutex<()>,
}

struct Kept<T> {
    /// Counts how often the value was to be forgotten, so that a read that began before does not bring it back.
    forgotten: u64,
    value: Option<(Instant, Arc<T>)>,
}

impl<T: Send + Sync> Aged<T> {
    fn new(age: Duration) -> Self {
        Self { age, kept: Mutex::new(Kept { forgotten: 0, value: None }), reading: tokio::sync::Mutex::default() }
    }

    async fn get<F, E>(&self, read: impl FnOnce() -> F) -> Result<Arc<T>>
    where
        F: Future<Output = Result<T, E>>,
        Error: From<E>,
    {
        if let Some(value) = self.known() {
            return Ok(value);
        }
        let _reading = self.reading.lock().await;
        if let Some(value) = self.known() {
            return Ok(value);
        }
        let (began, forgotten) = (Instant::now(), self.kept().forgotten);
        let value = Arc::new(read().await?);
        let mut kept = self.kept();
        if kept.forgotten == forgotten {
            kept.value = Some((began, value.clone()));
        }
        Ok(value)
    }

    fn forget(&self) {
        let mut kept = self.kept();
        kept.forgotten += 1;
        kept.value = None;
    }

    fn known(&self) -> Option<Arc<T>> {
        let kept = self.kept();
        let (began, value) = kept.value.as_ref()?;
        (began.elapsed() < self.age).then(|| value.clone())
    }

    fn kept(&self) -> MutexGuard<'_, Kept<T>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::ec2_types::SecurityGroupRef;

    fn instance(groups: &[&str]) -> BackendInstance {
        let group = |id: &&str| SecurityGroupRef { id: (*id).to_owned(), name: format!("name-{id}") };
        BackendInstance {
            id: InstanceId::new("i-1"),
            state: State::Running,
            vpc: "vpc".into(),
            subnet: "subnet".into(),
            zone: "a".into(),
            security_groups: groups.iter().map(group).collect(),
            tagged: true,
        }
    }

    #[test]
    fn the_tagged_group_of_an_instance_is_chosen_or_its_only_one() {
        let tagged = BTreeSet::from(["sg-1", "sg-2"]);
        let choose = |groups: &[&str]| node_group(&instance(groups), &tagged).map_err(|error| error.to_string());
        assert_eq!(choose(&["sg-1", "sg-9"]), Ok(Some("sg-1".into())));
        assert_eq!(choose(&["sg-9"]), Ok(Some("sg-9".into())));
        assert_eq!(choose(&[]), Ok(None));
        let error = choose(&["sg-1", "sg-2", "sg-9"]).unwrap_err();
        assert_eq!(
            error,
            "Multiple tagged security groups found for instance i-1; ensure only the k8s security group is tagged; the \
             tagged groups were sg-1(name-sg-1) sg-2(name-sg-2)"
        );
        let error = choose(&["sg-8", "sg-9"]).unwrap_err();
        assert_eq!(
            error,
            "Multiple untagged security groups found for instance i-1; ensure the k8s security group is tagged"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_value_is_read_once_until_it_is_old_or_forgotten() {
        let aged: Aged<u32> = Aged::new(Duration::from_secs(20));
        let get = async |value: u32| *aged.get(|| async move { Ok::<_, Error>(value) }).await.unwrap();
        assert_eq!(get(1).await, 1);
        assert_eq!(get(2).await, 1);
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(get(3).await, 3);
        aged.forget();
        assert_eq!(get(4).await, 4);
        // A read that began before the value was to be forgotten serves its caller only.
        let late = aged.get(|| async {
            aged.forget();
            Ok::<_, Error>(5)
        });
        aged.forget();
        assert_eq!(*late.await.unwrap(), 5);
        assert_eq!(get(6).await, 6);
    }
}
