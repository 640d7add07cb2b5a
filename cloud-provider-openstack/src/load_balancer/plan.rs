//! The difference between what shall be and what is, in the order in which it is made up.

use std::collections::{BTreeMap, BTreeSet};

use cloud_provider::cloud::Mode;

use super::{
    desired::{Desired, FORWARDED_FOR, Port, Wanted, transport},
    firewall::{Firewall, RuleDiff},
    names::FLOATING_IP_MARK,
    observed::{Mend, Observed, Source},
    operation::{Opening, Operation, Reference, Step},
    tree::{PoolTree, Tree},
};
use crate::client::{
    floating_ip::{FloatingIp, NewFloatingIp},
    load_balancer::{
        Listener, ListenerChanges, MonitorChanges, NewListener, NewMember, NewMonitor, NewPool, PoolChanges,
        Provisioning, Timeouts,
    },
    network::Port as NetworkPort,
};

/// The plan of one round. `cascade`: a load balancer is deleted with everything in it by one call.
pub(super) fn plan(desired: &Desired, observed: &Observed, mode: Mode, cascade: bool) -> Vec<Operation> {
    let mut plan = Plan { desired, observed, cascade, operations: Vec::new() };
    match (&desired.wanted, mode) {
        (None, _) => plan.removal(),
        (Some(wanted), Mode::Backends) => plan.backends(wanted),
        (Some(wanted), Mode::Full | Mode::DryRun) => plan.everything(wanted),
    }
    plan.operations
}

struct Plan<'a> {
    desired: &'a Desired,
    observed: &'a Observed,
    cascade: bool,
    operations: Vec<Operation>,
}

