//! core.md 12.2: upstream's cases of syncNode, all on one cluster. One answer of the cloud stands for upstream's two
//! interfaces.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use cloud_provider::{
    cloud::{Instance, Metadata, Power},
    cluster::objects::{AddressKind, NodeAddress},
    controllers::node::Settings,
};
use k8s_openapi::api::core::v1 as api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::{
    harness::{Harness, ScriptedInstances, UNINITIALIZED, eventually, has_taint},
    node::start_with,
};

const C: &str = "ImproveCoverageTaint";
const A0: &str = "Hostname node0.cloud.internal, InternalIP 10.0.0.1, ExternalIP 132.143.154.163";
const A1: &str = "InternalIP 10.0.0.1, ExternalIP 132.143.154.163";

/// One row: the node before, the cloud's answer, the node after.
struct Row {
    name: &'static str,
    id: Option<&'static str>,
    provided_ip: Option<&'static str>,
    taints: &'static [&'static str],
    addresses: &'static str,
    answer: Option<Instance>,
    after: After,
}

enum After {
    Unchanged,
    Changed { id: &'static str, addresses: &'static str },
}

impl Row {
    /// A node with the uninitialized taint alone, and an instance with A0.
    fn new(name: &'static str, answer: Metadata, id: &'static str, addresses: &'static str) -> Self {
        Self {
            name,
            id: None,
            provided_ip: None,
            taints: &[UNINITIALIZED],
            addresses: "",
            answer: Some(present(answer)),
            after: After::Changed { id, addresses },
        }
    }
}

fn present(metadata: Metadata) -> Instance {
    Instance::Present { power: Power::Running, metadata: Some(Box::new(metadata)) }
}

fn list(text: &str) -> Vec<(String, String)> {
    let entries = text.split(", ").filter_map(|entry| entry.split_once(' '));
    entries.map(|(kind, address)| (kind.to_owned(), address.to_owned())).collect()
}

fn metadata(id: &str, addresses: &str) -> Metadata {
    let entries = list(addresses).into_iter();
    Metadata {
        provider_id: id.into(),
        addresses: entries.map(|(kind, address)| NodeAddress::new(AddressKind::from(kind), address)).collect(),
        ..Metadata::default()
    }
}

fn rows() -> Vec<Row> {
    const BOTH: &[&str] = &[C, UNINITIALIZED];
    const ID: &str = "fake://12345";
    let zone = Metadata { zone: "us-west-1a".into(), region: "us-west".into(), ..metadata("aws://12345", A0) };
    let provided = |name, ip, after| Row {
        id: Some("node0.aws.12345"),
        provided_ip: Some(ip),
        taints: BOTH,
        addresses: "Hostname node0.cloud.internal",
        after,
        ..Row::new(name, metadata("node0.aws.12345", A1), "", "")
    };
    vec![
        Row { addresses: "Hostname nodeoverriden", ..Row::new("hostname-from-cloud", metadata(ID, A0), ID, A0) },
        Row {
            addresses: "Hostname nodeoverriden",
            ..Row::new(
                "cloud-without-hostname",
                metadata(ID, A1),
                ID,
                "InternalIP 10.0.0.1, ExternalIP 132.143.154.163, Hostname nodeoverriden",
            )
        },
        Row::new("provider-id", metadata(ID, A0), ID, A0),
        Row::new("zone-region", zone, "aws://12345", A0),
        Row { taints: BOTH, ..Row::new("other-taints-kept", metadata(ID, A0), ID, A0) },
        Row {
            answer: Some(Instance::Present { power: Power::Running, metadata: None }),
            ..provided("v2-nil-metadata", "10.0.0.1", After::Unchanged)
        },
        provided(
            "provided-ip",
            "10.0.0.1",
            After::Changed {
                id: "node0.aws.12345",
                addresses: "InternalIP 10.0.0.1, ExternalIP 132.143.154.163, Hostname node0.cloud.internal",
            },
        ),
        provided("provided-ip-invalid", "invalid-ip", After::Unchanged),
        provided("provided-ip-absent-from-cloud", "10.0.0.2", After::Unchanged),
        Row {
            id: Some("test-provider-id"),
            taints: BOTH,
            ..Row::new("id-already-set", metadata(ID, A0), "test-provider-id", A0)
        },
        Row {
            id: Some("test-provider-id"),
            taints: BOTH,
            ..Row::new("v2-id-already-set", metadata("", A0), "test-provider-id", A0)
        },
        Row { id: Some(ID), ..Row::new("v2-with-id-on-node", metadata(ID, A0), ID, A0) },
        Row { after: After::Unchanged, ..Row::new("v2-no-id-anywhere", metadata("", A0), "", "") },
        Row { answer: None, after: After::Unchanged, ..Row::new("v2-metadata-error", Metadata::default(), "", "") },
        // Not in the pass of initialisation, and with the addresses it has.
        Row {
            taints: &[],
            addresses: A0,
            after: After::Changed { id: "", addresses: A0 },
            ..Row::new("ignored", metadata(ID, A0), "", "")
        },
    ]
}

