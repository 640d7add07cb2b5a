//! What is to be done: nodes, routes and ranges in, changes out.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    sync::Arc,
};

use ipnet::IpNet;

use super::cluster_cidrs::ClusterCidrs;
use crate::{
    cloud::routes::{Change, Creation, Destination, Route, State},
    cluster::objects::{Node, NodeAddress},
};

/// The result of comparing nodes and routes.
#[derive(Debug)]
pub(super) struct Steps {
    /// Deletions, then creations.
    pub(super) changes: Vec<Change>,
    /// The nodes whose condition is the controller's to write: those that have a range or a route.
    pub(super) nodes: Vec<NodeSteps>,
    /// Whether the cloud is busy with a route, so that another look is needed soon.
    pub(super) pending: bool,
}

/// What concerns one node.
#[derive(Debug)]
pub(super) struct NodeSteps {
    pub(super) node: Arc<Node>,
    /// The places of its creations in [`Steps::changes`].
    pub(super) creations: Range<usize>,
    /// What is known without carrying out anything.
    pub(super) outlook: Outlook,
}

/// Where a node stands apart from its creations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outlook {
    /// All is there, once its creations have succeeded.
    Good,
    /// The cloud is busy with one of its routes, or with one that is in the place of its own.
    Pending,
    /// It has no range, or one that is no CIDR.
    Bad,
}

/// Compares. Pure: planning again on the result of the changes gives none.
pub(super) fn steps(nodes: &[Arc<Node>], routes: &[Route], cluster: &ClusterCidrs) -> Steps {
    let observed = Observed::new(routes, cluster);
    let mut kept: HashSet<(&str, IpNet)> = HashSet::new();
    let mut creations = Vec::new();
    let mut steps = Vec::new();
    let mut pending = observed.busy.iter().any(|network| cluster.is_responsible_for(*network));
    for node in nodes {
        let own = observed.by_node.get(node.name());
        let ranges = &node.spec.pod_cidrs;
        if ranges.is_empty() && own.is_none() {
            continue;
        }
        let first = creations.len();
        let mut outlook = if ranges.is_empty() { Outlook::Bad } else { Outlook::Good };
        let mut seen = HashSet::new();
        for range in ranges {
            let Ok(destination) = range.parse::<Destination>() else {
                tracing::warn!(node = node.name(), %range, "no route: the range of the node's pods is not a CIDR");
                outlook = Outlook::Bad;
                continue;
            };
            let network = destination.network();
            if !seen.insert(network) {
                continue;
            }
            let own = own.into_iter().flatten().filter(|route| route.destination.network() == network);
            if own.clone().any(|route| observed.serves(route, &node.status.addresses)) {
                kept.insert((node.name(), network));
            } else if observed.busy.contains(&network) {
                pending = true;
                outlook = if outlook == Outlook::Bad { outlook } else { Outlook::Pending };
            } else {
                creations.push(Change::Create(Creation { node: node.clone(), destination }));
            }
        }
        steps.push((node, first..creations.len(), outlook));
    }
    let mut changes: Vec<Change> =
        routes.iter().filter(|route| observed.is_unwanted(route, &kept)).cloned().map(Change::Delete).collect();
    let shift = changes.len();
    changes.append(&mut creations);
    let nodes = steps.into_iter().map(|(node, places, outlook)| NodeSteps {
        node: node.clone(),
        creations: places.start + shift..places.end + shift,
        outlook,
    });
    Steps { changes, nodes: nodes.collect(), pending }
}

/// The routes, by what they are looked up by.
struct Observed<'a> {
    cluster: &'a ClusterCidrs,
    by_node: HashMap<&'a str, Vec<&'a Route>>,
    /// The destinations of routes that the cloud is busy with.
    busy: HashSet<IpNet>,
}

impl<'a> Observed<'a> {
    fn new(routes: &'a [Route], cluster: &'a ClusterCidrs) -> Self {
        let mut by_node: HashMap<&str, Vec<&Route>> = HashMap::new();
        let mut busy = HashSet::new();
        for route in routes {
            if let Some(node) = route.node.as_deref().filter(|name| !name.is_empty()) {
                by_node.entry(node).or_default().push(route);
            }
            if route.state == State::Pending {
                busy.insert(route.destination.network());
            }
        }
        Self { cluster, by_node, busy }
    }

    fn is_ours(&self, route: &Route) -> bool {
        self.cluster.is_responsible_for(route.destination.network())
    }

    /// Whether a route to the right node for the right destination will do. One outside the cluster's ranges cannot be
    /// replaced, so it has to do.
    fn serves(&self, route: &Route, addresses: &[NodeAddress]) -> bool {
        match route.state {
            State::Pending => false,
            _ if !self.is_ours(route) => true,
            State::Blackhole => false,
            State::Active => route.node_addresses.as_ref().is_none_or(|led_to| same_set(led_to, addresses)),
        }
    }

    fn is_unwanted(&self, route: &Route, kept: &HashSet<(&str, IpNet)>) -> bool {
        let wanted = || route.node.as_deref().is_some_and(|node| kept.contains(&(node, route.destination.network())));
        match route.state {
            State::Pending => false,
            State::Blackhole => self.is_ours(route),
            State::Active => self.is_ours(route) && !wanted(),
        }
    }
}

/// Upstream's comparison: of equal length, and each of one is in the other.
fn same_set(some: &[NodeAddress], others: &[NodeAddress]) -> bool {
    some.len() == others.len() && some.iter().all(|address| others.contains(address))
}
