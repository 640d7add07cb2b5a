//! The controller manager on the scriptable cloud, as processes of their own.

#![expect(clippy::unwrap_used, reason = "a failing helper fails its test")]

use std::sync::Arc;
use std::time::Duration;

use cloud_provider::error::Kind;
use cloud_provider_testing::ControlPlane;
use cloud_provider_testing::cloud::{Backend, Fault, Operation, Rule, controller};
use cloud_provider_testing::conformance::{Allocator, eventually};
use cloud_provider_testing::control_plane::Options;
use cloud_provider_testing::http::Endpoint;
use cloud_provider_testing::objects::{KubeletNode, LoadBalancerService, UNINITIALIZED, register_nodes};
use http::Method;
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client};
use serde_json::json;

const BINARY: &str = env!("CARGO_BIN_EXE_memory-cloud-controller-manager");
const SOON: Duration = Duration::from_secs(60);

async fn schedulable(client: &Client) -> usize {
    let nodes = Api::<Node>::all(client.clone()).list(&Default::default()).await.unwrap().items;
    let tainted = |node: &Node| {
        node.spec.iter().flat_map(|spec| spec.taints.iter().flatten()).any(|taint| taint.key == UNINITIALIZED)
    };
    nodes.iter().filter(|node| !tainted(node)).count()
}

