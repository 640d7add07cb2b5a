//! OpenStack, on its simulator or on its own services.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::cloud::{Balancer, CONFIG, Cloud, Kind, Setup};
use super::simulator::{Rate, Simulator};
use crate::openstack::Project;
use crate::process::Program;
use crate::rbac::{self, ACCOUNT, Rule};

const CLUSTER: &str = "demo";

/// OpenStack limits no rates by itself; operators do in front of it. These are generous for one project of many.
const RATES: [Rate; 3] = [("nova.*", 50, 10), ("neutron.*", 100, 20), ("octavia.*", 100, 20)];

/// How long load balancers are pending after each change, where nothing else is asked for.
const PENDING: Duration = Duration::from_millis(500);

/// A project.
pub(super) struct OpenStack {
    cloud_conf: String,
    nodes: Vec<String>,
    behind: Behind,
}

/// What answers.
enum Behind {
    Simulator { simulator: Simulator, ready: Box<Ready> },
    Services { project: Project, folder: PathBuf },
}

/// The line that the simulator prints when it is ready.
#[derive(Deserialize)]
struct Ready {
    url: String,
    auth_url: String,
    region: String,
    user: String,
    password: String,
    project: String,
    cloud_conf: String,
}

impl OpenStack {
    pub(super) async fn start(setup: &Setup, dir: &Path) -> anyhow::Result<Self> {
        if let Some(folder) = &setup.cloud_api {
            return Self::on_services(setup, folder.into()).await;
        }
        let pending = setup.programs.pending.unwrap_or(PENDING);
        let flags = [format!("--cluster={CLUSTER}"), format!("--pending={}ms", pending.as_millis())];
        let (simulator, ready): (_, Box<Ready>) = Simulator::start(setup, dir, &flags).await?;
        simulator.control.send_json(Method::POST, "/servers", &json!({ "count": setup.nodes })).await?;
        let servers = simulator.control.get_json("/resources/servers").await?;
        let servers = servers.as_array().context("the simulator lists no servers")?;
        let name = |server: &Value| server["name"].as_str().map(str::to_owned).context("a server has no name");
        let nodes = servers.iter().map(name).collect::<anyhow::Result<_>>()?;
        let cloud_conf = ready.cloud_conf.clone();
        Ok(Self { cloud_conf, nodes, behind: Behind::Simulator { simulator, ready } })
    }

    /// On the services that keep their state in `folder`. What is left of an earlier run goes.
    async fn on_services(setup: &Setup, folder: PathBuf) -> anyhow::Result<Self> {
        let project = Project::open(&folder).await?;
        project.empty().await.context("empty the project")?;
        let nodes = project.add_servers(&format!("{CLUSTER}-node"), setup.nodes).await?;
        Ok(Self { cloud_conf: project.cloud_conf()?, nodes, behind: Behind::Services { project, folder } })
    }

    fn simulator(&self) -> anyhow::Result<&Simulator> {
        match &self.behind {
            Behind::Simulator { simulator, .. } => Ok(simulator),
            Behind::Services { .. } => bail!("only the simulator can do that"),
        }
    }
}

/// The load balancers in the state of a simulator or of the services. Backends are those of all its listeners.
fn balancers(state: &Value) -> Vec<Balancer> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = |kind: &str| state[kind].as_object().into_iter().flat_map(|all| all.values());
    let mut nodes = BTreeMap::new();
    for port in all("ports") {
        let server = &state["servers"][text(&port["device_id"])];
        for fixed in port["fixed_ips"].as_array().into_iter().flatten() {
            nodes.insert(text(&fixed["ip_address"]), text(&server["name"]));
        }
    }
    let members = |listener: &Value| -> BTreeSet<String> {
        let of_pool = all("members").filter(|member| {
            member["_pool_id"] == listener["default_pool_id"] && member["provisioning_status"] != "PENDING_DELETE"
        });
        of_pool.filter_map(|member| nodes.get(&text(&member["address"])).cloned()).collect()
    };
    let balancer = |balancer: &Value| {
        let own = all("listeners").filter(|listener| listener["_loadbalancer_id"] == balancer["id"]);
        Balancer {
            service: service(balancer["description"].as_str().unwrap_or_default()).to_owned(),
            name: text(&balancer["id"]),
            backends: own.map(members).reduce(|left, right| &left & &right).unwrap_or_default(),
        }
    };
    all("loadbalancers").map(balancer).collect()
}

/// The service in the description of its load balancer.
fn service(description: &str) -> &str {
    let rest = description.strip_prefix("Kubernetes external service ").unwrap_or_default();
    rest.split(' ').next().unwrap_or_default()
}

