//! The life that the manager sees under each role: nodes come, a service, routes; a node goes, the service goes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use cloud_provider_testing::ControlPlane;
use cloud_provider_testing::cloud::{Backend, Power};
use cloud_provider_testing::conformance::eventually;
use cloud_provider_testing::objects::{KubeletNode, LoadBalancerService, UNINITIALIZED, register_nodes, set_ready};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Service, ServiceAccount};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;

use super::harness::{Manager, SOON};
use super::role::{Nodes, Ranges, Role};

const SHUTDOWN: &str = "node.cloudprovider.kubernetes.io/shutdown";
const DELETION: &str = "delete nodes";

/// Stays, stops, goes.
const NODES: [&str; 3] = ["stays", "stops", "goes"];

/// Runs the manager with a role through all of it.
pub(crate) async fn of(plane: &ControlPlane, role: &Role) -> anyhow::Result<()> {
    let backend = Backend::new();
    let manager = Manager::start(plane, role, &backend).await?;
    let life = lived(plane, role, &manager, &backend).await;
    let result = match life {
        Ok(()) => manager.concludes(plane, role).await,
        Err(error) => {
            let refused = manager.refused(plane);
            drop(manager);
            Err(error.context(format!("refused was {refused:?}")))
        }
    };
    clean(&plane.client().await?).await?;
    result
}

async fn lived(plane: &ControlPlane, role: &Role, manager: &Manager, backend: &Arc<Backend>) -> anyhow::Result<()> {
    let client = plane.client().await?;
    if role.serves() {
        let status = manager.is_asked(plane).await?;
        let expected = if role.lacks.iter().any(|lack| lack.permission.contains("tokenreviews")) { 401 } else { 403 };
        let expected =
            if role.lacks.iter().any(|lack| lack.permission.contains("subjectaccess")) { 500 } else { expected };
        let expected = if role.no_reviews { 403 } else { expected };
        ensure!(status == expected, "the secure port answered {status} and not {expected}");
    }
    arrive(&client, role, backend).await?;
    eventually(SOON, || async {
        manager.check()?;
        let nodes = nodes(&client).await?;
        let left = nodes.iter().find(|node| tainted(node, UNINITIALIZED));
        ensure!(left.is_none() && nodes.len() == NODES.len(), "not all nodes are initialised");
        Ok(())
    })
    .await?;
    if role.only_nodes {
        // The event of each node, and what is wrong with it.
        return eventually(SOON, || async {
            let refused = manager.refused(plane)?;
            ensure!(role.lacks.iter().all(|lack| refused.contains_key(&lack.permission)), "refused is {refused:?}");
            Ok(())
        })
        .await;
    }
    balanced(&client, backend, NODES.len()).await.context("the load balancer of three nodes")?;
    if role.routes {
        routed(&client, backend, &NODES).await.context("the routes of three nodes")?;
    }
    lose_nodes(&client, backend).await?;
    if role.lacks(DELETION) {
        // Tried again and again, and told once.
        eventually(SOON, || async {
            let tries = manager.refused(plane)?.get(DELETION).copied().unwrap_or_default();
            ensure!(tries > 2, "the deletion of a node was tried {tries} times");
            Ok(())
        })
        .await?;
        Api::<Node>::all(client.clone()).delete("goes", &DeleteParams::default()).await?;
    }
    eventually(SOON, || async {
        let nodes = nodes(&client).await?;
        ensure!(nodes.len() == 2, "there are {} nodes", nodes.len());
        let stopped = nodes.iter().find(|node| node.name_any() == "stops").context("the stopped node is gone")?;
        ensure!(tainted(stopped, SHUTDOWN), "the stopped node is not tainted");
        Ok(())
    })
    .await?;
    // A node that is not ready keeps its place: the load balancer's own health checks see to it.
    balanced(&client, backend, 2).await.context("the load balancer of two nodes")?;
    if role.routes {
        routed(&client, backend, &NODES[..2]).await.context("the routes of two nodes")?;
    }
    let services: Api<Service> = Api::default_namespaced(client.clone());
    services.delete("web", &DeleteParams::default()).await?;
    eventually(SOON, || async {
        ensure!(services.get_opt("web").await?.is_none(), "the service keeps its finalizer");
        ensure!(backend.load_balancers().is_empty(), "the load balancer is left");
        Ok(())
    })
    .await?;
    manager.check()
}

/// Everything is tried that a role lacks, more than once.
pub(crate) async fn tried_in_vain(
    plane: &ControlPlane,
    role: &Role,
    manager: &Manager,
    backend: &Arc<Backend>,
) -> anyhow::Result<()> {
    let client = plane.client().await?;
    ensure!(manager.is_asked(plane).await? == 401, "a token was accepted that nobody could review");
    ensure!(manager.is_asked(plane).await? == 401, "a token was accepted that nobody could review");
    arrive(&client, role, backend).await?;
    lose_nodes(&client, backend).await?;
    let initialised = "here-before";
    let node = KubeletNode::new(initialised).provider_id(start(backend, initialised)).initialized();
    register_nodes(&client, vec![node], Duration::ZERO).await?;
    backend.set_power(initialised, Power::Stopped);
    set_ready(&client, initialised, false).await?;
    eventually(SOON, || async {
        manager.check()?;
        let refused = manager.refused(plane)?;
        let lacks = role.lacks.iter().map(|lack| lack.permission.split('.').next().unwrap_or_default());
        for permission in lacks {
            let times = refused.get(permission).copied().unwrap_or_default();
            ensure!(times > 1, "{permission:?} was tried {times} times: {refused:?}");
        }
        Ok(())
    })
    .await
}

