//! Routes to the pods of nodes, as the route controller sees them.
//!
//! The unit of work is a set of changes: a cloud whose API takes many at once (one update of a route table, one atomic
//! list of extra routes) makes one call of it, a cloud that takes them one by one hands them to [`one_by_one`].

use std::{collections::BTreeMap, fmt, future::Future, str::FromStr, sync::Arc};

use async_trait::async_trait;
use futures::{StreamExt, stream};
use ipnet::IpNet;

use crate::{
    Error, Kind,
    cluster::objects::{AddressKind, Node, NodeAddress, Object},
    error::Result,
};

/// How many calls upstream's controller has in flight at most; a default for [`one_by_one`].
pub const IN_FLIGHT: usize = 200;

/// The routes of a cloud, through which the pods of one node reach those of another.
///
/// The route controller lists, compares with the pod ranges of the nodes, and applies what differs. It calls one method at
/// a time. The name of the cluster, where a cloud needs it for names, stands in
/// [`Context::cluster_name`](crate::manager::Context::cluster_name).
///
/// # Contract
///
/// **Listing** is the price of every pass, by default one in 10 seconds: one call for each page, no call for each route.
/// What is needed to name the node behind a route (instance ID, address, instance name) is looked up in `nodes`.
///
/// - What is listed and lies in the cluster's ranges of pod addresses is deleted if no node wants it. So a listing shows
///   what leads to instances, or did until they were gone, and leaves out what must not be touched: routes to gateways,
///   routes that the cloud makes itself, routes without the cluster's mark where routes can be marked. What lies outside
///   the cluster's ranges may be listed, it is left alone. Entries whose destination is no CIDR are left out.
/// - A listing that is not complete is an error: a route that is left out is created again.
/// - It shows the effect of an earlier [`apply`](Self::apply) of this process. A cache is fine if `apply` drops it.
///
/// **Applying** gives exactly one result per change, in the order of `changes`; one that fails never fails its neighbours,
/// unless the cloud takes them in one call, whose error then is the result of each.
///
/// - Of several changes of one destination, deletions stand first and are carried out first. A creation whose deletion
///   failed is not tried and fails with the same kind of error.
/// - Deleting what is gone, and creating what is there as wanted, is success. Creating where another target has the
///   destination is [`Kind::Conflict`]; nothing is overwritten that was not to be deleted.
/// - The cloud bounds its calls in flight, waits for its own operations where they end within seconds, and returns in
///   bounded time. What takes longer is [`Kind::Pending`]; the listing shows it as [`State::Pending`] until it is done.
/// - Side effects that a route needs (the source check of an instance, the allowed address pairs of a port) belong to the
///   creation; if one fails the creation fails, and is tried again.
#[async_trait]
pub trait Routes: Send + Sync {
    /// All routes of the cluster. `nodes` are all nodes.
    ///
    /// # Errors
    ///
    /// Where the cloud did not show all of them.
    async fn list(&self, nodes: &[Arc<Node>]) -> Result<Vec<Route>>;

    /// Carries out `changes`.
    async fn apply(&self, changes: &[Change]) -> Vec<Result<()>>;
}

/// A route as it stands in the cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// What the cloud needs to find it again when it is to be deleted, in its own words: a name, or destination and next
    /// hop. Shown in logs.
    pub name: String,
    /// The name of the node that it leads to; `None` where no node of the cluster stands behind the target. Such a route
    /// is deleted if it lies in the cluster's ranges.
    pub node: Option<String>,
    /// The addresses that the route leads to, for clouds whose routes go to addresses and must follow when those of the
    /// node change (upstream's `EnableNodeAddresses`): compared with all addresses of the node, as sets. `None` elsewhere.
    pub node_addresses: Option<Vec<NodeAddress>>,
    /// Which addresses it is for.
    pub destination: Destination,
    /// Whether it works.
    pub state: State,
}

/// Whether a route works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It does.
    Active,
    /// The cloud is still busy with creating, changing or deleting it. It is left alone until that has ended.
    Pending,
    /// Its target is gone; what it takes in is lost.
    Blackhole,
}

/// A destination: a network, with the text in which the node or the cloud spells it. Two are equal when the networks
/// are, however they are spelled.
#[derive(Debug, Clone)]
pub struct Destination {
    text: Box<str>,
    network: IpNet,
}