async fn balanced(backend: &Arc<Backend>, backends: usize) {
    eventually(SOON, || async {
        let balancers = backend.load_balancers();
        anyhow::ensure!(balancers.len() == 1, "there are {} load balancers", balancers.len());
        anyhow::ensure!(balancers[0].backends.len() == backends, "{} backends", balancers[0].backends.len());
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_share_a_cloud_that_outlives_them() {
    let plane = ControlPlane::start(Options::default()).await.unwrap();
    let client = plane.client().await.unwrap();
    let kubeconfig = plane.write_kubeconfig("ccm", &plane.kubeconfig()).unwrap();
    let backend = Backend::new();
    let cloud = backend.serve(0).await.unwrap();
    backend.inject(Rule::on(Operation::DescribeMachines, Fault::Error(Kind::Transient)).times(1));

    let control = Endpoint::new(&cloud.url()).unwrap();
    let names: Vec<String> = (0..3).map(|n| format!("node-{n}")).collect();
    let ids = control.send_json(Method::POST, "/control/machines", &json!({ "names": names })).await.unwrap();
    assert_eq!(ids, json!(["vm-1", "vm-2", "vm-3"]));
    control.send_json(Method::PUT, "/control/pace", &json!({ "latency_ms": 5 })).await.unwrap();

    let start = |name: &str| {
        let program = controller(BINARY, name, &cloud, &plane, &kubeconfig).unwrap();
        program.arg("--leader-elect-retry-period=1s").spawn().unwrap()
    };
    let first = start("first");
    register_nodes(&client, names.iter().map(KubeletNode::new).collect(), Duration::ZERO).await.unwrap();
    LoadBalancerService::new("default", "web").tcp(80).create(&client).await.unwrap();
    balanced(&backend, 3).await;
    assert_eq!(schedulable(&client).await, 3);

    let second = start("second");
    first.terminate(Duration::from_secs(20)).await.unwrap();
    let name = "node-3".to_owned();
    backend.start_machine(&name);
    register_nodes(&client, vec![KubeletNode::new(&name)], Duration::ZERO).await.unwrap();
    balanced(&backend, 4).await;
    second.check_running().unwrap();
    assert_eq!(backend.count(Operation::CreateLoadBalancer), 1, "what is there is found again");

    let calls = control.get_json("/control/calls").await.unwrap();
    assert_eq!(calls["DescribeMachines"]["failed"], 1, "{calls}");
    assert_eq!(calls["CreateLoadBalancer"], json!({ "calls": 1, "failed": 0 }));
}

/// The start conditions of the route controller, on a cloud that has routes.
#[tokio::test(flavor = "multi_thread")]
async fn routes_need_their_ranges_or_are_turned_off() {
    let plane = ControlPlane::start(Options::default()).await.unwrap();
    let kubeconfig = plane.write_kubeconfig("ccm", &plane.kubeconfig()).unwrap();
    let backend = Backend::new();
    let cloud = backend.serve(0).await.unwrap();
    let config = plane.dir().join("routes.conf");
    std::fs::write(&config, format!("{}\nRoutes = true\n", cloud.cloud_config())).unwrap();
    let start = |name: &str, flags: &[&str]| {
        let program = controller(BINARY, name, &cloud, &plane, &kubeconfig).unwrap();
        let program = program.arg("--leader-elect=false").arg(format!("--cloud-config={}", config.display()));
        program.args(flags).spawn().unwrap()
    };

    for (name, flag) in [
        ("empty", "--cluster-cidr="),
        ("no-cidr", "--cluster-cidr=10.244.0.0"),
        ("one-family", "--cluster-cidr=10.244.0.0/16,10.245.0.0/16"),
        ("three", "--cluster-cidr=10.244.0.0/16,fd00::/48,fd01::/48"),
    ] {
        let refused = start(name, &[flag]);
        assert_eq!(refused.wait(SOON).await.unwrap().code(), Some(1), "{name}");
        let log = refused.log();
        assert!(log.contains("--cluster-cidr: ") && log.contains("--configure-cloud-routes=false"), "{name}: {log}");
    }
    let off = start("off", &["--configure-cloud-routes=false"]);
    let disabled = start("disabled", &["--controllers=*,-route"]);
    for (name, gate) in [("timer", "false"), ("watch", "true")] {
        backend.forget_calls();
        let gate = format!("--feature-gates=CloudControllerManagerWatchBasedRoutesReconciliation={gate}");
        let on = start(name, &["--cluster-cidr=10.244.0.0/16,fd00::/48", &gate]);
        eventually(SOON, || async {
            on.check_running()?;
            anyhow::ensure!(backend.count(Operation::DescribeRoutes) > 0, "routes are not listed");
            Ok(())
        })
        .await
        .unwrap();
        assert!(!on.log().contains("not in effect"), "{}", on.log());
    }
    backend.forget_calls();
    for process in [off, disabled] {
        process.check_running().unwrap();
    }
    assert_eq!(backend.count(Operation::DescribeRoutes), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn node_ipam_allocates_as_the_flags_say() {
    let plane = ControlPlane::start(Options::default()).await.unwrap();
    let client = plane.client().await.unwrap();
    let kubeconfig = plane.write_kubeconfig("ccm", &plane.kubeconfig()).unwrap();
    let backend = Backend::new();
    let cloud = backend.serve(0).await.unwrap();
    for (name, allocator) in [("by-cluster", Allocator::Cluster), ("by-cloud", Allocator::Cloud)] {
        backend.start_machine(name);
        register_nodes(&client, vec![KubeletNode::new(name)], Duration::ZERO).await.unwrap();
        let program = controller(BINARY, name, &cloud, &plane, &kubeconfig).unwrap();
        let running = program.args(allocator.flags()).arg("--leader-elect=false").spawn().unwrap();
        let node = eventually(SOON, || async {
            let node = Api::<Node>::all(client.clone()).get(name).await?;
            anyhow::ensure!(node.spec.as_ref().is_some_and(|spec| spec.pod_cidr.is_some()), "{name} has no range");
            Ok(node)
        })
        .await
        .unwrap();
        let cidrs = node.spec.unwrap().pod_cidrs.unwrap();
        match allocator {
            Allocator::Cluster => assert_eq!(cidrs, ["10.200.16.0/24", "fd00:200:0:10::/64"]),
            Allocator::Cloud => assert_eq!(cidrs, backend.machine_of(name).unwrap().pod_ranges.unwrap()[..1]),
        }
        running.terminate(Duration::from_secs(20)).await.unwrap();
    }
}

#[tokio::test]
async fn a_control_request_that_makes_no_sense_is_refused() {
    let cloud = Backend::new().serve(0).await.unwrap();
    let control = Endpoint::new(&cloud.url()).unwrap();
    for (method, path) in [(Method::GET, "/control/elephants"), (Method::POST, "/control/faults")] {
        let refused = control.send(method, path, &[], "{}").await.unwrap_err().to_string();
        assert!(refused.contains("status 400"), "{refused}");
    }
    let fault = json!({ "operation": "SetBackends", "fault": { "Error": { "Denied": { "permission": null } } } });
    control.send_json(Method::POST, "/control/faults", &fault).await.unwrap();
}
