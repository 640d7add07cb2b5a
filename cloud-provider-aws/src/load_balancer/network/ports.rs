//! The ports of a network load balancer: for each a listener, a target group, and who is let in.

use std::collections::BTreeSet;

use cloud_provider::{
    Error, Kind,
    cluster::objects::{Object, Service, ServicePort},
    error::Result,
};
use ipnet::IpNet;

use super::{
    desired::{INSTANCE, Resolved},
    node_rules::NodeRules,
};
use crate::{
    client::{
        elbv2::{HealthCheck, ListenerSettings, NewTargetGroup},
        network::{Rule, Source},
    },
    load_balancer::{
        annotations::{self, SslPorts},
        health_check::TRAFFIC_PORT,
        names::TargetGroupName,
    },
};

/// A port that is served over TCP and over UDP.
const BOTH: &str = "TCP_UDP";

/// A port: a listener and the target group behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Port {
    /// The listener.
    pub(super) listener: ListenerSettings,
    /// The target group.
    pub(super) group: NewTargetGroup,
}

/// What is wrong with the ports of a service. Upstream takes one protocol for all of them; `extended`, each may have its
/// own, and one listener serves a port that has both.
pub(super) fn check(service: &Service, extended: bool) -> Result<()> {
    let ports = &service.spec.ports;
    let Some(first) = ports.first() else {
        return Err(Error::invalid("spec.ports", "requested load balancer with no ports"));
    };
    if !extended && ports.iter().any(|port| port.protocol != first.protocol) {
        return Err(Error::invalid("spec.ports", "mixed protocol is not supported for LoadBalancer"));
    }
    Ok(())
}

/// As [`check`]; upstream looks at source ranges in between.
pub(super) fn check_protocols(service: &Service) -> Result<()> {
    let ports = &service.spec.ports;
    if let Some(port) = ports.iter().find(|port| !matches!(port.protocol.as_str(), "TCP" | "UDP")) {
        let problem = format!("Protocol {} not supported by LoadBalancer", port.protocol);
        return Err(Error::new(Kind::Invalid { field: "spec.ports".into() }, problem));
    }
    let ssl = SslPorts::of(service);
    for (port, twin) in ports.iter().filter_map(|port| Some((port, twin(ports, port)?))) {
        let number = port.port;
        if port.node_port != twin.node_port {
            let problem = format!(
                "port {number} has the node ports {} and {}; over TCP and UDP it needs the same one",
                port.node_port, twin.node_port
            );
            return Err(Error::invalid("spec.ports", problem));
        }
        if annotations::SSL_CERT.filled(service).is_some() && ssl.contains(number, &port.name) {
            let problem = format!("port {number} is served over UDP too and cannot end TLS");
            return Err(annotations::SSL_PORTS.error(problem));
        }
    }
    Ok(())
}

/// The same port with the other protocol.
fn twin<'a>(ports: &'a [ServicePort], port: &ServicePort) -> Option<&'a ServicePort> {
    ports.iter().find(|other| other.port == port.port && other.protocol != port.protocol)
}

/// Whether a port is served over UDP.
pub(super) fn any_udp(service: &Service) -> bool {
    service.spec.ports.iter().any(|port| port.protocol == "UDP")
}

/// Ports without a node port get neither listener nor target group.
pub(super) fn of(service: &Service, check: &HealthCheck, resolved: &Resolved) -> Vec<Port> {
    let ssl = SslPorts::of(service);
    let all = &service.spec.ports;
    let served = all.iter().filter(|port| port.node_port != 0);
    let first_of_twins = |port: &&ServicePort| twin(all, port).is_none() || port.protocol == "TCP";
    served.filter(first_of_twins).map(|port| self::port(service, port, &ssl, check, resolved)).collect()
}

fn port(service: &Service, port: &ServicePort, ssl: &SslPorts, check: &HealthCheck, resolved: &Resolved) -> Port {
    let protocol = if twin(&service.spec.ports, port).is_some() { BOTH } else { &port.protocol };
    let mut listener =
        ListenerSettings { port: port.port, protocol: protocol.to_owned(), ssl_policy: None, certificate: None };
    let mut traffic = protocol.to_owned();
    let certificate = annotations::SSL_CERT.filled(service);
    if let Some(certificate) = certificate.filter(|_| protocol == "TCP" && ssl.contains(port.port, &port.name)) {
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

/// The port of the health checks of targets that serve `port`; none where it cannot be read.
pub(super) fn checked(check: &HealthCheck, port: i32) -> Option<i32> {
    match check.port.as_str() {
        TRAFFIC_PORT => Some(port),
        other => other.parse().ok(),
    }
}

/// What a listener or target group of this protocol is to a security group. TLS is TCP to EC2.
pub(super) fn transports(protocol: &str) -> &'static [&'static str] {
    match protocol {
        "UDP" => &["udp"],
        BOTH => &["tcp", "udp"],
        _ => &["tcp"],
    }
}

/// The rules of the managed security group: every listener's port, and path MTU discovery, over IPv6 only where the load
/// balancer has such addresses.
pub(super) fn ingress(ports: &[Port], ranges: &BTreeSet<IpNet>, dual_stack: bool) -> Vec<Rule> {
    let mut rules = Vec::new();
    for range in ranges {
        for listener in ports.iter().map(|port| &port.listener) {
            let rule =
                |protocol: &&str| Rule::new(protocol, Some((listener.port, listener.port)), Source::range(range));
            rules.extend(transports(&listener.protocol).iter().map(rule));
        }
        match range {
            IpNet::V4(_) => rules.push(Rule::new("icmp", Some((3, 4)), Source::range(range))),
            IpNet::V6(_) if dual_stack => rules.push(Rule::new("icmpv6", Some((2, 0)), Source::range(range))),
            IpNet::V6(_) => {}
        }
    }
    rules
}

/// What the nodes have to let in, without the ranges of the load balancer's own subnets.
pub(super) fn node_rules(ports: &[Port], ranges: &BTreeSet<IpNet>) -> NodeRules {
    let groups = || ports.iter().map(|port| &port.group);
    let checked = |group: &NewTargetGroup| checked(&group.health_check, group.port);
    let client_ports =
        |group: &NewTargetGroup| transports(&group.protocol).iter().map(|it| (*it, group.port)).collect::<Vec<_>>();
    NodeRules {
        client_ports: groups().flat_map(client_ports).collect(),
        health_ports: groups().filter_map(checked).collect(),
        clients: ranges.clone(),
        ..NodeRules::default()
    }
}
