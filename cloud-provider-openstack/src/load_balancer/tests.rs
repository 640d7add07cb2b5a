//! From services to plans, without a cloud.

mod plans;
mod sharing;

use std::{collections::BTreeMap, sync::Arc};

use cloud_provider::{
    cloud::{Mode, Scope, ScopeId},
    cluster::objects::{Node, Service},
};
use serde_json::{Value, json};

use super::{
    desired::{self, Desired, Resolved},
    features::{Features, Version},
    members::{self, Backend, Family},
    observed::Observed,
    operation::{Operation, Step},
    plan::plan,
    tree::{PoolTree, Tree},
};
use crate::{
    client::{
        floating_ip::FloatingIp,
        load_balancer::{Listener, LoadBalancer, Member, Monitor, NewListener, NewMonitor, NewPool, Pool, Reference},
    },
    config::{self, LoadBalancer as Settings, Surroundings},
};

/// A configuration in which `[LoadBalancer]` says nothing.
pub(super) fn settings() -> Settings {
    let text = "[Global]\nauth-url = http://keystone\nuser-id = u\npassword = p\ntenant-id = t\n";
    config::parse(Some(text), &Surroundings::new(BTreeMap::new(), Vec::new())).unwrap().0.load_balancer
}

/// Where load balancers of these tests are.
fn placed() -> Settings {
    Settings {
        subnet_id: Some("subnet".into()),
        floating_network_id: Some("public".into()),
        create_monitor: true,
        ..settings()
    }
}

/// The service `default/web` with TCP 80 and 443.
pub(super) fn service_with(annotations: Value) -> Service {
    service("web", annotations, json!({}))
}

fn service(name: &str, annotations: Value, spec: Value) -> Service {
    let mut value = json!({
        "metadata": { "namespace": "default", "name": name, "uid": format!("uid-{name}"), "annotations": annotations },
        "spec": { "type": "LoadBalancer", "ipFamilies": ["IPv4"], "ports": [
            { "name": "http", "protocol": "TCP", "port": 80, "nodePort": 30080 },
            { "name": "https", "protocol": "TCP", "port": 443, "nodePort": 30443 },
        ] },
    });
    for (key, field) in spec.as_object().unwrap() {
        value["spec"][key] = field.clone();
    }
    serde_json::from_value(value).unwrap()
}

fn node(index: usize) -> Node {
    serde_json::from_value(json!({
        "metadata": { "name": format!("node-{index}") },
        "spec": { "providerID": format!("openstack:///server-{index}") },
        "status": { "addresses": [{ "type": "InternalIP", "address": format!("10.0.0.{index}") }] },
    }))
    .unwrap()
}

/// One service's round, without a cloud.
struct Round {
    settings: Settings,
    service: Service,
    version: Version,
    nodes: usize,
}

impl Round {
    fn new(service: Service) -> Self {
        Self { settings: placed(), service, version: Version(2, 27), nodes: 2 }
    }

    fn with(service: Service, settings: Settings) -> Self {
        Self { settings, ..Self::new(service) }
    }

    fn desired(&self) -> Desired {
        let nodes: Vec<Arc<Node>> = (1..=self.nodes).map(|index| Arc::new(node(index))).collect();
        let family = Family::first_of(&self.service);
        let backend = |(nth, node): (usize, &Arc<Node>)| Backend {
            node: node.name().to_owned(),
            address: members::address(node, family).unwrap().to_owned(),
            server: Some(format!("server-{}", nth + 1)),
        };
        let features = Features::of(self.version, &self.settings.lb_provider);
        let backends = nodes.iter().enumerate().map(backend).collect();
        let resolved = Resolved { features, backends, ..Resolved::default() };
        let scope = Scope {
            id: ScopeId("s".into()),
            cluster_name: "kubernetes".into(),
            wanted: vec![Arc::new(self.service.clone())],
            unwanted: Vec::new(),
            nodes: nodes.into(),
        };
        let mut desired = desired::identity(&self.service, "kubernetes", features);
        let wanted = desired::wanted(&self.service, &scope, &desired.names, &self.settings, &resolved).unwrap();
        desired.wanted = Some(Box::new(wanted));
        desired
    }

