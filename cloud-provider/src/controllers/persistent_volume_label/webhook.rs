//! Labelling volumes when they are created, as an admission webhook.

use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::{
    labels::{self, Labels},
    wanted,
};
use crate::{
    cloud::Volumes,
    cluster::{
        admission::{Handler, Reason, Request, Response},
        objects::PersistentVolume,
    },
    error::Result,
};

/// Gives each persistent volume that is created its labels, and the node affinity that follows from them.
///
/// A volume whose disk cannot be looked up is forbidden (403); what is no persistent volume is a bad request (400). All
/// else than creations, and volumes without a disk of this cloud, pass as they are. Upstream: the admission plugin
/// `PersistentVolumeLabel`, and `cloud-pv-admission-labeler` after it.
pub struct LabelAdmission {
    volumes: Arc<dyn Volumes>,
}

impl LabelAdmission {
    /// Asks `volumes` about each volume.
    pub fn new(volumes: Arc<dyn Volumes>) -> Self {
        Self { volumes }
    }
}

#[async_trait]
impl Handler for LabelAdmission {
    async fn handle(&self, request: Request) -> Result<Response> {
        let kind = &request.kind;
        if (kind.group.as_str(), kind.version.as_str(), kind.kind.as_str()) != ("", "v1", "PersistentVolume") {
            let got = [&kind.group, &kind.version, &kind.kind].map(String::as_str).join("/");
            return Ok(Response::denied(Reason::BadRequest, format!("expected a v1 PersistentVolume, got {got}")));
        }
        if request.operation != "CREATE" || !request.sub_resource.is_empty() {
            return Ok(Response::allowed());
        }
        let volume = match PersistentVolume::deserialize(&request.object) {
            Ok(volume) => Arc::new(volume),
            Err(error) => return Ok(Response::denied(Reason::BadRequest, format!("read the volume: {error}"))),
        };
        let labels = match wanted(&*self.volumes, std::slice::from_ref(&volume)).await.pop() {
            Some(Ok(labels)) => labels,
            Some(Err(error)) => {
                tracing::warn!(volume = request.name, error = %error.chain(), "volume forbidden: its disk cannot be located");
                return Ok(Response::denied(Reason::Forbidden, error.chain()));
            }
            None => Labels::new(),
        };
        Ok(match operations(&request.object, &volume, &labels) {
            Ok(operations) => Response::patched(&operations),
            Err(error) => Response::denied(Reason::Forbidden, error.chain()),
        })
    }
}

/// What to change on a volume that is to have these labels. Maps and lists are written as a whole: nobody else changes a
/// volume while it is admitted.
fn operations(object: &Value, volume: &PersistentVolume, labels: &Labels) -> Result<Vec<Value>> {
    let mut operations = Vec::new();
    if !labels::missing(volume, labels).is_empty() {
        let mut all = volume.metadata.labels.clone().unwrap_or_default();
        all.extend(labels.clone());
        operations.push(json!({"op": "add", "path": "/metadata/labels", "value": all}));
    }
    if let Some(affinity) = labels::require(&object["spec"]["nodeAffinity"], labels)? {
        operations.push(json!({"op": "add", "path": "/spec/nodeAffinity", "value": affinity}));
    }
    Ok(operations)
}
