//! Load balancers, listeners, pools and monitors as a service wants them.

use cloud_provider::{
    cloud::Note,
    cluster::objects::{Service, ServicePort},
    error::Result,
    service::predicates,
};

use super::{
    annotations,
    desired::{FORWARDED_FOR, Port, Resolved, listener_protocols, tls},
    features::Features,
    members::{self, Backend, Making},
    names::Names,
    placement::Placement,
};
use crate::{
    client::load_balancer::{
        AdditionalVip, NewListener, NewLoadBalancer, NewMonitor, NewPool, SessionPersistence, Timeouts,
    },
    config::LoadBalancer as Settings,
};

/// Makes wishes of a service and the configuration.
pub(super) struct Builder<'a> {
    pub(super) service: &'a Service,
    pub(super) settings: &'a Settings,
    pub(super) names: &'a Names,
    pub(super) features: Features,
    pub(super) ranges: &'a [String],
    pub(super) backends: &'a [Backend],
}

impl Builder<'_> {
    pub(super) fn load_balancer(
        &self,
        placement: &Placement,
        resolved: &Resolved,
        address: Option<String>,
        notes: &mut Vec<Note>,
    ) -> NewLoadBalancer {
        let (service, settings) = (self.service, self.settings);
        let setting = |annotation: annotations::Annotation, configured: &Option<String>| {
            let value = annotation.or(service, configured.as_deref().unwrap_or_default());
            Some(value.to_owned()).filter(|value| !value.is_empty())
        };
        let zone = setting(annotations::AVAILABILITY_ZONE, &settings.availability_zone);
        if zone.is_some() && !self.features.availability_zones {
            notes.push(Note::warning(
                "LoadBalancerAvailabilityZonesIgnored",
                "the availability zone is ignored, since Octavia or its provider driver does not support such; it takes version 2.14 of the API",
            ));
        }
        let own_port = placement.port.is_some();
        let subnet = placement.subnet_at_creation.clone().or_else(|| resolved.detected_subnet.clone());
        let second = resolved
            .second_subnet
            .iter()
            .map(|subnet_id| AdditionalVip { subnet_id: subnet_id.clone(), ip_address: None });
        NewLoadBalancer {
            name: self.names.load_balancer.clone(),
            description: self.names.description(),
            provider: settings.lb_provider.clone(),
            tags: if self.features.tags { vec![self.names.load_balancer.clone()] } else { Vec::new() },
            flavor_id: setting(annotations::FLAVOR_ID, &settings.flavor_id).filter(|_| self.features.flavors),
            availability_zone: zone.filter(|_| self.features.availability_zones),
            vip_port_id: placement.port.clone(),
            vip_subnet_id: subnet.filter(|_| !own_port),
            vip_network_id: placement.network_at_creation.clone().filter(|_| !own_port),
            vip_address: address,
            additional_vips: second.collect(),
            listeners: Vec::new(),
        }
    }

    pub(super) fn ports(&self) -> Result<Vec<Port>> {
        let protocols = listener_protocols(self.service)?;
        let ports = self.service.spec.ports.iter().enumerate();
        Ok(ports
            .map(|(index, port)| {
                let chosen = protocols.get(&port.port.to_string()).or_else(|| protocols.get(&port.name));
                self.port(index, port, chosen.map(String::as_str))
            })
            .collect())
    }

    fn port(&self, index: usize, port: &ServicePort, chosen: Option<&str>) -> Port {
        let (service, settings) = (self.service, self.settings);
        let container = tls(service, settings);
        let forwarded = annotations::X_FORWARDED_FOR.flag(service, false);
        let protocol = match chosen {
            Some(protocol) => protocol,
            None if !container.is_empty() => "TERMINATED_HTTPS",
            None if forwarded => "HTTP",
            None => &port.protocol,
        };
        let of_layer_7 = matches!(protocol, "HTTP" | "TERMINATED_HTTPS");
        let listener = NewListener {
            loadbalancer_id: None,
            name: self.names.listener(index),
            protocol: protocol.to_owned(),
            protocol_port: port.port,
            connection_limit: annotations::CONNECTION_LIMIT.number(service, -1),
            default_tls_container_ref: if chosen.is_none_or(|it| it == "TERMINATED_HTTPS") { container } else { "" }
                .to_owned(),
            insert_headers: (forwarded && (chosen.is_none() || of_layer_7))
                .then(|| (FORWARDED_FOR.to_owned(), "true".to_owned()))
                .into_iter()
                .collect(),
            timeouts: self.timeouts(),
            allowed_cidrs: if self.features.allowed_cidrs { self.ranges.to_vec() } else { Vec::new() },
            tags: if self.features.tags { vec![self.names.load_balancer.clone()] } else { Vec::new() },
            default_pool: None,
        };
        let monitor = self.monitor(index, port);
        let monitor_port =
            monitor.as_ref().filter(|monitor| monitor.kind == "HTTP").map(|_| service.spec.health_check_node_port);
        let pool = self.pool(index, protocol, chosen.is_some());
        let making = Making { serial: settings.provider_requires_serial_api_calls, subnet: None, monitor_port };
        Port { index, listener, pool, members: members::members(self.backends, port, making), monitor }
    }

    fn timeouts(&self) -> Timeouts {
        if !self.features.timeouts {
            return Timeouts::default();
        }
        Timeouts {
            client_data: Some(annotations::TIMEOUT_CLIENT_DATA.number(self.service, 50_000)),
            member_connect: Some(annotations::TIMEOUT_MEMBER_CONNECT.number(self.service, 5_000)),
            member_data: Some(annotations::TIMEOUT_MEMBER_DATA.number(self.service, 50_000)),
            tcp_inspect: Some(annotations::TIMEOUT_TCP_INSPECT.number(self.service, 0)),
        }
    }

    fn pool(&self, index: usize, listener: &str, chosen: bool) -> NewPool {
        let service = self.service;
        let layer_7 = matches!(listener, "HTTP" | "TERMINATED_HTTPS");
        let asked = annotations::X_FORWARDED_FOR.flag(service, false) || !tls(service, self.settings).is_empty();
        let protocol = match annotations::proxy_protocol(service) {
            Some(proxy) if !chosen || !layer_7 => proxy,
            _ if layer_7 || (asked && !chosen) => "HTTP",
            _ => listener,
        };
        let method = annotations::LB_METHOD.filled(service).unwrap_or(&self.settings.lb_method);
        let sticky = service.spec.session_affinity.as_deref() == Some("ClientIP");
        NewPool {
            listener_id: None,
            name: self.names.pool(index),
            protocol: protocol.to_owned(),
            lb_algorithm: method.to_owned(),
            session_persistence: sticky.then(|| SessionPersistence { kind: "SOURCE_IP".to_owned() }),
            members: Vec::new(),
            healthmonitor: None,
        }
    }

    fn monitor(&self, index: usize, port: &ServicePort) -> Option<NewMonitor> {
        let (service, settings) = (self.service, self.settings);
        if !annotations::ENABLE_HEALTH_MONITOR.flag(service, settings.create_monitor) {
            return None;
        }
        let seconds = |time: std::time::Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        let asks = predicates::only_local_traffic(service) && service.spec.health_check_node_port > 0;
        let http = asks && self.features.http_monitor(&port.protocol);
        let kind = match port.protocol.as_str() {
            _ if http => "HTTP",
            "UDP" => "UDP-CONNECT",
            protocol => protocol,
        };
        let over_http = |value: &str| http.then(|| value.to_owned());
        Some(NewMonitor {
            pool_id: None,
            name: self.names.monitor(index),
            kind: kind.to_owned(),
            delay: annotations::HEALTH_MONITOR_DELAY.number(service, seconds(settings.monitor_delay)),
            timeout: annotations::HEALTH_MONITOR_TIMEOUT.number(service, seconds(settings.monitor_timeout)),
            max_retries: annotations::HEALTH_MONITOR_MAX_RETRIES.number(service, settings.monitor_max_retries.into()),
            max_retries_down: annotations::HEALTH_MONITOR_MAX_RETRIES_DOWN
                .number(service, settings.monitor_max_retries_down.into()),
            url_path: over_http("/healthz"),
            http_method: over_http("GET"),
            expected_codes: over_http("200"),
        })
    }
}
