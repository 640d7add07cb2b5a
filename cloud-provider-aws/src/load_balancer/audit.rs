//! What was made for services of this cluster, for `audit`: known by its name formula and by the cluster's tag.
//!
//! The tags of load balancers and target groups are read with `elasticloadbalancing:DescribeTags`, which upstream's
//! documented policy does not hold: an audit is run by an operator, whose credentials may do more than the controller's.

use std::{collections::BTreeMap, sync::Arc};

use cloud_provider::{
    Error, Kind,
    cloud::Owned,
    cluster::objects::{Object, Service},
    error::Result,
};

use super::{names, resolve::Shared};
use crate::client::{
    self,
    elbv2::{LoadBalancer, TAGGED},
    network::{Groups, Tags},
};

const PERMISSION: &str = "elasticloadbalancing:DescribeTags";

/// Finds what belongs to the cluster.
pub(super) struct Auditor {
    shared: Arc<Shared>,
    cluster_name: Arc<str>,
}

impl Auditor {
    pub(super) fn new(shared: Arc<Shared>, cluster_name: Arc<str>) -> Self {
        Self { shared, cluster_name }
    }

    /// The names by which resources of a service are known.
    pub(super) fn claims(&self, service: &Service) -> Vec<String> {
        let (key, uid) = (service.key(), service.uid());
        let name = names::load_balancer(uid);
        vec![
            names::classic_group(&name),
            names::managed_group(&self.cluster_name, &key.namespace, &key.name, uid),
            service_of(&key.to_string()),
            name,
        ]
    }

    /// Load balancers of both kinds, target groups and security groups.
    ///
    /// # Errors
    ///
    /// When one listing fails, or tags may not be read.
    pub(super) async fn owned(&self) -> Result<Vec<Owned>> {
        let mut owned = self.classic().await?;
        let network = self.network().await?;
        owned.extend(network.iter().map(|balancer| Owned {
            what: format!("network load balancer {}", balancer.name),
            claim: balancer.name.clone(),
        }));
        owned.extend(self.target_groups().await?);
        owned.extend(self.security_groups(&network).await?);
        Ok(owned)
    }

    async fn classic(&self) -> Result<Vec<Owned>> {
        let client = self.shared.client();
        let all = client.classic_load_balancers().await?.into_iter().map(|balancer| balancer.name);
        let named: Vec<String> = all.filter(|name| names::is_load_balancer(name)).collect();
        let tags = tags_of(&named, |names| client.classic_tags(names)).await?;
        let ours = self.ours(named, tags, String::as_str)?.into_iter();
        let found =
            ours.map(|(name, _)| Owned { what: format!("classic load balancer {name}"), claim: name }).collect();
        Ok(found)
    }

    async fn network(&self) -> Result<Vec<LoadBalancer>> {
        let client = self.shared.client();
        let all = client.network_load_balancers().await?.into_iter();
        let named: Vec<_> = all
            .filter(|balancer| balancer.is_network() && balancer.vpc == self.shared.vpc())
            .filter(|balancer| names::is_load_balancer(&balancer.name))
            .collect();
        let arns: Vec<String> = named.iter().map(|balancer| balancer.arn.clone()).collect();
        let tags = tags_of(&arns, |arns| client.network_tags(arns)).await?;
        let ours = self.ours(named, tags, |balancer| &balancer.arn)?.into_iter();
        Ok(ours.map(|(balancer, _)| balancer).collect())
    }

    /// Their names are hashes with the service's namespace and name in front; the tag names the service in full.
    async fn target_groups(&self) -> Result<Vec<Owned>> {
        let client = self.shared.client();
        let all = client.target_groups(None).await?.into_iter();
        let named: Vec<_> =
            all.filter(|group| group.vpc == self.shared.vpc() && names::is_of_service(&group.name)).collect();
        let arns: Vec<String> = named.iter().map(|group| group.arn.clone()).collect();
        let tags = tags_of(&arns, |arns| client.network_tags(arns)).await?;
        let ours = self.ours(named, tags, |group| &group.arn)?.into_iter();
        let found = ours.filter_map(|(group, tags)| {
            let service = tags.get(names::SERVICE_TAG)?;
            let (namespace, name) = service.split_once('/')?;
            let ours = group.name.starts_with(&names::resource_prefix(namespace, name));
            ours.then(|| Owned { what: format!("target group {}", group.name), claim: service_of(service) })
        });
        Ok(found.collect())
    }

    /// A group that one of our network load balancers has belongs to that one's service: its name hashes `--cluster-name`,
    /// which may be another one in this run.
    async fn security_groups(&self, network: &[LoadBalancer]) -> Result<Vec<Owned>> {
        let all = self.shared.client().describe_security_groups(Groups::OfVpc(self.shared.vpc())).await?;
        let mut owned = Vec::new();
        for group in all.into_iter().filter(|group| names::is_security_group(&group.name)) {
            if self.owns(&group.tags)? {
                let what = format!("security group {} ({})", group.id, group.name);
                let has = |balancer: &&LoadBalancer| balancer.security_groups.contains(&group.id);
                let claim = network.iter().find(has).map_or(group.name, |balancer| balancer.name.clone());
                owned.push(Owned { what, claim });
            }
        }
        Ok(owned)
    }

    /// Those that bear the cluster's tag, each with its tags. What went while tags were read has none.
    fn ours<T>(
        &self,
        found: Vec<T>,
        mut tags: BTreeMap<String, Tags>,
        id: impl Fn(&T) -> &str,
    ) -> Result<Vec<(T, Tags)>> {
        let mut ours = Vec::new();
        for thing in found {
            if let Some(tags) = tags.remove(id(&thing))
                && self.owns(&tags)?
            {
                ours.push((thing, tags));
            }
        }
        Ok(ours)
    }

    fn owns(&self, tags: &Tags) -> Result<bool> {
        if tags.contains_key(names::LOAD_BALANCER_CONTROLLER_TAG) {
            return Ok(false);
        }
        let owns = self.shared.cluster_id().owns(tags);
        owns.map_err(|problem| Error::invalid("KubernetesClusterID", problem.to_string()))
    }
}

/// What a target group is made for.
fn service_of(key: &str) -> String {
    format!("service {key}")
}

/// The tags of many resources. One that went meanwhile fails the call that names it: then each is asked for by itself.
async fn tags_of<'a, F>(ids: &'a [String], read: impl Fn(&'a [String]) -> F) -> Result<BTreeMap<String, Tags>>
where
    F: Future<Output = client::Result<BTreeMap<String, Tags>>>,
{
    let mut tags = BTreeMap::new();
    for some in ids.chunks(TAGGED) {
        match read(some).await {
            Ok(found) => tags.extend(found),
            Err(error) if error.is_not_found() => {
                for one in some.chunks(1) {
                    match read(one).await {
                        Ok(found) => tags.extend(found),
                        Err(error) if error.is_not_found() => {}
                        Err(error) => return Err(explained(error)),
                    }
                }
            }
            Err(error) => return Err(explained(error)),
        }
    }
    Ok(tags)
}

fn explained(error: client::Error) -> Error {
    if !matches!(error.kind(), Kind::Denied { .. }) {
        return error.into();
    }
    Error::from(error).context(format!(
        "audit tells the clusters of an account apart by tags: grant the permission {PERMISSION} to the credentials that it \
         runs with"
    ))
}
