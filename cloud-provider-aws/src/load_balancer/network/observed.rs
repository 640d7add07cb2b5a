//! What there is of a service's network load balancer.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use cloud_provider::{Error, Kind, cloud::Mode, error::Result};
use futures::{future::try_join_all, try_join};

use super::{
    Network, addresses, attributes,
    desired::{Desired, INSTANCE, Wanted},
    neighbours::Neighbours,
    ports::Port,
};
use crate::{
    client::{
        elbv2::{Attributes, Listener, LoadBalancer, Target, TargetGroup},
        network::{SecurityGroup, Subnet, Tags},
    },
    cluster_id::ClusterId,
    load_balancer::{change_of_type, names::TargetGroupName},
};

/// What is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observed {
    /// The load balancer.
    pub(super) load_balancer: Option<LoadBalancer>,
    /// Where it stands.
    pub(super) subnets: Vec<Subnet>,
    /// Where it shall stand.
    pub(super) goal: Vec<Subnet>,
    /// Whether it follows changes of subnets and addresses.
    pub(super) moves: bool,
    /// Whether it is to have addresses of both families, as far as what there is decides that.
    pub(super) dual_stack: bool,
    /// The tags of it, its listeners and target groups, by ARN, where they are read.
    pub(super) tags: Option<BTreeMap<String, Tags>>,
    /// Its listeners; not read where only backends are looked at.
    pub(super) listeners: Vec<Listener>,
    /// Its target groups, and those that were left over. The latter are looked for on removal, where one is missing, after a
    /// round in which a step failed, and where all are listed anyway.
    pub(super) groups: Vec<Group>,
    /// Its attributes.
    pub(super) attributes: Attributes,
    /// The security groups of the VPC.
    pub(super) security_groups: Arc<Vec<SecurityGroup>>,
    /// The other load balancers, where they matter for the rules of nodes.
    pub(super) neighbours: Arc<Neighbours>,
}

/// A target group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Group {
    /// The target group.
    pub(super) group: TargetGroup,
    /// Its targets; only those of wanted groups are read.
    pub(super) targets: BTreeSet<Target>,
    /// Its attributes; only read where some are wanted.
    pub(super) attributes: Attributes,
}

impl From<TargetGroup> for Group {
    fn from(group: TargetGroup) -> Self {
        Self { group, ..Self::default() }
    }
}

impl Observed {
    /// The listener of a port.
    pub(super) fn listener(&self, port: &Port) -> Option<&Listener> {
        let settings = &port.listener;
        self.listeners.iter().find(|it| it.port == settings.port && it.protocol == settings.protocol)
    }

    /// The target group that serves a port: the one its listener leads to, or one with the right name, or any that is
    /// right. What cannot be changed of a target group has to be right.
    pub(super) fn group(&self, port: &Port) -> Option<&Group> {
        let current = self.listener(port).and_then(|listener| listener.target_group.as_deref());
        let rank = |group: &Group| (Some(group.group.arn.as_str()) != current, group.group.name != port.group.name);
        self.groups.iter().filter(|group| serves(&group.group, port)).min_by_key(|group| rank(group))
    }

    /// The security groups of the load balancer.
    pub(super) fn attached(&self) -> &[String] {
        self.load_balancer.as_ref().map(|balancer| balancer.security_groups.as_slice()).unwrap_or_default()
    }
}

fn serves(group: &TargetGroup, port: &Port) -> bool {
    let (check, wanted) = (&group.health_check, &port.group.health_check);
    group.port == port.group.port
        && group.protocol == port.group.protocol
        && group.target_type == INSTANCE
        && check.protocol.eq_ignore_ascii_case(&wanted.protocol)
        && check.interval == wanted.interval
}

/// Whether a load balancer has the scheme that is wanted now. It keeps the one it was made with, and subnets that are chosen
/// for another one are not for it.
fn has_scheme(balancer: &LoadBalancer, wanted: &Wanted) -> bool {
    let same = balancer.internal == wanted.load_balancer.internal;
    if !same {
        tracing::warn!(
            load_balancer = balancer.name,
            "the annotation of its scheme has changed, which a load balancer cannot: it stays in its subnets"
        );
    }
    same
}

