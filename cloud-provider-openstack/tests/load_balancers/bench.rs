//! Services, the simulator, and what the service controller would do between them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use cloud_provider::{
    Kind,
    cloud::{Gate, LoadBalancers, Mode, Outcome, Scope, ServiceOutcome, ServiceState},
    cluster::objects::{Node, Object, Service},
    metrics::Metrics,
};
use cloud_provider_openstack::{
    client::Client,
    config::{self, Surroundings},
    load_balancer::load_balancers,
};
use cloud_provider_openstack_simulator::{Handle, Ids, Knobs, Options, PASSWORD, Seed, Simulator};
use serde_json::{Value, json};

pub(crate) const PREFIX: &str = "loadbalancer.openstack.org/";

/// A cloud with some servers, which are nodes, and the load balancers of a controller.
pub(crate) struct Bench {
    simulator: Simulator,
    pub(crate) handle: Handle,
    pub(crate) ids: Ids,
    balancers: Arc<dyn LoadBalancers>,
    pub(crate) nodes: Vec<Arc<Node>>,
    pub(crate) cluster: &'static str,
}

/// How a bench is set up.
pub(crate) struct Setup {
    pub(crate) nodes: usize,
    pub(crate) dual_stack: bool,
    /// Lines of `[LoadBalancer]`, and sections after it.
    pub(crate) config: String,
    pub(crate) knobs: Knobs,
}

impl Setup {
    pub(crate) fn new(nodes: usize) -> Self {
        Self { nodes, dual_stack: false, config: String::new(), knobs: Knobs::default() }
    }

    pub(crate) fn with(self, line: &str) -> Self {
        Self { config: format!("{}{line}\n", self.config), ..self }
    }

    pub(crate) fn knobs(mut self, change: impl FnOnce(&mut Knobs)) -> Self {
        change(&mut self.knobs);
        self
    }

    pub(crate) async fn start(self) -> Bench {
        let seed = if self.dual_stack { Seed::dual_stack_cluster } else { Seed::cluster }("demo", self.nodes);
        let simulator = Simulator::start(Options { seed, knobs: self.knobs, ..Options::default() }).await.unwrap();
        let handle = simulator.handle();
        let balancers = controller(&simulator, &self.config, Gate::open()).await;
        handle.reset_calls();
        let mut bench =
            Bench { simulator, handle, ids: Ids::default(), balancers, nodes: Vec::new(), cluster: "kubernetes" };
        bench.nodes = bench.all_nodes();
        bench
    }
}

async fn controller(simulator: &Simulator, config: &str, gate: Gate) -> Arc<dyn LoadBalancers> {
    let ids = Ids::default();
    let text = format!(
        "[Global]\nauth-url = {}\nusername = demo\npassword = {PASSWORD}\ntenant-name = demo\ndomain-id = default\nregion = RegionOne\n\
         [LoadBalancer]\nfloating-network-id = {}\nsubnet-id = {}\ncreate-monitor = true\n{config}",
        simulator.auth_url(),
        ids.public_network,
        ids.subnet,
    );
    let (settings, _) = config::parse(Some(&text), &Surroundings::new(BTreeMap::new(), Vec::new())).unwrap();
    let metrics = Metrics::new();
    let client = Client::connect(settings.client.clone(), gate, &metrics).await.unwrap();
    load_balancers(client, settings.load_balancer, "kubernetes".into(), None, &metrics)
}

/// A service of type LoadBalancer; ports as `TCP 80 30080`.
pub(crate) fn service(name: &str, ports: &[&str], annotations: Value) -> Service {
    let port = |text: &&str| {
        let parts: Vec<&str> = text.split(' ').collect();
        let number = |text: &str| text.parse::<i32>().unwrap();
        json!({ "name": format!("p{}", parts[1]), "protocol": parts[0], "port": number(parts[1]), "nodePort": number(parts[2]) })
    };
    let ports: Vec<Value> = ports.iter().map(port).collect();
    serde_json::from_value(json!({
        "metadata": { "namespace": "default", "name": name, "uid": format!("uid-of-{name}"), "annotations": annotations },
        "spec": { "type": "LoadBalancer", "ipFamilies": ["IPv4"], "ports": ports },
    }))
    .unwrap()
}

