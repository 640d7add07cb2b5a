//! Reading what names mean: versions, nodes, networks, subnets, certificates.

use std::sync::PoisonError;

use cloud_provider::{
    Error, Kind,
    cloud::{Mode, Note, Scope},
    cluster::objects::{Node, Service},
    error::Result,
};

use super::{
    Octavia, annotations,
    desired::{self, Floating, Resolved},
    features::{Features, Version},
    members::{self, Backend, Family},
    placement::Placement,
};
use crate::{
    client::{
        Service as Api,
        key_manager::Store,
        network::{Port, Subnet},
    },
    config::ContainerStore,
    provider_id::ProviderId,
};

/// Nodes whose ports are looked at to find out where they are.
const LOOKED_AT: usize = 10;

impl Octavia {
    /// What a round needs to know before it can say what shall be.
    pub(super) async fn look_up(&self, scope: &Scope, mode: Mode) -> Result<Resolved> {
        let (service, wanted) = scope.only()?;
        let features = Features::of(self.version().await?, &self.settings.lb_provider);
        let mut resolved = Resolved { features, ..Resolved::default() };
        if !wanted {
            return Ok(resolved);
        }
        let placement = Placement::of(service, &self.settings)?;
        resolved.backends = self.backends(service, scope.nodes.iter().map(|node| &**node));
        if placement.needs_detection() {
            let servers = resolved.backends.iter().filter_map(|it| it.server.as_deref());
            let servers: Vec<&str> = servers.take(LOOKED_AT).collect();
            if !servers.is_empty() {
                let ports = self.client.ports_of(&servers).await?;
                resolved.detected_subnet = resolved.backends.iter().find_map(|it| subnet_of(it, &ports));
            }
        }
        if mode != Mode::Backends {
            self.check_certificate(service).await?;
            resolved.second_subnet = self.second_subnet(service, &placement, &resolved).await?;
        }
        Ok(resolved)
    }

    /// The version of Octavia: the last that it lists. It is asked once, until it answers.
    async fn version(&self) -> Result<Version> {
        let known = self.version.get_or_try_init(|| async {
            let versions = self.client.versions(Api::LoadBalancer).await?;
            let last = versions.last().and_then(|version| Version::parse(&version.id));
            last.ok_or_else(|| Error::transient("Octavia lists no version of its API"))
        });
        known.await.copied()
    }