impl Plan<'_> {
    fn push(&mut self, load_balancer: Option<&str>, step: Step) {
        let load_balancer = load_balancer.map(str::to_owned);
        self.operations.push(Operation { key: self.desired.key.clone(), load_balancer, step });
    }

    fn everything(&mut self, wanted: &Wanted) {
        for tree in &self.observed.left_behind {
            self.leave(tree);
        }
        match (&self.observed.tree, self.observed.repair) {
            (Some(tree), Some(Mend::FailOver)) => {
                let id = tree.load_balancer.id.clone();
                return self.push(Some(&id), Step::FailOver { id: id.clone() });
            }
            (Some(tree), Some(Mend::Recreate)) => {
                self.delete(tree);
                self.create(wanted);
            }
            (Some(tree), None) => self.bring_up_to_date(wanted, tree),
            (None, _) => self.create(wanted),
        }
        self.floating_ip(wanted);
        if let Some(firewall) = &wanted.firewall {
            self.open_nodes(wanted.detach, firewall);
        }
        self.unused_security_groups(usize::from(wanted.firewall.is_some()));
    }

    fn create(&mut self, wanted: &Wanted) {
        self.push(None, Step::CreateLoadBalancer(Box::new(wanted.populated())));
        if wanted.serial {
            for port in &wanted.ports {
                self.create_listener(wanted, port, None);
            }
        }
    }

    fn rename(&mut self, tree: &Tree) {
        for renaming in &tree.renamings {
            self.push(Some(&tree.load_balancer.id), Step::Rename(renaming.clone()));
        }
    }

    fn bring_up_to_date(&mut self, wanted: &Wanted, tree: &Tree) {
        self.rename(tree);
        let (id, tag) = (&tree.load_balancer.id, &self.desired.names.load_balancer);
        if wanted.features.tags && !tree.load_balancer.tags.contains(tag) {
            let limit = (!tree.is_own(&self.desired.names)).then_some(wanted.max_shared);
            self.push(Some(id), Step::AddTag { id: id.clone(), tag: tag.clone(), limit });
        }
        let names = &self.desired.names;
        let kept: BTreeSet<&str> =
            wanted.ports.iter().filter_map(|port| listener_of(tree, port)).map(|it| it.id.as_str()).collect();
        let gone: Vec<&Listener> =
            tree.listeners.iter().filter(|it| !kept.contains(it.id.as_str()) && tree.is_owned(it, names)).collect();
        // A listener cannot come before another one leaves its port.
        let clashes = |it: &Listener| {
            let competes = |new: &NewListener| {
                new.protocol_port == it.protocol_port && transport(&new.protocol) == transport(&it.protocol)
            };
            wanted.ports.iter().any(|port| competes(&port.listener))
        };
        let (first, last): (Vec<&Listener>, Vec<&Listener>) = gone.into_iter().partition(|it| clashes(it));
        first.into_iter().for_each(|listener| self.delete_listener(tree, listener));
        for port in &wanted.ports {
            self.port(wanted, tree, port);
        }
        last.into_iter().for_each(|listener| self.delete_listener(tree, listener));
    }

    /// Only what follows from the set of nodes; what is missing is made.
    fn backends(&mut self, wanted: &Wanted) {
        let Some(tree) = &self.observed.tree else { return };
        if tree.load_balancer.provisioning() != Provisioning::Active {
            return;
        }
        for port in &wanted.ports {
            match listener_of(tree, port).and_then(|listener| tree.pool(&listener.id)) {
                Some(pool) if pool.pool.protocol == port.pool.protocol => self.members(wanted, tree, port, pool),
                // Another round is due, which the service's own change asks for.
                Some(_) => {}
                None => match listener_of(tree, port) {
                    Some(listener) => self.create_pool(wanted, port, Some(tree), Reference::Known(listener.id.clone())),
                    None => self.create_listener(wanted, port, Some(tree)),
                },
            }
        }
        if let Some(firewall) = &wanted.firewall {
            self.open_nodes(wanted.detach, firewall);
        }
    }

    /// The listener of a port, its pool and what is in it.
    fn port(&mut self, wanted: &Wanted, tree: &Tree, port: &Port) {
        let Some(listener) = listener_of(tree, port) else { return self.create_listener(wanted, port, Some(tree)) };
        let id = &tree.load_balancer.id;
        let changes = listener_changes(wanted, port, listener);
        if changes != ListenerChanges::default() {
            let (listener, name) = (listener.id.clone(), listener.name.clone());
            self.push(Some(id), Step::UpdateListener { id: listener, name, changes });
        }
        let reference = Reference::Known(listener.id.clone());
        match tree.pool(&listener.id) {
            None => self.create_pool(wanted, port, Some(tree), reference),
            Some(PoolTree { pool, .. }) if pool.protocol != port.pool.protocol => {
                self.push(Some(id), Step::DeletePool { id: pool.id.clone(), name: pool.name.clone() });
                self.create_pool(wanted, port, Some(tree), reference);
            }
            Some(found) => {
                let changes = pool_changes(wanted, &port.pool, found);
                if changes != PoolChanges::default() {
                    let (pool, name) = (found.pool.id.clone(), found.pool.name.clone());
                    self.push(Some(id), Step::UpdatePool { id: pool, name, changes });
                }
                self.members(wanted, tree, port, found);
                self.monitor(tree, port, found);
            }
        }
    }

    fn create_listener(&mut self, wanted: &Wanted, port: &Port, tree: Option<&Tree>) {
        let id = tree.map(|tree| tree.load_balancer.id.clone());
        let new = NewListener { loadbalancer_id: id.clone(), ..port.listener.clone() };
        self.push(id.as_deref(), Step::CreateListener { port: port.index, new });
        self.create_pool(wanted, port, tree, Reference::Made(port.index));
    }

    fn create_pool(&mut self, wanted: &Wanted, port: &Port, tree: Option<&Tree>, listener: Reference) {
        let id = tree.map(|tree| tree.load_balancer.id.as_str());
        let own_subnet = tree.and_then(|tree| tree.load_balancer.vip_subnet_id.as_deref());
        let new = NewPool { listener_id: None, ..port.pool.clone() };
        let name = new.name.clone();
        self.push(id, Step::CreatePool { port: port.index, listener, new });
        let pool = Reference::Made(port.index);
        let members = wanted.members(port, own_subnet);
        if wanted.serial {
            for member in members {
                self.push(id, Step::AddMember { pool: pool.clone(), member });
            }
        } else if !members.is_empty() {
            self.push(id, Step::SetMembers { pool: pool.clone(), name, members });
        }
        if let Some(new) = &port.monitor {
            self.push(id, Step::CreateMonitor { pool, new: new.clone() });
        }
    }

    /// All members of a pool are replaced by one call; one at a time where the provider driver wants that.
    fn members(&mut self, wanted: &Wanted, tree: &Tree, port: &Port, found: &PoolTree) {
        let id = &tree.load_balancer.id;
        let members = wanted.members(port, tree.load_balancer.vip_subnet_id.as_deref());
        let pool = Reference::Known(found.pool.id.clone());
        if !wanted.serial {
            let shall: BTreeSet<_> = members.iter().map(identity).collect();
            let is: BTreeSet<_> = found
                .members
                .iter()
                .map(|it| {
                    (it.name.as_str(), it.address.as_str(), it.protocol_port, it.monitor_port.unwrap_or_default())
                })
                .collect();
            if shall != is {
                self.push(Some(id), Step::SetMembers { pool, name: found.pool.name.clone(), members });
            }
            return;
        }
        let missing = |member: &NewMember| {
            let same = |it: &&crate::client::load_balancer::Member| {
                it.address == member.address && it.protocol_port == member.protocol_port
            };
            !found.members.iter().any(|it| same(&it))
        };
        let surplus: Vec<_> = found
            .members
            .iter()
            .filter(|it| !members.iter().any(|m| m.address == it.address && m.protocol_port == it.protocol_port))
            .collect();
        for member in members.iter().filter(|member| missing(member)) {
            self.push(Some(id), Step::AddMember { pool: pool.clone(), member: member.clone() });
        }
        for member in surplus {
            let (pool, member, name) = (found.pool.id.clone(), member.id.clone(), member.name.clone());
            self.push(Some(id), Step::RemoveMember { pool, id: member, name });
        }
    }

    fn monitor(&mut self, tree: &Tree, port: &Port, found: &PoolTree) {
        let id = &tree.load_balancer.id;
        let pool = Reference::Known(found.pool.id.clone());
        match (&port.monitor, &found.monitor) {
            (None, None) => {}
            (Some(new), None) => self.push(Some(id), Step::CreateMonitor { pool, new: new.clone() }),
            (None, Some(it)) => self.push(Some(id), Step::DeleteMonitor { id: it.id.clone(), name: it.name.clone() }),
            (Some(new), Some(it)) if new.kind != it.kind => {
                self.push(Some(id), Step::DeleteMonitor { id: it.id.clone(), name: it.name.clone() });
                self.push(Some(id), Step::CreateMonitor { pool, new: new.clone() });
            }
            (Some(new), Some(it)) => {
                // After a change of nodes upstream names the monitor of a shared load balancer after that.
                let other = format!("monitor_{}_{}", port.index, tree.load_balancer.name);
                let named = it.name == new.name || it.name == other;
                let is = |wanted: i64, actual: i64| wanted == 0 || wanted == actual;
                let same = is(new.delay, it.delay)
                    && is(new.timeout, it.timeout)
                    && is(new.max_retries, it.max_retries)
                    && is(new.max_retries_down, it.max_retries_down);
                if !named || !same {
                    let changes = monitor_changes(new);
                    self.push(Some(id), Step::UpdateMonitor { id: it.id.clone(), name: it.name.clone(), changes });
                }
            }
        }
    }

    /// Its pool goes before a listener, unless that serves others too.
    fn delete_listener(&mut self, tree: &Tree, listener: &Listener) {
        let id = &tree.load_balancer.id;
        let own = |found: &&PoolTree| found.pool.serves(&listener.id) && found.pool.listeners.len() == 1;
        for PoolTree { pool, .. } in tree.pools.iter().filter(own) {
            self.push(Some(id), Step::DeletePool { id: pool.id.clone(), name: pool.name.clone() });
        }
        self.push(Some(id), Step::DeleteListener { id: listener.id.clone(), name: listener.name.clone() });
    }

    fn floating_ip(&mut self, wanted: &Wanted) {
        let observed = self.observed;
        let tree = observed.tree.as_ref();
        let is_own = tree.is_none_or(|tree| tree.is_own(&self.desired.names));
        let recreated = observed.repair == Some(Mend::Recreate);
        let port = tree.filter(|_| !recreated).and_then(|tree| tree.load_balancer.port()).map(str::to_owned);
        match observed.floating_ips.first() {
            Some(it) if wanted.internal && is_own => {
                if !self.desired.keep_floating_ip && is_ours(it) {
                    return self.delete_floating_ip(it);
                }
                let (id, address) = (it.id.clone(), it.floating_ip_address.clone());
                self.push(None, Step::DetachFloatingIp { id, address });
            }
            // The new load balancer keeps the address of the one that it replaces.
            Some(it) if recreated && !wanted.internal => self.attach(it, None),
            Some(_) => {}
            None => match &observed.source {
                Source::Unknown | Source::None => {}
                Source::Existing(it) => self.attach(it, port),
                Source::New { network, subnets } => {
                    let new = NewFloatingIp {
                        floating_network_id: network.clone(),
                        port_id: port,
                        description: wanted.floating.description.clone(),
                        subnet_id: None,
                        floating_ip_address: wanted.floating.address.clone(),
                    };
                    self.push(None, Step::CreateFloatingIp { new, subnets: subnets.clone() });
                }
            },
        }
    }

    fn attach(&mut self, it: &FloatingIp, port: Option<String>) {
        let (id, address) = (it.id.clone(), it.floating_ip_address.clone());
        self.push(None, Step::AttachFloatingIp { id, address, port });
    }

    fn open_nodes(&mut self, detach: bool, firewall: &Firewall) {
        let observed = self.observed;
        let group = observed.groups.first();
        let subnet = observed.subnet.as_ref();
        let actual = group.map(|group| group.rules.as_slice()).unwrap_or_default();
        let rules = subnet.map(|subnet| RuleDiff::new(&firewall.rules(subnet), actual));
        let id = group.map(|group| group.id.as_str());
        let open =
            subnet.map(|subnet| firewall.closed(&observed.node_ports, subnet, id).into_iter().cloned().collect());
        let leaving = subnet.filter(|_| detach).map(|subnet| firewall.leaving(&observed.group_ports, subnet));
        let has_group = |port: &&&NetworkPort| id.is_some_and(|id| port.security_groups.iter().any(|it| it == id));
        let close: Vec<_> = leaving.iter().flatten().filter(has_group).map(|port| (*port).clone()).collect();
        let settled = group.is_some()
            && rules.as_ref().is_some_and(RuleDiff::is_empty)
            && open.as_ref().is_some_and(Vec::is_empty)
            && close.is_empty();
        if !settled {
            let (firewall, group, subnet) = (firewall.clone(), group.cloned(), subnet.cloned());
            let ports = observed.node_ports.clone();
            let opening = Opening { firewall, group, subnet, rules, ports, open, close };
            self.push(None, Step::OpenNodes(Box::new(opening)));
        }
    }

    /// Their names hold the service's UID, so nobody else has one.
    fn unused_security_groups(&mut self, used: usize) {
        for group in self.observed.groups.iter().skip(used) {
            let of_group = self.observed.group_ports.iter().filter(|port| port.security_groups.contains(&group.id));
            let ports = of_group.cloned().collect();
            let (id, name) = (group.id.clone(), group.name.clone());
            self.push(None, Step::DeleteSecurityGroup { id, name, ports });
        }
    }

    /// Nothing of the service stays, and nothing of others goes.
    fn removal(&mut self) {
        let observed = self.observed;
        for tree in &observed.left_behind {
            self.leave(tree);
        }
        observed.floating_ips.iter().filter(|it| it.is_free()).for_each(|it| self.delete_floating_ip(it));
        self.unused_security_groups(0);
    }

    fn delete_floating_ip(&mut self, it: &FloatingIp) {
        let (id, address) = (it.id.clone(), it.floating_ip_address.clone());
        self.push(None, Step::DeleteFloatingIp { id, address });
    }

    /// A load balancer goes with the last of its services, where this controller made it; its floating IP too.
    fn leave(&mut self, tree: &Tree) {
        if tree.goes_with(&self.desired.names, self.desired.tags) {
            let observed = self.observed;
            let leads_here = |it: &&FloatingIp| it.leads_to(tree.load_balancer.port()) && is_ours(it);
            if !self.desired.keep_floating_ip {
                let all = observed.floating_ips.iter().chain(&observed.leaving);
                all.filter(leads_here).for_each(|it| self.delete_floating_ip(it));
            }
            return self.delete(tree);
        }
        self.rename(tree);
        let (id, tag) = (&tree.load_balancer.id, &self.desired.names.load_balancer);
        for listener in tree.listeners.iter().filter(|it| it.tags.contains(tag)) {
            self.delete_listener(tree, listener);
        }
        if tree.load_balancer.tags.contains(tag) {
            self.push(Some(id), Step::RemoveTag { id: id.clone(), tag: tag.clone() });
        }
    }

    /// What is in an error can only be deleted as a whole.
    fn delete(&mut self, tree: &Tree) {
        let it = &tree.load_balancer;
        let cascade = self.cascade || it.provisioning() == Provisioning::Error;
        if !cascade {
            for PoolTree { monitor, .. } in &tree.pools {
                if let Some(monitor) = monitor {
                    let (monitor, name) = (monitor.id.clone(), monitor.name.clone());
                    self.push(Some(&it.id), Step::DeleteMonitor { id: monitor, name });
                }
            }
            tree.listeners.iter().for_each(|listener| self.delete_listener(tree, listener));
        }
        let (id, name, tags) = (it.id.clone(), it.name.clone(), tree.tags.clone());
        self.push(Some(&it.id), Step::DeleteLoadBalancer { id, name, cascade, tags });
    }
}

