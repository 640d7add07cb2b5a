//! Nodes as a kubelet with `--cloud-provider=external` registers them.

use std::collections::BTreeMap;

use anyhow::Context as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

/// The taint that keeps pods off a node until the cloud has described it.
pub const UNINITIALIZED: &str = "node.cloudprovider.kubernetes.io/uninitialized";

/// How many images a kubelet reports at most (`--node-status-max-images`), which is what nodes come to after a while.
const IMAGES: usize = 50;

/// What a kubelet says about its node. By default: a fresh node that nobody described yet, without provider ID and
/// addresses, tainted [`UNINITIALIZED`], ready.
#[derive(Debug, Clone)]
pub struct KubeletNode {
    name: String,
    provider_id: Option<String>,
    provided_ip: Option<String>,
    labels: BTreeMap<String, String>,
    uninitialized: bool,
    ready: bool,
    images: bool,
}

impl KubeletNode {
    /// A fresh node.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        let labels = [
            ("kubernetes.io/hostname", name.as_str()),
            ("kubernetes.io/os", "linux"),
            ("kubernetes.io/arch", "amd64"),
            ("beta.kubernetes.io/os", "linux"),
            ("beta.kubernetes.io/arch", "amd64"),
        ];
        let labels = labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        Self { name, provider_id: None, provided_ip: None, labels, uninitialized: true, ready: true, images: false }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Started with `--provider-id`.
    #[must_use]
    pub fn provider_id(mut self, id: impl Into<String>) -> Self {
        self.provider_id = Some(id.into());
        self
    }

    /// Started with `--node-ip`, which it tells in an annotation.
    #[must_use]
    pub fn provided_ip(mut self, address: impl Into<String>) -> Self {
        self.provided_ip = Some(address.into());
        self
    }

    /// Adds or replaces a label.
    #[must_use]
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// Without the taint, as a node of a cluster that has been running for long.
    #[must_use]
    pub fn initialized(mut self) -> Self {
        self.uninitialized = false;
        self
    }

    /// Not ready yet, as in the first seconds of a kubelet.
    #[must_use]
    pub fn not_ready(mut self) -> Self {
        self.ready = false;
        self
    }

    /// With its 50 images, which makes it the 19 KB that nodes have in production.
    #[must_use]
    pub fn with_images(mut self) -> Self {
        self.images = true;
        self
    }

    /// The object, status included: the API server takes both when a node is created.
    ///
    /// # Errors
    /// Never, as long as the type still has the fields that it has had since Kubernetes 1.0.
    pub fn build(&self) -> anyhow::Result<Node> {
        let mut annotations = BTreeMap::from([("volumes.kubernetes.io/controller-managed-attach-detach", "true")]);
        if let Some(address) = &self.provided_ip {
            annotations.insert("alpha.kubernetes.io/provided-node-ip", address);
        }
        let mut taints = Vec::new();
        if self.uninitialized {
            taints.push(json!({ "key": UNINITIALIZED, "value": "true", "effect": "NoSchedule" }));
        }
        let resources = json!({
            "cpu": "4", "memory": "16116152Ki", "ephemeral-storage": "83873772Ki", "pods": "110",
            "hugepages-1Gi": "0", "hugepages-2Mi": "0",
        });
        let node = json!({
            "metadata": { "name": self.name, "labels": self.labels, "annotations": annotations },
            "spec": { "providerID": self.provider_id, "taints": taints },
            "status": {
                "capacity": resources,
                "allocatable": resources,
                "conditions": conditions(self.ready.into(), Timestamp::now()),
                "daemonEndpoints": { "kubeletEndpoint": { "Port": 10250 } },
                "nodeInfo": node_info(&self.name),
                "images": if self.images { images() } else { Vec::new() },
            },
        });
        serde_json::from_value(node).context("build a node")
    }
}

/// Whether a kubelet is ready, or nobody knows since it has not been heard for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ready {
    Yes,
    No,
    Unknown,
}

