//! What a service's load balancer shall be: a pure function of the service, its nodes and the configuration.

use std::collections::{BTreeMap, BTreeSet};

use cloud_provider::{
    Error,
    cloud::{Note, Scope},
    cluster::objects::{Key, Object, Service},
    error::Result,
    service::source_ranges,
};
use ipnet::IpNet;

use super::{
    annotations,
    builder::Builder,
    features::{Features, OVN},
    firewall::Firewall,
    floating::SubnetSpec,
    members::{Backend, Family},
    names::Names,
    placement::Placement,
};
use crate::{
    client::load_balancer::{NewListener, NewLoadBalancer, NewMember, NewMonitor, NewPool},
    config::{LoadBalancer as Settings, Repair},
};

/// The header that tells nodes whom a request comes from.
pub(super) const FORWARDED_FOR: &str = "X-Forwarded-For";

/// What names and nodes mean.
#[derive(Debug, Clone, Default)]
pub(crate) struct Resolved {
    /// What Octavia can do.
    pub(super) features: Features,
    /// The nodes that are members.
    pub(super) backends: Vec<Backend>,
    /// The subnet of the first of them, where nothing else says where the load balancer shall be.
    pub(super) detected_subnet: Option<String>,
    /// The subnet of an address of the service's second family.
    pub(super) second_subnet: Option<String>,
}

/// What shall be.
#[derive(Debug, Clone)]
pub(crate) struct Desired {
    /// The service.
    pub(super) key: Key,
    /// What its resources are called.
    pub(super) names: Names,
    /// Its ports, with their protocols of layer 4.
    pub(super) ports: Vec<(String, i32)>,
    /// The load balancer that the service names.
    pub(super) id: Option<String>,
    /// Whether an address in the status says that it was served before.
    pub(super) served: bool,
    /// The addresses that the service was told to be reached by.
    pub(super) addresses: BTreeSet<String>,
    /// Whether its floating IP outlives the load balancer.
    pub(super) keep_floating_ip: bool,
    /// Whether load balancers have tags.
    pub(super) tags: bool,
    /// `None`: nothing shall be.
    pub(super) wanted: Option<Box<Wanted>>,
}

/// A wanted load balancer.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// Whether it has no floating IP.
    pub(super) internal: bool,
    /// The load balancer, when it has to be made; without its listeners.
    pub(super) load_balancer: NewLoadBalancer,
    /// Whether it is known where it shall be.
    pub(super) placed: bool,
    /// Whether there are nodes at all.
    pub(super) has_nodes: bool,
    /// Whether everything has to be made by itself.
    pub(super) serial: bool,
    /// Its ports.
    pub(super) ports: Vec<Port>,
    /// The subnet of its members, where it is not the load balancer's own.
    pub(super) member_subnet: Option<String>,
    /// Where a floating IP would come from.
    pub(super) floating: Floating,
    /// The security group of the nodes.
    pub(super) firewall: Option<Firewall>,
    /// What the status shows besides an address.
    pub(super) status: StatusForm,
    /// What Octavia can do.
    pub(super) features: Features,
    /// How many services may share it.
    pub(super) max_shared: i64,
    /// Whether internal services may share one.
    pub(super) share_internal: bool,
    /// Whether pools follow changes of the session affinity.
    pub(super) update_affinity: bool,
    /// Whether nodes that are no members any more lose the security group.
    pub(super) detach: bool,
    /// What is done about an error of Octavia.
    pub(super) repair: Repair,
    /// What the service has to be told.
    pub(super) notes: Vec<Note>,
}

/// One port of a load balancer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Port {
    /// Its place in the spec.
    pub(super) index: usize,
    /// Its listener, without pool.
    pub(super) listener: NewListener,
    /// Its pool, without members and monitor.
    pub(super) pool: NewPool,
    /// The pool's members, without subnet.
    pub(super) members: Vec<NewMember>,
    /// The pool's monitor.
    pub(super) monitor: Option<NewMonitor>,
}

/// Where a floating IP would come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Floating {
    pub(super) network: Option<String>,
    pub(super) subnet: SubnetSpec,
    pub(super) address: Option<String>,
    pub(super) description: String,
}

/// What a status shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StatusForm {
    /// A host name that the service names.
    Hostname(String),
    /// The address with a suffix, as a host name.
    Suffixed(String),
    /// The address; the nodes must not short-cut it.
    Proxy,
    /// The address.
    Vip,
}

/// The layer-4 protocol of a listener's protocol: those with the same one compete for a port.
pub(super) fn transport(protocol: &str) -> &str {
    match protocol {
        "UDP" | "SCTP" => protocol,
        _ => "TCP",
    }
}

