//! What a large cluster costs: the controller manager itself, on a real control plane.

use std::time::Duration;

use anyhow::ensure;
use cloud_provider_openstack_simulator::{Options, Seed, Simulator};
use cloud_provider_testing::{
    conformance::{Election, Start, Subject as _, eventually},
    control_plane::{self, ControlPlane},
    objects::{KubeletNode, UNINITIALIZED, register_nodes},
    progress::Progress,
    rbac::{self, ACCOUNT},
};
use k8s_openapi::api::core::v1::Node;
use kube::{Api, api::ListParams};

use crate::{CLUSTER, OnSimulator, roles};

const NODES: usize = 1000;
/// Of Nova and Neutron together, whatever they are for.
const CALLS: u64 = 10;

/// A cluster of that size comes under the controller's care at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_nodes_initialise_with_at_most_ten_calls_to_nova_and_neutron() {
    let simulator = Simulator::start(Options { seed: Seed::cluster(CLUSTER, 0), ..Options::default() }).await.unwrap();
    let subject = OnSimulator { simulator, routes: false };
    let names = subject.add_instances(NODES).await.unwrap();
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
    let api: Api<Node> = Api::all(client);
    let initialised = eventually(Duration::from_secs(240), || async {
        controller.check()?;
        let nodes = api.list(&ListParams::default()).await?.items;
        let taints = nodes.iter().filter_map(|node| node.spec.as_ref()?.taints.as_ref()).flatten();
        let waiting = taints.filter(|taint| taint.key == UNINITIALIZED).count();
        ensure!(nodes.len() == NODES && waiting == 0, "{waiting} of {} nodes wait", nodes.len());
        Ok(())
    });
    initialised.await.unwrap();
    let mut calls = subject.calls().await.unwrap();
    calls.retain(|action, _| action.starts_with("nova.") || action.starts_with("neutron."));
    let sum: u64 = calls.values().sum();
    assert!((1..=CALLS).contains(&sum), "{sum} calls: {calls:?}");
    controller.terminate().await.unwrap();
    subject.conclude().unwrap();
}
