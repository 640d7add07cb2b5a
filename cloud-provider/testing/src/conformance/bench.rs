//! A control plane, a cloud and a controller between them.

use std::collections::BTreeSet;
use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use k8s_openapi::api::core::v1::{Node, Service};
use kube::Client;
use kube::api::{Api, DeleteParams};

use super::{Allocator, Controller, Declared, Election, LoadBalancer, ServiceKind, Start, Subject};
use crate::control_plane::{ControlPlane, Options};
use crate::objects::{KubeletNode, LoadBalancerService, UNINITIALIZED, register_nodes};
use crate::progress::Progress;
use crate::rbac::{self, ACCOUNT};

/// What a scenario works with.
pub struct Bench {
    /// The cloud.
    pub subject: Box<dyn Subject>,
    /// What it declared.
    pub declared: Declared,
    /// The cluster.
    pub plane: ControlPlane,
    /// The admin's client.
    pub client: Client,
    /// How long the cluster and the cloud may take to agree when nothing is wrong.
    pub patience: Duration,
    kubeconfig: PathBuf,
    starts: AtomicU32,
}

impl Bench {
    pub(super) async fn new(subject: Box<dyn Subject>, scenario: &str, patience: Duration) -> anyhow::Result<Self> {
        let options = Options { progress: Progress::silent(), ..Options::default() };
        let plane = ControlPlane::start(options).await?;
        let client = plane.client().await?;
        rbac::grant(&client, subject.roles()).await.context("grant the controller its roles")?;
        let kubeconfig = plane.kubeconfig_for_service_account("kube-system", ACCOUNT).await?;
        let kubeconfig = plane.write_kubeconfig(scenario, &kubeconfig)?;
        let declared = subject.declared();
        Ok(Self { subject, declared, plane, client, patience, kubeconfig, starts: AtomicU32::new(0) })
    }

    /// The controller's name in the audit log.
    pub fn user(&self) -> String {
        format!("system:serviceaccount:kube-system:{ACCOUNT}")
    }

    /// Starts a controller without leader election.
    pub(super) async fn start(&self) -> anyhow::Result<Box<dyn Controller>> {
        self.start_with(Election::Off).await
    }

    pub(super) async fn start_with(&self, election: Election) -> anyhow::Result<Box<dyn Controller>> {
        self.launch(election, None).await
    }

    /// Starts a controller without leader election, but with node IPAM.
    pub(super) async fn start_allocating(&self, allocator: Allocator) -> anyhow::Result<Box<dyn Controller>> {
        self.launch(Election::Off, Some(allocator)).await
    }

    async fn launch(&self, election: Election, allocator: Option<Allocator>) -> anyhow::Result<Box<dyn Controller>> {
        let name = format!("controller-{}", self.starts.fetch_add(1, Ordering::Relaxed));
        let start = Start { kubeconfig: &self.kubeconfig, dir: self.plane.dir(), name: &name, election, allocator };
        self.subject.start(start).await.context("start the controller")
    }

    /// What holds for every scenario; adds the controllers' last words to a failure.
    pub(super) fn conclude(&self, result: anyhow::Result<()>) -> anyhow::Result<()> {
        let result = result.and_then(|()| {
            let user = self.user();
            let refused = self.plane.audit().forbidden(|request| request.user == user)?;
            match refused.first() {
                None => Ok(()),
                Some(first) => {
                    bail!("{} requests were forbidden, first {} {}", refused.len(), first.verb, first.resource)
                }
            }
        });
        let result = result.and_then(|()| self.subject.conclude());
        result.map_err(|error| {
            let error = match self.plane.fail() {
                true => error.context(format!("logs are in {}", self.plane.dir().display())),
                false => error,
            };
            let words = last_words(self.plane.dir());
            if words.is_empty() { error } else { error.context(format!("the controllers' last words:\n{words}\n")) }
        })
    }

    /// Starts instances and registers their nodes.
    pub(super) async fn add_nodes(&self, count: usize, over: Duration) -> anyhow::Result<Vec<String>> {
        let names = self.subject.add_instances(count).await.context("start instances")?;
        let nodes = names.iter().map(KubeletNode::new).collect();
        register_nodes(&self.client, nodes, over).await?;
        Ok(names)
    }

    pub(super) async fn node(&self, name: &str) -> anyhow::Result<Option<Node>> {
        let api: Api<Node> = Api::all(self.client.clone());
        api.get_opt(name).await.with_context(|| format!("get node {name}"))
    }

    /// Waits until the nodes carry all that the cloud knows about them, and can be scheduled to.
    pub(super) async fn initialised(&self, names: &[String]) -> anyhow::Result<()> {
        let api: Api<Node> = Api::all(self.client.clone());
        eventually(self.patience, || async {
            let nodes = api.list(&kube::api::ListParams::default()).await.context("list nodes")?.items;
            for name in names {
                let node = nodes.iter().find(|node| node.metadata.name.as_ref() == Some(name));
                complete(node.with_context(|| format!("node {name} is gone"))?, &self.declared)?;
            }
            Ok(())
        })
        .await
    }

