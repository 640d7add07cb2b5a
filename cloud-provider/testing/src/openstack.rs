//! A project on OpenStack's own services, as `cargo xtask cloud up openstack` starts them: looked at and changed as its owner
//! would, with nothing of a controller's code.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use futures::future::try_join_all;
use http::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::conformance::eventually;
use crate::http::Endpoint;

/// How long the services may take for what a test asks of them before it begins.
const LONG: Duration = Duration::from_secs(300);
/// And for each server that starts beside it; one took 13 seconds on a machine with ten times as much to do as it has cores.
const SERVER: Duration = Duration::from_secs(15);

/// What the driver of the services writes down.
#[derive(Debug, Clone, Deserialize)]
pub struct Lab {
    /// The project of the controller.
    pub project: String,
    /// The network of servers.
    pub private_network: String,
    /// Its subnet.
    pub private_subnet: String,
    /// The external network.
    pub public_network: String,
    /// The router between them.
    pub router: String,
    /// What servers are made of.
    pub image: String,
    /// How large they are.
    pub flavor: String,
    /// Keystone.
    pub auth_url: String,
    /// The region.
    pub region: String,
    /// The port of each service by its name, such as `nova`.
    pub ports: BTreeMap<String, u16>,
}

/// A service, and where its API begins.
#[derive(Debug, Clone, Copy)]
pub struct Api {
    name: &'static str,
    base: &'static str,
}

/// Servers.
pub const NOVA: Api = Api { name: "nova", base: "/v2.1" };
/// Networks.
pub const NEUTRON: Api = Api { name: "neutron", base: "/v2.0" };
/// Load balancers.
pub const OCTAVIA: Api = Api { name: "octavia", base: "/v2.0" };
/// Volumes.
pub const CINDER: Api = Api { name: "cinder", base: "/v3" };

/// The project, by its user `demo`.
#[derive(Debug)]
pub struct Project {
    folder: PathBuf,
    lab: Lab,
    token: String,
}

impl Project {
    /// The project of the services that keep their state in `folder`. Its token is good for an hour.
    ///
    /// # Errors
    /// When nothing was started there, or Keystone gives no token.
    pub async fn open(folder: &Path) -> anyhow::Result<Self> {
        let read = |name: &str| {
            let text = std::fs::read_to_string(folder.join(name));
            text.with_context(|| format!("{} holds no state of services, which write {name}", folder.display()))
        };
        let lab: Lab = serde_json::from_str(&read("lab.json")?).context("read lab.json")?;
        let clouds: Value = serde_json::from_str(&read("clouds.yaml")?).context("read clouds.yaml")?;
        let auth = &clouds["clouds"]["demo"]["auth"];
        let user = json!({ "name": auth["username"], "password": auth["password"], "domain": { "name": auth["user_domain_name"] } });
        let project = json!({ "name": auth["project_name"], "domain": { "name": auth["project_domain_name"] } });
        let body = json!({ "auth": {
            "identity": { "methods": ["password"], "password": { "user": user } }, "scope": { "project": project },
        } });
        let json = [("content-type", "application/json")];
        let (headers, _) =
            Endpoint::new(&lab.auth_url)?.answer(Method::POST, "/auth/tokens", &json, body.to_string()).await?;
        let token = headers.get("x-subject-token").context("Keystone gave no token")?;
        let token = token.to_str().context("read the token")?.to_owned();
        Ok(Self { folder: folder.to_owned(), lab, token })
    }

