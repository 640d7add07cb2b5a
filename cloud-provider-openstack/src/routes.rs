//! Routes to the pods of nodes: extra routes of a router, and the address pairs that let nodes send for their pods.
//!
//! A route has no name, tag or owner. So whose a route is can only be told by where it leads:
//!
//! - to an address of a node, or of what was one since this process began: it is that node's;
//! - to an address that another device has in the router's networks: it is foreign, and never touched. Upstream deletes it
//!   where it lies in the cluster's ranges (#3128);
//! - to an address that nothing has: what is left of a node.
//!
//! Only routes are listed, so the route is what a pass goes by. The address pair of a node's route is written first, when it is
//! made and when it is deleted: whatever ends a change between the two, the next pass begins it again. What is left of a node is
//! deleted the other way round: once this process has ended, such a route is foreign where a device still has the address, and
//! would stand in the way of a node with the same range; a pair does not. Upstream always writes the route first, and never comes
//! to the pair after a crash.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use cloud_provider::{
    Error, Kind,
    cloud::{
        KeyedLocks, Routes,
        routes::{Change, Creation, Route, State, one_by_one},
    },
    cluster::objects::Node,
    error::Result,
};
use tokio::time::Instant;

use crate::client::{
    Client,
    network::{AddressPair, ExtraRoute, Port, PortUpdate, RouteChange, Router},
};

/// Changes at the same time.
const IN_FLIGHT: usize = 10;
/// How often a change of all routes of a router, or of all pairs of a port, is begun anew after somebody else was quicker.
const ATTEMPTS: usize = 5;
/// How long a route is believed to be foreign.
const FOREIGN: Duration = Duration::from_secs(60);
/// Neutron's extensions that are used.
const ATOMIC: &str = "extraroute-atomic";
const CLASSIC: &str = "extraroute";
const PAIRS: &str = "allowed-address-pairs";

/// Routes of one router.
pub struct RouterRoutes {
    client: Client,
    router: String,
    atomic: bool,
    pairs: bool,
    /// The router's networks, as the last listing found them.
    networks: Mutex<Option<Arc<BTreeSet<String>>>>,
    seen: Mutex<Seen>,
    /// One writer for the router in the older API, and for each port.
    writing: KeyedLocks,
}

/// What earlier listings saw.
#[derive(Default)]
struct Seen {
    /// Addresses of nodes, also of those that are gone.
    nodes: HashSet<IpAddr>,
    /// Foreign routes, with the time at which they were found to be.
    foreign: Vec<(ExtraRoute, Instant)>,
}

impl RouterRoutes {
    /// The routes of `router`, with what this Neutron can do.
    ///
    /// # Errors
    ///
    /// When Neutron does not answer, or has no extra routes.
    pub async fn new(client: Client, router: &str) -> Result<Self> {
        let extensions = client.extensions().await.map_err(|error| error.context("read Neutron's extensions"))?;
        let (atomic, classic) = (extensions.contains(ATOMIC), extensions.contains(CLASSIC));
        if !atomic && !classic {
            let problem = format!("Neutron has neither the extension {CLASSIC} nor {ATOMIC}");
            return Err(Error::new(Kind::Unsupported, problem));
        }
        let pairs = extensions.contains(PAIRS);
        tracing::info!(router, atomic, pairs, "routes are extra routes of a router");
        Ok(Self {
            client,
            router: router.to_owned(),
            atomic,
            pairs,
            networks: Mutex::default(),
            seen: Mutex::default(),
            writing: KeyedLocks::default(),
        })
    }

    async fn read_router(&self) -> Result<Router> {
        let read = self.client.router(&self.router).await;
        read.map_err(|error| error.context(format!("read router {}", self.router)))
    }

    /// Reads the networks that the router is in.
    async fn read_networks(&self) -> Result<Arc<BTreeSet<String>>> {
        let ports = self.client.ports(&[("device_id", &self.router)]).await;
        let ports = ports.map_err(|error| error.context(format!("read the ports of router {}", self.router)))?;
        let networks = Arc::new(ports.into_iter().map(|port| port.network_id).collect::<BTreeSet<_>>());
        *self.networks.lock().unwrap_or_else(PoisonError::into_inner) = Some(networks.clone());
        Ok(networks)
    }

    async fn networks(&self) -> Result<Arc<BTreeSet<String>>> {
        let known = self.networks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match known {
            Some(networks) => Ok(networks),
            None => self.read_networks().await,
        }
    }

