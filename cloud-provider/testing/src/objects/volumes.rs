//! Persistent volumes.

use k8s_openapi::api::core::v1::PersistentVolume;
use serde_json::{Value, json};

/// A volume of a size and an access mode, with what an object of JSON adds to its metadata, and another to its spec: the
/// source, at least.
///
/// # Errors
/// When that makes no volume.
pub fn persistent_volume(name: &str, metadata: Value, spec: Value) -> anyhow::Result<PersistentVolume> {
    let mut volume = json!({
        "metadata": { "name": name },
        "spec": { "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteOnce"] },
    });
    for (part, more) in [("metadata", metadata), ("spec", spec)] {
        for (key, value) in more.as_object().into_iter().flatten() {
            volume[part][key] = value.clone();
        }
    }
    Ok(serde_json::from_value(volume)?)
}
