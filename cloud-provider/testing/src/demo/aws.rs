//! AWS, on its simulator or on a public mock.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use async_trait::async_trait;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::aws_account;
use super::cloud::{Cloud, Kind, Setup};
use crate::http::Endpoint;
use crate::process::{Process, Program};
use crate::rbac::{self, Rule};

pub(super) const CLUSTER: &str = "demo";
pub(super) const REGION: &str = "us-east-1";

/// Token buckets. Those of EC2 are documented: 100 tokens and 20 a second for calls that read, 50 and 5 for calls that
/// write, by action. Elastic Load Balancing publishes none; these are the order that users report.
const RATES: [(&str, u32, u32); 13] = [
    ("EC2.Describe*", 100, 20),
    ("EC2.Authorize*", 50, 5),
    ("EC2.Revoke*", 50, 5),
    ("EC2.Create*", 50, 5),
    ("EC2.Delete*", 50, 5),
    ("ELB.Describe*", 40, 10),
    ("ELB.*gister*", 20, 5),
    ("ELB.Create*", 20, 5),
    ("ELB.Modify*", 20, 5),
    ("ELBv2.Describe*", 40, 10),
    ("ELBv2.*gister*", 20, 5),
    ("ELBv2.Create*", 20, 5),
    ("ELBv2.Modify*", 20, 5),
];
/// The AWS account.
pub(super) struct Aws {
    url: String,
    account: Account,
    credentials: (String, String),
    /// Where there is one: its process and control endpoint.
    simulator: Option<(Process, Endpoint)>,
}

/// What the cloud configuration and the nodes need to know of an account.
pub(super) struct Account {
    pub(super) zone: String,
    pub(super) vpc: String,
    pub(super) subnet: String,
    pub(super) nodes: Vec<String>,
}

/// The line that the simulator prints when it is ready.
#[derive(Deserialize)]
struct Ready {
    url: String,
    access_key: String,
    secret_key: String,
    control: String,
}

impl Aws {
    pub(super) async fn start(setup: &Setup, dir: &Path) -> anyhow::Result<Self> {
        if let Some(url) = &setup.cloud_api {
            let account = aws_account::create(&Endpoint::new(url)?, setup.nodes).await?;
            let credentials = ("test".to_owned(), "test".to_owned());
            return Ok(Self { url: url.trim_end_matches('/').to_owned(), account, credentials, simulator: None });
        }
        let path = setup.simulator.as_ref().context("--simulator or --cloud-api is needed")?;
        let process = Program::new(path)
            .named("simulator")
            .log_dir(dir)
            .args(["--nodes=0", "--policy=documented"])
            .arg(format!("--cluster={CLUSTER}"))
            .arg(format!("--region={REGION}"))
            .arg(format!("--latency={}ms", setup.latency.as_millis()))
            .spawn()?;
        let line = process.first_line(Duration::from_secs(30)).await?;
        let ready: Ready = serde_json::from_str(&line).context("read the simulator's first line")?;
        let control = Endpoint::new(&ready.control)?;
        raise_quotas(&control, setup).await?;
        let account = seeded(&control, setup.nodes).await?;
        let credentials = (ready.access_key, ready.secret_key);
        Ok(Self { url: ready.url, account, credentials, simulator: Some((process, control)) })
    }

    fn cloud_config(&self) -> String {
        let Account { zone, vpc, subnet, .. } = &self.account;
        let mut text =
            format!("[Global]\nZone = {zone}\nVPC = {vpc}\nSubnetID = {subnet}\nKubernetesClusterID = {CLUSTER}\n");
        for (nth, service) in ["EC2", "Elastic Load Balancing", "Elastic Load Balancing v2"].iter().enumerate() {
            text.push_str(&format!(
                "\n[ServiceOverride \"{}\"]\nService = {service}\nRegion = {REGION}\nURL = {}\nSigningRegion = {REGION}\n",
                nth + 1,
                self.url,
            ));
        }
        text
    }
}

/// Instances by the seed's template, and the network they stand in.
async fn seeded(control: &Endpoint, nodes: usize) -> anyhow::Result<Account> {
    let made = control.send_json(Method::POST, "/instances", &json!({ "count": nodes })).await?;
    let ids = made["ids"].as_array().context("the simulator names no instances")?.clone();
    let state = control.get_json("/state").await?;
    let name = |id: &Value| {
        let name = state["instances"][id.as_str().unwrap_or_default()]["private_dns_name"].as_str();
        name.map(str::to_owned).with_context(|| format!("instance {id} has no name"))
    };
    let nodes = ids.iter().map(name).collect::<anyhow::Result<Vec<_>>>()?;
    let (subnet, details) = state["subnets"]
        .as_object()
        .and_then(|subnets| subnets.iter().find(|(_, subnet)| subnet["public_addresses"] == true))
        .context("the simulator has no public subnet")?;
    let text = |field: &str| details[field].as_str().map(str::to_owned).with_context(|| format!("no {field}"));
    Ok(Account { zone: text("zone")?, vpc: text("vpc")?, subnet: subnet.clone(), nodes })
}

