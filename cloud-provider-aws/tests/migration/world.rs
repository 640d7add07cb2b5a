//! A cluster, an account, and two controller managers that each have credentials of their own in both, so that the logs
//! tell who did what.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use cloud_provider_aws_simulator::{Credential, Options, Seed, Simulator};
use cloud_provider_testing::{
    conformance::eventually,
    control_plane::{self, ControlPlane},
    objects::{KubeletNode, LoadBalancerService, UNINITIALIZED, register_nodes},
    process::{Process, Program},
    progress::Progress,
    upstream,
};
use k8s_openapi::api::core::v1::{Node, Service};
use kube::{Api, Client, api::ListParams};

const REGION: &str = "us-east-1";
const SOON: Duration = Duration::from_secs(90);

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Go,
    Ours,
}

impl Which {
    fn name(self) -> &'static str {
        match self {
            Self::Go => "go",
            Self::Ours => "ours",
        }
    }

    /// Its access key ID.
    fn key(self) -> String {
        format!("AKIA{}", self.name().to_uppercase())
    }
}

pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) simulator: Simulator,
    pub(crate) plane: ControlPlane,
    go: PathBuf,
    vpc: String,
    subnet: String,
    migration: PathBuf,
    starts: std::cell::Cell<u32>,
}

impl World {
    /// `migration` is the text of a `LeaderMigrationConfiguration`.
    pub(crate) async fn new(migration: &str) -> anyhow::Result<Self> {
        let go = tokio::task::spawn_blocking(|| upstream::AWS.find_or_build(&Progress::stderr())).await??;
        let plane = ControlPlane::start(control_plane::Options::default()).await?;
        let seed = Seed::cluster("migration", 0);
        let (vpc, subnet) = (seed.vpcs[0].id.clone(), seed.subnets[0].id.clone());
        let simulator = Simulator::start(Options { seed, ..Options::default() }).await?;
        for which in [Which::Go, Which::Ours] {
            let (access_key, secret_key) = (which.key(), "secret".to_owned());
            simulator.handle().add_credential(Credential { access_key, secret_key, ..Credential::default() });
        }
        let file = plane.dir().join("leader-migration.yaml");
        std::fs::write(&file, migration).context("write the leader migration configuration")?;
        let client = plane.client().await?;
        Ok(Self { client, simulator, plane, go, vpc, subnet, migration: file, starts: 0.into() })
    }

    /// Starts one, with a main lease of its own where `lease` names one.
    pub(crate) fn start(&self, which: Which, lease: &str) -> anyhow::Result<Process> {
        let name = format!("{}-{}", which.name(), self.starts.replace(self.starts.get() + 1));
        let user = self.plane.kubeconfig_for_user(which.name(), &["system:masters"])?;
        let kubeconfig = self.plane.write_kubeconfig(&name, &user)?;
        let config = self.plane.dir().join(format!("{name}.cloud-config"));
        std::fs::write(&config, self.cloud_config()).context("write the cloud configuration")?;
        let program: &Path = match which {
            Which::Go => &self.go,
            Which::Ours => Path::new(env!("CARGO_BIN_EXE_aws-cloud-controller-manager")),
        };
        Program::new(program)
            .named(&name)
            .log_dir(self.plane.dir())
            .arg("--cloud-provider=aws")
            .arg(format!("--cloud-config={}", config.display()))
            .arg(format!("--kubeconfig={}", kubeconfig.display()))
            .arg(format!("--leader-elect-resource-name={lease}"))
            .arg(format!("--leader-migration-config={}", self.migration.display()))
            .args(["--enable-leader-migration", "--configure-cloud-routes=false", "--secure-port=0", "--v=2"])
            .args(["--leader-elect-lease-duration=6s", "--leader-elect-renew-deadline=4s"])
            .arg("--leader-elect-retry-period=1s")
            .env("AWS_ACCESS_KEY_ID", which.key())
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .env("AWS_REGION", REGION)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .spawn()
    }

    fn cloud_config(&self) -> String {
        let (vpc, subnet, url) = (&self.vpc, &self.subnet, self.simulator.url());
        let mut text =
            format!("[Global]\nZone = {REGION}a\nVPC = {vpc}\nSubnetID = {subnet}\nKubernetesClusterID = migration\n");
        for (index, service) in ["EC2", "Elastic Load Balancing", "Elastic Load Balancing v2"].iter().enumerate() {
            text.push_str(&format!(
                "[ServiceOverride \"{index}\"]\nService = {service}\nRegion = {REGION}\nURL = {url}\nSigningRegion = {REGION}\n",
            ));
        }
        text
    }

