//! What a large cluster costs: the controller manager itself, on a real control plane.

use std::time::{Duration, Instant};

use anyhow::ensure;
use cloud_provider_openstack_simulator::{Options, Seed, Simulator};
use cloud_provider_testing::{
    conformance::{Controller, Election, Start, Subject as _, eventually},
    control_plane::{self, ControlPlane},
    objects::{KubeletNode, LoadBalancerService, UNINITIALIZED, register_nodes},
    progress::Progress,
    rbac::{self, ACCOUNT},
};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{Node, Service, ServiceStatus};
use kube::{Api, Client, ResourceExt as _, api::ListParams};

use crate::{
    controller::{CLUSTER, Calls},
    roles,
    simulator::{OnSimulator, is_write},
};

const NODES: usize = 1000;
/// Of Nova and Neutron together, whatever they are for.
const CALLS: u64 = 10;

/// How long Octavia takes for each change of a load balancer.
const PENDING_MS: u64 = 2000;
const SERVICES: usize = 100;
/// Beside half of the time of one alone. A second does on an idle machine with an optimised controller; here tests of several clouds
/// share two cores. One after the other they would take 200 seconds.
const SLACK: Duration = Duration::from_secs(100);

/// A control plane and a controller on a simulator.
struct Cluster {
    // Ended in this order.
    controller: Box<dyn Controller>,
    plane: ControlPlane,
    subject: OnSimulator,
    client: Client,
}

impl Cluster {
    /// With so many nodes, which register before the controller starts.
    async fn start(nodes: usize) -> Self {
        let simulator =
            Simulator::start(Options { seed: Seed::cluster(CLUSTER, 0), ..Options::default() }).await.unwrap();
        let subject = OnSimulator { simulator, routes: None };
        let names = subject.add_instances(nodes).await.unwrap();
        let options = control_plane::Options { progress: Progress::silent(), ..control_plane::Options::default() };
        let plane = ControlPlane::start(options).await.unwrap();
        let client = plane.client().await.unwrap();
        rbac::grant(&client, roles::upstream()).await.unwrap();
        let nodes = names.iter().map(|name| KubeletNode::new(name).with_images()).collect();
        register_nodes(&client, nodes, Duration::ZERO).await.unwrap();
        let kubeconfig = plane.kubeconfig_for_service_account("kube-system", ACCOUNT).await.unwrap();
        let kubeconfig = plane.write_kubeconfig(ACCOUNT, &kubeconfig).unwrap();
        let start = Start {
            kubeconfig: &kubeconfig,
            dir: plane.dir(),
            name: "controller",
            election: Election::Off,
            allocator: None,
        };
        let controller = subject.start(start).await.unwrap();
        Self { controller, plane, subject, client }
    }

    /// Waits until all nodes can be scheduled to.
    async fn initialised(&self, nodes: usize) {
        let api: Api<Node> = Api::all(self.client.clone());
        let initialised = eventually(Duration::from_secs(240), || async {
            self.controller.check()?;
            let all = api.list(&ListParams::default()).await?.items;
            let taints = all.iter().filter_map(|node| node.spec.as_ref()?.taints.as_ref()).flatten();
            let waiting = taints.filter(|taint| taint.key == UNINITIALIZED).count();
            ensure!(all.len() == nodes && waiting == 0, "{waiting} of {} nodes wait", all.len());
            Ok(())
        });
        initialised.await.unwrap();
    }

    /// Creates services at the same time and gives how long it takes until all have an address.
    async fn provision(&self, prefix: &str, count: usize) -> Duration {
        let begun = Instant::now();
        let service = |nth| LoadBalancerService::new("default", format!("{prefix}-{nth}")).tcp(80);
        let services: Vec<_> = (0..count).map(service).collect();
        try_join_all(services.iter().map(|service| service.create(&self.client))).await.unwrap();
        let api: Api<Service> = Api::default_namespaced(self.client.clone());
        let provisioned = eventually(Duration::from_secs(240), || async {
            self.controller.check()?;
            let all = api.list(&ListParams::default()).await?.items;
            let ready = |service: &&Service| {
                let ingress =
                    |status: &ServiceStatus| Some(!status.load_balancer.as_ref()?.ingress.as_ref()?.is_empty());
                service.name_any().starts_with(prefix) && service.status.as_ref().and_then(ingress) == Some(true)
            };
            let ready = all.iter().filter(ready).count();
            ensure!(ready == count, "{ready} of {count} load balancers are ready");
            Ok(())
        });
        provisioned.await.unwrap();
        begun.elapsed()
    }

    async fn end(self) {
        self.controller.terminate().await.unwrap();
        self.subject.conclude().unwrap();
        drop(self.plane);
    }
}

/// A cluster of that size comes under the controller's care at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_nodes_initialise_with_at_most_ten_calls_to_nova_and_neutron() {
    let cluster = Cluster::start(NODES).await;
    cluster.initialised(NODES).await;
    let mut calls = cluster.subject.calls().await.unwrap();
    calls.retain(|action, _| action.starts_with("nova.") || action.starts_with("neutron."));
    let sum: u64 = calls.values().sum();
    assert!((1..=CALLS).contains(&sum), "{sum} calls: {calls:?}");
    cluster.end().await;
}

/// All are worked on at the same time, and a node that joins costs one change of each pool.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_load_balancers_take_hardly_longer_than_one() {
    let cluster = Cluster::start(3).await;
    cluster.initialised(3).await;
    let handle = cluster.subject.simulator.handle();
    handle.adjust(|knobs| {
        let delays = &mut knobs.delays;
        for delay in [
            &mut delays.load_balancer_create_ms,
            &mut delays.load_balancer_update_ms,
            &mut delays.load_balancer_delete_ms,
        ] {
            *delay = PENDING_MS;
        }
    });
    let alone = cluster.provision("alone", 1).await;
    let together = cluster.provision("web", SERVICES).await;
    println!("one load balancer takes {alone:.1?}, {SERVICES} take {together:.1?}");
    assert!(together < alone.mul_f64(1.5) + SLACK, "one takes {alone:.1?}, {SERVICES} take {together:.1?}");

    // What the first rounds brought has settled.
    tokio::time::sleep(Duration::from_secs(3)).await;
    handle.reset_calls();
    let names = cluster.subject.add_instances(1).await.unwrap();
    register_nodes(&cluster.client, names.iter().map(KubeletNode::new).collect(), Duration::ZERO).await.unwrap();
    let pools = u64::try_from(SERVICES + 1).unwrap();
    let told = eventually(Duration::from_secs(60), || async {
        let updates = handle.count("octavia.UpdateMembers");
        ensure!(updates == pools, "{updates} updates of members for {pools} pools");
        ensure!(handle.all("members").len() == 4 * (SERVICES + 1), "members are missing");
        Ok(())
    });
    told.await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut calls = cluster.subject.calls().await.unwrap();
    calls.retain(|call, _| is_write(call) && call.starts_with("octavia."));
    assert_eq!(calls, Calls::from([("octavia.UpdateMembers".to_owned(), pools)]));
    cluster.end().await;
}
