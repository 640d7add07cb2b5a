//! What there is of a service's load balancer.

use std::collections::BTreeSet;

use cloud_provider::{
    Error, Kind,
    cloud::{Mode, Note},
    error::Result,
};
use futures::{future::try_join_all, try_join};

use super::{
    LONG_PENDING, Octavia, PENDING,
    check::{check, pending},
    desired::{Desired, Wanted},
    tree::{PoolTree, Tree},
};
use crate::{
    client::{
        floating_ip::FloatingIp,
        load_balancer::{LoadBalancer, Pool, Provisioning},
        network::{Port as NetworkPort, Subnet},
        security_group::SecurityGroup,
    },
    config::Repair,
};

/// What is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observed {
    /// The load balancer that serves the service.
    pub(super) tree: Option<Tree>,
    /// Other load balancers that the service left something on; for removal, all of them.
    pub(super) left_behind: Vec<Tree>,
    /// The floating IPs that lead to the load balancer, the first one counts; for removal also one that led there.
    pub(super) floating_ips: Vec<FloatingIp>,
    /// The floating IPs that lead to load balancers that the service leaves for another one.
    pub(super) leaving: Vec<FloatingIp>,
    /// Where one comes from, where none leads there yet.
    pub(super) source: Source,
    /// The security groups of the service's name, of which the first one counts, and the ports that have one of them, where
    /// they are needed.
    pub(super) groups: Vec<SecurityGroup>,
    pub(super) group_ports: Vec<NetworkPort>,
    /// The ports of members that may lack the group.
    pub(super) node_ports: Vec<NetworkPort>,
    /// The subnet of the members, where it is needed and known.
    pub(super) subnet: Option<Subnet>,
    /// What is done about an error of Octavia.
    pub(super) repair: Option<Mend>,
    /// What the service has to be told.
    pub(super) notes: Vec<Note>,
}

/// Where a floating IP comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Source {
    /// It was not looked at, as where only backends matter.
    #[default]
    Unknown,
    /// None is needed.
    None,
    /// It is there and leads nowhere.
    Existing(FloatingIp),
    /// It is made in a network, in the first of these subnets that has one left; in any where there are none.
    New { network: String, subnets: Vec<String> },
}

/// What is done about a load balancer in an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mend {
    /// It is failed over.
    FailOver,
    /// It is made anew.
    Recreate,
}

impl Observed {
    /// Renames what the service's load balancer has from a former name of the cluster. Only where the service was served by
    /// it: a service of the same name in another cluster may come to share a load balancer, which it must not take over.
    fn renamed(&mut self, desired: &Desired, mode: Mode) {
        let Self { tree, left_behind, floating_ips, leaving, .. } = self;
        for tree in tree.iter_mut().chain(left_behind) {
            let it = &tree.load_balancer;
            let mut floating = floating_ips.iter().chain(leaving.iter()).filter(|ip| ip.leads_to(it.port()));
            let reached = desired.addresses.contains(&it.vip_address)
                || floating.any(|ip| desired.addresses.contains(&ip.floating_ip_address));
            // Where only backends matter nothing is renamed, and addresses are not read.
            if desired.served
                && (reached || mode == Mode::Backends)
                && let Some(former) = tree.former_cluster(&desired.names, &desired.ports)
            {
                tree.rename(&desired.names, &former);
            }
        }
    }
}

impl Octavia {
    /// Reads what belongs to a wanted load balancer.
    pub(super) async fn observe_wanted(&self, desired: &Desired, wanted: &Wanted, mode: Mode) -> Result<Observed> {
        let groups = async {
            let needed = wanted.firewall.is_some() || mode != Mode::Backends;
            if needed { self.client.security_groups(&desired.names.security_group).await } else { Ok(Vec::new()) }
        };
        let (found, mut groups) = try_join!(self.find(desired), groups)?;
        groups.sort_by(|one, other| one.id.cmp(&other.id));
        let mut observed = Observed { groups, ..Observed::default() };
        if let Some(load_balancer) = found {
            self.is_idle(&load_balancer)?;
            let port = load_balancer.port().map(str::to_owned);
            let floating_ips = async {
                match port {
                    Some(port) if mode != Mode::Backends => self.client.floating_ips_of(&port).await,
                    _ => Ok(Vec::new()),
                }
            };
            let (tree, floating_ips) = try_join!(self.tree(load_balancer, mode), floating_ips)?;
            observed.tree = Some(tree);
            observed.floating_ips = floating_ips;
        }
        self.look_for_left_behind(desired, &mut observed, mode).await?;
        observed.renamed(desired, mode);
        observed.repair = self.repair(desired, wanted, &observed);
        check(desired, wanted, &observed, mode)?;
        if mode != Mode::Backends {
            self.look_for_floating_ip(desired, wanted, &mut observed).await?;
        }
        if wanted.firewall.is_none() || wanted.detach || observed.groups.len() > 1 {
            self.look_for_group_ports(&mut observed).await?;
        }
        if let Some(firewall) = &wanted.firewall {
            let own = observed.tree.as_ref().and_then(|tree| tree.load_balancer.vip_subnet_id.clone());
            if let Some(id) = wanted.member_subnet.clone().or(own) {
                observed.subnet = Some(self.subnet(&id).await?);
            }
            let (group, subnet) = (observed.groups.first(), observed.subnet.as_ref());
            observed.node_ports = self.ports_to_open(firewall, group, subnet).await?;
        }
        Ok(observed)
    }

