//! Services of type LoadBalancer.

use std::collections::BTreeMap;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Service;
use kube::Client;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};

/// A service that wants a load balancer.
#[derive(Debug, Clone)]
pub struct LoadBalancerService {
    namespace: String,
    name: String,
    annotations: BTreeMap<String, String>,
    ports: Vec<Value>,
    spec: BTreeMap<String, Value>,
}

impl LoadBalancerService {
    /// A service without ports; the API server wants at least one.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            annotations: BTreeMap::new(),
            ports: Vec::new(),
            spec: BTreeMap::new(),
        }
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds or replaces an annotation.
    #[must_use]
    pub fn annotation(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.annotations.insert(key.into(), value.into());
        self
    }

    /// Adds a TCP port; the API server chooses its node port.
    #[must_use]
    pub fn tcp(self, port: u16) -> Self {
        self.port("TCP", port)
    }

    /// Adds a UDP port; the API server chooses its node port.
    #[must_use]
    pub fn udp(self, port: u16) -> Self {
        self.port("UDP", port)
    }

    fn port(mut self, protocol: &str, port: u16) -> Self {
        let name = format!("{}-{port}", protocol.to_lowercase());
        self.ports.push(json!({ "name": name, "protocol": protocol, "port": port, "targetPort": 8080 }));
        self
    }

    /// Sets a field of the spec by its name in JSON, such as `externalTrafficPolicy`.
    #[must_use]
    pub fn spec(mut self, field: impl Into<String>, value: impl Into<Value>) -> Self {
        self.spec.insert(field.into(), value.into());
        self
    }

    /// The object.
    ///
    /// # Errors
    /// When a field of the spec is not what the type has.
    pub fn build(&self) -> anyhow::Result<Service> {
        let mut service = json!({
            "metadata": { "namespace": self.namespace, "name": self.name, "annotations": self.annotations },
            "spec": { "type": "LoadBalancer", "selector": { "app": self.name }, "ports": self.ports },
        });
        for (field, value) in &self.spec {
            service["spec"][field] = value.clone();
        }
        serde_json::from_value(service).context("build a service")
    }

    /// Creates it.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn create(&self, client: &Client) -> anyhow::Result<Service> {
        let api: Api<Service> = Api::namespaced(client.clone(), &self.namespace);
        api.create(&PostParams::default(), &self.build()?)
            .await
            .with_context(|| format!("create service {}/{}", self.namespace, self.name))
    }
}