pub(crate) fn annotate(service: &mut Service, name: &str, value: &str) {
    let key = if name.contains('/') { name.to_owned() } else { format!("{PREFIX}{name}") };
    service.metadata.annotations.get_or_insert_default().insert(key, value.to_owned());
}

pub(crate) fn annotation<'a>(service: &'a Service, name: &str) -> &'a str {
    service.annotation(&format!("{PREFIX}{name}")).unwrap_or_default()
}

impl Bench {
    pub(crate) fn all_nodes(&self) -> Vec<Arc<Node>> {
        self.handle.ids("servers").iter().map(|id| Arc::new(self.node(id))).collect()
    }

    fn node(&self, server: &str) -> Node {
        let port = self.port_of(server);
        let addresses: Vec<Value> = port["fixed_ips"]
            .as_array()
            .unwrap()
            .iter()
            .map(|ip| json!({ "type": "InternalIP", "address": ip["ip_address"] }))
            .collect();
        serde_json::from_value(json!({
            "metadata": { "name": self.handle.get("servers", server).unwrap()["name"] },
            "spec": { "providerID": format!("openstack:///{server}") },
            "status": { "addresses": addresses },
        }))
        .unwrap()
    }

    pub(crate) fn port_of(&self, server: &str) -> Value {
        let ports = self.handle.all("ports");
        Value::Object(ports.into_iter().find(|port| port["device_id"] == server).unwrap())
    }

    /// A controller that starts anew, as after a crash.
    pub(crate) async fn restart(&mut self, config: &str) {
        self.balancers = controller(&self.simulator, config, Gate::open()).await;
    }

    fn scope(&self, service: &Service, wanted: bool) -> Scope {
        let (yes, no) = (vec![Arc::new(service.clone())], Vec::new());
        let (wanted, unwanted) = if wanted { (yes, no) } else { (no, yes) };
        Scope {
            id: self.balancers.scope(service),
            cluster_name: self.cluster.into(),
            wanted,
            unwanted,
            nodes: self.nodes.clone().into(),
        }
    }

    /// One round, whose outcome is written on the service as the controller does.
    pub(crate) async fn round(&self, service: &mut Service, mode: Mode) -> (Outcome, ServiceOutcome) {
        let mut outcome = self.balancers.sync(&self.scope(service, true), mode).await;
        let result = outcome.services.remove(&service.key()).unwrap();
        let annotations = service.metadata.annotations.get_or_insert_default();
        for (key, value) in &result.annotations {
            match value {
                Some(value) => _ = annotations.insert(key.clone(), value.clone()),
                None => _ = annotations.remove(key),
            }
        }
        if let ServiceState::Present(status) = &result.state {
            service.status.load_balancer = status.clone();
        }
        (outcome, result)
    }

