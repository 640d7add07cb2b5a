//! `plan` and `audit` as a process: what they print, how they end, and that they change nothing.

#![expect(clippy::unwrap_used, reason = "a failing helper fails its test")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cloud_provider::error::Kind;
use cloud_provider_testing::ControlPlane;
use cloud_provider_testing::cloud::{Backend, Fault, MemoryCloud, Operation, Rule, Served};
use cloud_provider_testing::conformance::eventually;
use cloud_provider_testing::control_plane::Options;
use cloud_provider_testing::in_process::Controllers;
use cloud_provider_testing::objects::{KubeletNode, LoadBalancerService, register_nodes};
use cloud_provider_testing::process::{Process, Program};
use k8s_openapi::api::core::v1::Service;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_memory-cloud-controller-manager");
const SOON: Duration = Duration::from_secs(60);
/// In the user agent of every request of the program under test.
const AGENT: &str = "memory-cloud-controller-manager/";

struct Cluster {
    plane: ControlPlane,
    client: Client,
    kubeconfig: PathBuf,
    backend: Arc<Backend>,
    cloud: Served,
}

impl Cluster {
    async fn start() -> Self {
        let plane = ControlPlane::start(Options::default()).await.unwrap();
        let client = plane.client().await.unwrap();
        let kubeconfig = plane.write_kubeconfig("ccm", &plane.kubeconfig()).unwrap();
        let backend = Backend::new();
        let cloud = backend.serve(0).await.unwrap();
        Self { plane, client, kubeconfig, backend, cloud }
    }

    /// Starts the program with a word in front of the usual flags.
    fn spawn(&self, word: &str, args: &[&str]) -> Process {
        let config = self.plane.dir().join("cloud.conf");
        std::fs::write(&config, self.cloud.cloud_config()).unwrap();
        Program::new(BINARY)
            .arg(word)
            .args(["--cloud-provider=memory", "--secure-port=0"])
            .arg(format!("--cloud-config={}", config.display()))
            .arg(format!("--kubeconfig={}", self.kubeconfig.display()))
            .args(args)
            .spawn()
            .unwrap()
    }

    /// Runs it to its end: exit status and standard output.
    async fn run(&self, word: &str, args: &[&str]) -> (i32, String) {
        let process = self.spawn(word, args);
        let status = process.wait(SOON).await.unwrap();
        (status.code().unwrap(), process.out())
    }

    async fn plan(&self) -> (i32, Value) {
        let (status, out) = self.run("plan", &["--output=json"]).await;
        (status, serde_json::from_str(&out).unwrap())
    }

    /// A node with its machine.
    async fn add_node(&self, name: &str) {
        self.backend.start_machine(name);
        register_nodes(&self.client, vec![KubeletNode::new(name)], Duration::ZERO).await.unwrap();
    }

    /// What the program wrote so far, by the logs of the API server and of the cloud.
    fn writes(&self) -> (usize, usize) {
        let cluster =
            self.plane.audit().requests(|request| request.is_write() && request.user_agent.contains(AGENT)).unwrap();
        let cloud = self.backend.calls().iter().filter(|call| call.operation.is_write()).count();
        (cluster.len(), cloud)
    }

    fn services(&self) -> Api<Service> {
        Api::namespaced(self.client.clone(), "default")
    }

    async fn patch(&self, name: &str, patch: Value) {
        self.services().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }
}

