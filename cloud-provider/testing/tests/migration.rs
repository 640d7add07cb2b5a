//! Leader migration between the real kube-controller-manager and a cloud controller manager of ours.

#![expect(clippy::unwrap_used, reason = "a failing helper fails its test")]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::ensure;
use cloud_provider_testing::{
    ControlPlane,
    cloud::{Backend, Served, controller},
    conformance::eventually,
    control_plane::{Finder, Options, Program, Request},
    objects::{KubeletNode, register_nodes},
    process::{Process, Program as Run},
    progress::Progress,
};
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client};

const BINARY: &str = env!("CARGO_BIN_EXE_memory-cloud-controller-manager");
const SOON: Duration = Duration::from_secs(60);
const CONTROLLER: &str = "node-ipam-controller";
/// The kube-controller-manager of 1.37 cannot migrate: it registers the name of its informers once for each lease, and the
/// second time is an error (seen with 1.37.2).
const KCM_MINOR: &str = "1.34";
const FLAGS: [&str; 6] = [
    "--allocate-node-cidrs=true",
    "--cluster-cidr=10.244.0.0/16",
    "--enable-leader-migration",
    "--leader-elect-lease-duration=6s",
    "--leader-elect-renew-deadline=4s",
    "--leader-elect-retry-period=1s",
];

struct World {
    kcm: PathBuf,
    plane: ControlPlane,
    client: Client,
    backend: Arc<Backend>,
    cloud: Served,
    nodes: std::cell::Cell<usize>,
}

impl World {
    async fn new() -> Self {
        let found = tokio::task::spawn_blocking(|| {
            let finder = Finder::from_env(Some(KCM_MINOR.parse()?), Progress::stderr())?;
            finder.find(&[Program::ControllerManager])?.path(Program::ControllerManager).map(Path::to_owned)
        });
        let kcm = found.await.unwrap().unwrap();
        let plane = ControlPlane::start(Options::default()).await.unwrap();
        let client = plane.client().await.unwrap();
        let backend = Backend::new();
        let cloud = backend.serve(0).await.unwrap();
        Self { kcm, plane, client, backend, cloud, nodes: 0.into() }
    }

    /// The configuration of one side: who runs the controller, by its name there.
    fn migration(&self, side: &str, controller: &str, component: &str) -> PathBuf {
        let path = self.plane.dir().join(format!("migration-{side}.yaml"));
        let text = format!(
            "kind: LeaderMigrationConfiguration\napiVersion: controllermanager.config.k8s.io/v1\n\
             leaderName: cloud-provider-extraction-migration\n\
             controllerLeaders:\n- {{name: {controller}, component: {component}}}\n"
        );
        std::fs::write(&path, text).unwrap();
        path
    }

    fn kubeconfig(&self, user: &str) -> PathBuf {
        let text = self.plane.kubeconfig_for_user(user, &["system:masters"]).unwrap();
        self.plane.write_kubeconfig(user, &text).unwrap()
    }

    fn start_kube_controller_manager(&self) -> Process {
        let config = self.migration("kcm", CONTROLLER, "kube-controller-manager");
        let kubeconfig = self.kubeconfig("kcm");
        let credentials = ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"];
        Run::new(&self.kcm)
            .named("kcm")
            .log_dir(self.plane.dir())
            .args(credentials.map(|flag| format!("--{flag}={}", kubeconfig.display())))
            // With leader migration it panics where the controller of tokens does not run (seen with 1.37.2).
            .arg(format!("--controllers={CONTROLLER},serviceaccount-token-controller"))
            .arg(format!(
                "--service-account-private-key-file={}",
                self.plane.dir().join("service-accounts.key").display()
            ))
            .arg(format!("--leader-migration-config={}", config.display()))
            .args(FLAGS)
            .args(["--secure-port=0", "--v=2"])
            .spawn()
            .unwrap()
    }

    fn start_ours(&self) -> Process {
        // By its alias, which upstream does not understand here.
        let config = self.migration("ours", "nodeipam", "cloud-controller-manager");
        controller(BINARY, "ours", &self.cloud, &self.plane, &self.kubeconfig("ours"))
            .unwrap()
            .args(["--controllers=cloud-node,nodeipam", "--configure-cloud-routes=false"])
            .arg(format!("--leader-migration-config={}", config.display()))
            .args(FLAGS)
            .spawn()
            .unwrap()
    }

    async fn add_node(&self) -> String {
        let name = format!("node-{}", self.nodes.replace(self.nodes.get() + 1));
        self.backend.start_machine(&name);
        register_nodes(&self.client, vec![KubeletNode::new(&name)], Duration::ZERO).await.unwrap();
        name
    }

    /// Waits until each node has a range of its own, and gives them.
    async fn ranges(&self) -> BTreeMap<String, String> {
        eventually(SOON, || async {
            let nodes = Api::<Node>::all(self.client.clone()).list(&Default::default()).await?.items;
            let mut ranges = BTreeMap::new();
            for node in nodes {
                let name = node.metadata.name.unwrap_or_default();
                let range = node.spec.and_then(|spec| spec.pod_cidr).unwrap_or_default();
                ensure!(!range.is_empty(), "{name} has no range yet");
                ensure!(ranges.values().all(|other| *other != range), "{range} was given twice");
                ranges.insert(name, range);
            }
            Ok(ranges)
        })
        .await
        .unwrap()
    }

    /// Waits until ours has initialised `node`.
    async fn initialised(&self, node: &str) {
        let initialised = || async {
            let node = Api::<Node>::all(self.client.clone()).get(node).await?;
            ensure!(node.spec.and_then(|spec| spec.provider_id).is_some(), "no provider ID yet");
            Ok(())
        };
        eventually(SOON, initialised).await.unwrap();
    }

    /// Who gave `node` its range. Only for nodes that ours has initialised.
    fn allocator(&self, node: &str) -> String {
        let patches = |user: &'static str| {
            let of_node = |one: &Request| {
                one.user == user && one.verb == "patch" && one.resource == "nodes" && one.name == node && one.accepted()
            };
            self.plane.audit().requests(of_node).unwrap().len()
        };
        // Ours also initialises nodes, with another patch, which may come before or after the range.
        match (patches("kcm"), patches("ours")) {
            (1, 1) => "kcm".to_owned(),
            (0, 2) => "ours".to_owned(),
            other => format!("{other:?}"),
        }
    }
}

/// As the guide describes it: the lease decides, whichever of the two goes first and however it ends; no range is ever
/// given twice, and none changes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_ipam_moves_from_kube_controller_manager_to_ours_and_back() {
    let world = World::new().await;
    let kcm = world.start_kube_controller_manager();
    let first = world.add_node().await;
    let before = world.ranges().await;
    let ours = world.start_ours();
    let second = world.add_node().await;
    world.ranges().await;

    kcm.terminate(Duration::from_secs(10)).await.unwrap();
    let third = world.add_node().await;
    let moved = world.ranges().await;
    assert_eq!(moved[&first], before[&first]);

    let kcm = world.start_kube_controller_manager();
    let fourth = world.add_node().await;
    world.ranges().await;
    world.initialised(&fourth).await;
    ours.kill().unwrap();
    world.add_node().await;
    let last = world.ranges().await;
    assert_eq!(last.len(), 5);
    assert!(moved.iter().all(|(node, range)| last[node] == *range), "{moved:?} {last:?}");

    assert_eq!([&first, &second, &third, &fourth].map(|node| world.allocator(node)), ["kcm", "kcm", "ours", "ours"]);
    kcm.check_running().unwrap();
}
