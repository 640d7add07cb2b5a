//! The writes: deleting a node, and its shutdown taint.

use std::sync::Arc;

use futures::StreamExt;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};

use super::NodeLifecycleController;
use crate::{
    Error,
    cluster::{
        events::Severity,
        objects::{Node, Object},
        patch,
    },
    controllers::about_node,
    error::{Result, warn_of},
    node::taints,
};

/// Nodes written at the same time where the flag does not say.
const AUTOMATIC_WRITES: usize = 8;
/// How often a write is tried anew when the node changed meanwhile.
const CONFLICT_TRIES: usize = 5;

impl NodeLifecycleController {
    pub(super) async fn delete(&self, node: &Node) {
        // The store may lag: a node that came back meanwhile stays.
        let still =
            self.nodes.get(&node.key()).is_some_and(|now| now.uid() == node.uid() && now.ready() != Some("True"));
        if !still {
            return;
        }
        let name = node.name();
        tracing::info!(node = %name, provider_id = node.provider_id(), "deleting node, its instance does not exist any more");
        let message = format!("Deleting node {name} because it does not exist in the cloud provider");
        self.recorder.event(&about_node(node), Severity::Normal, "DeletingNode", message);
        let preconditions = Preconditions { uid: Some(node.uid().to_owned()), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        match self.api.delete(name, &params).await {
            Ok(_) => {}
            // Gone already, or another node has this name now.
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => {}
            Err(error) => {
                let error = Error::from(error);
                warn_of!(error, node = %name, error = %error.chain(), "failed deleting node, next try in the next pass");
                let message = format!("Failed deleting node {name}: {}", error.chain());
                self.recorder.event(&about_node(node), Severity::Warning, "DeletingNodeFailed", message);
            }
        }
    }

    /// Adds or removes the shutdown taint; conditional on the node being unchanged since it was read.
    pub(super) async fn set_shutdown(&self, node: &Node, stopped: bool) {
        let result = self.write_shutdown(node, stopped).await;
        match result {
            Ok(()) => tracing::info!(node = %node.name(), stopped, "set the shutdown taint by the instance's state"),
            Err(error) if error.is_not_found() => {}
            Err(error) => {
                warn_of!(error, node = %node.name(), stopped, error = %error.chain(), "shutdown taint not written, next try in the next pass");
            }
        }
    }

    async fn write_shutdown(&self, node: &Node, stopped: bool) -> Result<()> {
        let mut live = None;
        for tries in 1.. {
            let node: &Node = live.as_ref().unwrap_or(node);
            let current = &node.spec.taints;
            let change = if stopped { taints::with } else { taints::without };
            let wanted = change(current, &taints::shutdown());
            if wanted == *current {
                break;
            }
            let version = node.metadata.resource_version.as_deref().unwrap_or_default();
            let patch = Patch::Strategic(patch::node_taints(version, &wanted));
            match self.api.patch(node.name(), &PatchParams::default(), &patch).await {
                Ok(_) => break,
                Err(kube::Error::Api(status)) if status.code == 409 && tries < CONFLICT_TRIES => {}
                Err(error) => return Err(error.into()),
            }
            let again = self.api.get(node.name()).await?;
            if again.uid() != node.uid() || stopped && again.ready() == Some("True") {
                break;
            }
            live = Some(again);
        }
        Ok(())
    }

    pub(super) async fn each<F: Future<Output = ()>>(&self, nodes: Vec<Arc<Node>>, work: impl FnMut(Arc<Node>) -> F) {
        let limit = self.settings.concurrent_syncs.unwrap_or(AUTOMATIC_WRITES).max(1);
        futures::stream::iter(nodes).for_each_concurrent(limit, work).await;
    }
}