impl From<bool> for Ready {
    fn from(ready: bool) -> Self {
        if ready { Self::Yes } else { Self::No }
    }
}

/// All four conditions, as a kubelet writes them in every heartbeat.
pub(super) fn conditions(ready: Ready, now: Timestamp) -> Vec<Value> {
    let now = format!("{now:.0}");
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        })
    };
    let unknown = || "Kubelet stopped posting node status.";
    let pressure = |kind: &str, reason: &str, message: &str| match ready {
        Ready::Unknown => condition(kind, "Unknown", "NodeStatusUnknown", unknown()),
        Ready::Yes | Ready::No => condition(kind, "False", reason, message),
    };
    vec![
        pressure("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        pressure("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        pressure("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        match ready {
            Ready::Yes => condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
            Ready::No => condition("Ready", "False", "KubeletNotReady", "container runtime network not ready"),
            Ready::Unknown => condition("Ready", "Unknown", "NodeStatusUnknown", unknown()),
        },
    ]
}

/// Makes a node ready, as its kubelet does, or unheard of, as kube-controller-manager does when its kubelet is silent.
///
/// # Errors
/// When the API server refuses.
pub async fn set_ready(client: &Client, name: &str, ready: bool) -> anyhow::Result<()> {
    let ready = if ready { Ready::Yes } else { Ready::Unknown };
    let patch = json!({ "status": { "conditions": conditions(ready, Timestamp::now()) } });
    let api: Api<Node> = Api::all(client.clone());
    api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch))
        .await
        .with_context(|| format!("set the conditions of node {name}"))
        .map(|_| ())
}

fn node_info(name: &str) -> Value {
    json!({
        "machineID": format!("{:032x}", fingerprint(name)),
        "systemUUID": format!("{:032x}", fingerprint(&format!("{name} uuid"))),
        "bootID": format!("{:032x}", fingerprint(&format!("{name} boot"))),
        "kernelVersion": "6.12.40-64.114.amzn2023.x86_64",
        "osImage": "Amazon Linux 2023.9.20250929",
        "containerRuntimeVersion": "containerd://2.1.4",
        "kubeletVersion": "v1.37.2",
        "kubeProxyVersion": "",
        "operatingSystem": "linux",
        "architecture": "amd64",
    })
}

/// The same images on every node, each by digest and by tag.
fn images() -> Vec<Value> {
    let image = |n: usize| {
        let repository = format!(
            "123456789012.dkr.ecr.eu-central-1.amazonaws.com/platform/customer-facing-services/payment-worker-{n:02}"
        );
        let digest = format!("{:032x}{:032x}", fingerprint(&repository), fingerprint(&format!("{repository} low")));
        let names = [format!("{repository}@sha256:{digest}"), format!("{repository}:v1.{n}.0-20260214")];
        json!({ "names": names, "sizeBytes": 48_000_000 + 7_919_000 * n })
    };
    (1..=IMAGES).map(image).collect()
}

/// FNV-1a: something that looks random and is the same each time.
fn fingerprint(text: &str) -> u128 {
    text.bytes().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, |hash: u128, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_node_is_tainted_and_has_neither_provider_id_nor_addresses() {
        let node = KubeletNode::new("n1").build().unwrap();
        let spec = node.spec.unwrap();
        assert_eq!(spec.provider_id, None);
        let taint = &spec.taints.unwrap()[0];
        assert_eq!((taint.key.as_str(), taint.effect.as_str()), (UNINITIALIZED, "NoSchedule"));
        assert!(node.status.unwrap().addresses.unwrap_or_default().is_empty());
        assert_eq!(node.metadata.labels.unwrap()["kubernetes.io/hostname"], "n1");
    }

    #[test]
    fn a_node_with_images_weighs_what_it_does_in_production() {
        let node = KubeletNode::new("ip-10-0-0-1.ec2.internal").with_images().build().unwrap();
        let size = serde_json::to_string(&node).unwrap().len();
        assert!((17_000..21_000).contains(&size), "{size}");
    }
}