    /// A service of a kind, with one port.
    pub(super) fn service(&self, kind: &ServiceKind, name: &str) -> LoadBalancerService {
        let service = LoadBalancerService::new("default", name).tcp(80);
        kind.annotations.iter().fold(service, |service, (key, value)| service.annotation(key, value))
    }

    pub(super) fn services(&self) -> Api<Service> {
        Api::default_namespaced(self.client.clone())
    }

    /// The address in a service's status, once there is one.
    pub(super) async fn ingress(&self, name: &str) -> anyhow::Result<String> {
        let service = self.services().get(name).await.with_context(|| format!("get service {name}"))?;
        let ingress = service.status.and_then(|status| status.load_balancer).and_then(|balancer| balancer.ingress);
        let first = ingress.unwrap_or_default().into_iter().next();
        first.and_then(|first| first.hostname.or(first.ip)).with_context(|| format!("service {name} has no address"))
    }

    /// The load balancer behind a service, by its address.
    pub(super) async fn load_balancer(&self, service: &str) -> anyhow::Result<LoadBalancer> {
        let ingress = self.ingress(service).await?;
        let all = self.subject.load_balancers().await?;
        let mut found = all.into_iter().filter(|balancer| balancer.ingress == ingress);
        let first = found.next().with_context(|| format!("there is no load balancer with the address {ingress}"))?;
        ensure!(found.next().is_none(), "two load balancers have the address {ingress}");
        Ok(first)
    }

    /// Waits until a service has a load balancer with these ports and all these nodes.
    pub(super) async fn balanced(&self, service: &str, ports: &[i32], nodes: &[String]) -> anyhow::Result<()> {
        let (ports, nodes): (BTreeSet<i32>, BTreeSet<String>) =
            (ports.iter().copied().collect(), nodes.iter().cloned().collect());
        eventually(self.patience, || async {
            let balancer = self.load_balancer(service).await?;
            ensure!(balancer.ports == ports, "it listens on {:?}, wanted are {ports:?}", balancer.ports);
            ensure!(balancer.backends == nodes, "it has {} backends of {}", balancer.backends.len(), nodes.len());
            Ok(())
        })
        .await
        .with_context(|| format!("wait for the load balancer of service {service}"))
    }

    pub(super) async fn delete_service(&self, name: &str) -> anyhow::Result<()> {
        let deleted = self.services().delete(name, &DeleteParams::default()).await;
        deleted.with_context(|| format!("delete service {name}")).map(|_| ())
    }

    /// Waits until a service is gone from the cluster, and the cloud holds nothing but `before`.
    pub(super) async fn gone(&self, names: &[String], before: &BTreeSet<String>) -> anyhow::Result<()> {
        eventually(self.patience * 2, || async {
            for name in names {
                let left = self.services().get_opt(name).await.context("get a service")?;
                ensure!(left.is_none(), "service {name} is still held by its finalizer");
            }
            let now = self.subject.belongings().await?;
            let leaked: Vec<_> = now.difference(before).collect();
            ensure!(leaked.is_empty(), "left in the cloud: {leaked:?}");
            let lost: Vec<_> = before.difference(&now).collect();
            ensure!(lost.is_empty(), "removed though it was there before: {lost:?}");
            Ok(())
        })
        .await
    }
}

/// Asks again and again until it holds.
///
/// # Errors
/// With what was still wrong at the end.
pub async fn eventually<T, F>(timeout: Duration, mut attempt: impl FnMut() -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<T>>,
{
    let deadline = Instant::now() + timeout;
    loop {
        match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() > deadline => {
                return Err(error).with_context(|| format!("not within {} s", timeout.as_secs()));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

/// Fails with what a node still lacks.
pub(super) fn complete(node: &Node, declared: &Declared) -> anyhow::Result<()> {
    let name = node.metadata.name.clone().unwrap_or_default();
    let spec = node.spec.clone().unwrap_or_default();
    let labels = node.metadata.labels.clone().unwrap_or_default();
    ensure!(!has_taint(node, UNINITIALIZED), "node {name} is still uninitialized");
    ensure!(spec.provider_id.is_some_and(|id| !id.is_empty()), "node {name} has no provider ID");
    ensure!(has_addresses(node), "node {name} has no internal address");
    let mut wanted = Vec::new();
    if declared.zones {
        wanted.extend(["topology.kubernetes.io/zone", "topology.kubernetes.io/region"]);
    }
    if declared.instance_types {
        wanted.push("node.kubernetes.io/instance-type");
    }
    for key in wanted {
        ensure!(labels.get(key).is_some_and(|value| !value.is_empty()), "node {name} has no label {key}");
    }
    Ok(())
}

pub(super) fn has_taint(node: &Node, key: &str) -> bool {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    taints.iter().any(|taint| taint.key == key)
}

pub(super) fn has_addresses(node: &Node) -> bool {
    let addresses = node.status.as_ref().and_then(|status| status.addresses.as_deref()).unwrap_or_default();
    addresses.iter().any(|address| address.type_ == "InternalIP")
}

/// The end of each controller's log.
fn last_words(dir: &std::path::Path) -> String {
    let mut logs: Vec<PathBuf> = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "log"))
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("controller-")))
        .collect();
    logs.sort();
    let tail = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    };
    logs.iter().rev().take(2).map(tail).collect::<Vec<_>>().join("\n---\n")
}
