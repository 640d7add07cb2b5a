//! A cluster with a controller that reaches the API server through a proxy.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use cloud_provider_testing::ControlPlane;
use cloud_provider_testing::cloud::{Backend, Operation, Served, controller};
use cloud_provider_testing::conformance::eventually;
use cloud_provider_testing::control_plane::{Options, client};
use cloud_provider_testing::objects::{KubeletNode, LoadBalancerService, UNINITIALIZED, register_nodes};
use cloud_provider_testing::process::Process;
use cloud_provider_testing::proxy::Proxy;
use k8s_openapi::api::core::v1::{Node, Service};
use kube::api::{Api, DeleteParams, ListParams};
use kube::{Client, ResourceExt as _};
use tokio::time::Instant;

/// How long it may take until all is as it should be, once nothing goes wrong any more.
pub(crate) const SOON: Duration = Duration::from_secs(120);
/// Calls that were in flight when the trouble began, and those that find out, are not counted.
const ONSET: Duration = Duration::from_secs(2);
/// Calls a second to what fails.
const LIMIT: usize = 5;

pub(crate) struct Cluster {
    pub(crate) plane: ControlPlane,
    pub(crate) client: Client,
    pub(crate) proxy: Proxy,
    pub(crate) backend: Arc<Backend>,
    cloud: Served,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        let options = Options { audit_reads: true, ..Options::default() };
        let plane = ControlPlane::start(options).await.unwrap();
        let admin = plane.client().await.unwrap();
        let kubeconfig = plane.kubeconfig_for_user("controller", &["system:masters"]).unwrap();
        let proxy = Proxy::start(&plane, &kubeconfig).await.unwrap();
        let backend = Backend::new();
        let cloud = backend.serve(0).await.unwrap();
        Self { client: admin, proxy, backend, cloud, plane }
    }

    /// A controller that acts at once.
    pub(crate) fn controller(&self, name: &str) -> Process {
        let kubeconfig = self.plane.write_kubeconfig(name, &self.proxy.kubeconfig()).unwrap();
        let binary = env!("CARGO_BIN_EXE_memory-cloud-controller-manager");
        let program = controller(binary, name, &self.cloud, &self.plane, &kubeconfig).unwrap();
        program.arg("--leader-elect=false").spawn().unwrap()
    }

    /// Another connection of the admin's: those of before a restart of the API server may be broken.
    pub(crate) async fn reconnected(&self) -> Client {
        client(&self.plane.kubeconfig()).await.unwrap()
    }

    /// Starts machines and registers their nodes.
    pub(crate) async fn add_nodes(&self, numbers: std::ops::Range<usize>) {
        let names: Vec<String> = numbers.map(|nth| format!("node-{nth}")).collect();
        for name in &names {
            self.backend.start_machine(name);
        }
        let nodes = names.iter().map(KubeletNode::new).collect();
        register_nodes(&self.reconnected().await, nodes, Duration::ZERO).await.unwrap();
    }

    pub(crate) async fn add_services(&self, numbers: std::ops::Range<usize>) {
        let client = self.reconnected().await;
        for nth in numbers {
            LoadBalancerService::new("default", format!("service-{nth}")).tcp(80).create(&client).await.unwrap();
        }
    }

    pub(crate) async fn delete_service(&self, nth: usize) {
        let api: Api<Service> = Api::namespaced(self.reconnected().await, "default");
        api.delete(&format!("service-{nth}"), &DeleteParams::default()).await.unwrap();
    }

    /// Deletes a node after its machine has gone, as an autoscaler does.
    pub(crate) async fn remove_node(&self, nth: usize) {
        let name = format!("node-{nth}");
        self.backend.terminate(&name);
        let api: Api<Node> = Api::all(self.reconnected().await);
        api.delete(&name, &DeleteParams::default()).await.unwrap();
    }

    /// Waits until so many nodes are initialised, and so many load balancers have them all and no others.
    pub(crate) async fn converged(&self, controller: &Process, nodes: usize, services: usize) {
        let client = self.reconnected().await;
        let result = eventually(SOON, || async {
            controller.check_running()?;
            let tainted = |node: &Node| {
                node.spec.iter().flat_map(|spec| spec.taints.iter().flatten()).any(|taint| taint.key == UNINITIALIZED)
            };
            let all = Api::<Node>::all(client.clone()).list(&ListParams::default()).await?.items;
            ensure!(all.len() == nodes, "{} nodes", all.len());
            let waiting = all.iter().filter(|node| tainted(node)).count();
            ensure!(waiting == 0, "{waiting} nodes are uninitialised");
            let balancers = self.backend.load_balancers();
            ensure!(balancers.len() == services, "{} load balancers", balancers.len());
            let complete = self.backend.balanced(nodes);
            ensure!(complete == services, "{complete} load balancers have {nodes} backends");
            let addressed = Api::<Service>::namespaced(client.clone(), "default").list(&ListParams::default()).await?;
            let addressed = addressed.items.iter().filter(|service| has_address(service)).count();
            ensure!(addressed == services, "{addressed} services with an address");
            Ok(())
        })
        .await;
        if let Err(error) = result {
            panic!("{error:#}; the controller's last words:\n{}", controller.log_tail(40));
        }
    }

    /// The UIDs of all nodes: equal later for those that were never deleted.
    pub(crate) async fn node_uids(&self) -> BTreeMap<String, String> {
        let nodes = Api::<Node>::all(self.reconnected().await).list(&ListParams::default()).await.unwrap().items;
        nodes.into_iter().map(|node| (node.name_any(), node.uid().unwrap())).collect()
    }

    /// Load balancers that were made and removed so far.
    pub(crate) fn made_and_removed(&self) -> (u64, u64) {
        (self.backend.count(Operation::CreateLoadBalancer), self.backend.count(Operation::DeleteLoadBalancer))
    }

    /// Fails when the cloud got more calls in any second of the trouble than a server that fails should get.
    pub(crate) fn assert_cloud_was_spared(&self, begun: Instant, ended: Instant) {
        let calls = self.backend.calls();
        let times: Vec<Instant> = calls.iter().map(|call| call.begun).collect();
        assert_few(&times, begun, ended, || {
            calls.iter().filter(|call| call.begun > begun).map(|call| call.operation.to_string()).collect()
        });
    }

    /// The same for the API server.
    pub(crate) fn assert_api_server_was_spared(&self, begun: Instant, ended: Instant) {
        let seen = self.proxy.seen();
        let times: Vec<Instant> = seen.iter().map(|request| request.at).collect();
        assert_few(&times, begun, ended, || {
            let during = seen.iter().filter(|request| request.at > begun && request.at < ended);
            during.map(|request| format!("{} {}", request.method, request.path)).collect()
        });
    }
}

fn has_address(service: &Service) -> bool {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    status.and_then(|balancer| balancer.ingress.as_ref()).is_some_and(|ingress| !ingress.is_empty())
}

fn assert_few(times: &[Instant], begun: Instant, ended: Instant, all: impl Fn() -> Vec<String>) {
    let second = Duration::from_secs(1);
    let mut from = begun + ONSET;
    let (mut most, mut sum) = (0, 0);
    while from + second <= ended {
        let count = times.iter().filter(|at| **at >= from && **at < from + second).count();
        assert!(count <= LIMIT, "{count} calls in one second: {:?}", all());
        most = most.max(count);
        sum += count;
        from += second;
    }
    eprintln!("at most {most} calls a second, {sum} in {:.0} s", (ended - begun - ONSET).as_secs_f64());
}