    fn unwanted(&self) -> Desired {
        let features = Features::of(self.version, &self.settings.lb_provider);
        desired::identity(&self.service, "kubernetes", features)
    }

    fn operations(&self, observed: &Observed, mode: Mode) -> Vec<Operation> {
        plan(&self.desired(), observed, mode, self.settings.cascade_delete)
    }

    /// What a full round would do.
    fn plan(&self, observed: &Observed) -> Vec<String> {
        texts(&self.operations(observed, Mode::Full))
    }

    fn removal(&self, observed: &Observed) -> Vec<String> {
        texts(&plan(&self.unwanted(), observed, Mode::Full, self.settings.cascade_delete))
    }

    /// What there is after a first full round.
    fn made(&self) -> Observed {
        let desired = self.desired();
        let wanted = desired.wanted.as_deref().unwrap();
        let new = wanted.populated();
        let load_balancer = LoadBalancer {
            id: "lb".into(),
            name: new.name,
            provisioning_status: "ACTIVE".into(),
            vip_address: "10.0.0.100".into(),
            vip_port_id: Some("vip-port".into()),
            vip_subnet_id: Some("subnet".into()),
            tags: new.tags,
            ..LoadBalancer::default()
        };
        let mut tree = Tree { tags: load_balancer.tags.clone(), load_balancer, ..Tree::default() };
        for port in &wanted.ports {
            add(&mut tree, &port.listener, &port.pool, port.monitor.as_ref(), &wanted.members(port, None));
        }
        let floating_ips = if wanted.internal { Vec::new() } else { vec![floating_ip(&wanted.floating.description)] };
        Observed { tree: Some(tree), floating_ips, ..Observed::default() }
    }
}

fn floating_ip(description: &str) -> FloatingIp {
    FloatingIp {
        id: "fip".into(),
        floating_ip_address: "203.0.113.7".into(),
        port_id: Some("vip-port".into()),
        description: Some(description.into()),
    }
}

/// Puts a listener with its pool into a load balancer.
fn add(
    tree: &mut Tree,
    listener: &NewListener,
    pool: &NewPool,
    monitor: Option<&NewMonitor>,
    members: &[crate::client::load_balancer::NewMember],
) {
    let id = format!("listener-{}", tree.listeners.len());
    let nth = tree.pools.len();
    tree.listeners.push(Listener {
        id: id.clone(),
        name: listener.name.clone(),
        protocol: listener.protocol.clone(),
        protocol_port: listener.protocol_port,
        connection_limit: listener.connection_limit,
        default_tls_container_ref: listener.default_tls_container_ref.clone(),
        insert_headers: listener.insert_headers.clone(),
        timeouts: listener.timeouts,
        allowed_cidrs: listener.allowed_cidrs.clone(),
        tags: listener.tags.clone(),
    });
    let member = |(nth, member): (usize, &crate::client::load_balancer::NewMember)| Member {
        id: format!("member-{nth}"),
        name: member.name.clone(),
        address: member.address.clone(),
        protocol_port: member.protocol_port,
        monitor_port: member.monitor_port,
    };
    let monitor = monitor.map(|monitor| Monitor {
        id: format!("monitor-{nth}"),
        name: monitor.name.clone(),
        kind: monitor.kind.clone(),
        delay: monitor.delay,
        timeout: monitor.timeout,
        max_retries: monitor.max_retries,
        max_retries_down: monitor.max_retries_down,
    });
    tree.pools.push(PoolTree {
        pool: Pool {
            id: format!("pool-{nth}"),
            name: pool.name.clone(),
            protocol: pool.protocol.clone(),
            lb_algorithm: pool.lb_algorithm.clone(),
            session_persistence: pool.session_persistence.clone(),
            healthmonitor_id: monitor.as_ref().map(|monitor| monitor.id.clone()),
            listeners: vec![Reference { id }],
        },
        members: members.iter().enumerate().map(member).collect(),
        monitor,
    });
}

fn texts(operations: &[Operation]) -> Vec<String> {
    operations.iter().map(ToString::to_string).collect()
}

fn steps(operations: Vec<Operation>) -> Vec<Step> {
    operations.into_iter().map(|operation| operation.step).collect()
}

fn prefixed(name: &str, value: &str) -> Value {
    json!({ (format!("loadbalancer.openstack.org/{name}")): value })
}