/// AWS's default quotas serve some twenty services and a thousand nodes; for more an operator asks AWS, as here.
async fn raise_quotas(control: &Endpoint, setup: &Setup) -> anyhow::Result<()> {
    const ENOUGH_FOR_SERVICES: usize = 20;
    const ENOUGH_FOR_NODES: usize = 1000;
    let mut knobs = control.get_json("/knobs").await?;
    let mut raise = |name: &str, to: usize| {
        let quota = &mut knobs["quotas"][name];
        if quota.as_u64().is_some_and(|now| now < to as u64) {
            *quota = json!(to);
        }
    };
    if setup.services > ENOUGH_FOR_SERVICES {
        raise("classic_load_balancers", setup.services);
        raise("load_balancers", setup.services);
        raise("rules_per_group", setup.services * 5 + 10);
    }
    if setup.nodes > ENOUGH_FOR_NODES {
        raise("targets_per_group", setup.nodes);
        raise("targets_per_zone", setup.nodes);
    }
    let quotas = json!({ "quotas": knobs["quotas"] });
    control.send_json(Method::PATCH, "/knobs", &quotas).await.map(|_| ())
}

#[async_trait]
impl Cloud for Aws {
    fn name(&self) -> &'static str {
        "aws"
    }

    fn describe(&self) -> String {
        let kind = if self.simulator.is_some() { "simulator" } else { "endpoint" };
        format!("{kind} at {}, {} instances in {}", self.url, self.account.nodes.len(), self.account.vpc)
    }

    fn nodes(&self) -> &[String] {
        &self.account.nodes
    }

    fn services(&self) -> Vec<Kind> {
        vec![
            Kind { name: "classic", annotations: Vec::new() },
            Kind { name: "nlb", annotations: vec![("service.beta.kubernetes.io/aws-load-balancer-type", "nlb")] },
        ]
    }

    /// The base example of upstream's repository.
    fn roles(&self) -> Vec<Value> {
        let read = ["get", "list", "watch"];
        rbac::cluster_role(
            "system:cloud-controller-manager",
            &[
                Rule::new("", &["events"], &["create", "patch", "update"]),
                Rule::new("", &["nodes"], &["*"]),
                Rule::new("", &["nodes/status"], &["patch"]),
                Rule::new("", &["services", "services/status"], &["list", "patch", "update", "watch"]),
                Rule::new("", &["serviceaccounts"], &[&read[..], &["create"]].concat()),
                Rule::new("", &["persistentvolumes"], &[&read[..], &["update"]].concat()),
                Rule::new("", &["endpoints"], &[&read[..], &["create", "update"]].concat()),
                Rule::new("coordination.k8s.io", &["leases"], &[&read[..], &["create", "update"]].concat()),
                Rule::new("", &["serviceaccounts/token"], &["create"]),
            ],
        )
    }

    fn configure(&self, controller: Program, dir: &Path) -> anyhow::Result<Program> {
        let path = dir.join("cloud.conf");
        std::fs::write(&path, self.cloud_config()).with_context(|| format!("write {}", path.display()))?;
        let (access_key, secret_key) = &self.credentials;
        Ok(controller
            .arg(format!("--cloud-config={}", path.display()))
            .arg("--configure-cloud-routes=false")
            .env("AWS_ACCESS_KEY_ID", access_key)
            .env("AWS_SECRET_ACCESS_KEY", secret_key)
            .env("AWS_REGION", REGION)
            .env("AWS_EC2_METADATA_DISABLED", "true"))
    }

    async fn calls(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        let Some((_, control)) = &self.simulator else { return Ok(BTreeMap::new()) };
        let counts = control.get_json("/calls/counts").await?;
        let counts = counts.as_object().context("the simulator counts no calls")?;
        ensure!(counts.values().all(|count| count["calls"].is_u64()), "the simulator counts in another form");
        Ok(counts.iter().map(|(action, count)| (action.clone(), count["calls"].as_u64().unwrap_or_default())).collect())
    }

    fn is_about_load_balancers(&self, action: &str) -> bool {
        action.starts_with("ELB")
    }

    async fn limit_rates(&self) -> anyhow::Result<()> {
        let (_, control) = self.simulator.as_ref().context("only the simulator limits rates")?;
        let limits = RATES
            .map(|(action, burst, per_second)| json!({ "action": action, "burst": burst, "per_second": per_second }));
        control.send_json(Method::PATCH, "/knobs", &json!({ "rate_limits": limits })).await.map(|_| ())
    }

    fn hints(&self) -> Vec<String> {
        let mut hints = vec![
            "kubectl create service loadbalancer another --tcp=80:8080".to_owned(),
            "kubectl delete service nlb-1".to_owned(),
        ];
        let (access_key, secret_key) = &self.credentials;
        hints.push(format!(
            "AWS_ACCESS_KEY_ID={access_key} AWS_SECRET_ACCESS_KEY={secret_key} \
             aws --region {REGION} --endpoint-url {} elbv2 describe-load-balancers",
            self.url
        ));
        if self.simulator.is_some() {
            hints.push(format!("curl {}/_simulator/calls/counts", self.url));
        }
        hints
    }

    fn check(&self) -> anyhow::Result<()> {
        self.simulator.as_ref().map_or(Ok(()), |(process, _)| process.check_running())
    }
}
