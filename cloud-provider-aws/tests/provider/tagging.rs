//! The tagging controller, on a real control plane.

use std::{collections::BTreeMap, time::Duration};

use cloud_provider::{
    cluster::{objects::Node, store::Store},
    controllers::Managed as _,
    manager::options::values::Pairs,
};
use cloud_provider_aws::tagging::{Flags, Settings, TaggingController};
use cloud_provider_aws_simulator::{Fault, Policy, Seed};
use cloud_provider_testing::{ControlPlane, conformance::eventually, control_plane::Options};
use k8s_openapi::api::core::v1 as api;
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::{Cluster, Setup};

const LABEL: &str = "k8s.io/cloud-provider-aws";
/// For what takes 30 s where nothing else runs.
const PATIENCE: Duration = Duration::from_secs(180);

/// A cluster in the simulator, with a control plane.
pub(crate) struct Bench {
    pub(crate) cluster: Cluster,
    _plane: ControlPlane,
    client: Client,
    pub(crate) nodes: Store<Node>,
    tasks: JoinSet<()>,
}

impl Bench {
    pub(crate) async fn new(workers: usize) -> Self {
        let setup = Setup { seed: Seed::cluster("demo", workers), policy: Policy::all(), ..Setup::default() };
        let (cluster, plane) = (Cluster::with(setup).await, ControlPlane::start(Options::default()).await.unwrap());
        let client = plane.client().await.unwrap();
        let nodes = Store::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(Store::<Node>::run(nodes.clone(), Api::all(client.clone()), CancellationToken::new()));
        Self { cluster, _plane: plane, client, nodes, tasks }
    }

    pub(crate) fn api(&self) -> Api<api::Node> {
        Api::all(self.client.clone())
    }

    async fn create(&self, name: &str, provider_id: &str) {
        let node = json!({"metadata": {"name": name}, "spec": {"providerID": provider_id}});
        self.api().create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
    }

    pub(crate) async fn create_workers(&self) -> Vec<String> {
        let ids: Vec<String> = self.cluster.workers().map(|instance| instance.id).collect();
        for id in &ids {
            self.create(&format!("node-of-{id}"), &format!("aws:///us-east-1a/{id}")).await;
        }
        ids
    }

    pub(crate) fn controller(&self, tags: &[(&str, &str)]) -> TaggingController {
        let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let flags = Flags {
            tags: vec![Pairs(tags)],
            resources: vec!["instance".into()],
            tagging_controller_concurrent_node_syncs: 2,
            ..Flags::default()
        };
        let (client, settings) = (self.cluster.environment.client.clone(), Settings::new(&flags).unwrap());
        TaggingController::new(client, self.nodes.clone(), self.client.clone(), settings, &self.cluster.metrics)
    }

    pub(crate) fn run(&mut self, controller: TaggingController) -> CancellationToken {
        let token = CancellationToken::new();
        let running = Box::new(controller).run(token.clone());
        self.tasks.spawn(async { running.await.unwrap() });
        token
    }

    async fn labels(&self) -> BTreeMap<String, Option<String>> {
        let nodes = self.api().list(&Default::default()).await.unwrap();
        let label = |node: api::Node| {
            let label = node.metadata.labels.unwrap_or_default().remove(LABEL);
            (node.metadata.name.unwrap(), label)
        };
        nodes.items.into_iter().map(label).collect()
    }

    /// Waits until the nodes of these instances have this label.
    async fn labelled(&self, ids: &[String], value: &str) {
        eventually(PATIENCE, async || {
            let labels = self.labels().await;
            let lacking = ids.iter().find(|id| labels[&format!("node-of-{id}")].as_deref() != Some(value));
            anyhow::ensure!(lacking.is_none(), "{lacking:?} lacks the label");
            Ok(())
        })
        .await
        .unwrap();
    }

    pub(crate) fn tag(&self, id: &str, key: &str) -> Option<String> {
        self.cluster.handle.instance(id).unwrap().tags.get(key).cloned()
    }

