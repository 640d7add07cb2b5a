//! How far the cluster is, seen through watches, so that looking costs the API server nothing that the controller needs.

use std::collections::BTreeMap;

use anyhow::Context as _;
use cloud_provider::cluster::objects::{AddressKind, Node, Object as _, Service};
use cloud_provider::cluster::store::Store;
use k8s_openapi::api::core::v1;
use kube::api::ListParams;
use kube::{Api, Client};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::objects::UNINITIALIZED;

/// Labels that every node has in the end.
const LABELS: [&str; 3] =
    ["topology.kubernetes.io/zone", "topology.kubernetes.io/region", "node.kubernetes.io/instance-type"];

/// How many are wanted, and how many are there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) wanted: usize,
    pub(crate) ready: usize,
}

/// Watches nodes and services until dropped.
pub(crate) struct Convergence {
    nodes: Store<Node>,
    services: Store<Service>,
    wanted: (usize, usize),
    _watches: JoinSet<()>,
}

impl Convergence {
    pub(crate) fn watch(client: &Client, nodes: usize, services: usize) -> Self {
        let mut watches = JoinSet::new();
        let token = CancellationToken::new();
        let convergence = Self {
            nodes: Store::default(),
            services: Store::default(),
            wanted: (nodes, services),
            _watches: JoinSet::new(),
        };
        watches.spawn(convergence.nodes.clone().run(Api::all(client.clone()), token.clone()));
        watches.spawn(convergence.services.clone().run(Api::all(client.clone()), token));
        Self { _watches: watches, ..convergence }
    }

    /// Nodes that have registered, nodes and services that are done.
    pub(crate) fn counts(&self) -> (usize, Counts, Counts) {
        let nodes = self.nodes.list();
        let ready = nodes.iter().filter(|node| is_complete(node)).count();
        let balanced = self.services.list().iter().filter(|service| address(service).is_some()).count();
        let (wanted, services) = self.wanted;
        (nodes.len(), Counts { wanted, ready }, Counts { wanted: services, ready: balanced })
    }
}

fn is_complete(node: &Node) -> bool {
    let has_address = node.status.addresses.iter().any(|address| address.kind == AddressKind::InternalIp);
    let labelled = LABELS.iter().all(|key| node.label(key).is_some_and(|value| !value.is_empty()));
    let tainted = node.spec.taints.iter().any(|taint| taint.key == UNINITIALIZED);
    has_address && labelled && !tainted && node.provider_id().is_some()
}

fn address(service: &Service) -> Option<&str> {
    let first = service.status.load_balancer.ingress.first()?;
    first.hostname.as_deref().or(first.ip.as_deref()).filter(|address| !address.is_empty())
}

/// The load balancers' addresses by service, without a watch.
pub(crate) async fn addresses(client: &Client) -> anyhow::Result<BTreeMap<String, String>> {
    let api: Api<v1::Service> = Api::default_namespaced(client.clone());
    let services = api.list(&ListParams::default()).await.context("list services")?.items;
    let address = |service: v1::Service| {
        let spec = service.spec?;
        if spec.type_.as_deref() != Some("LoadBalancer") {
            return None;
        }
        let ingress = service.status.and_then(|status| status.load_balancer).and_then(|balancer| balancer.ingress);
        let first = ingress.unwrap_or_default().into_iter().next();
        let address = first.and_then(|first| first.hostname.or(first.ip)).unwrap_or_else(|| "none".to_owned());
        Some((service.metadata.name?, address))
    };
    Ok(services.into_iter().filter_map(address).collect())
}