/// What is wrong with a service before anything is read.
pub(super) fn check(service: &Service, settings: &Settings) -> Result<()> {
    if service.spec.ports.is_empty() {
        return Err(Error::invalid("spec.ports", "no service ports provided"));
    }
    let proxy = annotations::proxy_protocol(service);
    let forwarded = annotations::X_FORWARDED_FOR.flag(service, false);
    if proxy.is_some() && forwarded {
        let (one, other) = (annotations::PROXY_PROTOCOL.key, annotations::X_FORWARDED_FOR.key);
        return Err(Error::invalid(one, format!("annotation {one} and {other} cannot be used together")));
    }
    if settings.lb_provider == OVN {
        let of_layer_7 = [
            (proxy.is_some(), annotations::PROXY_PROTOCOL),
            (forwarded, annotations::X_FORWARDED_FOR),
            (!tls(service, settings).is_empty(), annotations::TLS_CONTAINER),
        ];
        if let Some((_, annotation)) = of_layer_7.into_iter().find(|(asked, _)| *asked) {
            let problem = format!("the provider driver {OVN} has no {}", annotation.key);
            return Err(Error::invalid(annotation.key, problem));
        }
    }
    ranges(service)?;
    Placement::of(service, settings)?;
    listener_protocols(service).map(drop)
}

/// The certificate of a service; empty is none.
pub(super) fn tls<'a>(service: &'a Service, settings: &'a Settings) -> &'a str {
    annotations::TLS_CONTAINER.or(service, settings.default_tls_container_ref.as_deref().unwrap_or_default())
}

/// The protocols of single ports, by number or name.
pub(super) fn listener_protocols(service: &Service) -> Result<BTreeMap<String, String>> {
    let pairs = annotations::pairs(annotations::LISTENER_PROTOCOLS.or(service, ""));
    for (port, protocol) in &pairs {
        let known = ["TCP", "UDP", "SCTP", "HTTP", "TERMINATED_HTTPS"].contains(&protocol.as_str());
        let found = service.spec.ports.iter().find(|it| it.name == *port || it.port.to_string() == *port);
        if !known || found.is_none_or(|it| transport(protocol) != it.protocol) {
            let key = annotations::LISTENER_PROTOCOLS.key;
            let values = annotations::LISTENER_PROTOCOLS.values;
            return Err(Error::invalid(
                key,
                format!("{port}={protocol} fits no port of the service; expecting {values}"),
            ));
        }
    }
    Ok(pairs)
}

/// What identifies a service, whether it is wanted or not.
pub(super) fn identity(service: &Service, cluster: &str, features: Features) -> Desired {
    let ingress = &service.status.load_balancer.ingress;
    let told = annotations::LOAD_BALANCER_ADDRESS.filled(service).map(str::to_owned);
    Desired {
        key: service.key(),
        names: Names::of(service, cluster),
        ports: service.spec.ports.iter().map(|port| (port.protocol.clone(), port.port)).collect(),
        id: annotations::LOAD_BALANCER_ID.filled(service).map(str::to_owned),
        served: !ingress.is_empty(),
        addresses: ingress.iter().filter_map(|ingress| ingress.ip.clone()).chain(told).collect(),
        keep_floating_ip: annotations::KEEP_FLOATING_IP.flag(service, false),
        tags: features.tags,
        wanted: None,
    }
}

/// What is wanted for a service.
pub(super) fn wanted(
    service: &Service,
    scope: &Scope,
    names: &Names,
    settings: &Settings,
    resolved: &Resolved,
) -> Result<Wanted> {
    let features = resolved.features;
    let placement = Placement::of(service, settings)?;
    let mut notes = Vec::new();
    let ranges = source_ranges(service, settings, features, &mut notes)?;
    let status = status_form(service, settings);
    let member_subnet = placement.member_subnet.clone().or_else(|| resolved.detected_subnet.clone());
    let builder = Builder { service, settings, names, features, ranges: &ranges, backends: &resolved.backends };
    let ports = builder.ports()?;
    let address = service.spec.load_balancer_ip.clone().filter(|address| !address.is_empty());
    let own_address = placement.internal || Family::first_of(service) == Some(Family::V6);
    let load_balancer =
        builder.load_balancer(&placement, resolved, address.clone().filter(|_| own_address), &mut notes);
    let place = [&load_balancer.vip_port_id, &load_balancer.vip_subnet_id, &load_balancer.vip_network_id];
    let placed = place.into_iter().any(Option::is_some);
    Ok(Wanted {
        internal: placement.internal,
        placed,
        has_nodes: !scope.nodes.is_empty(),
        load_balancer,
        serial: settings.provider_requires_serial_api_calls,
        ports,
        member_subnet,
        floating: Floating {
            network: placement.floating_network,
            subnet: placement.floating_subnet,
            address,
            description: names.floating_ip_description(),
        },
        firewall: settings.manage_security_groups.then(|| Firewall {
            group: names.security_group.clone(),
            description: names.security_group_description(),
            ports: Firewall::ports(service),
            health_check: Some(service.spec.health_check_node_port).filter(|port| *port != 0),
            clients: (settings.lb_provider == OVN).then(|| ranges.clone()),
            backends: resolved.backends.clone(),
        }),
        status,
        features,
        max_shared: settings.max_shared_lb,
        share_internal: settings.share_internal_load_balancers,
        update_affinity: settings.update_session_affinity,
        detach: settings.detach_security_groups,
        repair: settings.repair_load_balancers,
        notes,
    })
}