    pub(crate) async fn until(&self, what: &str, check: impl Fn(&Cluster) -> bool) {
        eventually(PATIENCE, async || {
            anyhow::ensure!(check(&self.cluster), "{what}");
            Ok(())
        })
        .await
        .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_of_nodes_are_tagged_in_few_calls_and_untagged_when_their_node_goes() {
    let mut bench = Bench::new(60).await;
    let ids = bench.create_workers().await;
    bench.create("on-fargate", "aws:///us-east-1a/0123-4567/fargate-ip-10-0-0-1.ec2.internal").await;
    bench.create("of-another-cloud", "gce:///p/z/i").await;
    bench.create("wrong", "aws:///us-east-1a/vol-12345678").await;
    bench.nodes.synced().await;

    let controller = bench.controller(&[("key1", "value1")]);
    assert_eq!(controller.plan().await.changes.len(), 120);
    let token = bench.run(controller);
    bench.labelled(&ids, "9767c4972ba72e87ab553bad2afde741").await;
    assert_eq!(bench.cluster.count("EC2.CreateTags"), 2, "60 instances, 50 in a call");
    assert!(ids.iter().all(|id| bench.tag(id, "key1").as_deref() == Some("value1")));
    let labels = bench.labels().await;
    assert!(["on-fargate", "of-another-cloud", "wrong"].iter().all(|name| labels[*name].is_none()));
    token.cancel();

    // Another process finds nothing to do, and one with other tags everything.
    bench
        .until("the store follows", |_| {
            bench
                .nodes
                .list()
                .iter()
                .filter(|node| node.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(LABEL)))
                .count()
                == 60
        })
        .await;
    assert!(bench.controller(&[("key1", "value1")]).plan().await.changes.is_empty());
    let controller = bench.controller(&[("key1", "value1"), ("key2", "value2")]);
    let _token = bench.run(controller);
    bench.labelled(&ids, "c812faa65d1d5e5aefa6b069b3da39df").await;
    assert!(ids.iter().all(|id| bench.tag(id, "key2").as_deref() == Some("value2")));

    bench.cluster.handle.fault(Fault::error("EC2.DeleteTags", "InternalError").times(4));
    bench.api().delete(&format!("node-of-{}", ids[0]), &DeleteParams::default()).await.unwrap();
    bench.until("the tags of the deleted node's instance go", |_| bench.tag(&ids[0], "key2").is_none()).await;
    assert!(bench.tag(&ids[0], "key1").is_none());
    assert_eq!(bench.tag(&ids[1], "key1").as_deref(), Some("value1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_of_one_instance_hold_no_other_back() {
    let mut bench = Bench::new(3).await;
    let ids = bench.create_workers().await;
    let late = bench.cluster.handle.instance(&ids[0]).unwrap();
    bench.cluster.handle.delete_instance(&ids[0]);
    bench.create("simulated", "aws:///us-east-1a/i-kwok-1").await;
    bench.nodes.synced().await;

    // Of a young node, an instance that is not found is asked for again; what is no ID is given up.
    let controller = bench.controller(&[("key1", "value1")]);
    let token = bench.run(controller);
    bench.labelled(&ids[1..], "9767c4972ba72e87ab553bad2afde741").await;
    assert!(bench.labels().await["simulated"].is_none());
    bench.cluster.handle.add_instance(late.clone());
    bench.labelled(&ids, "9767c4972ba72e87ab553bad2afde741").await;
    let metrics = bench.cluster.metrics.render();
    let errors = "cloudprovider_aws_tagging_controller_work_item_errors_total{error_type=\"total_errors\"";
    assert!(metrics.contains(&format!("{errors},instance_id=\"{}\"", ids[0])), "{metrics}");
    assert!(!metrics.contains("instance_id=\"i-kwok-1\""));
    assert!(metrics.contains("tagging_controller_inital_node_tagging_delay_seconds_count 3"));
    token.cancel();

    // Of an older node, it is given up; and an API that fails for a while is asked until it does not.
    bench.cluster.handle.delete_instance(&ids[0]);
    let before = bench.cluster.metrics.render();
    bench.cluster.handle.fault(Fault::error("EC2.CreateTags", "InternalError").times(40));
    let controller = bench.controller(&[("key1", "value1"), ("key2", "value2")]).with_young(Duration::ZERO);
    let _token = bench.run(controller);
    bench.labelled(&ids[1..], "c812faa65d1d5e5aefa6b069b3da39df").await;
    let of_the_missing = |metrics: &str| {
        let exhausted = "errors_after_retries_exhausted";
        metrics.lines().filter(|line| line.contains(exhausted) && line.contains(&ids[0])).count()
    };
    assert_eq!(of_the_missing(&before), of_the_missing(&bench.cluster.metrics.render()));

    // A label that somebody took away comes back.
    let patch = json!({"metadata": {"labels": {LABEL: "other"}}});
    let name = format!("node-of-{}", ids[1]);
    bench.api().patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    bench.labelled(&ids[1..], "c812faa65d1d5e5aefa6b069b3da39df").await;
}