#[async_trait]
impl Cloud for OpenStack {
    fn name(&self) -> &'static str {
        "openstack"
    }

    fn describe(&self) -> String {
        let nodes = self.nodes.len();
        match &self.behind {
            Behind::Simulator { ready, .. } => {
                format!("simulator at {}, {nodes} servers in project {}", ready.url, ready.project)
            }
            Behind::Services { project, .. } => {
                format!("services, with Keystone at {}, {nodes} servers in project demo", project.lab().auth_url)
            }
        }
    }

    fn nodes(&self) -> &[String] {
        &self.nodes
    }

    fn services(&self) -> Vec<Kind> {
        const INTERNAL: &str = "service.beta.kubernetes.io/openstack-internal-load-balancer";
        vec![
            Kind { name: "public", annotations: Vec::new() },
            Kind { name: "internal", annotations: vec![(INTERNAL, "true")] },
        ]
    }

    /// That of upstream's manifests.
    fn roles(&self) -> Vec<Value> {
        let read = ["get", "list", "watch"];
        rbac::role_of(
            ACCOUNT,
            "system:cloud-controller-manager",
            &[
                Rule::new("coordination.k8s.io", &["leases"], &["get", "create", "update"]),
                Rule::new("", &["events"], &["create", "patch", "update"]),
                Rule::new("", &["nodes"], &["*"]),
                Rule::new("", &["nodes/status", "services/status"], &["patch"]),
                Rule::new("", &["services"], &["list", "patch", "update", "watch"]),
                Rule::new("", &["serviceaccounts"], &["create", "get"]),
                Rule::new("", &["serviceaccounts/token"], &["create"]),
                Rule::new("", &["persistentvolumes"], &["*"]),
                Rule::new("", &["endpoints"], &[&read[..], &["create", "update"]].concat()),
                Rule::new("", &["configmaps", "secrets"], &read),
            ],
        )
    }

    fn configure(&self, controller: Program, dir: &Path) -> anyhow::Result<Program> {
        let path = dir.join(CONFIG);
        std::fs::write(&path, &self.cloud_conf).with_context(|| format!("write {}", path.display()))?;
        Ok(controller.arg(format!("--cloud-config={}", path.display())).arg("--configure-cloud-routes=false"))
    }

    async fn calls(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        match &self.behind {
            Behind::Simulator { simulator, .. } => simulator.calls().await,
            Behind::Services { .. } => Ok(BTreeMap::new()),
        }
    }

    fn is_about_load_balancers(&self, action: &str) -> bool {
        action.starts_with("octavia.")
    }

    async fn balancers(&self) -> anyhow::Result<Vec<Balancer>> {
        Ok(balancers(&match &self.behind {
            Behind::Simulator { simulator, .. } => simulator.state().await?,
            Behind::Services { project, .. } => project.state().await?,
        }))
    }

    /// Octavia's members have no quota by default.
    fn backends_at_most(&self) -> usize {
        usize::MAX
    }

    fn only_nodes_with(&self, key: &str, value: &str) -> (String, String) {
        ("loadbalancer.openstack.org/node-selector".to_owned(), format!("{key}={value}"))
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
            "kubectl delete service public-1".to_owned(),
        ];
        match &self.behind {
            Behind::Simulator { ready, .. } => {
                let Ready { url, auth_url, region, user, password, project, .. } = &**ready;
                hints.push(format!(
                    "openstack --os-auth-url {auth_url} --os-region-name {region} --os-username {user} --os-password {password} \
                     --os-project-name {project} --os-user-domain-id default --os-project-domain-id default loadbalancer list"
                ));
                hints.push(format!("curl {url}/_simulator/calls/counts"));
            }
            Behind::Services { folder, .. } => hints.push(format!(
                "OS_CLIENT_CONFIG_FILE={} openstack --os-cloud demo loadbalancer list",
                folder.join("clouds.yaml").display()
            )),
        }
        hints
    }

    fn check(&self) -> anyhow::Result<()> {
        match &self.behind {
            Behind::Simulator { simulator, .. } => simulator.check(),
            Behind::Services { .. } => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_balancers_lead_to_the_nodes_of_all_their_listeners() {
        let member = |pool: &str, address: &str| json!({ "_pool_id": pool, "address": address });
        let port =
            |server: &str, address: &str| json!({ "device_id": server, "fixed_ips": [{ "ip_address": address }] });
        let listener = |pool: &str| json!({ "_loadbalancer_id": "lb", "default_pool_id": pool });
        let state = json!({
            "servers": { "s1": { "name": "one" }, "s2": { "name": "two" } },
            "ports": { "p1": port("s1", "10.0.0.1"), "p2": port("s2", "10.0.0.2"), "p3": port("lb", "10.0.0.3") },
            "loadbalancers": { "lb": { "id": "lb", "description": "Kubernetes external service a/web from cluster c" } },
            "listeners": { "l1": listener("q1"), "l2": listener("q2") },
            "members": { "m1": member("q1", "10.0.0.1"), "m2": member("q1", "10.0.0.2"), "m3": member("q2", "10.0.0.2") },
        });
        let found = balancers(&state);
        assert_eq!((found.len(), found[0].service.as_str(), found[0].name.as_str()), (1, "a/web", "lb"));
        assert_eq!(found[0].backends, BTreeSet::from(["two".to_owned()]));
    }
}
