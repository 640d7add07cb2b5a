//! The Kubernetes side of a scenario: a cluster that is empty before and after, and services with fixed UIDs.
//!
//! Names in clouds hang on the UIDs of services, which the API server chooses. So a service is created in a dry run, which fills
//! in all that the API server decides, gets a UID that depends on scenario and name only, and is put into etcd. What
//! clouds hold then has the same names in each run, and what one run left can be loaded in another.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::{Event, Namespace, Node, Service};
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::conformance::eventually;
use crate::control_plane::ControlPlane;

const SOON: Duration = Duration::from_secs(30);

/// The cluster of one lane, seen from one scenario.
pub struct Cluster<'a> {
    plane: &'a ControlPlane,
    client: Client,
    namespace: String,
}

/// All objects that are compared, as they are.
#[derive(Debug, Clone)]
pub(super) struct Objects {
    pub(super) nodes: Vec<Node>,
    pub(super) services: Vec<Service>,
    pub(super) events: Vec<Event>,
}

impl<'a> Cluster<'a> {
    /// The namespace is made if it is not there.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn new(plane: &'a ControlPlane, namespace: &str) -> anyhow::Result<Self> {
        let client = plane.client().await?;
        let cluster = Self { plane, client, namespace: namespace.to_owned() };
        let api: Api<Namespace> = Api::all(cluster.client.clone());
        if api.get_opt(namespace).await.context("look for the namespace")?.is_none() {
            let namespace = serde_json::from_value(json!({ "metadata": { "name": namespace } }))?;
            api.create(&PostParams::default(), &namespace).await.context("create the namespace")?;
        }
        Ok(cluster)
    }

    /// A client with all rights.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The control plane.
    pub fn plane(&self) -> &ControlPlane {
        self.plane
    }

    pub(super) fn nodes(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }

    pub(super) fn services(&self) -> Api<Service> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Removes all services, nodes and events, without waiting for a controller.
    ///
    /// # Errors
    /// When something stays.
    pub async fn clear(&self) -> anyhow::Result<()> {
        let (now, all) = (DeleteParams::default().grace_period(0), ListParams::default());
        for service in self.services().list(&all).await.context("list services")?.items {
            let name = service.metadata.name.context("a service without a name")?;
            let bare = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
            gone_is_good(self.services().patch(&name, &PatchParams::default(), &bare).await)?;
            gone_is_good(self.services().delete(&name, &now).await)?;
        }
        for node in self.nodes().list(&all).await.context("list nodes")?.items {
            let name = node.metadata.name.context("a node without a name")?;
            gone_is_good(self.nodes().delete(&name, &now).await)?;
        }
        for namespace in [self.namespace.as_str(), "default"] {
            let events: Api<Event> = Api::namespaced(self.client.clone(), namespace);
            events.delete_collection(&now, &all).await.context("delete events")?;
        }
        eventually(SOON, || async {
            ensure!(self.services().list(&all).await?.items.is_empty(), "services stay");
            ensure!(self.nodes().list(&all).await?.items.is_empty(), "nodes stay");
            Ok(())
        })
        .await
    }

    /// The UID of the `nth` service of this name in this namespace, counted from zero.
    pub(super) fn uid(&self, name: &str, nth: usize) -> String {
        let digest = Sha256::digest(format!("{}/{name}/{nth}", self.namespace));
        let hex = hex::encode(digest);
        format!("{}-{}-4{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32])
    }

    /// Creates a service with this UID.
    pub(super) async fn create_service(&self, service: Value, uid: &str) -> anyhow::Result<()> {
        let service: Service = serde_json::from_value(service).context("build a service")?;
        let name = service.metadata.name.clone().unwrap_or_default();
        let params = PostParams { dry_run: true, ..PostParams::default() };
        let answer = self.services().create(&params, &service).await;
        let mut service = answer.with_context(|| format!("create service {name}"))?;
        service.metadata.uid = Some(uid.to_owned());
        self.put_service(&service).await
    }

    /// Puts a service into etcd as it is.
    pub(super) async fn put_service(&self, service: &Service) -> anyhow::Result<()> {
        let name = service.metadata.name.clone().context("a service without a name")?;
        let mut object = serde_json::to_value(service)?;
        object["apiVersion"] = json!("v1");
        object["kind"] = json!("Service");
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("resourceVersion");
            metadata.remove("managedFields");
        }
        let key = format!("/registry/services/specs/{}/{name}", self.namespace);
        self.plane.put_into_etcd(&key, &object.to_string()).await?;
        eventually(SOON, || async { Ok(self.services().get(&name).await.map(|_| ())?) }).await
    }

    /// Everything that is compared.
    pub(super) async fn objects(&self) -> anyhow::Result<Objects> {
        let all = ListParams::default();
        let nodes = self.nodes().list(&all).await.context("list nodes")?.items;
        let services = self.services().list(&all).await.context("list services")?.items;
        let mut events = Vec::new();
        for namespace in [self.namespace.as_str(), "default"] {
            let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
            events.extend(api.list(&all).await.context("list events")?.items);
        }
        Ok(Objects { nodes, services, events })
    }

    /// Puts nodes and services back as they were, UIDs of services included. They are what [`Objects::keep`] kept.
    pub(super) async fn restore(&self, kept: &Value) -> anyhow::Result<()> {
        for node in list::<Node>(&kept["nodes"])? {
            self.nodes().create(&PostParams::default(), &node).await.context("create a node")?;
        }
        for service in list::<Service>(&kept["services"])? {
            self.put_service(&service).await?;
        }
        Ok(())
    }
}