    /// The ports that have an address in the router's networks.
    async fn ports_at(&self, address: &str) -> Result<Vec<Port>> {
        let networks = self.networks().await?;
        if networks.is_empty() {
            return Ok(Vec::new());
        }
        let address_filter = format!("ip_address={address}");
        let mut filters = vec![("fixed_ips", address_filter.as_str())];
        filters.extend(networks.iter().map(|network| ("network_id", network.as_str())));
        let found = self.client.ports(&filters).await;
        found.map_err(|error| error.context(format!("find the port with address {address}")))
    }

    /// Whether somebody else's device has the address that a route leads to. That it has is believed for a while.
    async fn is_foreign(&self, route: &ExtraRoute) -> Result<bool> {
        {
            let mut seen = self.seen();
            if route.nexthop.parse().is_ok_and(|address| seen.nodes.contains(&address)) {
                return Ok(false);
            }
            seen.foreign.retain(|(_, since)| since.elapsed() < FOREIGN);
            if seen.foreign.iter().any(|(known, _)| known == route) {
                return Ok(true);
            }
        }
        let now = Instant::now();
        let foreign = !self.ports_at(&route.nexthop).await?.is_empty();
        if foreign {
            self.seen().foreign.push((route.clone(), now));
        }
        Ok(foreign)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn create(&self, creation: &Creation) -> Result<()> {
        let nexthop = creation.internal_ip().ok_or_else(|| {
            // Routes and addresses of new nodes are written by controllers that do not know of each other.
            Error::transient(format!(
                "no address found for host: node {} has none of this family yet",
                creation.node.name()
            ))
        })?;
        let route = ExtraRoute { destination: creation.destination.to_string(), nexthop: nexthop.to_owned() };
        let foreign = self
            .seen()
            .foreign
            .iter()
            .map(|(other, _)| other)
            .find(|other| same_network(&other.destination, &route.destination))
            .cloned();
        if let Some(other) = foreign.filter(|other| !same(other, &route)) {
            let problem =
                format!("router {} has a route {}, and what is at that address is no node", self.router, name(&other));
            return Err(Error::new(Kind::Conflict, problem));
        }
        if self.pairs {
            self.write_pair(&route, RouteChange::Add).await?;
        }
        self.write(RouteChange::Add, &route).await
    }

    async fn delete(&self, route: &Route) -> Result<()> {
        let nexthop = nexthop(route)?;
        let extra = ExtraRoute { destination: route.destination.to_string(), nexthop: nexthop.to_owned() };
        if !self.pairs {
            return self.write(RouteChange::Remove, &extra).await;
        }
        if route.state != State::Blackhole {
            self.write_pair(&extra, RouteChange::Remove).await?;
            return self.write(RouteChange::Remove, &extra).await;
        }
        let removed = self.write(RouteChange::Remove, &extra).await;
        // Also where that failed: it may have been carried out, and then nobody sees the route again.
        let without_pair = match self.write_pair(&extra, RouteChange::Remove).await {
            // Nothing has the address any more.
            Err(error) if error.is_not_found() => Ok(()),
            written => written,
        };
        if removed.is_ok()
            && without_pair.is_err()
            && let Err(error) = self.write(RouteChange::Add, &extra).await
        {
            tracing::warn!(error = %error.chain(), route = name(&extra), "gone, but its address pair stays");
        }
        removed.and(without_pair)
    }

    /// Adds a route to the router or removes it, unless that is so already.
    async fn write(&self, change: RouteChange, route: &ExtraRoute) -> Result<()> {
        let context = |error: Error| {
            let verb = if change == RouteChange::Add { "add" } else { "remove" };
            error.context(format!("{verb} route {} via {} of router {}", route.destination, route.nexthop, self.router))
        };
        if self.atomic {
            return self.client.change_routes(&self.router, change, std::slice::from_ref(route)).await.map_err(context);
        }
        let _writing = self.writing.lock(&self.router).await;
        for _ in 0..ATTEMPTS {
            let router = self.read_router().await?;
            let mut routes = router.routes;
            let is_there = routes.iter().any(|other| same(other, route));
            if is_there == (change == RouteChange::Add) {
                return Ok(());
            }
            match change {
                RouteChange::Add => routes.push(route.clone()),
                RouteChange::Remove => routes.retain(|other| !same(other, route)),
            }
            match self.client.replace_routes(&self.router, &routes, router.revision_number).await {
                Err(error) if *error.kind() == Kind::Conflict => {}
                result => return result.map_err(context),
            }
        }
        Err(context(Error::new(Kind::Conflict, "others change the router all the time")))
    }

    /// Lets the port with the next hop's address send for the destination, or no longer.
    async fn write_pair(&self, route: &ExtraRoute, change: RouteChange) -> Result<()> {
        // Another route of the node changes the same port.
        let _writing = self.writing.lock(&route.nexthop).await;
        for _ in 0..ATTEMPTS {
            let mut found = self.ports_at(&route.nexthop).await?;
            let (Some(port), true) = (found.pop(), found.is_empty()) else {
                let (address, router) = (&route.nexthop, &self.router);
                let problem = format!("no single port has address {address} in the networks of router {router}");
                return Err(Error::not_found(problem));
            };
            // Without port security everything may be sent, and pairs are refused.
            if port.port_security_enabled != Some(true) {
                return Ok(());
            }
            let mut pairs = port.allowed_address_pairs;
            let is_there = pairs.iter().any(|pair| same_network(&pair.ip_address, &route.destination));
            if is_there == (change == RouteChange::Add) {
                return Ok(());
            }
            match change {
                RouteChange::Add => {
                    pairs.push(AddressPair { ip_address: route.destination.clone(), mac_address: None });
                }
                RouteChange::Remove => pairs.retain(|pair| !same_network(&pair.ip_address, &route.destination)),
            }
            let update = PortUpdate { allowed_address_pairs: Some(pairs), ..PortUpdate::default() };
            match self.client.update_port(&port.id, &update, port.revision_number).await {
                Err(error) if *error.kind() == Kind::Conflict => {}
                result => {
                    return result
                        .map_err(|error| error.context(format!("change the address pairs of port {}", port.id)));
                }
            }
        }
        let problem = format!("others change the port with address {} all the time", route.nexthop);
        Err(Error::new(Kind::Conflict, problem))
    }

    async fn change(&self, change: &Change) -> Result<()> {
        match change {
            Change::Create(creation) => self.create(creation).await,
            Change::Delete(route) => self.delete(route).await,
        }
    }
}

/// The name of a route: destination and next hop.
fn name(route: &ExtraRoute) -> String {
    format!("{} via {}", route.destination, route.nexthop)
}

fn nexthop(route: &Route) -> Result<&str> {
    let (_, nexthop) = route
        .name
        .split_once(" via ")
        .ok_or_else(|| Error::transient(format!("route {} has no next hop", route.name)))?;
    Ok(nexthop)
}

fn same(one: &ExtraRoute, other: &ExtraRoute) -> bool {
    let ip = |text: &str| text.parse::<IpAddr>().ok();
    same_network(&one.destination, &other.destination)
        && (one.nexthop == other.nexthop || ip(&one.nexthop).is_some_and(|own| Some(own) == ip(&other.nexthop)))
}

/// An address is the network that holds it alone.
fn same_network(one: &str, other: &str) -> bool {
    let network = |text: &str| match text.parse::<ipnet::IpNet>() {
        Ok(network) => Some(network.trunc()),
        Err(_) => text.parse::<IpAddr>().ok().map(ipnet::IpNet::from),
    };
    one == other || network(one).is_some_and(|own| Some(own) == network(other))
}

/// The names of nodes by all their addresses.
fn by_address(nodes: &[Arc<Node>]) -> HashMap<IpAddr, &str> {
    let of_node = |node: &'_ Arc<Node>| -> Vec<IpAddr> {
        node.status.addresses.iter().filter_map(|address| address.address.parse().ok()).collect()
    };
    nodes.iter().flat_map(|node| of_node(node).into_iter().map(|address| (address, node.name()))).collect()
}

#[async_trait]
impl Routes for RouterRoutes {
    /// Two calls, and one more for each route that leads to no node.
    async fn list(&self, nodes: &[Arc<Node>]) -> Result<Vec<Route>> {
        let (router, networks) = futures::join!(self.read_router(), self.read_networks());
        networks?;
        let names = by_address(nodes);
        self.seen().nodes.extend(names.keys());
        let mut routes = Vec::new();
        for extra in router?.routes {
            let Ok(destination) = extra.destination.parse() else { continue };
            let node = extra.nexthop.parse().ok().and_then(|address: IpAddr| names.get(&address));
            if node.is_none() && self.is_foreign(&extra).await? {
                tracing::debug!(route = name(&extra), "leads to a device that is no node, left alone");
                continue;
            }
            routes.push(Route {
                name: name(&extra),
                node: node.map(|name| (*name).to_owned()),
                node_addresses: None,
                destination,
                state: if node.is_some() { State::Active } else { State::Blackhole },
            });
        }
        Ok(routes)
    }

    async fn apply(&self, changes: &[Change]) -> Vec<Result<()>> {
        one_by_one(changes, IN_FLIGHT, |change| self.change(change)).await
    }
}
