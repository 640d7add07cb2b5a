//! The periodic pass over the addresses of all nodes.

use std::sync::Arc;

use kube::api::{Patch, PatchParams};

use super::NodeController;
use crate::{
    cloud::{Freshness, Instance, Metadata, Want},
    cluster::{
        objects::{Node, NodeAddress, Object},
        patch,
    },
    controllers::is_virtual,
    error::{Error, Result},
    node::{addresses, taints},
};

impl NodeController {
    /// One pass after the first list, then one in every period. All nodes are looked up together; a node costs a write
    /// only where its list of addresses really differs.
    pub(super) async fn refresh_addresses(&self) {
        self.nodes.synced().await;
        loop {
            let period = self.settings.status_update_frequency;
            let nodes: Vec<_> = self
                .nodes
                .list()
                .into_iter()
                .filter(|node| !taints::is_uninitialized(node) && !is_virtual(node))
                .collect();
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
            tracing::warn!(nodes = failed.len(), first = %node.name(), %error, "addresses not refreshed, next try in the next pass");
        }
        let limit = self.settings.concurrent_node_status_updates.or(self.settings.concurrent_node_syncs);
        self.each(limit, due, |(node, metadata)| async move {
            if let Err(error) = self.write_addresses(&node, &metadata).await {
                tracing::warn!(node = %node.name(), error = %error.chain(), "addresses not written, next try in the next pass");
            }
        })
        .await;
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

/// The addresses to write; `None` where the node has them already, in the same order, or the cloud knows none.
fn changed_addresses(node: &Node, metadata: &Metadata) -> Result<Option<Vec<NodeAddress>>> {
    let provided = node.annotation(addresses::PROVIDED_NODE_IP);
    let wanted = addresses::wanted(&metadata.addresses, &node.status.addresses, provided).map_err(|problem| {
        let problem = format!("provided node ip for node {:?} is not valid: {problem}", node.name());
        Error::invalid(addresses::PROVIDED_NODE_IP, problem)
    })?;
    Ok((!metadata.addresses.is_empty() && wanted != node.status.addresses).then_some(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::objects::AddressKind;

    /// core.md 12.3, "addressesChanged", and order, which upstream misses for several addresses of one type.
    #[test]
    fn addresses_changed_as_in_12_3() {
        let int = NodeAddress::new(AddressKind::InternalIp, "10.0.0.1");
        let ext = NodeAddress::new(AddressKind::ExternalIp, "132.143.154.163");
        let other = NodeAddress::new(AddressKind::ExternalIp, "132.143.154.164");
        let name = NodeAddress::new(AddressKind::Hostname, "n");
        let changed = |old: &[&NodeAddress], new: &[&NodeAddress]| {
            let mut node = Node::default();
            node.status.addresses = old.iter().map(|address| (*address).clone()).collect();
            let addresses = new.iter().map(|address| (*address).clone()).collect();
            changed_addresses(&node, &Metadata { addresses, ..Metadata::default() }).unwrap().is_some()
        };
        assert!(!changed(&[&int, &ext, &name], &[&int, &ext, &name]));
        assert!(changed(&[&int, &ext, &name], &[&int, &other, &name]));
        assert!(changed(&[&int, &ext], &[&int, &ext, &name]));
        assert!(changed(&[&ext, &int], &[&int, &ext]));
        assert!(!changed(&[&int], &[]));
    }
}
