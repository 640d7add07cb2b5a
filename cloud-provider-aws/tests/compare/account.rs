//! Accounts of the simulator in which nothing happens by chance.

use std::{collections::BTreeMap, net::Ipv4Addr};

use anyhow::{Context as _, ensure};
use async_trait::async_trait;
use cloud_provider_aws_simulator::{
    Core, Credential, Options, Policy, Seed, Simulator,
    model::{Instance, tags},
    private_dns_name,
};
use cloud_provider_testing::compare::{
    Cloud, Machine, Move, OnSimulator, Scenario, Simulated, Traits, mark_removed, merge,
};
use serde_json::{Value, json};

/// The cluster's ID.
pub(crate) const CLUSTER: &str = "compare";
/// Where everything is.
pub(crate) const REGION: &str = "us-east-1";
const SECRET: &str = "secret";
const VPC: &str = "vpc-0a1b2c3d4e5f60001";
/// The first public subnet; the others count up.
const SUBNET: &str = "subnet-0a1b2c3d4e5f61001";
const NODES: &str = "sg-0a1b2c3d4e5f60002";
const TRAITS: Traits = Traits { no_resources: &["made", "given", "lingering_groups", "template"], is_write };
/// Times: different in each run.
pub(crate) const TIMES: [&str; 5] = ["created", "active", "until", "launched", "settled"];

/// An account, with its simulator.
pub(crate) struct Account {
    /// Its calls, knobs and state.
    pub(crate) simulator: Simulator,
    /// It held no machines at the start.
    state: Simulated<Core>,
}

impl Account {
    fn instance(machine: &Machine) -> anyhow::Result<Instance> {
        let number = u8::try_from(machine.number()).context("a machine is a letter")?;
        let zone = machine.zone.unwrap_or(machine.number() % 3);
        ensure!(zone < 3, "there are three zones");
        let address = Ipv4Addr::new(10, 0, u8::try_from(zone)? * 32, 10 + number);
        let public = Ipv4Addr::new(198, 18, 0, 10 + number);
        let id = format!("i-0{:016x}", 0xc0de_0000_u64 + u64::from(number));
        let subnet = format!("{}{}", &SUBNET[..SUBNET.len() - 1], zone + 1);
        let mut instance =
            Instance::new(&id, &subnet, address, &private_dns_name(REGION, address), &[NODES.to_owned()]);
        instance.tags =
            tags([("Name", &format!("node-{}", machine.name)), (&format!("kubernetes.io/cluster/{CLUSTER}"), "owned")]);
        instance.public_ip = Some(public);
        instance.public_dns_name =
            Some(format!("ec2-{}.compute-1.amazonaws.com", public.to_string().replace('.', "-")));
        let mut changed = serde_json::to_value(&instance)?;
        if !machine.machine.is_null() {
            merge(&mut changed, &machine.machine);
        }
        serde_json::from_value(changed).context("change the instance as the scenario says")
    }
}

#[async_trait]
impl OnSimulator for Account {
    type Core = Core;

    /// The simulator's usual network of a cluster, changed as the scenario says.
    async fn start(scenario: &Scenario) -> anyhow::Result<Self> {
        let (seed, policy) = (Seed::cluster(CLUSTER, 0), Policy::all());
        let simulator = Simulator::start(Options { seed, policy, ..Options::default() }).await?;
        let state = Simulated::new((*simulator.handle()).clone(), &scenario.account, TRAITS)?;
        Ok(Self { simulator, state })
    }

    fn simulated(&self) -> &Simulated<Core> {
        &self.state
    }

    fn caller(who: &str) -> String {
        access_key(who)
    }

    fn balancer(&self, name: &str, uid: &(dyn for<'a> Fn(&'a str) -> String + Send + Sync)) -> String {
        // aws.md 5.1
        let mut balancer = format!("a{}", uid(name).replace('-', ""));
        balancer.truncate(32);
        balancer
    }

    fn is_of_nodes(kind: &str, _id: &str) -> bool {
        matches!(kind, "instances" | "route_tables")
    }
}

#[async_trait]
impl Cloud for Account {
    fn annotation(&self, short: &str) -> String {
        annotation(short)
    }

    async fn add_machine(&self, machine: &Machine) -> anyhow::Result<(String, String)> {
        let instance = Self::instance(machine)?;
        let (id, name) = (instance.id.clone(), instance.private_dns_name.clone());
        if machine.exists {
            self.simulator.handle().add_instance(instance);
        }
        Ok((id, name))
    }