/// One change to the routes.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Removes a route, given as it was listed.
    Delete(Route),
    /// Makes a route.
    Create(Creation),
}

/// A route to be made.
#[derive(Debug, Clone)]
pub struct Creation {
    /// The node that it leads to.
    pub node: Arc<Node>,
    /// Which addresses it is for, in the spelling of the node's `spec.podCIDRs`.
    pub destination: Destination,
}

impl Destination {
    /// The text as it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The network, without host bits.
    pub fn network(&self) -> IpNet {
        self.network
    }

    /// Whether it is for IPv6 addresses.
    pub fn is_ipv6(&self) -> bool {
        matches!(self.network, IpNet::V6(_))
    }
}

impl FromStr for Destination {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let network: IpNet =
            text.parse().map_err(|_| Error::invalid("destination", format!("{text:?} is not a CIDR")))?;
        Ok(Self { text: text.into(), network: network.trunc() })
    }
}

impl PartialEq for Destination {
    fn eq(&self, other: &Self) -> bool {
        self.network == other.network
    }
}

impl Eq for Destination {}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Creation {
    /// Upstream's hint for the route's name: the UID of the node. It is the same for both routes of a dual-stack node.
    pub fn name_hint(&self) -> &str {
        self.node.uid()
    }

    /// The node's first internal address of the destination's IP family: the next hop where routes lead to addresses.
    pub fn internal_ip(&self) -> Option<&str> {
        let of_family = |text: &str| text.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_ipv6() == self.is_ipv6());
        let mut addresses = self.node.status.addresses.iter();
        let found = addresses.find(|a| a.kind == AddressKind::InternalIp && of_family(&a.address))?;
        Some(&found.address)
    }

    fn is_ipv6(&self) -> bool {
        self.destination.is_ipv6()
    }
}

impl PartialEq for Creation {
    /// The same destination for the same node, whatever else changed on it.
    fn eq(&self, other: &Self) -> bool {
        self.node.uid() == other.node.uid() && self.destination == other.destination
    }
}

impl Change {
    /// The destination that it concerns.
    pub fn destination(&self) -> &Destination {
        match self {
            Self::Delete(route) => &route.destination,
            Self::Create(creation) => &creation.destination,
        }
    }

    /// The name of the node that the route leads to.
    pub fn node(&self) -> Option<&str> {
        match self {
            Self::Delete(route) => route.node.as_deref(),
            Self::Create(creation) => Some(creation.node.name()),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delete(route) => write!(f, "delete route {} {}", route.name, route.destination),
            Self::Create(creation) => {
                write!(f, "create route {} for node {}", creation.destination, creation.node.name())
            }
        }
    }
}