fn list<T: DeserializeOwned>(value: &Value) -> anyhow::Result<Vec<T>> {
    serde_json::from_value(value.clone()).context("read recorded objects")
}

fn gone_is_good<T>(result: kube::Result<T>) -> anyhow::Result<()> {
    match result {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error).context("clear the cluster"),
    }
}

impl Objects {
    /// Grows with every change of a node or a service. Events are left out: those of retries never end.
    pub(super) fn version(&self) -> Vec<(Option<String>, Option<String>)> {
        let nodes = self.nodes.iter().map(|node| &node.metadata);
        let services = self.services.iter().map(|service| &service.metadata);
        nodes.chain(services).map(|one| (one.uid.clone(), one.resource_version.clone())).collect()
    }

    /// What [`Cluster::restore`] needs of them.
    pub(super) fn keep(&self) -> anyhow::Result<Value> {
        let mut kept = json!({ "nodes": self.nodes, "services": self.services });
        let objects = kept.as_object_mut().into_iter().flat_map(|kept| kept.values_mut());
        for object in objects.filter_map(Value::as_array_mut).flatten() {
            if let Some(metadata) = object["metadata"].as_object_mut() {
                metadata.retain(|key, _| !matches!(key.as_str(), "managedFields" | "resourceVersion"));
            }
        }
        for node in kept["nodes"].as_array_mut().into_iter().flatten() {
            if let Some(metadata) = node["metadata"].as_object_mut() {
                metadata.retain(|key, _| !matches!(key.as_str(), "uid" | "creationTimestamp"));
            }
            if let Some(status) = node["status"].as_object_mut() {
                status.retain(|key, _| matches!(key.as_str(), "addresses" | "conditions"));
            }
        }
        Ok(kept)
    }

    /// The document of what controllers left: nodes, services and events by name.
    pub(super) fn document(&self) -> Value {
        let nodes: BTreeMap<_, _> =
            self.nodes.iter().map(|node| (name(&node.metadata.name), self::node(node))).collect();
        let services: BTreeMap<_, _> =
            self.services.iter().map(|one| (name(&one.metadata.name), service(one))).collect();
        json!({ "nodes": nodes, "services": services, "events": self.events() })
    }

    /// By object: source, type and reason; how often does not count. Of warnings, which end in each cloud SDK's own words, only
    /// what stands before the second colon: what was done, and what of it failed.
    fn events(&self) -> BTreeMap<String, BTreeMap<String, Value>> {
        let mut events: BTreeMap<String, BTreeMap<String, Value>> = BTreeMap::new();
        for event in &self.events {
            let source = event.source.as_ref().and_then(|source| source.component.clone()).unwrap_or_default();
            // The API server's own, about services that were put into etcd: those of controllers name a component.
            if source.is_empty() || source.ends_with("-repair-controller") {
                continue;
            }
            let about = &event.involved_object;
            let about = format!("{} {}", name(&about.kind), name(&about.name));
            let (kind, reason) = (name(&event.type_), name(&event.reason));
            let message = name(&event.message);
            let message = if kind == "Normal" { message } else { beginning(&message) };
            let messages =
                events.entry(about).or_default().entry(format!("{source} {kind} {reason}")).or_insert(json!([]));
            if let Some(messages) = messages.as_array_mut()
                && !messages.iter().any(|known| known == &message)
            {
                messages.push(message.into());
                messages.sort_by_key(ToString::to_string);
            }
        }
        events
    }
}

