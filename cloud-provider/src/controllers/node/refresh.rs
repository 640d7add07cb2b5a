//! The periodic pass over the addresses of all nodes, and their labels where the settings ask for it.

use std::sync::Arc;

use kube::api::{Patch, PatchParams};

use super::{
    NodeController,
    decide::{changed_addresses, refreshed_labels},
};
use crate::{
    cloud::{Freshness, Instance, Metadata, Want},
    cluster::{objects::Node, patch},
    error::{Result, warn_of},
    node::taints,
};

impl NodeController {
    /// One pass after the first list, then one in every period. All nodes are looked up together; a node costs a write
    /// only where something really differs.
    pub(super) async fn refresh_all(&self) {
        self.nodes.synced().await;
        loop {
            let period = self.settings.status_update_frequency;
            let nodes: Vec<_> =
                self.managed_nodes().into_iter().filter(|node| !taints::is_uninitialized(node)).collect();
            if !nodes.is_empty() {
                self.refresh(nodes, Freshness::Within(period / 2)).await;
            }
            tokio::time::sleep(period).await;
        }
    }

    async fn refresh(&self, nodes: Vec<Arc<Node>>, freshness: Freshness) {
        let answers = self.instances.look_up(&nodes, Want::Metadata, freshness).await;
        let mut failed = Vec::new();
        let mut due = Vec::new();
        for (node, answer) in nodes.into_iter().zip(answers) {
            match answer {
                Ok(Instance::Present { metadata: Some(metadata), .. }) => due.push((node, metadata)),
                // Gone nodes are the lifecycle controller's, foreign ones nobody's.
                Ok(_) => {}
                Err(error) => failed.push((node, error)),
            }
        }
        if let Some((node, error)) = failed.first() {
            let error = error.chain();
            tracing::warn!(nodes = failed.len(), first = %node.name(), %error, "nodes not refreshed, next try in the next pass");
        }
        let limit = self.settings.concurrent_node_status_updates.or(self.settings.concurrent_node_syncs);
        self.each(limit, due, |(node, metadata)| async move {
            if !metadata.addresses.is_empty()
                && let Err(error) = self.write_addresses(&node, &metadata).await
            {
                warn_of!(error, node = %node.name(), error = %error.chain(), "addresses not written, next try in the next pass");
            }
            if let Err(error) = self.refresh_labels(&node, &metadata).await {
                warn_of!(error, node = %node.name(), error = %error.chain(), "labels not written, next try in the next pass");
            }
        })
        .await;
    }

    async fn refresh_labels(&self, node: &Node, metadata: &Metadata) -> Result<()> {
        let labels = refreshed_labels(node, metadata, &self.settings);
        if labels.is_empty() {
            return Ok(());
        }
        let patch = Patch::Strategic(patch::labels(&labels));
        match self.api.patch(node.name(), &PatchParams::default(), &patch).await {
            Ok(_) => tracing::info!(node = %node.name(), ?labels, "refreshed labels"),
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Writes the addresses of one node where they differ. Gives the node as it is after the write, if there was one.
    ///
    /// # Errors
    ///
    /// A provided node IP that is wrong, before anything is written; or the API server's refusal.
    pub(super) async fn write_addresses(&self, node: &Node, metadata: &Metadata) -> Result<Option<Node>> {
        let Some(addresses) = changed_addresses(node, metadata)? else { return Ok(None) };
        let patch = patch::node_addresses(&addresses, !node.status.addresses.is_empty());
        let written = self.api.patch_status(node.name(), &PatchParams::default(), &Patch::Strategic(patch)).await?;
        tracing::debug!(node = %node.name(), addresses = addresses.len(), "wrote addresses");
        Ok(Some(written))
    }
}