/// What is planned for an object, as `target: what`.
fn planned(plan: &Value, object: &str) -> Vec<String> {
    let objects = plan["objects"].as_array().unwrap();
    let found = objects.iter().find(|found| found["object"] == object);
    let changes = found.map(|found| found["changes"].as_array().unwrap().clone()).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    changes.iter().map(|change| format!("{}: {}", text(&change["target"]), text(&change["what"]))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_says_what_a_run_then_does_and_changes_nothing() {
    let cluster = Cluster::start().await;
    assert_eq!(cluster.plan().await.0, 0, "an empty cluster");
    cluster.add_node("node-0").await;
    let web = LoadBalancerService::new("default", "web").tcp(80).create(&cluster.client).await.unwrap();

    let (status, plan) = cluster.plan().await;
    assert_eq!(status, 2, "{plan:#}");
    let name = format!("service-{}", web.metadata.uid.as_ref().unwrap());
    let port = web.spec.unwrap().ports.unwrap()[0].node_port.unwrap();
    assert_eq!(
        planned(&plan, "service default/web"),
        [
            "cluster: add finalizer service.kubernetes.io/load-balancer-cleanup".to_owned(),
            format!("cloud: open {{{port}}} in firewall {name}"),
            format!("cloud: create load balancer {name} with 1 listeners"),
            "cluster: write status.loadBalancer, which is known when the load balancer is there".to_owned(),
        ]
    );
    let node = planned(&plan, "node node-0");
    for expected in [
        "cluster: set provider ID memory://memory-1b/vm-1",
        "cluster: set label topology.kubernetes.io/zone=memory-1b",
        "cluster: remove taint node.cloudprovider.kubernetes.io/uninitialized",
    ] {
        assert!(node.iter().any(|line| line == expected), "{expected}: {node:#?}");
    }
    assert!(node[0].starts_with("cluster: set addresses InternalIP "), "{node:?}");
    assert_eq!(plan["summary"]["cloud"], 2);
    assert_eq!(plan["summary"]["errors"], 0);
    let (status, table) = cluster.run("plan", &[]).await;
    assert_eq!(status, 2);
    assert!(table.contains("OBJECT") && table.contains("Changes: 2 in the cloud"), "{table}");
    assert_eq!(cluster.writes(), (0, 0));

    // A run of the same controllers, then nothing is left to do.
    let gate = cloud_provider::cloud::Gate::open();
    let cloud = Arc::new(MemoryCloud::new(&cluster.backend, gate)) as Arc<dyn cloud_provider::cloud::Cloud>;
    let controllers = Controllers::start(&cluster.client, &cloud, Default::default());
    let converged = || async {
        let service = cluster.services().get("web").await?;
        let address = service.status.and_then(|status| status.load_balancer).and_then(|balancer| balancer.ingress);
        anyhow::ensure!(address.is_some(), "there is no address");
        anyhow::ensure!(cluster.backend.load_balancers()[0].backends.len() == 1, "no backend yet");
        Ok(())
    };
    eventually(SOON, converged).await.unwrap();
    controllers.stop().await.unwrap();
    let (status, plan) = cluster.plan().await;
    assert_eq!((status, &plan["objects"]), (0, &json!([])), "{plan:#}");

    // Drift, a wrong annotation, a removal.
    cluster.backend.remove_load_balancer(&name);
    let (status, plan) = cluster.plan().await;
    assert_eq!(status, 2);
    assert_eq!(planned(&plan, "service default/web").len(), 2, "firewall and load balancer: {plan:#}");
    let before = cluster.writes().1;
    cluster.patch("web", json!({"metadata": {"annotations": {"memory.cloud/reject": "no"}}})).await;
    let (status, plan) = cluster.plan().await;
    assert_eq!((status, &plan["summary"]["errors"]), (1, &json!(1)), "{plan:#}");
    cluster.patch("web", json!({"metadata": {"annotations": {"cloud-provider.rs/pause": "true"}}})).await;
    let (status, plan) = cluster.plan().await;
    assert_eq!((status, &plan["summary"]["notes"]), (0, &json!(1)), "{plan:#}");
    let annotations = json!({"cloud-provider.rs/pause": null, "memory.cloud/reject": null});
    cluster.patch("web", json!({"metadata": {"annotations": annotations}, "spec": {"type": "ClusterIP"}})).await;
    let (status, plan) = cluster.plan().await;
    assert_eq!(status, 2);
    let lines = planned(&plan, "service default/web");
    assert_eq!(lines[0], format!("cloud: delete firewall {name}"));
    assert_eq!(lines.last().unwrap(), "cluster: remove finalizer service.kubernetes.io/load-balancer-cleanup");
    assert_eq!(cluster.writes(), (0, before));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_is_watched_is_printed_again_only_when_it_differs() {
    let cluster = Cluster::start().await;
    let process = cluster.spawn("plan", &["--output=json", "--watch", "--interval=300ms"]);
    let lines = |count: usize| {
        let process = &process;
        move || async move {
            let out = process.out();
            anyhow::ensure!(
                out.lines().count() == count,
                "{} lines: {out}{}",
                out.lines().count(),
                process.log_tail(5)
            );
            Ok(())
        }
    };
    eventually(SOON, lines(1)).await.unwrap();
    cluster.add_node("node-0").await;
    eventually(SOON, || async {
        let out = process.out();
        let last: Value = serde_json::from_str(out.lines().last().unwrap_or_default())?;
        anyhow::ensure!(!planned(&last, "node node-0").is_empty(), "{last}");
        Ok(())
    })
    .await
    .unwrap();
    let printed = process.out().lines().count();
    let looks = cluster.backend.count(Operation::DescribeMachines);
    eventually(SOON, || async {
        anyhow::ensure!(cluster.backend.count(Operation::DescribeMachines) > looks + 3, "too few looks");
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(process.out().lines().count(), printed, "the same plan is not printed twice");
    let status = process.terminate(Duration::from_secs(10)).await.unwrap();
    assert_eq!(status.code(), Some(2), "that of the last plan");
    assert_eq!(cluster.writes(), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_is_exit_1() {
    let cluster = Cluster::start().await;
    cluster.add_node("node-0").await;
    for (args, text) in [
        (&["--nonsense"] as &[&str], "unknown flag: --nonsense"),
        (&["--output=xml"], "must be table or json"),
        (&["--cloud-provider=other"], "unknown cloud provider"),
        (&["--node-monitor-period=0s"], "must be greater than zero"),
        (&["--kubeconfig=/nowhere"], "/nowhere"),
        (&["--master=http://127.0.0.1:1"], "list nodes"),
    ] {
        let process = cluster.spawn("plan", args);
        let status = process.wait(SOON).await.unwrap();
        assert_eq!(status.code(), Some(1), "{args:?}");
        assert!(process.log().contains(text), "{args:?}: {}", process.log());
        assert_eq!(process.out(), "", "{args:?}");
    }
    cluster.backend.inject(Rule::always(Fault::Error(Kind::Transient)));
    let (status, plan) = cluster.plan().await;
    assert_eq!(status, 1, "{plan:#}");
    assert_eq!(plan["summary"]["errors"], 1);
    assert_eq!(cluster.run("audit", &[]).await.0, 1);
    assert_eq!(cluster.writes(), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_finds_what_belongs_to_no_service() {
    let cluster = Cluster::start().await;
    cluster.add_node("node-0").await;
    LoadBalancerService::new("default", "kept").tcp(80).create(&cluster.client).await.unwrap();
    let lost = LoadBalancerService::new("default", "lost").tcp(80).create(&cluster.client).await.unwrap();
    let gate = cloud_provider::cloud::Gate::open();
    let cloud = Arc::new(MemoryCloud::new(&cluster.backend, gate)) as Arc<dyn cloud_provider::cloud::Cloud>;
    let controllers = Controllers::start(&cluster.client, &cloud, Default::default());
    eventually(SOON, || async {
        anyhow::ensure!(cluster.backend.load_balancers().len() == 2, "not yet");
        for name in ["kept", "lost"] {
            let service = cluster.services().get(name).await?;
            anyhow::ensure!(
                service.status.is_some_and(|s| s.load_balancer.is_some_and(|b| b.ingress.is_some())),
                "{name}"
            );
        }
        Ok(())
    })
    .await
    .unwrap();
    controllers.stop().await.unwrap();
    let (status, out) = cluster.run("audit", &["--output=json"]).await;
    assert_eq!(status, 0, "{out}");

    cluster.patch("lost", json!({"metadata": {"finalizers": null}})).await;
    cluster.services().delete("lost", &Default::default()).await.unwrap();
    let before = cluster.writes();
    let (status, out) = cluster.run("audit", &["--output=json"]).await;
    let name = format!("service-{}", lost.metadata.uid.unwrap());
    let audit: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(status, 2, "{audit:#}");
    let expected = ["firewall", "load balancer"].map(|kind| json!({"what": format!("{kind} {name}"), "owner": name}));
    assert_eq!(audit["resources"], json!(expected));
    let (status, table) = cluster.run("audit", &[]).await;
    assert_eq!(status, 2);
    assert!(table.contains("belong to nothing: 2"), "{table}");
    assert_eq!(cluster.writes(), before);
}