/// Starts a machine and gives the provider ID of its node.
fn start(backend: &Arc<Backend>, name: &str) -> String {
    let id = backend.start_machine(name);
    let zone = backend.machine(&id).map(|machine| machine.zone).unwrap_or_default();
    format!("memory://{zone}/{id}")
}

/// Machines start, their nodes register, and there is a service.
async fn arrive(client: &Client, role: &Role, backend: &Arc<Backend>) -> anyhow::Result<()> {
    let kubelet = |name: &str| {
        let id = start(backend, name);
        let node = KubeletNode::new(name);
        match role.nodes {
            Some(Nodes::Initialised) => node.provider_id(id).initialized(),
            None => node,
        }
    };
    let arriving = NODES.iter().map(|name| kubelet(name)).collect();
    register_nodes(client, arriving, Duration::ZERO).await?;
    if role.ranges == Some(Ranges::Others) {
        for (nth, name) in NODES.iter().enumerate() {
            let range = match role.name.starts_with("azure") {
                true => format!("10.244.{nth}.0/24"),
                false => format!("10.200.{nth}.0/24"),
            };
            let patch = Patch::Merge(json!({ "spec": { "podCIDR": range, "podCIDRs": [range] } }));
            Api::<Node>::all(client.clone()).patch(name, &PatchParams::default(), &patch).await?;
        }
    }
    if !role.only_nodes {
        LoadBalancerService::new("default", "web").tcp(80).create(client).await?;
    }
    Ok(())
}

/// One machine is terminated, one stopped.
async fn lose_nodes(client: &Client, backend: &Arc<Backend>) -> anyhow::Result<()> {
    backend.terminate("goes");
    backend.set_power("stops", Power::Stopped);
    for name in ["goes", "stops"] {
        set_ready(client, name, false).await?;
    }
    Ok(())
}

async fn nodes(client: &Client) -> anyhow::Result<Vec<Node>> {
    Ok(Api::all(client.clone()).list(&ListParams::default()).await?.items)
}

fn tainted(node: &Node, key: &str) -> bool {
    node.spec.iter().flat_map(|spec| spec.taints.iter().flatten()).any(|taint| taint.key == key)
}

/// The service has its address, and its load balancer so many backends.
async fn balanced(client: &Client, backend: &Arc<Backend>, backends: usize) -> anyhow::Result<()> {
    eventually(SOON, || async {
        let service = Api::<Service>::default_namespaced(client.clone()).get("web").await?;
        let ingress = service.status.and_then(|status| status.load_balancer).and_then(|balancer| balancer.ingress);
        ensure!(ingress.is_some_and(|ingress| !ingress.is_empty()), "the service has no address");
        let balancers = backend.load_balancers();
        ensure!(balancers.len() == 1, "there are {} load balancers", balancers.len());
        ensure!(balancers[0].backends.len() == backends, "it has {} backends", balancers[0].backends.len());
        Ok(())
    })
    .await
}

/// The cloud's routes are those to the ranges of these nodes, and the nodes say so.
async fn routed(client: &Client, backend: &Arc<Backend>, names: &[&str]) -> anyhow::Result<()> {
    eventually(SOON, || async {
        let nodes = nodes(client).await?;
        let mut wanted = BTreeSet::new();
        for name in names {
            let node = nodes.iter().find(|node| node.name_any() == *name).context("a node is gone")?;
            let ranges = node.spec.as_ref().and_then(|spec| spec.pod_cidrs.clone()).unwrap_or_default();
            ensure!(!ranges.is_empty(), "{name} has no range");
            wanted.extend(ranges);
            let status = node.status.clone().unwrap_or_default();
            let told = status.conditions.unwrap_or_default().into_iter().find(|c| c.type_ == "NetworkUnavailable");
            ensure!(told.is_some_and(|told| told.status == "False"), "{name} is not said to be routed");
        }
        let routes: BTreeSet<String> = backend.routes().into_iter().map(|route| route.destination).collect();
        ensure!(routes == wanted, "routes are {routes:?}, wanted {wanted:?}");
        Ok(())
    })
    .await
}

/// What one role leaves behind, so that the next one begins with nothing.
async fn clean(client: &Client) -> anyhow::Result<()> {
    Api::<Node>::all(client.clone()).delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
    let services: Api<Service> = Api::default_namespaced(client.clone());
    if services.get_opt("web").await?.is_some() {
        let released = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
        services.patch("web", &PatchParams::default(), &released).await?;
        services.delete("web", &DeleteParams::default()).await?;
    }
    Api::<Lease>::namespaced(client.clone(), "kube-system")
        .delete_collection(&DeleteParams::default(), &ListParams::default())
        .await?;
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "kube-system");
    for account in ["node-controller", "service-controller", "route-controller"] {
        match accounts.delete(account, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            deleted => drop(deleted?),
        }
    }
    Ok(())
}
