//! What a service's network load balancer shall be: a pure function of the service and of what its names mean.

use std::collections::{BTreeMap, BTreeSet};

use cloud_provider::{
    Error, Kind,
    cluster::objects::{Key, Object, Service, ServicePort},
    error::Result,
    service::source_ranges,
};
use ipnet::IpNet;

use super::node_rules::NodeRules;
use crate::{
    client::{
        elbv2::{Attributes, HealthCheck, ListenerSettings, NewLoadBalancer, NewTargetGroup, SubnetMapping},
        network::{Rule, Source, Subnet, Tags},
    },
    cluster_id::ClusterId,
    config::{NlbSecurityGroups, Settings},
    load_balancer::{
        annotations::{self, Annotation, SslPorts},
        health_check::{self, ProbeMode, TRAFFIC_PORT},
        names::{self, TargetGroupName},
        security_groups::NamedGroup,
    },
};

/// The target type of all target groups.
pub(super) const INSTANCE: &str = "instance";
const CROSS_ZONE: &str = "load_balancing.cross_zone.enabled";
const ACCESS_LOGS: &str = "access_logs.s3.enabled";
const ACCESS_LOGS_BUCKET: &str = "access_logs.s3.bucket";
const ACCESS_LOGS_PREFIX: &str = "access_logs.s3.prefix";
const PRESERVE_CLIENT_IP: &str = "preserve_client_ip.enabled";
const PROXY_PROTOCOL: &str = "proxy_protocol_v2.enabled";

/// What is looked up for a service before.
#[derive(Debug, Clone, Default)]
pub(crate) struct Resolved {
    /// The cluster ID.
    pub(super) cluster_id: ClusterId,
    /// `--cluster-name`.
    pub(super) cluster_name: String,
    /// The subnets for a load balancer that is made.
    pub(super) subnets: Vec<Subnet>,
    /// The IDs of the instances that are targets.
    pub(super) instances: BTreeSet<String>,
    /// The security groups of those.
    pub(super) node_groups: BTreeSet<String>,
    /// Tags of the load balancer, its target groups and listeners.
    pub(super) tags: Tags,
    /// Tags of its security group.
    pub(super) group_tags: Tags,
}

/// What shall be.
#[derive(Debug, Clone)]
pub(crate) struct Desired {
    /// The service.
    pub(super) key: Key,
    /// The name of the load balancer.
    pub(super) name: String,
    /// The security group that is managed for the service, if one is.
    pub(super) managed_group: NamedGroup,
    /// Groups that are the user's, whatever their tags say.
    pub(super) foreign_groups: BTreeSet<String>,
    /// What is wanted; absent for removal.
    pub(super) wanted: Option<Wanted>,
}

/// The load balancer with all that belongs to it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    /// How it is made; later only the name counts.
    pub(super) load_balancer: NewLoadBalancer,
    /// The ranges of the subnets it is made in.
    pub(super) cidrs: BTreeSet<String>,
    /// One for each port of the service.
    pub(super) ports: Vec<Port>,
    /// The instances behind all target groups.
    pub(super) instances: BTreeSet<String>,
    /// Attributes of the load balancer.
    pub(super) attributes: Attributes,
    /// Attributes of the target groups.
    pub(super) group_attributes: Attributes,
    /// Its security groups.
    pub(super) security: Security,
    /// Rules for the nodes, without the ranges of the load balancer's own subnets.
    pub(super) node_rules: Option<NodeRules>,
    /// The security groups that get those rules.
    pub(super) node_groups: BTreeSet<String>,
}

/// A port: a listener and the target group behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Port {
    /// The listener.
    pub(super) listener: ListenerSettings,
    /// The target group.
    pub(super) group: NewTargetGroup,
}

/// The security groups of a load balancer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Security {
    /// None are given, and those that are there stay.
    #[default]
    AsIs,
    /// The user's.
    Listed(Vec<String>),
    /// One of ours with these rules.
    Managed(Vec<Rule>),
}

/// The name and managed security group of a service's load balancer, from which everything that belongs to it is found.
pub(super) fn identity(service: &Service, resolved: &Resolved) -> Desired {
    let (key, uid) = (service.key(), service.uid());
    let managed_group = NamedGroup {
        name: names::managed_group(&resolved.cluster_name, &key.namespace, &key.name, uid),
        description: names::MANAGED_GROUP_DESCRIPTION.to_owned(),
        tags: resolved.group_tags.clone(),
    };
    let listed = [annotations::SECURITY_GROUPS, annotations::EXTRA_SECURITY_GROUPS];
    Desired {
        name: names::load_balancer(uid),
        managed_group,
        foreign_groups: listed.iter().flat_map(|annotation| annotation.list(service)).collect(),
        wanted: None,
        key,
    }
}