    /// Starts instances and registers their nodes.
    pub(crate) async fn add_nodes(&self, count: usize) -> anyhow::Result<Vec<String>> {
        let handle = self.simulator.handle();
        let ids = handle.add_instances(count);
        let names: Vec<_> = ids.iter().filter_map(|id| handle.instance(id)).map(|one| one.private_dns_name).collect();
        register_nodes(&self.client, names.iter().map(KubeletNode::new).collect(), Duration::ZERO).await?;
        Ok(names)
    }

    /// Waits until no node waits for its initialisation.
    pub(crate) async fn initialised(&self) -> anyhow::Result<()> {
        let api: Api<Node> = Api::all(self.client.clone());
        eventually(SOON, || async {
            for node in api.list(&ListParams::default()).await?.items {
                let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
                ensure!(taints.iter().all(|taint| taint.key != UNINITIALIZED), "{:?} waits", node.metadata.name);
            }
            Ok(())
        })
        .await
    }

    pub(crate) async fn create_service(&self, name: &str, kind: &str) -> anyhow::Result<()> {
        let service = LoadBalancerService::new("default", name).tcp(80);
        let service = match kind {
            "nlb" => service.annotation("service.beta.kubernetes.io/aws-load-balancer-type", "nlb"),
            _ => service,
        };
        service.create(&self.client).await.map(|_| ())
    }

    pub(crate) fn services(&self) -> Api<Service> {
        Api::default_namespaced(self.client.clone())
    }

    /// Waits until a service has an address.
    pub(crate) async fn balanced(&self, name: &str) -> anyhow::Result<String> {
        eventually(SOON, || async {
            let service = self.services().get(name).await?;
            let ingress = service.status.and_then(|status| status.load_balancer).and_then(|one| one.ingress);
            ingress.into_iter().flatten().find_map(|one| one.hostname).context("no address yet")
        })
        .await
        .with_context(|| format!("wait for service {name}"))
    }

    /// Waits until `which` writes a lease: it holds it, since candidates only read.
    pub(crate) async fn leads(&self, which: Which, lease: &str) -> anyhow::Result<()> {
        let user = which.name();
        let writes = || {
            let written = self.plane.audit().requests(|one| {
                one.user == user && one.resource == "leases" && one.name == lease && one.is_write() && one.accepted()
            });
            written.map(|requests| requests.len())
        };
        let before = writes()?;
        eventually(SOON, || async {
            ensure!(writes()? > before, "{user} does not hold the lease {lease}");
            Ok(())
        })
        .await
    }

    /// The names of all that exists in the account.
    pub(crate) fn belongings(&self) -> BTreeSet<String> {
        let state = self.simulator.handle().state();
        let kinds = ["classic_load_balancers", "load_balancers", "listeners", "target_groups", "security_groups"];
        kinds
            .iter()
            .flat_map(|kind| state[kind].as_object().into_iter().flatten())
            .map(|(id, value)| format!("{id} {value}"))
            .collect()
    }

    /// When each changed the cloud: the times of the writes of `which`, as text that sorts.
    pub(crate) fn cloud_writes(&self, which: Which) -> Vec<String> {
        let key = which.key();
        let calls = self.simulator.handle().calls().into_iter();
        calls
            .filter(|call| call.access_key.as_ref() == Some(&key) && !call.action.starts_with("Describe"))
            .map(|call| format!("{} {}", call.at, call.action))
            .collect()
    }

    /// Writes of `which` to nodes and services, with their times.
    pub(crate) fn cluster_writes(&self, which: Which) -> anyhow::Result<Vec<String>> {
        let user = which.name();
        let of_controllers = |resource: &str| resource.starts_with("nodes") || resource.starts_with("services");
        let requests = self
            .plane
            .audit()
            .requests(|one| one.user == user && one.is_write() && one.accepted() && of_controllers(&one.resource))?;
        Ok(requests.into_iter().map(|one| format!("{} {} {}", one.received, one.verb, one.name)).collect())
    }

    /// Adds the last words of the controllers to a failure.
    pub(crate) fn explain(&self, error: anyhow::Error, processes: &[&Process]) -> anyhow::Error {
        let tails: Vec<_> = processes.iter().map(|one| format!("{}:\n{}", one.name(), one.log_tail(25))).collect();
        error.context(tails.join("\n"))
    }
}
