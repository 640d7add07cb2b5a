//! A cluster in the simulator, and the provider that serves it.

use std::{sync::Arc, time::Duration};

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use cloud_provider::{
    Error,
    cloud::{Freshness, Gate, Instance, Instances as _, Metadata, Want},
    cluster::objects::Node,
    metrics::Metrics,
};
use cloud_provider_aws::{
    Environment,
    client::{Client, Endpoint, Endpoints, Imds, Role, Settings},
    config,
    instances::Ec2Instances,
    provider_id::InstanceId,
};
use cloud_provider_aws_simulator::{ACCESS_KEY, Handle, Options, Policy, SECRET_KEY, Seed, Simulator};
use serde_json::json;

/// What DescribeInstances is called in the call log.
pub(crate) const DESCRIBE: &str = "EC2.DescribeInstances";
/// What DescribeInstanceTopology is called in the call log.
pub(crate) const TOPOLOGY: &str = "EC2.DescribeInstanceTopology";

/// A simulator, and the provider that talks to it.
pub(crate) struct Cluster {
    pub(crate) handle: Handle,
    pub(crate) environment: Environment,
    pub(crate) instances: Ec2Instances,
    pub(crate) metrics: Metrics,
    pub(crate) url: String,
    _simulator: Simulator,
}

/// How a cluster is set up.
pub(crate) struct Setup {
    pub(crate) seed: Seed,
    pub(crate) config: &'static str,
    pub(crate) policy: Policy,
    pub(crate) role: Option<Role>,
}

impl Default for Setup {
    fn default() -> Self {
        Self { seed: Seed::cluster("demo", 3), config: "", policy: Policy::default(), role: None }
    }
}

impl Cluster {
    pub(crate) async fn new(nodes: usize) -> Self {
        Self::with(Setup { seed: Seed::cluster("demo", nodes), ..Setup::default() }).await
    }

    pub(crate) async fn with(setup: Setup) -> Self {
        Box::pin(Self::start(setup)).await
    }

    async fn start(setup: Setup) -> Self {
        let region = setup.seed.region.clone();
        let options = Options { seed: setup.seed, policy: setup.policy, ..Options::default() };
        let simulator = Simulator::start(options).await.unwrap();
        let metrics = Metrics::new();
        let settings = settings(&simulator.url(), &region, setup.role);
        let client = Client::with_credentials(&settings, Some(credentials()), Gate::open(), &metrics).await;
        let imds = Imds::new(settings.endpoints.imds.as_ref());
        let config = config::parse(Some(setup.config)).unwrap().0;
        let environment = Environment::with_client(config, client, &imds, "kubernetes".into()).await.unwrap();
        let handle = simulator.handle();
        handle.reset_calls();
        Self {
            instances: environment.instances(),
            handle,
            environment,
            metrics,
            url: simulator.url(),
            _simulator: simulator,
        }
    }

    /// Nodes that registered with nothing but their names, without the control plane's.
    pub(crate) fn nodes_by_name(&self) -> Vec<Arc<Node>> {
        self.workers().map(|instance| node(&instance.private_dns_name, None)).collect()
    }

    /// Nodes with provider IDs.
    pub(crate) fn nodes_by_id(&self) -> Vec<Arc<Node>> {
        self.workers().map(|instance| node_of(&instance.id)).collect()
    }

    /// The workers' instances.
    pub(crate) fn workers(&self) -> impl Iterator<Item = cloud_provider_aws_simulator::model::Instance> {
        let handle = self.handle.clone();
        let ids = handle.instance_ids().into_iter().filter(|id| id != "i-0a1b2c3d4e5f60001");
        ids.filter_map(move |id| handle.instance(&id))
    }

    pub(crate) fn worker_ids(&self) -> Vec<InstanceId> {
        self.workers().map(|instance| InstanceId::new(&instance.id)).collect()
    }

    pub(crate) async fn state(&self, nodes: &[Arc<Node>], freshness: Freshness) -> Vec<Result<Instance, Error>> {
        self.instances.look_up(nodes, Want::State, freshness).await
    }

    pub(crate) async fn metadata(&self, nodes: &[Arc<Node>]) -> Vec<Result<Instance, Error>> {
        self.instances.look_up(nodes, Want::Metadata, SECOND).await
    }

    pub(crate) fn count(&self, action: &str) -> u64 {
        self.handle.count(action)
    }
}

/// What the node controller asks with.
pub(crate) const SECOND: Freshness = Freshness::Within(Duration::from_secs(1));

pub(crate) fn settings(url: &str, region: &str, role: Option<Role>) -> Settings {
    let endpoint = Some(Endpoint { url: url.to_owned(), ..Endpoint::default() });
    let endpoints = Endpoints {
        ec2: endpoint.clone(),
        elb: endpoint.clone(),
        elbv2: endpoint.clone(),
        sts: endpoint.clone(),
        imds: endpoint,
    };
    Settings { region: region.to_owned(), endpoints, role }
}

pub(crate) fn credentials() -> SharedCredentialsProvider {
    SharedCredentialsProvider::new(Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "test"))
}

pub(crate) fn node(name: &str, provider_id: Option<&str>) -> Arc<Node> {
    labelled(name, provider_id, &[])
}

pub(crate) fn node_of(id: &str) -> Arc<Node> {
    node(&format!("node-of-{id}"), Some(&format!("aws:///us-east-1a/{id}")))
}

pub(crate) fn labelled(name: &str, provider_id: Option<&str>, labels: &[(&str, &str)]) -> Arc<Node> {
    let labels: serde_json::Map<_, _> = labels.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
    let node = json!({"metadata": {"name": name, "labels": labels}, "spec": {"providerID": provider_id}});
    Arc::new(serde_json::from_value(node).unwrap())
}

pub(crate) fn metadata_of(answer: &Result<Instance, Error>) -> &Metadata {
    match answer {
        Ok(Instance::Present { metadata: Some(metadata), .. }) => metadata,
        other => panic!("no metadata: {other:?}"),
    }
}

pub(crate) fn is_present(answer: &Result<Instance, Error>) -> bool {
    matches!(answer, Ok(Instance::Present { .. }))
}

pub(crate) fn is_gone(answer: &Result<Instance, Error>) -> bool {
    matches!(answer, Ok(Instance::Gone))
}
