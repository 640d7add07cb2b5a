//! Initialising the nodes of one batch.

use std::{sync::Arc, time::Duration};

use kube::api::{Patch, PatchParams};

use super::{
    NodeController,
    batches::LookUp,
    decide::{Schedulable, Verdict, verdict},
    lock,
};
use crate::{
    Error, Kind,
    cloud::{Freshness, Instance, Metadata, Want},
    cluster::{
        events::Severity,
        objects::{Key, Node, Object},
        workqueue::Taken,
    },
    controllers::{about_node, some_names},
    error::{Result, warn_of},
};

/// How often a write is tried anew when the node changed meanwhile.
const CONFLICT_TRIES: usize = 10;
/// How old an answer may be that initialises a node: as long as a batch gathers.
pub(super) const FRESH: Duration = Duration::from_secs(1);

impl NodeController {
    pub(super) async fn initialize(&self, batch: Vec<(Taken<Key>, Arc<Node>)>, look_up: LookUp) {
        let nodes: Vec<Arc<Node>> = batch.iter().map(|(_, node)| node.clone()).collect();
        tracing::debug!(nodes = nodes.len(), first = %nodes[0].name(), "initialising nodes");
        let answers = self.instances.look_up(&nodes, Want::Metadata, Freshness::Within(FRESH)).await;
        let failed = |answer: &Result<Instance>| answer.as_ref().is_err_and(Error::is_outage);
        look_up.answered(answers.iter().all(failed));
        debug_assert_eq!(answers.len(), nodes.len(), "one answer per node is the trait's contract");
        let work: Vec<_> = batch.into_iter().zip(answers).collect();
        self.each(self.settings.concurrent_node_syncs, work, |((key, node), answer)| async move {
            match self.initialize_one(&node, answer).await {
                Ok(()) => self.queue.forget(&key),
                Err(error) => self.try_again(&key, &node, &error),
            }
        })
        .await;
    }

    async fn initialize_one(&self, node: &Node, answer: Result<Instance>) -> Result<()> {
        let metadata = match verdict(node, answer)? {
            Verdict::Initialize(metadata) => metadata,
            Verdict::LeaveAlone(reason) => {
                tracing::info!(node = %node.name(), provider_id = node.provider_id(), "{reason}");
                return Ok(());
            }
        };
        let written = self.write_addresses(node, &metadata).await;
        let current = match written {
            Ok(written) => written,
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
        };
        // Noted before the write, since the store can hear of it before we do.
        lock(&self.untainted).insert(node.uid().to_owned());
        let made = self.make_schedulable(current.as_ref().unwrap_or(node), &metadata).await;
        if !matches!(made, Ok(true)) {
            lock(&self.untainted).remove(node.uid());
        }
        if made? {
            self.recorder.event(&about_node(node), Severity::Normal, "Synced", "Node synced successfully");
        }
        Ok(())
    }

    /// Provider ID, labels and the removal of the taint, in one write that fails if the node changed. Gives false where
    /// there was nothing left to do.
    async fn make_schedulable(&self, node: &Node, metadata: &Metadata) -> Result<bool> {
        let uid = node.uid().to_owned();
        let mut node = std::borrow::Cow::Borrowed(node);
        for tries in 1.. {
            let patch = Patch::Strategic(Schedulable::of(&node, metadata).patch(&node));
            let conflict = match self.api.patch(node.name(), &PatchParams::default(), &patch).await {
                Ok(_) => break,
                Err(kube::Error::Api(status)) if status.code == 409 && tries < CONFLICT_TRIES => status,
                Err(kube::Error::Api(status)) if status.code == 404 => return Ok(false),
                Err(error) => return Err(Error::from(error).context(format!("initialize node {}", node.name()))),
            };
            tracing::debug!(node = %node.name(), tries, reason = %conflict.message, "the node changed meanwhile, reading it again");
            match self.api.get_opt(node.name()).await? {
                Some(live) if live.uid() == uid && self.waits(&live) => node = std::borrow::Cow::Owned(live),
                // Deleted, replaced, or initialised by somebody else.
                _ => return Ok(false),
            }
        }
        self.observe_delay(&node);
        tracing::info!(node = %node.name(), provider_id = %metadata.provider_id, zone = %metadata.zone, "initialized node");
        Ok(true)
    }

    fn observe_delay(&self, node: &Node) {
        let Some(created) = &node.metadata.creation_timestamp else { return };
        let seconds = jiff::Timestamp::now().duration_since(created.0).as_secs_f64();
        self.taint_removal_delay.observe(seconds);
        self.initial_sync_delay.observe(seconds);
    }

    /// Puts a node back, after the wait that the cloud named or the queue's back-off.
    fn try_again(&self, key: &Key, node: &Arc<Node>, error: &Error) {
        let retry_in = self.queue.retry(key.clone(), error);
        if *error.kind() == Kind::Refused {
            return tracing::debug!(node = %key, error = %error.chain(), "node not initialized");
        }
        warn_of!(error, node = %some_names(std::slice::from_ref(node)), error = %error.chain(), ?retry_in, "node not initialized");
    }
}