    /// The nodes that are members of a service's load balancer.
    fn backends<'a>(&self, service: &Service, nodes: impl Iterator<Item = &'a Node>) -> Vec<Backend> {
        let selector = members::selector(service, &self.settings.node_selector);
        nodes
            .filter(|node| members::is_selected(node, &selector))
            .filter_map(|node| self.backend_of(service, node))
            .collect()
    }

    /// A node as a member; `None` where it has no address yet.
    fn backend_of(&self, service: &Service, node: &Node) -> Option<Backend> {
        // One at a time, members are added by whatever address comes first.
        let family = Family::first_of(service).filter(|_| !self.settings.provider_requires_serial_api_calls);
        let address = members::address(node, family)?.to_owned();
        let server = match node.provider_id().map(|id| ProviderId::parse(id, &self.region)) {
            Some(Ok(ProviderId::Server(id))) => Some(id),
            _ => None,
        };
        Some(Backend { node: node.name().to_owned(), address, server })
    }

    /// What identifies a node among the members of a service.
    pub(super) fn identity_of(&self, service: &Service, node: &Node) -> Option<String> {
        let selector = members::selector(service, &self.settings.node_selector);
        let backend = self.backend_of(service, node).filter(|_| members::is_selected(node, &selector))?;
        // The ports of its server only matter where they get a security group.
        let server = backend.server.filter(|_| self.settings.manage_security_groups).unwrap_or_default();
        Some(format!("{} {} {server}", backend.node, backend.address))
    }

    async fn check_certificate(&self, service: &Service) -> Result<()> {
        let reference = desired::tls(service, &self.settings);
        if reference.is_empty() || self.settings.container_store != ContainerStore::Barbican {
            return Ok(());
        }
        let field = annotations::TLS_CONTAINER.key;
        let mut parts = reference.rsplit('/');
        let (id, kind) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let store = match kind {
            "containers" => Store::Container,
            "secrets" => Store::Secret,
            "" => return Err(Error::invalid(field, format!("{reference:?} is no reference to a certificate"))),
            other => return Err(Error::invalid(field, format!("{reference:?} is of the unknown type {other:?}"))),
        };
        let found = self.client.certificate(store, id).await;
        found.map_err(|error| error.context(format!("failed to get tls {kind} {reference:?}")))
    }

    /// The subnet of the other family in the network of the load balancer, where the service and the configuration ask for
    /// addresses of both.
    async fn second_subnet(
        &self,
        service: &Service,
        placement: &Placement,
        resolved: &Resolved,
    ) -> Result<Option<String>> {
        let Some(second) = Family::second_of(service) else { return Ok(None) };
        if !self.settings.dual_stack || !resolved.features.additional_vips {
            return Ok(None);
        }
        let subnet = placement.subnet_at_creation.as_ref().or(resolved.detected_subnet.as_ref());
        let network = match (&placement.network_at_creation, subnet) {
            (Some(network), _) => network.clone(),
            (None, Some(subnet)) => self.subnet(subnet).await?.network_id,
            (None, None) => return Ok(None),
        };
        let subnets = self.client.subnets(&[("network_id", &network)]).await?;
        let version = if second == Family::V6 { 6 } else { 4 };
        let found = subnets.into_iter().find(|subnet| subnet.ip_version == version);
        if found.is_none() && service.spec.ip_family_policy.as_deref() == Some("RequireDualStack") {
            let problem = format!("network {network} has no {} subnet for the second address", second.ether_type());
            return Err(Error::new(Kind::Unsupported, problem));
        }
        Ok(found.map(|subnet| subnet.id))
    }

    /// A subnet. What is asked of it never changes, so it is read once.
    pub(super) async fn subnet(&self, id: &str) -> Result<Subnet> {
        let subnets = || self.subnets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = subnets().get(id).cloned() {
            return Ok(known);
        }
        let subnet =
            self.client.subnet(id).await.map_err(|error| error.context(format!("failed to find subnet {id:?}")))?;
        subnets().insert(id.to_owned(), subnet.clone());
        Ok(subnet)
    }

    /// The network of floating IPs: the one that is named, or the first external one with a subnet of IPv4, or with one that
    /// cannot be seen.
    pub(super) async fn floating_network(&self, named: Option<&str>, notes: &mut Vec<Note>) -> Result<Option<String>> {
        if let Some(named) = named {
            return Ok(Some(named.to_owned()));
        }
        match self.search_floating_network().await {
            Ok(Some(found)) => Ok(Some(found)),
            Ok(None) => {
                let text = "Failed to find floating-network-id: no external network has an IPv4 subnet";
                notes.push(Note::warning("LoadBalancerExternalNetworkSearchFailed", text));
                Ok(None)
            }
            Err(error) if error.is_outage() => Err(error),
            Err(error) => {
                let text = format!("Failed to find floating-network-id: {}", error.chain());
                notes.push(Note::warning("LoadBalancerExternalNetworkSearchFailed", text));
                Ok(None)
            }
        }
    }

    async fn search_floating_network(&self) -> Result<Option<String>> {
        let networks = self.client.networks(&[("router:external", "true")]).await?;
        for network in networks.into_iter().filter(|network| network.external && !network.subnets.is_empty()) {
            let visible = self.client.subnets(&[("network_id", &network.id)]).await?;
            let usable = |id: &String| visible.iter().find(|it| it.id == *id).is_none_or(|it| it.ip_version == 4);
            if network.subnets.iter().any(usable) {
                return Ok(Some(network.id));
            }
        }
        Ok(None)
    }

    /// The subnets to take a floating IP from, in order; any where there are none.
    pub(super) async fn floating_subnets(&self, floating: &Floating, network: &str) -> Result<Vec<String>> {
        let spec = &floating.subnet;
        if !spec.id.is_empty() {
            let subnet = self.subnet(&spec.id).await?;
            if subnet.network_id != network {
                let problem = format!("floating IP subnet {:?} doesn't belong to the network {network:?}", spec.id);
                return Err(Error::invalid(annotations::FLOATING_SUBNET_ID.key, problem));
            }
            return Ok(vec![subnet.id]);
        }
        if !spec.is_search() || floating.address.is_some() {
            return Ok(Vec::new());
        }
        let matcher = spec.matcher()?;
        let tags = spec.tag_filter();
        let mut filters = vec![("network_id", network)];
        filters.extend(tags.as_ref().map(|(parameter, tags)| (*parameter, tags.as_str())));
        let mut found = self.client.subnets(&filters).await?;
        found.retain(|subnet| matcher.matches(&subnet.name));
        if found.is_empty() {
            let problem = format!("no subnet matching {:?} {:?} in network {network}", spec.pattern, spec.tags);
            return Err(Error::invalid(annotations::FLOATING_SUBNET.key, problem));
        }
        Ok(found.into_iter().map(|subnet| subnet.id).collect())
    }
}

/// The subnet in which a member is reached.
fn subnet_of(backend: &Backend, ports: &[Port]) -> Option<String> {
    let of_server = ports.iter().filter(|port| Some(&port.device_id) == backend.server.as_ref());
    let mut addresses = of_server.flat_map(|port| &port.fixed_ips);
    addresses.find(|ip| ip.ip_address == backend.address).map(|ip| ip.subnet_id.clone())
}