/// [`Routes::apply`] for clouds whose API takes one change per call: `make` is called for each change, for up to
/// `in_flight` destinations at the same time, and for one destination in the order of `changes`. After a deletion that
/// failed, or is pending, creations of its destination are not tried and fail with the same kind.
pub async fn one_by_one<'a, F>(
    changes: &'a [Change],
    in_flight: usize,
    make: impl Fn(&'a Change) -> F,
) -> Vec<Result<()>>
where
    F: Future<Output = Result<()>>,
{
    let mut by_destination: BTreeMap<IpNet, Vec<usize>> = BTreeMap::new();
    for (n, change) in changes.iter().enumerate() {
        by_destination.entry(change.destination().network()).or_default().push(n);
    }
    let make = &make;
    let in_order = |places: Vec<usize>| async move {
        let mut results = Vec::with_capacity(places.len());
        let mut in_the_way: Option<Kind> = None;
        for n in places {
            let change = &changes[n];
            let result = match (change, &in_the_way) {
                (Change::Create(_), Some(kind)) => {
                    Err(Error::new(kind.clone(), format!("{change} not tried: another route is in its place")))
                }
                _ => make(change).await,
            };
            if let (Change::Delete(_), Err(error)) = (change, &result) {
                in_the_way.get_or_insert_with(|| error.kind().clone());
            }
            results.push((n, result));
        }
        results
    };
    let mut results: Vec<(usize, Result<()>)> = stream::iter(by_destination.into_values())
        .map(in_order)
        .buffer_unordered(in_flight.max(1))
        .flat_map(stream::iter)
        .collect()
        .await;
    results.sort_unstable_by_key(|(n, _)| *n);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    fn deletion(destination: &str) -> Change {
        Change::Delete(Route {
            name: format!("old-{destination}"),
            node: None,
            node_addresses: None,
            destination: destination.parse().unwrap(),
            state: State::Active,
        })
    }

    fn creation(node: &str, destination: &str) -> Change {
        let mut object = Node::default();
        object.metadata.name = Some(node.into());
        Change::Create(Creation { node: Arc::new(object), destination: destination.parse().unwrap() })
    }

    #[test]
    fn a_destination_keeps_its_spelling_and_is_compared_as_a_network() {
        let spelled: Destination = "FD00:0:0:1::/64".parse().unwrap();
        assert_eq!(spelled.to_string(), "FD00:0:0:1::/64");
        assert_eq!(spelled, "fd00:0:0:1::/64".parse().unwrap());
        assert_eq!("10.1.2.3/24".parse::<Destination>().unwrap(), "10.1.2.0/24".parse().unwrap());
        assert_ne!("10.1.2.0/24".parse::<Destination>().unwrap(), "10.1.2.0/25".parse().unwrap());
        assert!("10.1.2.0".parse::<Destination>().is_err());
    }

    #[test]
    fn the_next_hop_is_the_first_internal_address_of_the_family() {
        let mut node = Node::default();
        node.status.addresses = [
            (AddressKind::ExternalIp, "198.51.100.1"),
            (AddressKind::InternalIp, "fd00::1"),
            (AddressKind::InternalIp, "10.0.0.1"),
            (AddressKind::InternalIp, "10.0.0.2"),
        ]
        .map(|(kind, address)| NodeAddress::new(kind, address))
        .to_vec();
        let node = Arc::new(node);
        let hop = |cidr: &str| {
            let creation = Creation { node: node.clone(), destination: cidr.parse().unwrap() };
            creation.internal_ip().map(str::to_owned)
        };
        assert_eq!(hop("10.1.0.0/24").as_deref(), Some("10.0.0.1"));
        assert_eq!(hop("fd01::/64").as_deref(), Some("fd00::1"));
    }

    #[tokio::test(start_paused = true)]
    async fn results_stand_in_the_order_of_changes_and_calls_in_flight_are_bounded() {
        let changes: Vec<Change> = (0..20).map(|n| creation("n", &format!("10.0.{}.0/24", 19 - n))).collect();
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let results = one_by_one(&changes, 3, |change| {
            let (running, most) = (&running, &most);
            async move {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                running.fetch_sub(1, Ordering::SeqCst);
                Err(Error::transient(change.to_string()))
            }
        })
        .await;
        assert_eq!(most.load(Ordering::SeqCst), 3);
        let told: Vec<String> = results.into_iter().map(|result| result.unwrap_err().to_string()).collect();
        assert_eq!(told, changes.iter().map(ToString::to_string).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_creation_waits_for_the_deletion_in_its_place_and_is_not_tried_when_that_fails() {
        let changes = [
            deletion("10.0.1.0/24"),
            deletion("10.0.2.0/24"),
            creation("a", "10.0.1.0/24"),
            creation("b", "10.0.2.0/24"),
            creation("c", "10.0.3.0/24"),
        ];
        let log = Mutex::new(Vec::new());
        let results = one_by_one(&changes, 10, |change| {
            let log = &log;
            async move {
                tokio::task::yield_now().await;
                log.lock().unwrap().push(change.to_string());
                match change {
                    Change::Delete(route) if route.name == "old-10.0.1.0/24" => Err(Error::new(Kind::Quota, "no")),
                    _ => Ok(()),
                }
            }
        })
        .await;
        let kinds: Vec<Option<&Kind>> = results.iter().map(|result| result.as_ref().err().map(Error::kind)).collect();
        assert_eq!(kinds, [Some(&Kind::Quota), None, Some(&Kind::Quota), None, None]);
        let log = log.into_inner().unwrap();
        let place = |text: &str| log.iter().position(|line| line.contains(text));
        assert!(place("delete route old-10.0.2.0/24") < place("for node b"), "{log:?}");
        assert_eq!(place("for node a"), None);
    }
}
