//! Running single steps.

use std::{collections::BTreeMap, future::Future};

use cloud_provider::{
    Error, Kind,
    cloud::{Applied, Note},
    error::Result,
};
use futures::future::try_join_all;

use super::{
    Octavia, PENDING,
    check::{check_limit, pending},
    firewall::RuleDiff,
    names,
    operation::{Opening, Operation, Reference, Renaming, Step, Thing},
};
use crate::client::{
    floating_ip::{FloatingIp, NewFloatingIp},
    load_balancer::{
        ListenerChanges, LoadBalancer, LoadBalancerChanges, MonitorChanges, NewListener, NewLoadBalancer, NewMonitor,
        NewPool, PoolChanges, Provisioning,
    },
    network::{Port, PortUpdate},
    security_group::SecurityGroup,
};

/// How often a write is tried again that another change of the same thing was in the way of.
const CONFLICTS: usize = 4;
/// Ports that are changed at the same time.
const PORTS: usize = 8;

/// What steps made.
#[derive(Debug, Default)]
pub(crate) struct Made {
    /// The load balancer, once it is ready.
    pub(super) load_balancer: Option<LoadBalancer>,
    /// The floating IP that leads to it now.
    pub(super) floating_ip: Option<FloatingIp>,
    /// What the service has to be told.
    pub(super) notes: Vec<Note>,
    listeners: BTreeMap<usize, String>,
    pools: BTreeMap<usize, String>,
}

impl Made {
    fn load_balancer(&self, known: Option<&str>) -> Result<String> {
        let made = || self.load_balancer.as_ref().map(|it| it.id.clone());
        known.map(str::to_owned).or_else(made).ok_or_else(|| Error::transient("the load balancer was not made"))
    }

    /// The port of the load balancer's address; `None` where that is of IPv6, which no floating IP leads to.
    fn port(&mut self, known: &Option<String>) -> Result<Option<String>> {
        if known.is_some() {
            return Ok(known.clone());
        }
        let made = self.load_balancer.as_ref().ok_or_else(|| Error::transient("the load balancer was not made"))?;
        if made.vip_address.contains(':') {
            let text = format!("the load balancer has the IPv6 address {}, no floating IP is needed", made.vip_address);
            self.notes.push(Note::warning("LoadBalancerFloatingIPSkipped", text));
            return Ok(None);
        }
        let port = made.port().map(str::to_owned);
        port.map(Some).ok_or_else(|| Error::transient(format!("load balancer {} has no port", made.id)))
    }
}

fn made(reference: &Reference, by_port: &BTreeMap<usize, String>) -> Result<String> {
    match reference {
        Reference::Known(id) => Ok(id.clone()),
        Reference::Made(port) => {
            by_port.get(port).cloned().ok_or_else(|| Error::transient("what an earlier step makes is not there"))
        }
    }
}

impl Octavia {
    pub(super) async fn run(&self, operation: &Operation, made: &mut Made) -> Result<Applied> {
        let known = operation.load_balancer.as_deref();
        match &operation.step {
            Step::CreateLoadBalancer(new) => made.load_balancer = Some(self.create(new).await?),
            Step::FailOver { id } => return self.fail_over(id).await,
            Step::DeleteLoadBalancer { id, cascade, tags, .. } => {
                self.delete(id, *cascade, tags).await?;
                self.forget(id);
            }
            Step::AddTag { id, tag, limit } => {
                let add = |tags: &mut Vec<String>| {
                    // Others may have come to share it since it was looked at.
                    limit.map_or(Ok(()), |limit| check_limit(id, tags, tag, limit))?;
                    let missing = !tags.contains(tag);
                    tags.extend(missing.then(|| tag.clone()));
                    Ok(missing)
                };
                self.change_tags(id, add).await?;
            }
            Step::RemoveTag { id, tag } => {
                let remove = |tags: &mut Vec<String>| {
                    let before = tags.len();
                    tags.retain(|it| it != tag);
                    Ok(tags.len() < before)
                };
                self.change_tags(id, remove).await?;
            }
            Step::CreateFloatingIp { new, subnets } => {
                if let Some(port) = made.port(&new.port_id)? {
                    let new = NewFloatingIp { port_id: Some(port), ..new.clone() };
                    made.floating_ip = Some(self.create_floating_ip(&new, subnets).await?);
                }
            }
            Step::AttachFloatingIp { id, address, port } => {
                if let Some(port) = made.port(port)? {
                    self.client.move_floating_ip(id, Some(&port)).await?;
                    let floating_ip_address = address.clone();
                    made.floating_ip =
                        Some(FloatingIp { id: id.clone(), floating_ip_address, ..FloatingIp::default() });
                }
            }
            Step::DetachFloatingIp { id, .. } => self.client.move_floating_ip(id, None).await?,
            Step::DeleteFloatingIp { id, .. } => self.client.delete_floating_ip(id).await.map(drop)?,
            Step::OpenNodes(opening) => self.open_nodes(opening, made).await?,
            Step::DeleteSecurityGroup { id, ports, .. } => self.delete_security_group(id, ports).await?,
            step => {
                let load_balancer = made.load_balancer(known)?;
                self.run_inside(step, &load_balancer, made).await?;
            }
        }
        Ok(Applied::Done)
    }