async fn create(harness: &Harness, row: &Row) {
    let taints: Vec<Value> =
        row.taints.iter().map(|key| json!({"key": key, "value": "true", "effect": "NoSchedule"})).collect();
    let mut node = json!({"metadata": {"name": row.name}, "spec": {"taints": taints}});
    if let Some(id) = row.id {
        node["spec"]["providerID"] = json!(id);
    }
    if let Some(ip) = row.provided_ip {
        node["metadata"]["annotations"] = json!({"alpha.kubernetes.io/provided-node-ip": ip});
    }
    let api = harness.nodes_api();
    api.create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
    let addresses: Vec<Value> =
        list(row.addresses).iter().map(|(kind, address)| json!({"type": kind, "address": address})).collect();
    let status = json!({"status": {"addresses": addresses, "conditions": [{"type": "Ready", "status": "Unknown"}]}});
    api.patch_status(row.name, &PatchParams::default(), &Patch::Strategic(status)).await.unwrap();
}

fn addresses(node: &api::Node) -> Vec<(String, String)> {
    let addresses = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    addresses.map(|address| (address.type_.clone(), address.address.clone())).collect()
}

fn check(row: &Row, node: &api::Node) -> Result<(), String> {
    let id = node.spec.as_ref().unwrap().provider_id.clone().unwrap_or_default();
    let (wanted_id, wanted, tainted) = match row.after {
        After::Unchanged => (row.id.unwrap_or_default(), row.addresses, true),
        After::Changed { id, addresses } => (id, addresses, false),
    };
    let state = (id.as_str(), addresses(node), has_taint(node, UNINITIALIZED));
    let kept = has_taint(node, C) == row.taints.contains(&C);
    let as_wanted = kept && state == (wanted_id, list(wanted), tainted);
    if as_wanted { Ok(()) } else { Err(format!("{}: {state:?}, other taint kept: {kept}", row.name)) }
}

#[tokio::test(flavor = "multi_thread")]
async fn section_12_2_sync_node() {
    let mut harness = Harness::start().await;
    let instances = Arc::new(ScriptedInstances::default());
    let rows = rows();
    for row in &rows {
        if let Some(answer) = &row.answer {
            instances.set(row.name, answer.clone());
        }
        create(&harness, row).await;
    }
    // The pass over all addresses runs all the time, and never touches a node that is not initialised (12.3).
    let settings = Settings { status_update_frequency: Duration::from_millis(500), ..Settings::default() };
    start_with(&mut harness, &instances, settings);
    let api = harness.nodes_api();
    let look = || async {
        let nodes = api.list(&Default::default()).await.unwrap().items;
        let of = |row: &Row| nodes.iter().find(|node| node.metadata.name.as_deref() == Some(row.name)).unwrap().clone();
        rows.iter().map(|row| check(row, &of(row))).collect::<Result<Vec<()>, String>>()
    };
    let changed = || async { look().await.ok() };
    if tokio::time::timeout(Duration::from_secs(40), eventually("all rows", changed)).await.is_err() {
        panic!("{:?}", look().await);
    }
    // Those that fail are tried again and again, and stay as they are.
    tokio::time::sleep(Duration::from_secs(2)).await;
    look().await.unwrap();
    let zone = api.get("zone-region").await.unwrap();
    let labels: BTreeMap<String, String> = zone.metadata.labels.unwrap_or_default();
    let expected = [
        ("failure-domain.beta.kubernetes.io/region", "us-west"),
        ("failure-domain.beta.kubernetes.io/zone", "us-west-1a"),
        ("topology.kubernetes.io/region", "us-west"),
        ("topology.kubernetes.io/zone", "us-west-1a"),
    ];
    assert_eq!(labels, expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into(), "and no type");
    let conditions = zone.status.unwrap().conditions.unwrap();
    assert_eq!((conditions.len(), conditions[0].status.as_str()), (1, "Unknown"), "conditions are untouched");
}
