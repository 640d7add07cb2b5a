//! AWS, on its simulator or on a public mock.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context as _;
use async_trait::async_trait;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::aws_account;
use super::cloud::{Balancer, CONFIG, Cloud, Kind, Setup};
use super::simulator::{Rate, Simulator};
use crate::http::Endpoint;
use crate::process::Program;
use crate::rbac::{self, Rule};

pub(super) const CLUSTER: &str = "demo";
pub(super) const REGION: &str = "us-east-1";

/// Token buckets, as documented for calls that read: 100 tokens and 20 a second of EC2, 40 and 10 of Elastic Load Balancing. For calls
/// that write EC2 has 50 and 5; those of Elastic Load Balancing are the order that users report.
const RATES: [Rate; 13] = [
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
    simulator: Option<Simulator>,
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
}

impl Aws {
    pub(super) async fn start(setup: &Setup, dir: &Path) -> anyhow::Result<Self> {
        if let Some(url) = &setup.cloud_api {
            let account = aws_account::create(&Endpoint::new(url)?, setup.nodes).await?;
            let credentials = ("test".to_owned(), "test".to_owned());
            return Ok(Self { url: url.trim_end_matches('/').to_owned(), account, credentials, simulator: None });
        }
        let flags = ["--policy=documented".to_owned(), format!("--cluster={CLUSTER}"), format!("--region={REGION}")];
        let (simulator, ready): (_, Ready) = Simulator::start(setup, dir, &flags).await?;
        raise_quotas(&simulator, setup).await?;
        let account = seeded(&simulator, setup.nodes).await?;
        let credentials = (ready.access_key, ready.secret_key);
        Ok(Self { url: ready.url, account, credentials, simulator: Some(simulator) })
    }

    fn simulator(&self) -> anyhow::Result<&Simulator> {
        self.simulator.as_ref().context("only the simulator can do that")
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
async fn seeded(simulator: &Simulator, nodes: usize) -> anyhow::Result<Account> {
    let made = simulator.control.send_json(Method::POST, "/instances", &json!({ "count": nodes })).await?;
    let ids = made["ids"].as_array().context("the simulator names no instances")?.clone();
    let state = simulator.state().await?;
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

/// The load balancers in a simulator's state, of both kinds. Backends of a Network Load Balancer are those of all its listeners.
fn balancers(state: &Value) -> Vec<Balancer> {
    const SERVICE: &str = "kubernetes.io/service-name";
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = |kind: &str| state[kind].as_object().into_iter().flatten();
    let node = |id: &Value| text(&state["instances"][id.as_str().unwrap_or_default()]["private_dns_name"]);
    let balancer = |balancer: &Value, backends| Balancer {
        service: text(&balancer["tags"][SERVICE]),
        name: text(&balancer["name"]),
        backends,
    };
    let classic = all("classic_load_balancers")
        .map(|(_, one)| balancer(one, one["instances"].as_array().into_iter().flatten().map(node).collect()));
    let targets = |listener: &Value| -> BTreeSet<String> {
        let group = &state["target_groups"][listener["target_group"].as_str().unwrap_or_default()];
        group["targets"].as_array().into_iter().flatten().map(|target| node(&target["id"])).collect()
    };
    let network = all("load_balancers").map(|(arn, one)| {
        let listeners = all("listeners").map(|(_, listener)| listener);
        let own = listeners.filter(|listener| listener["load_balancer"].as_str() == Some(arn));
        let backends = own.map(targets).reduce(|left, right| &left & &right);
        balancer(one, backends.unwrap_or_default())
    });
    classic.chain(network).collect()
}

/// AWS's default quotas serve some twenty services and a thousand backends; for more an operator asks AWS, as here.
async fn raise_quotas(simulator: &Simulator, setup: &Setup) -> anyhow::Result<()> {
    const ENOUGH_FOR_SERVICES: usize = 20;
    const ENOUGH_FOR_BACKENDS: usize = 1000;
    let mut knobs = simulator.control.get_json("/knobs").await?;
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
    if setup.backends > ENOUGH_FOR_BACKENDS {
        raise("targets_per_group", setup.backends);
        raise("targets_per_zone", setup.backends);
    }
    simulator.set_knobs(&json!({ "quotas": knobs["quotas"] })).await
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
        let path = dir.join(CONFIG);
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
        match &self.simulator {
            Some(simulator) => simulator.calls().await,
            None => Ok(BTreeMap::new()),
        }
    }

    fn is_about_load_balancers(&self, action: &str) -> bool {
        action.starts_with("ELB")
    }

    async fn balancers(&self) -> anyhow::Result<Vec<Balancer>> {
        Ok(balancers(&self.simulator()?.state().await?))
    }

    /// Targets of a Network Load Balancer in one zone.
    fn backends_at_most(&self) -> usize {
        500
    }

    fn only_nodes_with(&self, key: &str, value: &str) -> (String, String) {
        ("service.beta.kubernetes.io/aws-load-balancer-target-node-labels".to_owned(), format!("{key}={value}"))
    }

    async fn forget_calls(&self) -> anyhow::Result<()> {
        self.simulator()?.forget_calls().await
    }

    async fn named(&self) -> anyhow::Result<BTreeSet<String>> {
        self.simulator()?.named().await
    }

    async fn limit_rates(&self) -> anyhow::Result<()> {
        self.simulator()?.limit_rates(&RATES).await
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
        self.simulator.as_ref().map_or(Ok(()), Simulator::check)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_balancers_of_both_kinds_lead_to_nodes() {
        let tags = |service: &str| json!({ "kubernetes.io/service-name": service });
        let state = json!({
            "instances": { "i-1": { "private_dns_name": "one" }, "i-2": { "private_dns_name": "two" } },
            "classic_load_balancers": { "c": { "name": "c", "tags": tags("default/web"), "instances": ["i-1", "i-2"] } },
            "load_balancers": { "arn:n": { "name": "n", "tags": tags("default/api") } },
            "listeners": {
                "l1": { "load_balancer": "arn:n", "target_group": "g1" },
                "l2": { "load_balancer": "arn:n", "target_group": "g2" },
            },
            "target_groups": {
                "g1": { "targets": [{ "id": "i-1" }, { "id": "i-2" }] },
                "g2": { "targets": [{ "id": "i-2" }] },
            },
        });
        let found: Vec<_> = balancers(&state)
            .into_iter()
            .map(|one| (one.service, one.name, one.backends.into_iter().collect::<Vec<_>>().join(" ")))
            .collect();
        let row = |service: &str, name: &str, nodes: &str| (service.to_owned(), name.to_owned(), nodes.to_owned());
        assert_eq!(found, [row("default/web", "c", "one two"), row("default/api", "n", "two")]);
    }
}