    /// Steps on what is in a load balancer.
    async fn run_inside(&self, step: &Step, id: &str, made_so_far: &mut Made) -> Result<()> {
        let client = &self.client;
        match step {
            Step::Rename(renaming) => self.rename(id, renaming).await,
            Step::CreateListener { port, new } => {
                let new = &NewListener { loadbalancer_id: Some(id.to_owned()), ..new.clone() };
                let listener = self.write(id, || client.create_listener(new)).await?;
                made_so_far.listeners.insert(*port, listener.id);
                Ok(())
            }
            Step::UpdateListener { id: listener, changes, .. } => {
                self.write(id, || client.update_listener(listener, changes)).await
            }
            Step::DeleteListener { id: listener, .. } => {
                self.write(id, || client.delete_listener(listener)).await.map(drop)
            }
            Step::CreatePool { port, listener, new } => {
                let listener_id = Some(made(listener, &made_so_far.listeners)?);
                let new = &NewPool { listener_id, ..new.clone() };
                let pool = self.write(id, || client.create_pool(new)).await?;
                made_so_far.pools.insert(*port, pool.id);
                Ok(())
            }
            Step::UpdatePool { id: pool, changes, .. } => {
                match self.write(id, || client.update_pool(pool, changes)).await {
                    Err(error) if changes.lb_algorithm.is_some() && is_final(&error) => {
                        let text = format!("Error updating LB method for LoadBalancer: {}", error.chain());
                        made_so_far.notes.push(Note::warning("LoadBalancerLbMethodUnknown", text));
                        Ok(())
                    }
                    result => result,
                }
            }
            Step::DeletePool { id: pool, .. } => self.write(id, || client.delete_pool(pool)).await.map(drop),
            Step::SetMembers { pool, members, .. } => {
                let pool = &made(pool, &made_so_far.pools)?;
                self.write(id, || client.set_members(pool, members)).await
            }
            Step::AddMember { pool, member } => {
                let pool = &made(pool, &made_so_far.pools)?;
                self.write(id, || client.create_member(pool, member)).await
            }
            Step::RemoveMember { pool, id: member, .. } => {
                self.write(id, || client.delete_member(pool, member)).await.map(drop)
            }
            Step::CreateMonitor { pool, new } => {
                let pool_id = Some(made(pool, &made_so_far.pools)?);
                let new = &NewMonitor { pool_id, ..new.clone() };
                self.write(id, || client.create_monitor(new)).await
            }
            Step::UpdateMonitor { id: monitor, changes, .. } => {
                self.write(id, || client.update_monitor(monitor, changes)).await
            }
            Step::DeleteMonitor { id: monitor, .. } => {
                self.write(id, || client.delete_monitor(monitor)).await.map(drop)
            }
            _ => Ok(()),
        }
    }

