//! Load balancers for services.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::bench::{Bench, eventually};

/// For each kind: created with all nodes behind it, told of a new node, changed, deleted; nothing is left.
pub(super) async fn come_change_and_go(bench: &Bench) -> anyhow::Result<()> {
    let controller = bench.start().await?;
    let mut nodes = bench.add_nodes(3, Duration::ZERO).await?;
    bench.initialised(&nodes).await?;
    let before = bench.subject.belongings().await?;

    let kinds = bench.declared.services.clone();
    for kind in &kinds {
        bench.service(kind, &kind.name).create(&bench.client).await?;
    }
    for kind in &kinds {
        bench.balanced(&kind.name, &[80], &nodes).await?;
    }
    nodes.extend(bench.add_nodes(1, Duration::ZERO).await?);
    for kind in &kinds {
        bench.balanced(&kind.name, &[80], &nodes).await.context("after a node was added")?;
    }
    for kind in &kinds {
        let ports = json!([
            { "name": "tcp-80", "port": 80, "protocol": "TCP", "targetPort": 8080 },
            { "name": "tcp-443", "port": 443, "protocol": "TCP", "targetPort": 8443 },
        ]);
        set_spec(bench, &kind.name, json!({ "ports": ports })).await?;
        bench.balanced(&kind.name, &[80, 443], &nodes).await.context("after a port was added")?;
        let ports = json!([{ "name": "tcp-443", "port": 443, "protocol": "TCP", "targetPort": 8443 }]);
        set_spec(bench, &kind.name, json!({ "ports": ports })).await?;
        bench.balanced(&kind.name, &[443], &nodes).await.context("after a port was removed")?;
    }
    let names: Vec<String> = kinds.iter().map(|kind| kind.name.clone()).collect();
    for name in &names {
        bench.delete_service(name).await?;
    }
    bench.gone(&names, &before).await?;
    controller.check()
}

/// A service that no longer wants a load balancer loses it, its status and the finalizer, and stays.
pub(super) async fn type_change(bench: &Bench) -> anyhow::Result<()> {
    let controller = bench.start().await?;
    let nodes = bench.add_nodes(2, Duration::ZERO).await?;
    bench.initialised(&nodes).await?;
    let before = bench.subject.belongings().await?;
    for kind in &bench.declared.services {
        let name = &kind.name;
        bench.service(kind, name).create(&bench.client).await?;
        bench.balanced(name, &[80], &nodes).await?;
        set_spec(bench, name, json!({ "type": "NodePort" })).await?;
        bench.gone(&[], &before).await?;
        eventually(bench.patience, || async {
            ensure!(bench.ingress(name).await.is_err(), "service {name} keeps its status");
            let service = bench.services().get(name).await?;
            let finalizers = service.metadata.finalizers.unwrap_or_default();
            ensure!(finalizers.is_empty(), "service {name} keeps {finalizers:?}");
            Ok(())
        })
        .await?;
    }
    controller.check()
}

/// Deleting a service tidies up also when its load balancer is no longer there to lead to the rest.
pub(super) async fn removed_by_hand(bench: &Bench) -> anyhow::Result<()> {
    let controller = bench.start().await?;
    let nodes = bench.add_nodes(2, Duration::ZERO).await?;
    bench.initialised(&nodes).await?;
    let before = bench.subject.belongings().await?;
    for kind in &bench.declared.services {
        bench.service(kind, &kind.name).create(&bench.client).await?;
        bench.balanced(&kind.name, &[80], &nodes).await?;
        let balancer = bench.load_balancer(&kind.name).await?;
        bench.subject.remove_load_balancer(&balancer.id).await?;
        bench.delete_service(&kind.name).await?;
        bench.gone(std::slice::from_ref(&kind.name), &before).await?;
    }
    controller.check()
}

/// Whatever the API does while services come and go, in the end each has one load balancer, and later none.
pub(super) async fn through_disturbances(bench: &Bench) -> anyhow::Result<()> {
    let controller = bench.start().await?;
    let nodes = bench.add_nodes(2, Duration::ZERO).await?;
    bench.initialised(&nodes).await?;
    let before = bench.subject.belongings().await?;
    for (nth, disturbance) in bench.declared.disturbances.clone().into_iter().enumerate() {
        let about = || format!("with a {disturbance} API");
        let names: Vec<String> = bench.declared.services.iter().map(|kind| format!("{}-{nth}", kind.name)).collect();
        bench.subject.disturb(disturbance).await?;
        for (kind, name) in bench.declared.services.iter().zip(&names) {
            bench.service(kind, name).create(&bench.client).await?;
        }
        tokio::time::sleep(Duration::from_secs(4)).await;
        bench.subject.heal().await?;
        for name in &names {
            bench.balanced(name, &[80], &nodes).await.with_context(about)?;
        }
        let balancers = bench.subject.load_balancers().await?.len();
        ensure!(balancers == names.len(), "{balancers} load balancers for {} services, {}", names.len(), about());

        bench.subject.disturb(disturbance).await?;
        for name in &names {
            bench.delete_service(name).await?;
        }
        tokio::time::sleep(Duration::from_secs(4)).await;
        bench.subject.heal().await?;
        bench.gone(&names, &before).await.with_context(about)?;
    }
    controller.check()
}

async fn set_spec(bench: &Bench, name: &str, spec: Value) -> anyhow::Result<()> {
    let patch = Patch::Merge(json!({ "spec": spec }));
    let patched = bench.services().patch(name, &PatchParams::default(), &patch).await;
    patched.with_context(|| format!("change service {name}")).map(|_| ())
}