    /// The load balancer that a service names, or the one of its own name. One that the service was served from and that
    /// is gone is looked for by name, and made anew.
    async fn find(&self, desired: &Desired) -> Result<Option<LoadBalancer>> {
        if let Some(id) = &desired.id {
            match self.client.load_balancer(id).await {
                Ok(found) if found.provisioning() != Provisioning::Deleted => return Ok(Some(found)),
                Err(error) if !error.is_not_found() => return Err(error),
                gone if !desired.served => {
                    let gone = gone.err().unwrap_or_else(|| Error::not_found(format!("load balancer {id} is deleted")));
                    return Err(gone.context(format!("load balancer {id}, which the service names")));
                }
                _ => {}
            }
        }
        for name in [&desired.names.load_balancer, &desired.names.legacy] {
            let mut found = self.client.load_balancers_named(name).await?;
            found.retain(|it| !matches!(it.provisioning(), Provisioning::Deleted | Provisioning::Deleting));
            if found.len() > 1 {
                return Err(Error::new(Kind::Conflict, format!("there are several load balancers named {name}")));
            }
            if let Some(found) = found.pop() {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// What is in a load balancer: its members, and its monitors except where only backends matter.
    pub(super) async fn tree(&self, load_balancer: LoadBalancer, mode: Mode) -> Result<Tree> {
        let id = &load_balancer.id;
        let (listeners, pools) = try_join!(self.client.listeners(id), self.client.pools(id))?;
        let read = |pool: Pool| async move {
            let monitor = async {
                match pool.monitor() {
                    Some(id) if mode != Mode::Backends => match self.client.monitor(id).await {
                        Err(error) if error.is_not_found() => Ok(None),
                        monitor => monitor.map(Some),
                    },
                    _ => Ok(None),
                }
            };
            let (members, monitor) = try_join!(self.client.members(&pool.id), monitor)?;
            Ok::<_, Error>(PoolTree { pool, members, monitor })
        };
        let pools = try_join_all(pools.into_iter().map(read)).await?;
        let tags = load_balancer.tags.clone();
        Ok(Tree { load_balancer, listeners, pools, tags, renamings: Vec::new() })
    }

    /// Load balancers that the service was served from before it named another one: looked for when it comes to that one.
    async fn look_for_left_behind(&self, desired: &Desired, observed: &mut Observed, mode: Mode) -> Result<()> {
        let tag = &desired.names.load_balancer;
        let current = observed.tree.as_ref().map(|tree| &tree.load_balancer);
        let settled = current.is_some_and(|it| it.tags.contains(tag)) || !desired.served || !desired.tags;
        if settled || mode == Mode::Backends {
            return Ok(());
        }
        let current = current.map(|it| it.id.clone()).unwrap_or_default();
        let tagged = self.client.load_balancers_tagged(tag).await?;
        for load_balancer in
            tagged.into_iter().filter(|it| it.id != current && it.provisioning() != Provisioning::Deleted)
        {
            self.is_idle(&load_balancer)?;
            if let Some(port) = load_balancer.port() {
                observed.leaving.extend(self.client.floating_ips_of(port).await?);
            }
            observed.left_behind.push(self.tree(load_balancer, mode).await?);
        }
        Ok(())
    }

    /// Whether nothing is going on with a load balancer. The longer something is, the later the service looks again.
    fn is_idle(&self, load_balancer: &LoadBalancer) -> Result<()> {
        let id = &load_balancer.id;
        if matches!(load_balancer.provisioning(), Provisioning::Pending | Provisioning::Deleting) {
            return Err(pending(load_balancer, (self.busy_for(id) / 4).clamp(PENDING, LONG_PENDING)));
        }
        self.note_idle(id);
        Ok(())
    }

    fn repair(&self, desired: &Desired, wanted: &Wanted, observed: &Observed) -> Option<Mend> {
        let tree = observed.tree.as_ref()?;
        if tree.load_balancer.provisioning() != Provisioning::Error {
            return None;
        }
        let alone = tree.goes_with(&desired.names, true);
        match wanted.repair {
            Repair::Off => None,
            Repair::Recreate if alone && self.was_failed_over(&tree.load_balancer.id) => Some(Mend::Recreate),
            Repair::Failover | Repair::Recreate => Some(Mend::FailOver),
        }
    }

    /// Where a floating IP comes from, where one is wanted and none is there.
    async fn look_for_floating_ip(&self, desired: &Desired, wanted: &Wanted, observed: &mut Observed) -> Result<()> {
        observed.source = Source::None;
        let ipv6 = observed.tree.as_ref().is_some_and(|tree| tree.load_balancer.vip_address.contains(':'));
        if wanted.internal || ipv6 || !observed.floating_ips.is_empty() {
            return Ok(());
        }
        let floating = &wanted.floating;
        if let Some(address) = &floating.address {
            let found = self.client.floating_ips_at(address).await?;
            if let Some(free) = found.iter().find(|it| it.is_free()) {
                observed.source = Source::Existing(free.clone());
                return Ok(());
            }
            if !found.is_empty() {
                return Err(Error::new(Kind::Conflict, format!("floating IP {address} is not available")));
            }
        } else if let Some(lost) = self.lost_floating_ips(desired).await?.into_iter().next() {
            observed.source = Source::Existing(lost);
            return Ok(());
        }
        let Some(network) = self.floating_network(floating.network.as_deref(), &mut observed.notes).await? else {
            let text = "no network of floating IPs is known, the load balancer is internal";
            observed.notes.push(Note::warning("LoadBalancerForcedInternal", text));
            return Ok(());
        };
        let subnets = self.floating_subnets(floating, &network).await?;
        observed.source = Source::New { network, subnets };
        Ok(())
    }

    /// Reads what is left of a load balancer that has to go.
    pub(super) async fn observe_unwanted(&self, desired: &Desired) -> Result<Observed> {
        let names = &desired.names;
        let mut found = Vec::new();
        let own = self.client.load_balancers_named(&names.load_balancer);
        let legacy = self.client.load_balancers_named(&names.legacy);
        let tagged = async {
            if desired.tags { self.client.load_balancers_tagged(&names.load_balancer).await } else { Ok(Vec::new()) }
        };
        let groups = self.client.security_groups(&names.security_group);
        let (own, legacy, tagged, groups) = try_join!(own, legacy, tagged, groups)?;
        found.extend(own.into_iter().chain(legacy).chain(tagged));
        if let Some(id) = desired.id.as_ref().filter(|id| !found.iter().any(|it: &LoadBalancer| it.id == **id)) {
            match self.client.load_balancer(id).await {
                // What is no ID names nothing.
                Err(error) if error.is_not_found() || matches!(error.kind(), Kind::Invalid { .. }) => {}
                it => found.push(it?),
            }
        }
        let mut seen = BTreeSet::new();
        found.retain(|it| it.provisioning() != Provisioning::Deleted && seen.insert(it.id.clone()));
        let mut observed = Observed { groups, ..Observed::default() };
        found.iter().try_for_each(|it| self.is_idle(it))?;
        for load_balancer in found {
            if let Some(port) = load_balancer.port() {
                observed.floating_ips.extend(self.client.floating_ips_of(port).await?);
            }
            let bare = Tree { tags: load_balancer.tags.clone(), load_balancer, ..Tree::default() };
            let whole = self.settings.cascade_delete && bare.goes_with(names, desired.tags);
            // What goes as a whole needs no look at what is in it.
            observed.left_behind.push(if whole { bare } else { self.tree(bare.load_balancer, Mode::Full).await? });
        }
        observed.renamed(desired, Mode::Full);
        self.look_for_group_ports(&mut observed).await?;
        if !desired.keep_floating_ip && observed.floating_ips.is_empty() {
            observed.floating_ips = self.lost_floating_ips(desired).await?;
        }
        Ok(observed)
    }

    async fn look_for_group_ports(&self, observed: &mut Observed) -> Result<()> {
        for group in &observed.groups {
            let ports = self.client.ports(&[("security_groups", &group.id)]).await?;
            observed.group_ports.extend(ports.into_iter().filter(|port| port.security_groups.contains(&group.id)));
        }
        Ok(())
    }

    /// The floating IP of a load balancer that is gone: it was made for this service, leads nowhere, and has the address that
    /// the service's status shows.
    async fn lost_floating_ips(&self, desired: &Desired) -> Result<Vec<FloatingIp>> {
        if desired.addresses.is_empty() {
            return Ok(Vec::new());
        }
        let mut lost = self.client.floating_ips_described(&desired.names.floating_ip_description()).await?;
        lost.retain(|it| it.is_free() && desired.addresses.contains(&it.floating_ip_address));
        Ok(lost)
    }
}