fn status_form(service: &Service, settings: &Settings) -> StatusForm {
    match annotations::HOSTNAME.filled(service) {
        Some(name) => StatusForm::Hostname(name.to_owned()),
        None if annotations::proxy_protocol(service).is_none() => StatusForm::Vip,
        None if settings.enable_ingress_hostname => StatusForm::Suffixed(settings.ingress_hostname_suffix.clone()),
        None => StatusForm::Proxy,
    }
}

/// The source ranges, in order; everywhere is told in the service's first family. Empty where nobody can enforce them.
fn source_ranges(
    service: &Service,
    settings: &Settings,
    features: Features,
    notes: &mut Vec<Note>,
) -> Result<Vec<String>> {
    let by_members = settings.lb_provider == OVN && settings.manage_security_groups;
    let ranges = ranges(service)?;
    if !features.allowed_cidrs && !by_members {
        if !ranges.is_empty() {
            notes.push(Note::warning(
                "LoadBalancerSourceRangesIgnored",
                "the source ranges are ignored, since Octavia or its provider driver does not support them",
            ));
        }
        return Ok(Vec::new());
    }
    if ranges.is_empty() {
        let everywhere = if Family::first_of(service) == Some(Family::V6) { "::/0" } else { "0.0.0.0/0" };
        return Ok(vec![everywhere.to_owned()]);
    }
    Ok(ranges.into_iter().map(|range| range.to_string()).collect())
}

/// The source ranges that a service names, canonical. Those of the annotation are separated by commas or blanks.
fn ranges(service: &Service) -> Result<BTreeSet<IpNet>> {
    let spec = &service.spec.load_balancer_source_ranges;
    let (field, entries): (_, Vec<&str>) = match service.annotation(source_ranges::ANNOTATION) {
        _ if !spec.is_empty() => ("spec.loadBalancerSourceRanges", spec.iter().map(|entry| entry.trim()).collect()),
        Some(list) => {
            (source_ranges::ANNOTATION, list.split([',', ' ', '\t', '\n']).filter(|it| !it.is_empty()).collect())
        }
        None => return Ok(BTreeSet::new()),
    };
    let parse = |entry: &str| {
        let network: IpNet = entry.parse().map_err(|_| {
            Error::invalid(field, format!("{field}: {entry:?} is not a network; expecting CIDRs such as 10.0.0.0/24"))
        })?;
        Ok(network.trunc())
    };
    entries.into_iter().map(parse).collect()
}

impl Wanted {
    /// The members of a port, in the subnet of `load_balancer` where nothing else says in which.
    pub(super) fn members(&self, port: &Port, own_subnet: Option<&str>) -> Vec<NewMember> {
        let subnet = self.member_subnet.as_deref().or(own_subnet);
        let in_subnet = |member: &NewMember| NewMember {
            subnet_id: subnet.filter(|_| !self.serial).map(str::to_owned),
            ..member.clone()
        };
        port.members.iter().map(in_subnet).collect()
    }

    /// The load balancer with everything in it.
    pub(super) fn populated(&self) -> NewLoadBalancer {
        let listener = |port: &Port| NewListener {
            default_pool: Some(Box::new(NewPool {
                members: self.members(port, None),
                healthmonitor: port.monitor.clone(),
                ..port.pool.clone()
            })),
            ..port.listener.clone()
        };
        let listeners = if self.serial { Vec::new() } else { self.ports.iter().map(listener).collect() };
        NewLoadBalancer { listeners, ..self.load_balancer.clone() }
    }
}