/// Everything about a service that is wrong before anything is looked up; the first failure wins, in upstream's order.
pub(super) fn check(service: &Service, settings: &Settings) -> Result<()> {
    let extra = annotations::EXTRA_SECURITY_GROUPS;
    if extra.of(service).is_some() {
        let problem = format!("BYO extra security group annotation {:?} is not supported by NLB", extra.key);
        return Err(Error::invalid(extra.key, problem));
    }
    let ports = &service.spec.ports;
    let group_attributes = target_group_attributes(service)?;
    if group_attributes.get(PRESERVE_CLIENT_IP).is_some_and(|value| value == "false")
        && ports.iter().any(|port| port.protocol == "UDP")
    {
        return Err(bad_attributes("client IP preservation can't be disabled for UDP ports"));
    }
    let affinity = service.spec.session_affinity.as_deref().unwrap_or("None");
    if affinity != "None" {
        return Err(Error::invalid("spec.sessionAffinity", format!("unsupported load balancer affinity: {affinity}")));
    }
    let Some(first) = ports.first() else {
        return Err(Error::invalid("spec.ports", "requested load balancer with no ports"));
    };
    if ports.iter().any(|port| port.protocol != first.protocol) {
        return Err(Error::invalid("spec.ports", "mixed protocol is not supported for LoadBalancer"));
    }
    source_ranges::of(service)?;
    if !matches!(first.protocol.as_str(), "TCP" | "UDP") {
        let problem = format!("Protocol {} not supported by LoadBalancer", first.protocol);
        return Err(Error::new(Kind::Invalid { field: "spec.ports".into() }, problem));
    }
    health_check::network(service, &ProbeMode::from(&settings.health_probe))?;
    if service.spec.load_balancer_ip.as_deref().is_some_and(|address| !address.is_empty()) {
        return Err(Error::invalid("spec.loadBalancerIP", "LoadBalancerIP cannot be specified for AWS ELB"));
    }
    if let Some(problem) = settings.nlb_security_groups.problem() {
        return Err(Error::invalid("NLBSecurityGroupMode", problem));
    }
    Ok(())
}

/// What shall be for a service that is [`check`]ed.
pub(super) fn wanted(service: &Service, settings: &Settings, resolved: &Resolved) -> Result<Wanted> {
    let check = health_check::network(service, &ProbeMode::from(&settings.health_probe))?;
    let ranges = source_ranges::of(service)?;
    let ports = ports(service, &check, resolved);
    let security = match settings.nlb_security_groups {
        NlbSecurityGroups::Managed => {
            let listed = annotations::SECURITY_GROUPS.list(service);
            if listed.is_empty() { Security::Managed(ingress(&ports, &ranges)) } else { Security::Listed(listed) }
        }
        _ => Security::AsIs,
    };
    Ok(Wanted {
        load_balancer: NewLoadBalancer {
            name: names::load_balancer(service.uid()),
            internal: annotations::is_internal(service),
            subnets: subnet_mappings(service, &resolved.subnets),
            tags: resolved.tags.clone(),
        },
        cidrs: cidrs(&resolved.subnets),
        instances: resolved.instances.clone(),
        attributes: attributes(service)?,
        group_attributes: target_group_attributes(service)?,
        security,
        node_rules: (!settings.disable_security_group_ingress).then(|| node_rules(&ports, &ranges)),
        node_groups: resolved.node_groups.clone(),
        ports,
    })
}

/// The IPv4 ranges of subnets.
pub(super) fn cidrs(subnets: &[Subnet]) -> BTreeSet<String> {
    subnets.iter().map(|subnet| subnet.cidr.clone()).filter(|cidr| !cidr.is_empty()).collect()
}

/// Ports without a node port get neither listener nor target group.
fn ports(service: &Service, check: &HealthCheck, resolved: &Resolved) -> Vec<Port> {
    let ssl = SslPorts::of(service);
    let served = service.spec.ports.iter().filter(|port| port.node_port != 0);
    served.map(|port| self::port(service, port, &ssl, check, resolved)).collect()
}

fn port(service: &Service, port: &ServicePort, ssl: &SslPorts, check: &HealthCheck, resolved: &Resolved) -> Port {
    let mut listener =
        ListenerSettings { port: port.port, protocol: port.protocol.clone(), ssl_policy: None, certificate: None };
    let mut traffic = port.protocol.clone();
    let certificate = annotations::SSL_CERT.filled(service);
    if let Some(certificate) = certificate.filter(|_| port.protocol != "UDP" && ssl.contains(port.port, &port.name)) {
        listener.protocol = "TLS".to_owned();
        listener.certificate = Some(certificate.to_owned());
        listener.ssl_policy = annotations::SSL_NEGOTIATION_POLICY.filled(service).map(str::to_owned);
        if annotations::BACKEND_PROTOCOL.of(service) == Some("ssl") {
            traffic = "TLS".to_owned();
        }
    }
    let key = service.key();
    let name = TargetGroupName {
        cluster_id: resolved.cluster_id.as_str(),
        namespace: &key.namespace,
        name: &key.name,
        service_port: port.port,
        node_port: port.node_port,
        protocol: &traffic,
        target_type: INSTANCE,
        health_protocol: &check.protocol,
        health_interval: check.interval,
    };
    let group = NewTargetGroup {
        name: name.build(),
        port: port.node_port,
        health_check: check.clone(),
        tags: resolved.tags.clone(),
        protocol: traffic.clone(),
    };
    Port { listener, group }
}

