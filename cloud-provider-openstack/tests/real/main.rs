//! A load balancer on a real OpenStack, where `OPENSTACK_CLOUD_CONF` names a cloud config for one; otherwise nothing is tested.
//! Servers whose names begin with `OPENSTACK_NODES` are the nodes. Everything that is made is removed.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a failing helper fails its test")]

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use cloud_provider::{
    cloud::{Gate, LoadBalancers, Mode, Scope, ServiceState},
    cluster::objects::{Node, Object, Service},
    metrics::Metrics,
};
use cloud_provider_openstack::{
    client::Client,
    config::{self, Surroundings},
    load_balancer::load_balancers,
};
use serde_json::{Value, json};

struct Real {
    client: Client,
    balancers: Arc<dyn LoadBalancers>,
    nodes: Vec<Arc<Node>>,
}

impl Real {
    async fn start() -> Option<Self> {
        let text = std::fs::read_to_string(std::env::var_os("OPENSTACK_CLOUD_CONF")?).unwrap();
        let (settings, _) = config::parse(Some(&text), &Surroundings::new(BTreeMap::new(), Vec::new())).unwrap();
        let metrics = Metrics::new();
        let client = Client::connect(settings.client.clone(), Gate::open(), &metrics).await.unwrap();
        let balancers = load_balancers(client.clone(), settings.load_balancer, "e2e".into(), None, &metrics);
        let mut real = Self { client, balancers, nodes: Vec::new() };
        real.nodes = real.find_nodes(&std::env::var("OPENSTACK_NODES").unwrap()).await;
        Some(real)
    }

    async fn find_nodes(&self, prefix: &str) -> Vec<Arc<Node>> {
        let service = cloud_provider_openstack::client::Service::Compute;
        let pattern = format!("^{prefix}");
        let filter = [("name", pattern.as_str())];
        let servers: Vec<Value> =
            self.client.list(service, "server_list", &["servers", "detail"], "servers", &filter).await.unwrap();
        let node = |server: &Value| {
            let addresses = server["addresses"].as_object().unwrap().values().flat_map(|it| it.as_array().unwrap());
            let addresses: Vec<Value> =
                addresses.map(|it| json!({ "type": "InternalIP", "address": it["addr"] })).collect();
            let id = server["id"].as_str().unwrap();
            let node = json!({ "metadata": { "name": server["name"] },
                "spec": { "providerID": format!("openstack:///{id}") }, "status": { "addresses": addresses } });
            Arc::new(serde_json::from_value(node).unwrap())
        };
        servers.iter().map(node).collect()
    }

    fn scope(&self, service: &Service, wanted: bool) -> Scope {
        let (yes, no) = (vec![Arc::new(service.clone())], Vec::new());
        let (wanted, unwanted) = if wanted { (yes, no) } else { (no, yes) };
        let id = self.balancers.scope(service);
        Scope { id, cluster_name: "e2e".into(), wanted, unwanted, nodes: self.nodes.clone().into() }
    }

    async fn round(&self, service: &mut Service, wanted: bool, mode: Mode) -> Vec<String> {
        let started = Instant::now();
        let mut outcome = self.balancers.sync(&self.scope(service, wanted), mode).await;
        let result = outcome.services.remove(&service.key()).unwrap();
        assert!(result.error.is_none(), "{:?}", result.error);
        if let ServiceState::Present(status) = result.state {
            service.status.load_balancer = status;
        }
        let annotations = service.metadata.annotations.get_or_insert_default();
        annotations.extend(result.annotations.into_iter().filter_map(|(key, value)| Some((key, value?))));
        println!("{mode:?}, wanted {wanted}: {:.1?}", started.elapsed());
        let changes: Vec<String> = outcome.changes.into_iter().map(|change| change.what).collect();
        changes.iter().for_each(|change| println!("  {change}"));
        changes
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_balancer_comes_changes_and_goes() {
    let Some(mut real) = Real::start().await else { return };
    let uid = std::process::id();
    let service = json!({
        "metadata": { "namespace": "default", "name": format!("e2e-{uid}"), "uid": format!("e2e-{uid}") },
        "spec": { "type": "LoadBalancer", "ipFamilies": ["IPv4"], "ports": [
            { "name": "http", "protocol": "TCP", "port": 80, "nodePort": 30080 },
            { "name": "https", "protocol": "TCP", "port": 443, "nodePort": 30443 },
        ] },
    });
    let mut service: Service = serde_json::from_value(service).unwrap();
    assert!(!real.round(&mut service, true, Mode::Full).await.is_empty());
    assert!(!service.status.load_balancer.ingress.is_empty());
    assert!(real.round(&mut service, true, Mode::Full).await.is_empty(), "a second round changes nothing");
    let last = real.nodes.pop().unwrap();
    assert_eq!(real.round(&mut service, true, Mode::Backends).await.len(), 2, "one batched update for each pool");
    real.nodes.push(last);
    service
        .metadata
        .annotations
        .get_or_insert_default()
        .insert("loadbalancer.openstack.org/x-forwarded-for".into(), "true".into());
    real.round(&mut service, true, Mode::Full).await;
    assert!(real.round(&mut service, true, Mode::Full).await.is_empty());
    real.round(&mut service, false, Mode::Full).await;
    assert!(real.round(&mut service, false, Mode::Full).await.is_empty(), "nothing is left");
}
