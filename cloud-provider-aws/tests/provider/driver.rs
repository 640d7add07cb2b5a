//! The load balancers of a cluster in the simulator, as the service controller drives them.

use std::{collections::BTreeMap, sync::Arc};

use cloud_provider::{
    cloud::{LoadBalancers, Mode, Outcome, Scope, ServiceState},
    cluster::objects::{Node, Object, Service},
};
use cloud_provider_aws::{config, load_balancer::ElasticLoadBalancers};
use cloud_provider_aws_simulator::Seed;
use serde_json::{Value, json};

use crate::support::{Cluster, Setup};

pub(crate) const NODES: &str = "sg-0a1b2c3d4e5f60002";
const PREFIX: &str = "service.beta.kubernetes.io/aws-load-balancer-";

/// The load balancers of a cluster, as the service controller drives them.
pub(crate) struct Driver {
    pub(crate) cluster: Cluster,
    pub(crate) balancers: ElasticLoadBalancers,
}

impl Driver {
    pub(crate) async fn new(nodes: usize) -> Self {
        Self::with(Setup { seed: Seed::cluster("demo", nodes), ..Setup::default() }).await
    }

    pub(crate) async fn with(setup: Setup) -> Self {
        let cluster = Cluster::with(setup).await;
        let balancers = ElasticLoadBalancers::new(&cluster.environment);
        Self { cluster, balancers }
    }

    pub(crate) async fn round(&self, service: &Service, nodes: Vec<Arc<Node>>, wanted: bool, mode: Mode) -> Outcome {
        self.cluster.handle.reset_calls();
        self.balancers.sync(&self.scope(service, nodes, wanted), mode).await
    }

    pub(crate) fn scope(&self, service: &Service, nodes: Vec<Arc<Node>>, wanted: bool) -> Scope {
        let service = vec![Arc::new(service.clone())];
        let (wanted, unwanted) = if wanted { (service, vec![]) } else { (vec![], service) };
        let id = self.balancers.scope(wanted.first().or(unwanted.first()).unwrap());
        Scope { id, cluster_name: "kubernetes".into(), wanted, unwanted, nodes: nodes.into() }
    }

    /// Another process: it remembers nothing of load balancers.
    pub(crate) fn restart(&mut self) {
        self.balancers = ElasticLoadBalancers::new(&self.cluster.environment);
    }

    /// Another process with another cloud config.
    pub(crate) fn reconfigure(&mut self, config: &str) {
        self.cluster.environment.settings = config::parse(Some(config)).unwrap().0;
        self.restart();
    }

    /// A full round that changes something, and another one that finds nothing left to change.
    pub(crate) async fn settle(&self, service: &Service) -> Vec<String> {
        let changes = self.sync(service).await.unwrap();
        self.sync(service).await.unwrap();
        assert_eq!(self.writes(), Vec::<String>::new());
        changes
    }

    /// A full round, its failure if it had one.
    pub(crate) async fn sync(&self, service: &Service) -> Result<Vec<String>, String> {
        let outcome = self.round(service, self.cluster.nodes_by_id(), true, Mode::Full).await;
        let result = &outcome.services[&service.key()];
        match &result.error {
            Some(error) => Err(error.chain()),
            None => {
                assert!(matches!(&result.state, ServiceState::Present(status) if status.ingress[0].hostname.is_some()));
                Ok(outcome.changes.into_iter().map(|change| change.what).collect())
            }
        }
    }

    pub(crate) async fn remove(&self, service: &Service) -> Result<Vec<String>, String> {
        let outcome = self.round(service, self.cluster.nodes_by_id(), false, Mode::Full).await;
        let result = &outcome.services[&service.key()];
        match &result.error {
            Some(error) => Err(error.chain()),
            None => {
                assert_eq!(result.state, ServiceState::Absent);
                Ok(outcome.changes.into_iter().map(|change| change.what).collect())
            }
        }
    }

    /// Everything that load balancers leave in the account.
    pub(crate) fn belongings(&self) -> Value {
        let state = self.cluster.handle.state();
        let kinds = ["classic_load_balancers", "load_balancers", "listeners", "target_groups", "security_groups"];
        kinds.iter().map(|kind| ((*kind).to_owned(), state[*kind].clone())).collect::<serde_json::Map<_, _>>().into()
    }

    pub(crate) fn all(&self, kind: &str) -> Vec<Value> {
        self.belongings()[kind].as_object().unwrap().values().cloned().collect()
    }

    pub(crate) fn listeners(&self) -> Vec<String> {
        let text = |listener: &Value| format!("{} {}", listener["protocol"].as_str().unwrap(), listener["port"]);
        let mut all: Vec<String> = self.all("listeners").iter().map(text).collect();
        all.sort();
        all
    }

    pub(crate) fn targets(&self) -> BTreeMap<String, usize> {
        let count = |group: &Value| {
            let port = format!("{} {}", group["protocol"].as_str().unwrap(), group["port"]);
            (port, group["targets"].as_array().unwrap().len())
        };
        self.all("target_groups").iter().map(count).collect()
    }

    pub(crate) fn rules(&self, group: &str) -> usize {
        self.belongings()["security_groups"][group]["ingress"].as_array().unwrap().len()
    }

    pub(crate) fn writes(&self) -> Vec<String> {
        let is_write = |action: &&String| !action.contains(".Describe") && !action.starts_with("IMDS");
        self.cluster.handle.counts().keys().filter(is_write).cloned().collect()
    }

    pub(crate) fn reads(&self) -> u64 {
        let counts = self.cluster.handle.counts();
        counts.iter().filter(|(action, _)| action.contains(".Describe")).map(|(_, count)| count.calls).sum()
    }
}

pub(crate) fn service(uid: &str, ports: Value, annotations: &[(&str, &str)]) -> Service {
    serde_json::from_value(object(uid, ports, annotations)).unwrap()
}

pub(crate) fn object(uid: &str, ports: Value, annotations: &[(&str, &str)]) -> Value {
    let mut all = serde_json::Map::from_iter([(format!("{PREFIX}type"), json!("nlb"))]);
    all.extend(annotations.iter().map(|(key, value)| (format!("{PREFIX}{key}"), json!(value))));
    json!({
        "metadata": {"name": format!("web-{uid}"), "namespace": "default", "uid": uid, "annotations": all},
        "spec": {"type": "LoadBalancer", "sessionAffinity": "None", "externalTrafficPolicy": "Cluster", "ports": ports},
    })
}

pub(crate) fn tcp(port: i32, node_port: i32) -> Value {
    json!({"name": format!("p{port}"), "protocol": "TCP", "port": port, "nodePort": node_port})
}