/// Whether a target group was made for a service and is used by no load balancer that exists. It may still name one of the
/// service's own that is gone: AWS takes a moment to forget it.
fn is_leftover(group: &TargetGroup, cluster: &ClusterId, desired: &Desired, vpc: &str) -> bool {
    let name = TargetGroupName {
        cluster_id: cluster.as_str(),
        namespace: &desired.key.namespace,
        name: &desired.key.name,
        service_port: 0,
        node_port: group.port,
        protocol: &group.protocol,
        target_type: &group.target_type,
        health_protocol: &group.health_check.protocol,
        health_interval: group.health_check.interval,
    };
    let own = format!("/{}/", desired.name);
    let unused = group.load_balancers.iter().all(|arn| arn.contains(&own));
    unused && group.vpc == vpc && name.matches_any_port(&group.name)
}

impl Network {
    /// The network load balancer of a service, if it is one.
    pub(super) fn network(name: &str, found: Option<LoadBalancer>) -> Result<Option<LoadBalancer>> {
        match found {
            Some(other) if !other.is_network() => {
                let problem = format!(
                    "NLB '{name}' could not be found: the load balancer of this name is of type {}",
                    other.kind
                );
                Err(Error::new(Kind::Conflict, problem))
            }
            found => Ok(found),
        }
    }

    /// Reads what belongs to a wanted load balancer.
    pub(super) async fn observe_wanted(&self, desired: &Desired, wanted: &Wanted, mode: Mode) -> Result<Observed> {
        let (client, listings) = (self.shared.client(), self.shared.listings());
        let security_groups = self.shared.groups().await?;
        let merged = wanted.node_rules.as_ref().map(|rules| rules.merged);
        let matter = merged.is_some_and(|merged| security_groups.iter().any(|it| Neighbours::matter(it, merged)));
        let mut observed = Observed { security_groups, ..Observed::default() };
        if matter {
            observed.neighbours = Arc::new(Neighbours::of(&listings.current_target_groups(client).await?));
        }
        let found = listings.network(client, &desired.name).await?;
        let Some(balancer) = Self::network(&desired.name, found)? else {
            if mode == Mode::Backends {
                return Err(Error::not_found("Load balancer not found"));
            }
            if !self.shared.settings().allow_load_balancer_type_change {
                self.refuse_change_of_type(&desired.name).await?;
            }
            observed.goal.clone_from(&wanted.subnets.chosen);
            observed.dual_stack = addresses::dual_stack(wanted, &observed, true)?;
            observed.groups = self.leftovers(desired).await?;
            self.read_groups(&mut observed, wanted).await?;
            return Ok(observed);
        };
        let arn = &balancer.arn;
        let subnets: Vec<String> = balancer.subnets.iter().map(|mapping| mapping.subnet.clone()).collect();
        observed.subnets = self.shared.subnets_by_id(&subnets).await?;
        observed.moves = wanted.moves && mode != Mode::Backends && has_scheme(&balancer, wanted);
        observed.goal = match observed.moves {
            true => wanted.subnets.keeping(&observed.subnets),
            false => observed.subnets.clone(),
        };
        if addresses::cidrs(&observed.subnets).is_empty() {
            return Err(Error::transient(format!("did not find ensured subnets on LB {}", desired.name)));
        }
        let (cluster, vpc) = (self.shared.cluster_id(), self.shared.vpc());
        let left_over = |group: &TargetGroup| mode != Mode::Backends && is_leftover(group, cluster, desired, vpc);
        let groups = async { Ok::<_, Error>(listings.target_groups_of(client, &desired.name, arn, left_over).await?) };
        if mode == Mode::Backends {
            observed.groups = groups.await?.into_iter().map(Group::from).collect();
        } else {
            let listeners = async { Ok::<_, Error>(client.listeners(arn).await?) };
            let attributes = async { Ok::<_, Error>(client.load_balancer_attributes(arn).await?) };
            let (groups, listeners, attributes) = try_join!(groups, listeners, attributes)?;
            observed.groups = groups.into_iter().map(Group::from).collect();
            observed.listeners = listeners;
            observed.attributes = attributes;
            if self.is_unsettled(&desired.name) || wanted.ports.iter().any(|port| observed.group(port).is_none()) {
                let known: BTreeSet<String> = observed.groups.iter().map(|group| group.group.arn.clone()).collect();
                let leftovers = self.leftovers(desired).await?;
                observed.groups.extend(leftovers.into_iter().filter(|group| !known.contains(&group.group.arn)));
            }
        }
        observed.load_balancer = Some(balancer);
        observed.dual_stack = addresses::dual_stack(wanted, &observed, mode != Mode::Backends)?;
        if mode != Mode::Backends {
            observed.tags = self.tags(&observed, wanted).await?;
        }
        self.read_groups(&mut observed, wanted).await?;
        if mode == Mode::Full {
            self.note_settled(&desired.name);
        }
        Ok(observed)
    }