    /// What is there from the beginning.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// The configuration of a controller.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn cloud_conf(&self) -> anyhow::Result<String> {
        std::fs::read_to_string(self.folder.join("cloud.conf")).context("read cloud.conf")
    }

    /// Sends a request and reads JSON; an empty answer is null.
    ///
    /// # Errors
    /// When there is no answer, or it is no success.
    pub async fn send(&self, api: Api, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let port = self.lab.ports.get(api.name).with_context(|| format!("no port of {}", api.name))?;
        let endpoint = Endpoint::new(&format!("http://127.0.0.1:{port}{}", api.base))?;
        let headers = [("x-auth-token", self.token.as_str()), ("content-type", "application/json")];
        let text = endpoint.send(method, path, &headers, body.map(Value::to_string).unwrap_or_default()).await?;
        if text.trim().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).with_context(|| format!("read the answer of {} {path}", api.name))
    }

    /// What a collection holds; `path` ends with its name.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn list(&self, api: Api, path: &str, key: &str) -> anyhow::Result<Vec<Value>> {
        let mut answer = self.send(api, Method::GET, path, None).await?;
        serde_json::from_value(answer[key].take()).with_context(|| format!("{} {path} lists no {key}", api.name))
    }

    async fn delete(&self, api: Api, path: String) -> anyhow::Result<()> {
        self.send(api, Method::DELETE, &path, None).await.map(drop)
    }

    /// Everything that a controller looks at or changes, by kind and ID, in the form in which our simulator tells its own state.
    ///
    /// # Errors
    /// When something cannot be read.
    pub async fn state(&self) -> anyhow::Result<Value> {
        let mut state = Map::new();
        for (api, path, key, kind) in [
            (NOVA, "/servers/detail", "servers", "servers"),
            (NEUTRON, "/ports", "ports", "ports"),
            (NEUTRON, "/floatingips", "floatingips", "floatingips"),
            (NEUTRON, "/routers", "routers", "routers"),
            (NEUTRON, "/security-groups", "security_groups", "security-groups"),
            (NEUTRON, "/security-group-rules", "security_group_rules", "security-group-rules"),
            (OCTAVIA, "/lbaas/loadbalancers", "loadbalancers", "loadbalancers"),
            (OCTAVIA, "/lbaas/listeners", "listeners", "listeners"),
            (OCTAVIA, "/lbaas/pools", "pools", "pools"),
            (OCTAVIA, "/lbaas/healthmonitors", "healthmonitors", "healthmonitors"),
        ] {
            let mut all = self.list(api, path, key).await?;
            for one in &mut all {
                if let Some(balancer) = one["loadbalancers"][0]["id"].as_str().map(str::to_owned) {
                    one["_loadbalancer_id"] = balancer.into();
                }
            }
            state.insert(kind.to_owned(), by_id(all));
        }
        let pools: Vec<String> = state["pools"].as_object().into_iter().flat_map(Map::keys).cloned().collect();
        let members = try_join_all(pools.iter().map(async |pool| {
            match self.list(OCTAVIA, &format!("/lbaas/pools/{pool}/members"), "members").await {
                Ok(mut members) => {
                    members.iter_mut().for_each(|member| member["_pool_id"] = pool.as_str().into());
                    Ok(members)
                }
                // It went meanwhile.
                Err(error) if error.to_string().contains("status 404") => Ok(Vec::new()),
                Err(error) => Err(error),
            }
        }));
        state.insert("members".to_owned(), by_id(members.await?.into_iter().flatten().collect()));
        Ok(Value::Object(state))
    }

    /// Starts servers and gives their names, which begin with `name`.
    ///
    /// # Errors
    /// When they do not start.
    pub async fn add_servers(&self, name: &str, count: usize) -> anyhow::Result<Vec<String>> {
        let server = json!({ "server": {
            "name": name, "imageRef": self.lab.image, "flavorRef": self.lab.flavor, "min_count": count,
            "networks": [{ "uuid": self.lab.private_network }],
        } });
        self.send(NOVA, Method::POST, "/servers", Some(&server)).await.context("start servers")?;
        // Nova numbers several of one name.
        let is_one = |found: &&str| {
            let number = found.strip_prefix(name).map(|rest| rest.trim_start_matches('-'));
            number.is_some_and(|number| number.bytes().all(|digit| digit.is_ascii_digit()))
        };
        let patience = LONG + SERVER * u32::try_from(count)?;
        eventually(patience, || async {
            let servers = self.list(NOVA, "/servers/detail", "servers").await?;
            let active = servers.iter().filter(|server| server["status"] == "ACTIVE");
            let names: Vec<&str> = active.filter_map(|server| server["name"].as_str()).filter(is_one).collect();
            ensure!(names.len() == count, "{} of {count} servers run", names.len());
            Ok(names.into_iter().map(str::to_owned).collect())
        })
        .await
    }

    /// Makes a volume and gives its ID.
    ///
    /// # Errors
    /// When it is not available in time.
    pub async fn add_volume(&self) -> anyhow::Result<String> {
        let made = self.send(CINDER, Method::POST, "/volumes", Some(&json!({ "volume": { "size": 1 } }))).await?;
        let id = made["volume"]["id"].as_str().context("a volume without an ID")?.to_owned();
        eventually(LONG, || async {
            let volume = self.send(CINDER, Method::GET, &format!("/volumes/{id}"), None).await?;
            ensure!(volume["volume"]["status"] == "available", "the volume is {}", volume["volume"]["status"]);
            Ok(())
        })
        .await?;
        Ok(id)
    }

    /// Deletes a load balancer with all that is in it, and waits until it is gone.
    ///
    /// # Errors
    /// When it is still there after a while.
    pub async fn remove_load_balancer(&self, id: &str) -> anyhow::Result<()> {
        eventually(LONG, || async {
            let all = self.list(OCTAVIA, "/lbaas/loadbalancers", "loadbalancers").await?;
            let Some(balancer) = all.iter().find(|balancer| balancer["id"] == id) else { return Ok(()) };
            if !balancer["provisioning_status"].as_str().unwrap_or_default().starts_with("PENDING") {
                self.delete(OCTAVIA, format!("/lbaas/loadbalancers/{id}?cascade=true")).await?;
            }
            bail!("load balancer {id} is {}", balancer["provisioning_status"])
        })
        .await
    }

    /// Removes everything but what was there from the beginning.
    ///
    /// # Errors
    /// When something is still there after a while.
    pub async fn empty(&self) -> anyhow::Result<()> {
        let router = format!("/routers/{}", self.lab.router);
        self.send(NEUTRON, Method::PUT, &router, Some(&json!({ "router": { "routes": [] } }))).await?;
        let ids = async |api, path: &str, key: &str| {
            let all = self.list(api, path, key).await?;
            anyhow::Ok(all.iter().filter_map(|one| one["id"].as_str().map(str::to_owned)).collect::<Vec<_>>())
        };
        let balancers = ids(OCTAVIA, "/lbaas/loadbalancers", "loadbalancers").await?;
        try_join_all(balancers.iter().map(|id| self.remove_load_balancer(id))).await?;
        for id in ids(NEUTRON, "/floatingips", "floatingips").await? {
            self.delete(NEUTRON, format!("/floatingips/{id}")).await?;
        }
        for (api, kind) in [(NOVA, "servers"), (CINDER, "volumes")] {
            for id in ids(api, &format!("/{kind}"), kind).await? {
                self.delete(api, format!("/{kind}/{id}")).await?;
            }
            eventually(LONG, || async {
                let left = ids(api, &format!("/{kind}"), kind).await?.len();
                ensure!(left == 0, "{left} {kind} are still there");
                Ok(())
            })
            .await?;
        }
        let groups = self.list(NEUTRON, "/security-groups", "security_groups").await?;
        for group in groups.iter().filter(|group| group["name"] != "default") {
            let id = group["id"].as_str().unwrap_or_default();
            self.delete(NEUTRON, format!("/security-groups/{id}")).await?;
        }
        Ok(())
    }
}

fn by_id(all: Vec<Value>) -> Value {
    let keyed = all.into_iter().map(|one| (one["id"].as_str().unwrap_or_default().to_owned(), one));
    Value::Object(keyed.collect())
}
