//! On OpenStack's own services. Runs where `OPENSTACK_SERVICES` names the folder in which their driver keeps its state. All that
//! is in the project is removed.
//!
//! The controller reaches them through gateways, which the catalog's interface `admin` leads to, and which count its calls.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use anyhow::Context as _;
use async_trait::async_trait;
use cloud_provider_testing::{
    conformance::{
        self, Allocator, Controller, Declared, Disk, Disturbance, Factory, InstanceState, LoadBalancer, Route,
        RouteSupport, Run, Start, Subject,
    },
    gateway::Gateway,
    openstack::{NEUTRON, NOVA, Project},
};
use http::Method;
use serde_json::{Value, json};

use crate::{
    controller::{self, CLUSTER, Calls},
    roles, view,
};

/// Names the folder of the services' driver.
const SERVICES: &str = "OPENSTACK_SERVICES";
/// From the port of a service to the one that the catalog's interface `admin` names.
const ADMIN: u16 = 100;
/// The private network has no subnet of IPv6.
const ROUTES: RouteSupport = RouteSupport { ipv6: false };

/// One project for all scenarios, emptied before each.
struct Services(PathBuf);

#[async_trait]
impl Factory for Services {
    async fn subject(&self) -> anyhow::Result<Box<dyn Subject>> {
        let project = Project::open(&self.0).await?;
        project.empty().await.context("empty the project")?;
        let mut gateways = Vec::new();
        for (name, port) in &project.lab().ports {
            let gateway = Gateway::on_port(port + ADMIN, &format!("127.0.0.1:{port}")).await;
            gateways.push((name.clone(), gateway.with_context(|| format!("start the gateway to {name}"))?));
        }
        Ok(Box::new(OnServices { project, gateways, batches: AtomicUsize::new(0) }))
    }
}

struct OnServices {
    project: Project,
    gateways: Vec<(String, Gateway)>,
    /// How often servers were started: names are not given twice.
    batches: AtomicUsize,
}

impl OnServices {
    /// The driver's configuration, by way of the gateways.
    fn cloud_conf(&self) -> anyhow::Result<String> {
        let port = self.project.lab().ports.get("keystone").context("no port of keystone")?;
        let (direct, gateway) = (format!(":{port}/"), format!(":{}/", port + ADMIN));
        let config = self.project.cloud_conf()?.replace(&direct, &gateway);
        Ok(config.replace("[Global]\n", "[Global]\nos-endpoint-type=admin\n"))
    }

    async fn server(&self, node: &str) -> anyhow::Result<String> {
        let servers = self.project.list(NOVA, "/servers", "servers").await?;
        let found = servers.iter().find(|server| server["name"] == node).and_then(|server| server["id"].as_str());
        found.map(str::to_owned).with_context(|| format!("no server is named {node}"))
    }
}

#[async_trait]
impl Subject for OnServices {
    fn declared(&self) -> Declared {
        Declared {
            zones: true,
            instance_types: true,
            stopping: true,
            look_up: Some(("nova GET /v2.1/servers/detail".to_owned(), 1000)),
            services: controller::services(),
            volumes: true,
            writes: is_write,
            disturbances: Vec::new(),
            leader_election: true,
            grace: Duration::from_secs(60),
            routes: Some(ROUTES),
            allocators: vec![Allocator::Cluster],
        }
    }

    fn roles(&self) -> Vec<Value> {
        roles::upstream()
    }

    async fn start(&self, start: Start<'_>) -> anyhow::Result<Box<dyn Controller>> {
        Ok(Box::new(controller::start(&self.cloud_conf()?, Some(ROUTES), start)?))
    }

    async fn add_instances(&self, count: usize) -> anyhow::Result<Vec<String>> {
        let batch = self.batches.fetch_add(1, Ordering::Relaxed);
        self.project.add_servers(&format!("{CLUSTER}-batch{batch}"), count).await
    }

    async fn add_disk(&self) -> anyhow::Result<Disk> {
        Ok(controller::disk(&self.project.add_volume().await?))
    }

    async fn set_instance(&self, node: &str, state: InstanceState) -> anyhow::Result<()> {
        let path = format!("/servers/{}", self.server(node).await?);
        let act = async |action: &str| {
            self.project.send(NOVA, Method::POST, &format!("{path}/action"), Some(&json!({ action: null }))).await
        };
        match state {
            InstanceState::Running => act("os-start").await,
            InstanceState::Stopped => act("os-stop").await,
            InstanceState::Terminated => self.project.send(NOVA, Method::DELETE, &path, None).await,
        }
        .map(drop)
    }

    async fn load_balancers(&self) -> anyhow::Result<Vec<LoadBalancer>> {
        Ok(view::load_balancers(&self.project.state().await?))
    }

    async fn remove_load_balancer(&self, id: &str) -> anyhow::Result<()> {
        self.project.remove_load_balancer(id).await
    }

    async fn belongings(&self) -> anyhow::Result<BTreeSet<String>> {
        Ok(view::belongings(&self.project.state().await?))
    }

    async fn disturb(&self, disturbance: Disturbance) -> anyhow::Result<()> {
        anyhow::bail!("the services cannot be made {disturbance}")
    }

    async fn heal(&self) -> anyhow::Result<()> {
        Ok(())
    }

    async fn routes(&self) -> anyhow::Result<BTreeSet<Route>> {
        Ok(view::routes(&self.project.state().await?, &self.project.lab().router))
    }

    async fn add_foreign_route(&self, destination: &str, node: &str) -> anyhow::Result<()> {
        let nexthop = view::address(&self.project.state().await?, node)?;
        let path = format!("/routers/{}/add_extraroutes", self.project.lab().router);
        let body = json!({ "router": { "routes": [{ "destination": destination, "nexthop": nexthop }] } });
        self.project.send(NEUTRON, Method::PUT, &path, Some(&body)).await.map(drop)
    }

    async fn calls(&self) -> anyhow::Result<Calls> {
        let mut calls = Calls::new();
        for (service, gateway) in &self.gateways {
            gateway.visit(|passed| {
                *calls.entry(format!("{service} {} {}", passed.method, without_ids(&passed.path))).or_default() += 1;
            });
        }
        Ok(calls)
    }
}

/// A path whose IDs are all the same.
fn without_ids(path: &str) -> String {
    let is_id = |part: &str| part.len() >= 32 && part.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    path.split('/').map(|part| if is_id(part) { "{id}" } else { part }).collect::<Vec<_>>().join("/")
}

fn is_write(call: &str) -> bool {
    !call.starts_with("keystone") && !call.contains(" GET ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_controller_conforms_on_the_real_services() {
    let Some(folder) = std::env::var_os(SERVICES) else {
        eprintln!("NOT RUN: {SERVICES} names no services; `cargo xtask test openstack-conformance` starts them");
        return;
    };
    let skip = conformance::skip_list(include_str!("real.skip"));
    let run = Run { skip, concurrency: 1, ..Run::default() };
    conformance::run(&Services(folder.into()), run).await.unwrap();
}