    /// A full round that succeeds. Gives what it changed.
    #[track_caller]
    pub(crate) fn ensure<'a>(&'a self, service: &'a mut Service) -> impl Future<Output = Vec<String>> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            let (outcome, result) = self.round(service, Mode::Full).await;
            assert!(result.error.is_none(), "{caller}: {:?}", result.error);
            assert!(matches!(result.state, ServiceState::Present(_)), "{caller}: {:?}", result.state);
            outcome.changes.into_iter().map(|change| change.what).collect()
        }
    }

    /// A full round that fails. Gives the text of the error.
    pub(crate) async fn refused(&self, service: &mut Service) -> String {
        let (_, result) = self.round(service, Mode::Full).await;
        result.error.unwrap_or_else(|| panic!("it succeeded: {:?}", result.state)).chain()
    }

    /// Full rounds until one succeeds, as the controller would try again. Gives how many it took.
    pub(crate) async fn settle(&self, service: &mut Service) -> usize {
        for attempt in 1..=20 {
            let (_, result) = self.round(service, Mode::Full).await;
            match result.error {
                None => return attempt,
                Some(error) if attempt == 20 => panic!("{error:?}"),
                Some(error) => pause(&error).await,
            }
        }
        unreachable!()
    }

    /// Rounds of removal until nothing is left of the service. Gives how many it took.
    pub(crate) async fn remove(&self, service: &Service) -> usize {
        for attempt in 1..=20 {
            let mut outcome = self.balancers.sync(&self.scope(service, false), Mode::Full).await;
            let result = outcome.services.remove(&service.key()).unwrap();
            match result.error {
                None => {
                    assert_eq!(result.state, ServiceState::Absent);
                    return attempt;
                }
                Some(error) if attempt == 20 => panic!("{error:?}"),
                Some(error) => pause(&error).await,
            }
        }
        unreachable!()
    }

    pub(crate) async fn backends(&self, service: &mut Service) -> Vec<String> {
        let (outcome, result) = self.round(service, Mode::Backends).await;
        assert!(result.error.is_none(), "{:?}", result.error);
        outcome.changes.into_iter().map(|change| change.what).collect()
    }

    pub(crate) async fn dry_run(&self, service: &mut Service) -> Vec<String> {
        let (outcome, _) = self.round(service, Mode::DryRun).await;
        outcome.changes.into_iter().map(|change| change.what).collect()
    }

    /// All calls since the last reset.
    pub(crate) fn calls(&self) -> u64 {
        self.handle.counts().values().map(|count| count.calls).sum()
    }

    /// Calls that change something, by action.
    pub(crate) fn writes(&self) -> BTreeMap<String, u64> {
        let reads = ["List", "Show", "Get", "Create Token", "CreateToken", "IssueToken"];
        let counts = self.handle.counts().into_iter().map(|(action, count)| (action, count.calls));
        counts
            .filter(|(action, _)| {
                let name = action.split_once('.').map_or(action.as_str(), |(_, name)| name);
                !action.starts_with("keystone") && !reads.iter().any(|read| name.starts_with(read))
            })
            .collect()
    }

    /// What a controller can make, and what it is put on, in words that are equal when nothing differs.
    pub(crate) fn belongings(&self) -> BTreeSet<String> {
        let collections = [
            "loadbalancers",
            "listeners",
            "pools",
            "members",
            "healthmonitors",
            "floatingips",
            "security-groups",
            "security-group-rules",
        ];
        let things =
            collections.iter().flat_map(|kind| self.handle.ids(kind).into_iter().map(move |id| format!("{kind} {id}")));
        let ports =
            self.handle.all("ports").into_iter().map(|port| format!("port {} {}", port["id"], port["security_groups"]));
        things.chain(ports).collect()
    }

    pub(crate) fn only(&self, collection: &str) -> Value {
        let mut all = self.handle.all(collection);
        assert_eq!(all.len(), 1, "{collection}: {all:?}");
        Value::Object(all.remove(0))
    }

    /// Names of listeners with protocol and port.
    pub(crate) fn listeners(&self) -> BTreeSet<String> {
        let all = self.handle.all("listeners");
        all.iter().map(|it| format!("{} {}", it["protocol"].as_str().unwrap(), it["protocol_port"])).collect()
    }

    /// Addresses and ports of members.
    pub(crate) fn members(&self) -> BTreeSet<String> {
        let all = self.handle.all("members");
        all.iter().map(|it| format!("{} {}", it["address"].as_str().unwrap(), it["protocol_port"])).collect()
    }
}

/// As long as an error asks for, and a moment else.
async fn pause(error: &cloud_provider::Error) {
    let wait = match error.kind() {
        Kind::Pending { retry_after } => *retry_after,
        _ => std::time::Duration::from_millis(20),
    };
    tokio::time::sleep(wait).await;
}