fn beginning(message: &str) -> String {
    message.split(": ").take(2).collect::<Vec<_>>().join(": ")
}

fn name(name: &Option<String>) -> String {
    name.clone().unwrap_or_default()
}

fn node(node: &Node) -> Value {
    let spec = node.spec.clone().unwrap_or_default();
    let status = node.status.clone().unwrap_or_default();
    let mut taints: Vec<String> = spec
        .taints
        .into_iter()
        .flatten()
        .map(|one| format!("{}={}:{}", one.key, one.value.unwrap_or_default(), one.effect))
        .collect();
    taints.sort();
    // The kubelet's conditions are no controller's.
    let conditions = status.conditions.into_iter().flatten().filter(|one| one.type_ == "NetworkUnavailable");
    let conditions: Vec<_> =
        conditions.map(|one| json!({ "status": one.status, "reason": one.reason, "message": one.message })).collect();
    json!({
        "labels": node.metadata.labels,
        "annotations": node.metadata.annotations,
        "providerID": spec.provider_id,
        "podCIDRs": spec.pod_cidrs,
        "taints": taints,
        "addresses": status.addresses.into_iter().flatten()
            .map(|one| format!("{} {}", one.type_, one.address)).collect::<Vec<_>>(),
        "network unavailable": conditions,
    })
}

fn service(service: &Service) -> Value {
    let mut status = json!(service.status);
    for condition in status["conditions"].as_array_mut().into_iter().flatten() {
        if let Some(condition) = condition.as_object_mut() {
            condition.remove("lastTransitionTime");
        }
    }
    json!({
        "annotations": service.metadata.annotations,
        "finalizers": service.metadata.finalizers,
        "deleting": service.metadata.deletion_timestamp.is_some(),
        "status": status,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::{differences, mutants};

    fn objects(value: &Value) -> Objects {
        let one = |field: &str| serde_json::from_value(value[field].clone()).ok();
        let both = (one("node"), serde_json::from_value(value["service"].clone()).ok());
        let event = serde_json::from_value(value["event"].clone()).ok();
        Objects {
            nodes: both.0.into_iter().collect(),
            services: both.1.into_iter().collect(),
            events: event.into_iter().collect(),
        }
    }

    #[test]
    fn each_field_that_controllers_write_is_compared() {
        let whole = json!({
            "node": {
                "metadata": { "name": "n", "labels": { "zone": "a" }, "annotations": { "key": "1" } },
                "spec": {
                    "providerID": "aws:///a/i-1", "podCIDRs": ["10.0.0.0/24"],
                    "taints": [{ "key": "shutdown", "value": "yes", "effect": "NoSchedule" }],
                },
                "status": {
                    "addresses": [{ "type": "InternalIP", "address": "10.0.0.1" }],
                    "conditions": [{
                        "type": "NetworkUnavailable", "status": "False", "reason": "RouteCreated", "message": "done",
                    }],
                },
            },
            "service": {
                "metadata": { "name": "s", "annotations": { "key": "1" }, "finalizers": ["cleanup"] },
                "status": {
                    "loadBalancer": { "ingress": [{ "hostname": "h", "ports": [{ "port": 80, "protocol": "TCP" }] }] },
                    "conditions": [{ "type": "Ready", "status": "True", "reason": "Done", "message": "all",
                        "lastTransitionTime": "2026-01-01T00:00:00Z" }],
                },
            },
            "event": {
                "involvedObject": { "kind": "Service", "name": "s" }, "type": "Normal", "reason": "Ensured",
                "message": "Ensured load balancer", "source": { "component": "service-controller" },
            },
        });
        assert_eq!(objects(&whole).services.len() + objects(&whole).nodes.len() + objects(&whole).events.len(), 3);
        let document = objects(&whole).document();
        let mutants = mutants(&whole);
        assert!(mutants.len() > 25, "{}", mutants.len());
        for (field, mutant) in mutants {
            let seen = !differences(&document, &objects(&mutant).document()).is_empty();
            assert!(seen, "{field}");
        }
    }
}