    async fn rename(&self, load_balancer: &str, renaming: &Renaming) -> Result<()> {
        let (client, id) = (&self.client, &renaming.id);
        let name = Some(renaming.to.clone());
        match renaming.thing {
            Thing::LoadBalancer => {
                // Services come and go that share it.
                let tags = match &renaming.tags {
                    Some(retagging) => Some(retagging.of(&client.load_balancer(id).await?.tags)),
                    None => None,
                };
                let changes = &LoadBalancerChanges { name, tags };
                self.write(load_balancer, || client.update_load_balancer(id, changes)).await
            }
            Thing::Listener => {
                let tags = renaming.tags.as_ref().map(|retagging| retagging.of(&retagging.all));
                let changes = &ListenerChanges { name, tags, ..ListenerChanges::default() };
                self.write(load_balancer, || client.update_listener(id, changes)).await
            }
            Thing::Pool => {
                let changes = &PoolChanges { name, ..PoolChanges::default() };
                self.write(load_balancer, || client.update_pool(id, changes)).await
            }
            Thing::Monitor => {
                let changes = &MonitorChanges { name, ..MonitorChanges::default() };
                self.write(load_balancer, || client.update_monitor(id, changes)).await
            }
        }
    }

    /// Makes a load balancer and waits until it is ready. One that Octavia fails to make is deleted, so that the next round
    /// begins anew.
    async fn create(&self, new: &NewLoadBalancer) -> Result<LoadBalancer> {
        let begun = self.client.create_load_balancer(new).await?;
        match self.made(&begun.id).await {
            Err(error) if *error.kind() == Kind::Conflict && self.is_failed(&begun.id).await => {
                self.client.delete_load_balancer(&begun.id, true).await?;
                Err(error.context(format!("load balancer {} failed to be made and was deleted", begun.id)))
            }
            ready => ready,
        }
    }

    async fn is_failed(&self, id: &str) -> bool {
        self.client.load_balancer(id).await.is_ok_and(|it| it.provisioning() == Provisioning::Error)
    }

    /// Fails a load balancer over, after which another round is due. Where this does not help, that round may make it anew.
    async fn fail_over(&self, id: &str) -> Result<Applied> {
        self.note_failed_over(id, true);
        self.client.fail_over_load_balancer(id).await?;
        self.back(id).await?;
        self.note_failed_over(id, false);
        Ok(Applied::Pending { retry_after: PENDING })
    }

    /// Deletes a load balancer unless another service came to share it meanwhile.
    async fn delete(&self, id: &str, cascade: bool, tags: &[String]) -> Result<()> {
        let current = match self.client.load_balancer(id).await {
            Err(error) if error.is_not_found() => return Ok(()),
            current => current?,
        };
        match current.provisioning() {
            Provisioning::Deleted => return Ok(()),
            Provisioning::Pending => return Err(pending(&current, PENDING)),
            Provisioning::Active | Provisioning::Error => {
                if current.tags.iter().any(|it| it.starts_with(names::PREFIX) && !tags.contains(it)) {
                    return Err(Error::new(Kind::Conflict, format!("load balancer {id} came to be shared")));
                }
                self.client.delete_load_balancer(id, cascade).await?;
            }
            Provisioning::Deleting => {}
        }
        self.gone(id).await
    }

    /// Writes tags that are read anew: services share them.
    async fn change_tags(&self, id: &str, change: impl Fn(&mut Vec<String>) -> Result<bool>) -> Result<()> {
        let mut tags = self.client.load_balancer(id).await?.tags;
        if !change(&mut tags)? {
            return Ok(());
        }
        let changes = &LoadBalancerChanges { tags: Some(tags), name: None };
        self.write(id, || self.client.update_load_balancer(id, changes)).await
    }

    /// Sends one change of a load balancer and waits until it is through. Where another change is in the way, it waits for
    /// that first.
    async fn write<T, F: Future<Output = Result<T>>>(&self, id: &str, call: impl Fn() -> F) -> Result<T> {
        for _ in 1..CONFLICTS {
            match call().await {
                Err(error) if *error.kind() == Kind::Conflict => {
                    tracing::debug!(load_balancer = id, error = %error.chain(), "waiting for another change");
                    self.ready(id).await?;
                }
                Ok(value) => return self.ready(id).await.map(|_| value),
                failed => return failed,
            }
        }
        let value = call().await?;
        self.ready(id).await.map(|_| value)
    }

