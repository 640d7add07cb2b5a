//! The real controller as a process.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::Context as _;
use async_trait::async_trait;
use cloud_provider_testing::{
    conformance::{Controller, Disk, RouteSupport, ServiceKind, Start},
    process::{Process, Program},
};
use serde_json::json;

/// The cluster's ID in the endpoint.
pub(crate) const CLUSTER: &str = "conformance";
/// Where everything is.
pub(crate) const REGION: &str = "us-east-1";

/// Where the controller finds its endpoint.
pub(crate) struct Endpoint {
    pub(crate) url: String,
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
    pub(crate) vpc: String,
    pub(crate) subnet: String,
    /// The route table, where routes are tested.
    pub(crate) route_table: Option<String>,
}

/// What the simulator's routes can do.
pub(crate) const ROUTES: RouteSupport = RouteSupport { ipv6: true };

/// A running `aws-cloud-controller-manager`.
pub(crate) struct Running(Process);

impl Running {
    /// Starts it against the API of `endpoint`, configured as outside of the cluster.
    pub(crate) fn start(endpoint: &Endpoint, start: Start<'_>) -> anyhow::Result<Self> {
        let config = start.dir.join(format!("{}.cloud-config", start.name));
        std::fs::write(&config, cloud_config(endpoint)).context("write the cloud configuration")?;
        let program = Program::new(env!("CARGO_BIN_EXE_aws-cloud-controller-manager"))
            .named(start.name)
            .log_dir(start.dir)
            .arg("--cloud-provider=aws")
            .arg(format!("--cloud-config={}", config.display()))
            .arg(format!("--kubeconfig={}", start.kubeconfig.display()))
            .arg(format!("--authentication-kubeconfig={}", start.kubeconfig.display()))
            .arg(format!("--authorization-kubeconfig={}", start.kubeconfig.display()))
            .arg("--controllers=*,persistent-volume-label-controller")
            .arg(format!("--configure-cloud-routes={}", endpoint.route_table.is_some()))
            .arg(format!("--cluster-cidr={}", ROUTES.cluster_cidr()))
            .args(start.flags())
            .args(["--secure-port=0", "--v=4"])
            .env("AWS_ACCESS_KEY_ID", &endpoint.access_key)
            .env("AWS_SECRET_ACCESS_KEY", &endpoint.secret_key)
            .env("AWS_REGION", REGION)
            .env("AWS_EC2_METADATA_DISABLED", "true");
        program.spawn().map(Self)
    }
}

fn cloud_config(endpoint: &Endpoint) -> String {
    let mut text = format!(
        "[Global]\nZone = {REGION}a\nVPC = {vpc}\nSubnetID = {subnet}\nKubernetesClusterID = {CLUSTER}\n",
        vpc = endpoint.vpc,
        subnet = endpoint.subnet,
    );
    if let Some(table) = &endpoint.route_table {
        text.push_str(&format!("RouteTableID = {table}\n"));
    }
    for (index, service) in ["EC2", "Elastic Load Balancing", "Elastic Load Balancing v2"].iter().enumerate() {
        text.push_str(&format!(
            "[ServiceOverride \"{index}\"]\nService = {service}\nRegion = {REGION}\nURL = {url}\nSigningRegion = {REGION}\n",
                url = endpoint.url,
        ));
    }
    text
}

#[async_trait]
impl Controller for Running {
    async fn kill(&self) -> anyhow::Result<()> {
        self.0.kill().map(|_| ())
    }

    async fn terminate(&self) -> anyhow::Result<()> {
        let status = self.0.terminate(Duration::from_secs(15)).await?;
        anyhow::ensure!(status.success(), "it ended with {status}");
        Ok(())
    }

    fn check(&self) -> anyhow::Result<()> {
        self.0.check_running()
    }
}

/// The kinds of services on AWS.
pub(crate) fn services() -> Vec<ServiceKind> {
    let network = BTreeMap::from([("service.beta.kubernetes.io/aws-load-balancer-type".to_owned(), "nlb".to_owned())]);
    vec![
        ServiceKind { name: "classic".to_owned(), annotations: BTreeMap::new() },
        ServiceKind { name: "network".to_owned(), annotations: network },
    ]
}

/// A disk as a persistent volume names it.
pub(crate) fn disk(written: &str, zone: &str) -> Disk {
    let source = json!({"awsElasticBlockStore": {"volumeID": written}});
    Disk { source, zones: BTreeSet::from([zone.to_owned()]), region: REGION.to_owned() }
}

/// Whether a call, with or without its service in front, changes something.
pub(crate) fn is_write(call: &str) -> bool {
    let action = call.rsplit('.').next().unwrap_or(call);
    !["Describe", "Get", "AssumeRole"].iter().any(|read| action.starts_with(read))
}
