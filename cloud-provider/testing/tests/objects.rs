//! What kubelets write, on a real API server.

use std::time::Duration;

use cloud_provider_testing::ControlPlane;
use cloud_provider_testing::control_plane::{self, Options};
use cloud_provider_testing::objects::{
    Heartbeats, KubeletNode, LoadBalancerService, Pace, UNINITIALIZED, register_nodes, set_ready,
};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams};

fn ready(node: &Node) -> Option<String> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    Some(conditions.iter().find(|condition| condition.type_ == "Ready")?.status.clone())
}

#[tokio::test]
async fn nodes_register_over_a_time_and_keep_beating() {
    let plane = ControlPlane::start(Options::default()).await.unwrap();
    let client = plane.client().await.unwrap();
    let names: Vec<String> = (0..100).map(|n| format!("node-{n}")).collect();
    let nodes = names.iter().map(|name| KubeletNode::new(name).with_images()).collect();
    let took = register_nodes(&client, nodes, Duration::from_secs(2)).await.unwrap();
    assert!(took >= Duration::from_millis(1900), "{took:?}");

    let api: Api<Node> = Api::all(client.clone());
    let listed = api.list(&ListParams::default()).await.unwrap().items;
    assert_eq!(listed.len(), 100);
    for node in &listed {
        let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
        assert!(taints.iter().any(|taint| taint.key == UNINITIALIZED));
        assert_eq!(node.status.as_ref().and_then(|status| status.images.as_ref()).map(Vec::len), Some(50));
        assert_eq!(ready(node).as_deref(), Some("True"));
    }

    let second = Duration::from_secs(1);
    let heartbeats = Heartbeats::start(&client, &names, Pace { status: second, lease: second });
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (written, failed) = (heartbeats.written(), heartbeats.failed());
    drop(heartbeats);
    eprintln!("{written} heartbeats in 3 s");
    assert!(written > 200 && failed == 0, "{written} written, {failed} failed");
    let counts = plane.audit().accepted_writes(|request| request.resource == "leases" && request.user == "admin");
    let leases: usize = counts.unwrap().into_iter().filter(|(kind, _)| kind.verb == "create").map(|(_, n)| n).sum();
    assert_eq!(leases, 100);
}

#[tokio::test]
async fn a_silent_node_becomes_unknown_and_a_speaking_one_ready() {
    let plane = control_plane::shared().await.unwrap();
    let client = plane.client().await.unwrap();
    let name = control_plane::unique("node");
    register_nodes(&client, vec![KubeletNode::new(&name).not_ready()], Duration::ZERO).await.unwrap();
    let api: Api<Node> = Api::all(client.clone());
    assert_eq!(ready(&api.get(&name).await.unwrap()).as_deref(), Some("False"));
    set_ready(&client, &name, false).await.unwrap();
    assert_eq!(ready(&api.get(&name).await.unwrap()).as_deref(), Some("Unknown"));
    set_ready(&client, &name, true).await.unwrap();
    assert_eq!(ready(&api.get(&name).await.unwrap()).as_deref(), Some("True"));
}

#[tokio::test]
async fn a_load_balancer_service_gets_its_node_ports() {
    let plane = control_plane::shared().await.unwrap();
    let client = plane.client().await.unwrap();
    let namespace = control_plane::namespace(&client, "services").await.unwrap();
    let service = LoadBalancerService::new(&namespace, "web").tcp(80).tcp(443).udp(53);
    let service = service.annotation("example.com/kind", "nlb").spec("externalTrafficPolicy", "Local");
    let created = service.create(&client).await.unwrap();
    let spec = created.spec.unwrap();
    let ports = spec.ports.unwrap();
    assert_eq!(ports.len(), 3);
    assert!(ports.iter().all(|port| port.node_port.is_some()));
    assert!(spec.health_check_node_port.is_some());
}