/// The addresses that annotations pair with subnets count when a load balancer is made.
///
/// # Errors
///
/// Where there is not one for each subnet.
pub(super) fn check_addresses(service: &Service, subnets: usize) -> Result<()> {
    for (annotation, what) in
        [(annotations::EIP_ALLOCATIONS, "EIP AllocationIDs"), (annotations::PRIVATE_ADDRESSES, "Private IPv4Addresses")]
    {
        if let Some(list) = annotation.raw_list(service).filter(|list| list.len() != subnets) {
            let problem = format!(
                "error creating load balancer: Must have same number of {what} ({}) and SubnetIDs ({subnets})",
                list.len(),
            );
            return Err(Error::invalid(annotation.key, problem));
        }
    }
    Ok(())
}

/// One mapping per subnet, with the addresses that annotations pair with them.
fn subnet_mappings(service: &Service, subnets: &[Subnet]) -> Vec<SubnetMapping> {
    let list = |annotation: Annotation| annotation.raw_list(service).unwrap_or_default();
    let (allocations, addresses) = (list(annotations::EIP_ALLOCATIONS), list(annotations::PRIVATE_ADDRESSES));
    let mapping = |(index, subnet): (usize, &Subnet)| SubnetMapping {
        subnet: subnet.id.clone(),
        allocation: allocations.get(index).cloned(),
        private_address: addresses.get(index).cloned(),
    };
    subnets.iter().enumerate().map(mapping).collect()
}

/// Attributes whose annotations are absent are switched off, as upstream does.
fn attributes(service: &Service) -> Result<Attributes> {
    let cross_zone = annotations::CROSS_ZONE.boolean(service)?.unwrap_or_default();
    let logs = annotations::ACCESS_LOG_ENABLED.boolean(service)?.unwrap_or_default();
    let mut attributes =
        Attributes::from([(CROSS_ZONE.into(), cross_zone.to_string()), (ACCESS_LOGS.into(), logs.to_string())]);
    if logs {
        for (key, annotation) in
            [(ACCESS_LOGS_BUCKET, annotations::ACCESS_LOG_BUCKET), (ACCESS_LOGS_PREFIX, annotations::ACCESS_LOG_PREFIX)]
        {
            if let Some(value) = annotation.filled(service) {
                attributes.insert(key.into(), value.to_owned());
            }
        }
    }
    Ok(attributes)
}

fn target_group_attributes(service: &Service) -> Result<Attributes> {
    let attributes = annotations::TARGET_GROUP_ATTRIBUTES.pairs(service);
    for (key, value) in &attributes {
        match (key.as_str(), value.as_str()) {
            (PRESERVE_CLIENT_IP | PROXY_PROTOCOL, "true" | "false") => {}
            (_, "") => return Err(bad_attributes(format!("attribute value is empty for {key:?}"))),
            (PRESERVE_CLIENT_IP | PROXY_PROTOCOL, _) => {
                return Err(bad_attributes(format!("invalid attribute value for {key:?}: {value}")));
            }
            _ => {
                let problem = format!("the attribute {key:?} is not supported by the controller or is invalid");
                return Err(bad_attributes(problem));
            }
        }
    }
    Ok(attributes)
}

fn bad_attributes(problem: impl std::fmt::Display) -> Error {
    let problem = format!("error validating target group attributes: {problem}");
    Error::invalid(annotations::TARGET_GROUP_ATTRIBUTES.key, problem)
}

/// The rules of the managed security group: every listener's port, and path MTU discovery. TLS is TCP to EC2.
fn ingress(ports: &[Port], ranges: &BTreeSet<IpNet>) -> Vec<Rule> {
    let mut rules = Vec::new();
    for range in ranges {
        for port in ports {
            let protocol = if port.listener.protocol == "UDP" { "udp" } else { "tcp" };
            rules.push(Rule::new(protocol, Some((port.listener.port, port.listener.port)), Source::range(range)));
        }
        if matches!(range, IpNet::V4(_)) {
            rules.push(Rule::new("icmp", Some((3, 4)), Source::range(range)));
        }
    }
    rules
}

fn node_rules(ports: &[Port], ranges: &BTreeSet<IpNet>) -> NodeRules {
    let client_ports: BTreeSet<i32> = ports.iter().map(|port| port.group.port).collect();
    let checked = |port: &Port| {
        let check = &port.group.health_check;
        if check.port == TRAFFIC_PORT { Some(port.group.port) } else { check.port.parse().ok() }
    };
    NodeRules {
        protocol: if ports.iter().any(|port| port.group.protocol == "UDP") { "udp" } else { "tcp" },
        health_ports: ports.iter().filter_map(checked).collect(),
        clients: ranges.clone(),
        subnets: BTreeSet::new(),
        client_ports,
    }
}

/// The target groups wanted, by the port and protocol of their listeners.
impl Wanted {
    pub(super) fn by_listener(&self) -> BTreeMap<(i32, &str), &Port> {
        self.ports.iter().map(|port| ((port.listener.port, port.listener.protocol.as_str()), port)).collect()
    }
}