    async fn move_machine(&self, id: &str, to: Move) -> anyhow::Result<()> {
        let handle = self.simulator.handle();
        let moved = match to {
            Move::Start => handle.start(id),
            Move::Stop => handle.stop(id),
            Move::Terminate => handle.terminate(id),
            Move::Forget => handle.delete_instance(id),
        };
        ensure!(moved, "{id} cannot {to:?}");
        Ok(())
    }

    fn normalise(&self, captured: &mut Value) -> Vec<(String, String)> {
        without_times(captured);
        mark_removed(captured);
        let mut names = Vec::new();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let each = |kind: &str| captured[kind].as_object().cloned().unwrap_or_default().into_iter();
        for (id, group) in each("security_groups").filter(|(id, _)| !self.state.is_fresh("security_groups", id)) {
            names.push((id, format!("group({})", text(&group["name"]))));
        }
        for (_, balancer) in each("classic_load_balancers").chain(each("load_balancers")) {
            names.push((text(&balancer["dns_name"]), format!("dns({})", text(&balancer["name"]))));
        }
        for (arn, balancer) in each("load_balancers") {
            names.push((arn, format!("balancer({})", text(&balancer["name"]))));
        }
        for (arn, group) in each("target_groups") {
            names.push((arn, format!("targets({})", text(&group["name"]))));
        }
        for (arn, listener) in each("listeners") {
            // The name is the last but one part of the load balancer's ARN.
            let balancer = text(&listener["load_balancer"]);
            let name = balancer.rsplit('/').nth(1).unwrap_or_default();
            names.push((arn, format!("listener({name} {})", listener["port"])));
        }
        names
    }

    fn sets(&self) -> &'static [&'static str] {
        &["draining", "groups", "ingress", "routes", "security_groups", "subnets", "targets"]
    }

    fn config(&self, keys: &BTreeMap<String, Value>) -> String {
        cloud_config(VPC, SUBNET, &self.simulator.url(), keys)
    }

    fn environment(&self, who: &str) -> Vec<(String, String)> {
        let (access_key, secret_key) = (access_key(who), SECRET.to_owned());
        self.simulator.handle().add_credential(Credential { access_key, secret_key, ..Credential::default() });
        environment(who)
    }
}

/// The whole key of an annotation.
pub(crate) fn annotation(short: &str) -> String {
    format!("service.beta.kubernetes.io/aws-load-balancer-{short}")
}

/// Leads a controller to the API at `url`.
pub(crate) fn cloud_config(vpc: &str, subnet: &str, url: &str, keys: &BTreeMap<String, Value>) -> String {
    let mut global = BTreeMap::from([
        ("Zone", json!(format!("{REGION}a"))),
        ("VPC", json!(vpc)),
        ("SubnetID", json!(subnet)),
        ("KubernetesClusterID", json!(CLUSTER)),
    ]);
    global.extend(keys.iter().map(|(key, value)| (key.as_str(), value.clone())));
    let mut text = "[Global]\n".to_owned();
    for (key, value) in global {
        let values = value.as_array().cloned().unwrap_or_else(|| vec![value]);
        for value in values {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            text.push_str(&format!("{key} = {value}\n"));
        }
    }
    for (nth, service) in ["EC2", "Elastic Load Balancing", "Elastic Load Balancing v2"].iter().enumerate() {
        text.push_str(&format!(
            "[ServiceOverride \"{nth}\"]\nService = {service}\nRegion = {REGION}\nURL = {url}\nSigningRegion = {REGION}\n",
        ));
    }
    text
}

/// The credentials of a controller by its name.
pub(crate) fn environment(who: &str) -> Vec<(String, String)> {
    let access_key = access_key(who);
    let set = [
        ("AWS_ACCESS_KEY_ID", access_key.as_str()),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
        ("AWS_REGION", REGION),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ];
    set.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

pub(crate) fn access_key(who: &str) -> String {
    format!("AKIA{}", who.to_uppercase())
}

/// Whether an action, with or without its service in front, changes something.
pub(crate) fn is_write(action: &str) -> bool {
    let action = action.rsplit('.').next().unwrap_or(action);
    !["Describe", "Get", "AssumeRole"].iter().any(|read| action.starts_with(read))
}

fn without_times(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|key, value| !(TIMES.contains(&key.as_str()) && value.is_string()));
            fields.values_mut().for_each(without_times);
        }
        Value::Array(items) => items.iter_mut().for_each(without_times),
        _ => {}
    }
}