    /// Reads what is left of a load balancer that has to go.
    pub(super) async fn observe_unwanted(&self, desired: &Desired) -> Result<Observed> {
        let found = self.shared.client().network_load_balancer(&desired.name).await?;
        let load_balancer = Self::network(&desired.name, found)?;
        let arn = load_balancer.as_ref().map(|balancer| balancer.arn.clone());
        let all = self.shared.client().target_groups(None).await.map_err(Error::from)?;
        let belongs = |group: &TargetGroup| {
            arn.as_ref().is_some_and(|arn| group.load_balancers.contains(arn))
                || is_leftover(group, self.shared.cluster_id(), desired, self.shared.vpc())
        };
        Ok(Observed {
            load_balancer,
            neighbours: Arc::new(Neighbours::of(&all)),
            groups: all.into_iter().filter(belongs).map(Group::from).collect(),
            security_groups: self.shared.fresh_groups().await?,
            ..Observed::default()
        })
    }

    /// The service's target groups that no load balancer uses.
    pub(super) async fn leftovers(&self, desired: &Desired) -> Result<Vec<Group>> {
        let all = self.shared.listings().target_groups(self.shared.client(), &desired.name).await?;
        let (cluster, vpc) = (self.shared.cluster_id(), self.shared.vpc());
        let leftovers = all.iter().filter(|group| is_leftover(group, cluster, desired, vpc));
        Ok(leftovers.cloned().map(Group::from).collect())
    }

    /// The tags of the load balancer, and of the listeners and target groups that stay, where the configuration asks for
    /// them.
    async fn tags(&self, observed: &Observed, wanted: &Wanted) -> Result<Option<BTreeMap<String, Tags>>> {
        let balancer = observed.load_balancer.iter().map(|balancer| balancer.arn.clone());
        let listeners = wanted.ports.iter().filter_map(|port| observed.listener(port)).map(|it| it.arn.clone());
        let groups = wanted.ports.iter().filter_map(|port| observed.group(port)).map(|it| it.group.arn.clone());
        let arns: Vec<String> = balancer.chain(listeners).chain(groups).collect();
        self.shared.read_tags(|| async { self.shared.client().network_tags(&arns).await }).await
    }

    /// Reads targets, and attributes where some are wanted, of the target groups that stay.
    async fn read_groups(&self, observed: &mut Observed, wanted: &Wanted) -> Result<()> {
        let staying: BTreeSet<String> =
            wanted.ports.iter().filter_map(|port| observed.group(port)).map(|group| group.group.arn.clone()).collect();
        let client = self.shared.client();
        let with_attributes = !wanted.group_attributes.is_empty();
        let by_default = wanted.group_attributes == attributes::defaults();
        let reads = observed.groups.iter_mut().filter(|group| staying.contains(&group.group.arn)).map(async |group| {
            group.targets = client.targets(&group.group.arn).await?.into_iter().collect();
            if with_attributes {
                group.attributes = match client.target_group_attributes(&group.group.arn).await {
                    Err(error) if matches!(error.kind(), Kind::Denied { .. }) => {
                        tracing::warn!(
                            %error,
                            "attributes of target groups need the permission elasticloadbalancing:DescribeTargetGroupAttributes"
                        );
                        // Where the annotation asks for some they are set unseen, after everything else.
                        if by_default { wanted.group_attributes.clone() } else { Attributes::new() }
                    }
                    attributes => attributes?,
                };
            }
            Ok::<_, Error>(())
        });
        try_join_all(reads).await.map(drop)
    }

    /// A load balancer of the other kind under the same name was made before the type was changed.
    async fn refuse_change_of_type(&self, name: &str) -> Result<()> {
        match self.shared.listings().classic(self.shared.client(), name).await? {
            Some(_) => Err(change_of_type("NLB")),
            None => Ok(()),
        }
    }
}