    /// Takes an address from the first subnet that has one left.
    async fn create_floating_ip(&self, new: &NewFloatingIp, subnets: &[String]) -> Result<FloatingIp> {
        let mut last = None;
        for subnet in subnets {
            let new = NewFloatingIp { subnet_id: Some(subnet.clone()), ..new.clone() };
            match self.client.create_floating_ip(&new).await {
                Err(error) if is_final(&error) => last = Some(error),
                made => return made,
            }
        }
        match last {
            Some(error) => Err(error.context(format!("no free address in any of {} subnets", subnets.len()))),
            None => self.client.create_floating_ip(new).await,
        }
    }

    async fn open_nodes(&self, opening: &Opening, made: &Made) -> Result<()> {
        let firewall = &opening.firewall;
        let group = match &opening.group {
            Some(group) => group.clone(),
            None => self.client.create_security_group(&firewall.group, &firewall.description).await?,
        };
        let subnet = match (&opening.subnet, &made.load_balancer) {
            (Some(subnet), _) => subnet.clone(),
            (None, Some(LoadBalancer { vip_subnet_id: Some(id), .. })) => self.subnet(id).await?,
            _ => return Err(Error::transient("the subnet of the members is not known")),
        };
        self.set_rules(&group, &RuleDiff::new(&firewall.rules(&subnet), &group.rules)).await?;
        let open = firewall.closed(&opening.ports, &subnet, Some(&group.id));
        for ports in open.chunks(PORTS) {
            let change = |groups: &mut Vec<String>| {
                if groups.contains(&group.id) {
                    false
                } else {
                    groups.push(group.id.clone());
                    true
                }
            };
            try_join_all(ports.iter().map(|port| self.change_groups(port, change))).await?;
        }
        self.opened.note(&group.id, firewall, &subnet);
        self.close(&group.id, &opening.close).await
    }

    async fn set_rules(&self, group: &SecurityGroup, diff: &RuleDiff) -> Result<()> {
        if !diff.add.is_empty() {
            self.client.create_rules(&group.id, &diff.add).await?;
        }
        try_join_all(diff.remove.iter().map(|rule| self.client.delete_rule(&rule.id))).await.map(drop)
    }

    async fn delete_security_group(&self, id: &str, ports: &[Port]) -> Result<()> {
        // The tags first: ports are found by the group that they have.
        for port in ports.iter().filter(|port| port.tags.iter().any(|tag| tag == id)) {
            self.client.delete_port_tag(&port.id, id).await?;
        }
        self.close(id, ports).await?;
        self.client.delete_security_group(id).await.map(drop)
    }

    /// Takes the group off ports.
    async fn close(&self, group: &str, ports: &[Port]) -> Result<()> {
        for ports in ports.chunks(PORTS) {
            let change = |groups: &mut Vec<String>| {
                let before = groups.len();
                groups.retain(|it| it != group);
                groups.len() < before
            };
            try_join_all(ports.iter().map(|port| self.change_groups(port, change))).await?;
        }
        Ok(())
    }

    /// Changes the groups of a port as it was read; where somebody else changed it meanwhile, as it is now.
    async fn change_groups(&self, port: &Port, change: impl Fn(&mut Vec<String>) -> bool) -> Result<()> {
        let _turn = self.ports.lock(&port.id).await;
        let mut current = port.clone();
        for _ in 0..CONFLICTS {
            let mut groups = current.security_groups.clone();
            if !change(&mut groups) {
                return Ok(());
            }
            let update = PortUpdate { security_groups: Some(groups), ..PortUpdate::default() };
            match self.client.update_port(&port.id, &update, current.revision_number).await {
                Err(error) if *error.kind() == Kind::Conflict => {}
                Err(error) if error.is_not_found() => return Ok(()),
                done => return done.map(drop),
            }
            current = match self.client.port(&port.id).await {
                Err(error) if error.is_not_found() => return Ok(()),
                port => port?,
            };
        }
        Err(Error::new(Kind::Conflict, format!("port {} is changed by others all the time", port.id)))
    }
}

/// Whether trying again would not help.
fn is_final(error: &Error) -> bool {
    !error.is_outage() && !matches!(error.kind(), Kind::Pending { .. } | Kind::Refused)
}
