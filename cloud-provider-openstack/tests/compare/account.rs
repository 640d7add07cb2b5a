//! Clouds of the simulator in which nothing happens by chance.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail, ensure};
use async_trait::async_trait;
use cloud_provider_openstack_simulator::{Core, Document, Ids, Options, PASSWORD, Seed, Simulator};
use cloud_provider_testing::compare::{
    Cloud, Machine, Move, OnSimulator, Scenario, Simulated, Traits, mark_removed, merge,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::names::{self, MACHINES};

/// Upstream's default of `--cluster-name`, which stands in names of load balancers.
const CLUSTER: &str = "kubernetes";
const REGION: &str = "RegionOne";
/// Both controllers' users in the project.
const USERS: [&str; 2] = ["ours", "upstream"];
const TRAITS: Traits = Traits {
    no_resources: &["template", "domains", "projects", "users", "application_credentials", "trusts", "jobs"],
    is_write,
};

/// A project of a cloud, with its simulator.
pub(crate) struct Account {
    pub(crate) simulator: Simulator,
    /// It held no servers at the start.
    state: Simulated<Core>,
    /// The server that each machine is made like, and its port.
    server: Document,
    port: Document,
    /// The namespace of the scenario's services, which stands in names of load balancers.
    namespace: String,
    /// The controllers' `clouds.yaml`.
    folder: TempDir,
}

impl Account {
    /// Another user in the project.
    pub(crate) fn user(name: &str) -> Value {
        let roles = json!({ &Ids::default().project: ["member", "load-balancer_member", "creator"] });
        json!({ "id": user_id(name), "name": name, "domain_id": "default", "password": PASSWORD, "_roles": roles })
    }

    /// Server and port of a machine: ID and address hang on its name only. The scenario's patch is one of the server; what stands
    /// below `port` in it is one of the port, what stands below `ports` are further ports.
    fn server(&self, machine: &Machine) -> anyhow::Result<(Value, Vec<Value>)> {
        let number = machine.number();
        ensure!(number < 26, "a machine is a letter");
        let id = format!("{MACHINES}0000-0000-4000-8000-{number:012x}");
        let mut server = Value::Object(self.server.clone());
        let zone = machine.zone.map_or_else(|| "nova".to_owned(), |zone| format!("zone-{zone}"));
        let own = json!({
            "id": id, "name": format!("node-{}", machine.name), "OS-EXT-AZ:availability_zone": zone, "_place": 1_000 + number,
        });
        merge(&mut server, &own);
        let mut patch = machine.machine.clone();
        let (mut port, mut further) = (Value::Object(self.port.clone()), Vec::new());
        let subnet = port["fixed_ips"][0]["subnet_id"].clone();
        let own = json!({
            "id": format!("{MACHINES}0001-0000-4000-8000-{number:012x}"), "device_id": id,
            "mac_address": format!("fa:16:3e:c0:de:{number:02x}"), "device_owner": format!("compute:{zone}"),
            "fixed_ips": [{ "subnet_id": subnet, "ip_address": format!("10.20.0.{}", 100 + number) }],
        });
        merge(&mut port, &own);
        if let Some(patch) = patch.as_object_mut() {
            if let Some(patch) = patch.remove("port") {
                merge(&mut port, &patch);
            }
            for (nth, patch) in
                patch.remove("ports").and_then(|all| all.as_array().cloned()).unwrap_or_default().iter().enumerate()
            {
                let mut other = port.clone();
                let own = json!({
                    "id": format!("{MACHINES}000{}-0000-4000-8000-{number:012x}", nth + 2),
                    "mac_address": format!("fa:16:3e:c0:d{}:{number:02x}", nth % 10),
                });
                merge(&mut other, &own);
                merge(&mut other, patch);
                further.push(other);
            }
        }
        if !patch.is_null() {
            merge(&mut server, &patch);
        }
        further.insert(0, port);
        Ok((server, further))
    }
}

#[async_trait]
impl OnSimulator for Account {
    type Core = Core;

    /// The simulator's usual networks, changed as the scenario says. What stands below `knobs` there changes how the
    /// simulator behaves.
    async fn start(scenario: &Scenario) -> anyhow::Result<Self> {
        let seed = Seed::cluster("node", 1).with("users", USERS.map(Self::user).into());
        let simulator = Simulator::start(Options { seed, ..Options::default() }).await?;
        let handle = simulator.handle();
        let server = handle.all("servers").pop().context("the seed has a server")?;
        let of_server = |port: &Document| port.get("device_id") == server.get("id");
        let port = handle.all("ports").into_iter().find(of_server).context("the server has a port")?;
        ensure!(handle.delete_server(text(server.get("id"))), "the server can be deleted");
        let mut change = scenario.account.clone();
        if let Some(knobs) = change.as_object_mut().and_then(|change| change.remove("knobs")) {
            let mut all = serde_json::to_value(handle.knobs())?;
            merge(&mut all, &knobs);
            handle.set_knobs(serde_json::from_value(all).context("the scenario's knobs")?);
        }
        let state = Simulated::new((*handle).clone(), &change, TRAITS)?;
        let folder = tempfile::tempdir().context("make a folder for clouds.yaml")?;
        Ok(Self { simulator, state, server, port, namespace: scenario.name.clone(), folder })
    }

    fn simulated(&self) -> &Simulated<Core> {
        &self.state
    }

    fn caller(who: &str) -> String {
        user_id(who)
    }

    fn balancer(&self, name: &str, _: &(dyn for<'a> Fn(&'a str) -> String + Send + Sync)) -> String {
        // openstack.md 5.1
        format!("kube_service_{CLUSTER}_{}_{name}", self.namespace)
    }

    fn is_of_nodes(kind: &str, id: &str) -> bool {
        matches!(kind, "servers" | "routers") || (kind == "ports" && id.starts_with(MACHINES))
    }

    fn catch_up(&self) {
        // What is due has happened after any look at the resources.
        self.simulator.handle().ids("loadbalancers");
    }
}