/// Whether this controller made a floating IP.
fn is_ours(it: &FloatingIp) -> bool {
    it.description.as_deref().is_some_and(|description| description.contains(FLOATING_IP_MARK))
}

/// The listener of a port.
fn listener_of<'a>(tree: &'a Tree, port: &Port) -> Option<&'a Listener> {
    let wanted = &port.listener;
    tree.listeners.iter().find(|it| it.protocol == wanted.protocol && it.protocol_port == wanted.protocol_port)
}

/// What tells members apart: neither subnet nor weight, as upstream has it.
fn identity(member: &NewMember) -> (&str, &str, i32, i32) {
    (&member.name, &member.address, member.protocol_port, member.monitor_port.unwrap_or_default())
}

fn listener_changes(wanted: &Wanted, port: &Port, it: &Listener) -> ListenerChanges {
    let (new, features) = (&port.listener, wanted.features);
    let differs = |wanted: Option<i64>, actual: Option<i64>| wanted.filter(|_| wanted != actual);
    let missing: Vec<&String> = new.tags.iter().filter(|tag| !it.tags.contains(tag)).collect();
    let forwarded =
        |headers: &BTreeMap<String, String>| headers.get(FORWARDED_FOR).is_some_and(|value| value == "true");
    let mut headers = it.insert_headers.clone();
    if forwarded(&new.insert_headers) {
        headers.insert(FORWARDED_FOR.to_owned(), "true".to_owned());
    } else {
        headers.remove(FORWARDED_FOR);
    }
    let set = |ranges: &[String]| ranges.iter().cloned().collect::<BTreeSet<_>>();
    ListenerChanges {
        name: None,
        tags: (!missing.is_empty()).then(|| it.tags.iter().chain(missing).cloned().collect()),
        connection_limit: (new.connection_limit != it.connection_limit).then_some(new.connection_limit),
        default_tls_container_ref: (new.default_tls_container_ref != it.default_tls_container_ref)
            .then(|| new.default_tls_container_ref.clone()),
        insert_headers: (forwarded(&new.insert_headers) != forwarded(&it.insert_headers)).then_some(headers),
        timeouts: Timeouts {
            client_data: differs(new.timeouts.client_data, it.timeouts.client_data),
            member_connect: differs(new.timeouts.member_connect, it.timeouts.member_connect),
            member_data: differs(new.timeouts.member_data, it.timeouts.member_data),
            tcp_inspect: differs(new.timeouts.tcp_inspect, it.timeouts.tcp_inspect),
        },
        allowed_cidrs: (features.allowed_cidrs && set(&new.allowed_cidrs) != set(&it.allowed_cidrs))
            .then(|| new.allowed_cidrs.clone()),
    }
}

fn pool_changes(wanted: &Wanted, new: &NewPool, found: &PoolTree) -> PoolChanges {
    let it = &found.pool;
    let affinity_differs = wanted.update_affinity && new.session_persistence != it.session_persistence;
    PoolChanges {
        name: None,
        lb_algorithm: (new.lb_algorithm != it.lb_algorithm).then(|| new.lb_algorithm.clone()),
        session_persistence: affinity_differs.then(|| new.session_persistence.clone()),
    }
}

fn monitor_changes(new: &NewMonitor) -> MonitorChanges {
    MonitorChanges {
        name: Some(new.name.clone()),
        delay: new.delay,
        timeout: new.timeout,
        max_retries: new.max_retries,
        max_retries_down: new.max_retries_down,
    }
}