#[async_trait]
impl Cloud for Account {
    fn annotation(&self, short: &str) -> String {
        match short {
            "internal-load-balancer" => format!("service.beta.kubernetes.io/openstack-{short}"),
            short => format!("loadbalancer.openstack.org/{short}"),
        }
    }

    async fn add_machine(&self, machine: &Machine) -> anyhow::Result<(String, String)> {
        let (server, ports) = self.server(machine)?;
        let made = (text(server.get("id")).to_owned(), text(server.get("name")).to_owned());
        if machine.exists {
            let handle = self.simulator.handle();
            handle.insert("servers", server);
            ports.into_iter().for_each(|port| {
                handle.insert("ports", port);
            });
        }
        Ok(made)
    }

    async fn move_machine(&self, id: &str, to: Move) -> anyhow::Result<()> {
        let handle = self.simulator.handle();
        let moved = match to {
            Move::Start => handle.set_server_status(id, "ACTIVE"),
            Move::Stop => handle.set_server_status(id, "SHUTOFF"),
            Move::Terminate => bail!("Nova lists no server that is deleted: forget it"),
            Move::Forget => handle.delete_server(id),
        };
        ensure!(moved, "{id} cannot {to:?}");
        Ok(())
    }

    fn normalise(&self, captured: &mut Value) -> Vec<(String, String)> {
        names::without_chance(captured);
        mark_removed(captured);
        names::of_generated(captured, |kind, id| self.state.is_fresh(kind, id))
    }

    fn sets(&self) -> &'static [&'static str] {
        &["allowed_address_pairs", "allowed_cidrs", "routes", "security_groups", "sni_container_refs", "tags"]
    }

    /// `keys` holds sections by name: `{LoadBalancer: {create-monitor: true}}`. Who the controller is stands in its `clouds.yaml`.
    fn config(&self, keys: &BTreeMap<String, Value>) -> String {
        let ids = Ids::default();
        let mut sections = json!({
            "Global": { "use-clouds": true },
            "LoadBalancer": { "floating-network-id": ids.public_network, "subnet-id": ids.subnet },
        });
        for (name, section) in keys {
            merge(&mut sections[name], section);
        }
        let mut text = String::new();
        for (name, keys) in sections.as_object().into_iter().flatten() {
            text.push_str(&format!("[{name}]\n"));
            for (key, value) in keys.as_object().into_iter().flatten() {
                for value in value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]) {
                    let value = value.as_str().map_or_else(|| value.to_string(), |value| format!("{value:?}"));
                    text.push_str(&format!("{key} = {value}\n"));
                }
            }
        }
        text
    }

    fn environment(&self, who: &str) -> Vec<(String, String)> {
        let file = self.folder.path().join(format!("{who}.yaml"));
        let auth = json!({
            "auth_url": self.simulator.auth_url(), "username": who, "password": PASSWORD, "project_name": "demo",
            "user_domain_id": "default", "project_domain_id": "default",
        });
        // JSON is YAML. A file that cannot be written is missed by the controller, which says so.
        let clouds = json!({ "clouds": { "compare": { "auth": auth, "region_name": REGION } } });
        let _ = std::fs::write(&file, clouds.to_string());
        let file = file.display().to_string();
        [("OS_CLIENT_CONFIG_FILE", file.as_str()), ("OS_CLOUD", "compare")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    }
}

/// The ID of a controller's user.
pub(crate) fn user_id(who: &str) -> String {
    format!("user-{who}")
}

/// Whether an action, with its service in front, changes something in the project.
fn is_write(action: &str) -> bool {
    let (service, action) = action.split_once('.').unwrap_or(("", action));
    service != "keystone" && !["List", "Show"].iter().any(|read| action.starts_with(read))
}

fn text(value: Option<&Value>) -> &str {
    value.and_then(Value::as_str).unwrap_or_default()
}
