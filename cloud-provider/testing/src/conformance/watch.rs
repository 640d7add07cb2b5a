//! Watching that nodes never become schedulable too early.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::ensure;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Node;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use tokio::task::JoinHandle;

use super::bench::{has_addresses, has_taint};
use crate::objects::UNINITIALIZED;

/// Sees every version of every node.
pub(super) struct Watch {
    task: JoinHandle<()>,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    /// Nodes by whether they were last seen uninitialized.
    uninitialized: BTreeMap<String, bool>,
    untainted: usize,
    violations: Vec<String>,
}

impl Watch {
    pub(super) fn start(client: &Client) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let api: Api<Node> = Api::all(client.clone());
        let task = tokio::spawn({
            let seen = Arc::clone(&seen);
            async move {
                let mut nodes = Box::pin(watcher(api, watcher::Config::default()).default_backoff().applied_objects());
                while let Some(node) = nodes.next().await {
                    if let Ok(node) = node {
                        seen.lock().unwrap_or_else(PoisonError::into_inner).look_at(&node);
                    }
                }
            }
        });
        Self { task, seen }
    }

    /// Waits until it has seen `count` nodes lose their taint, and fails if one had no addresses then.
    pub(super) async fn conclude(self, count: usize) -> anyhow::Result<()> {
        super::eventually(Duration::from_secs(20), || async {
            let untainted = self.seen.lock().unwrap_or_else(PoisonError::into_inner).untainted;
            ensure!(untainted >= count, "saw only {untainted} of {count} nodes lose their taint");
            Ok(())
        })
        .await?;
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(seen.violations.is_empty(), "{}", seen.violations.join(", "));
        Ok(())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Seen {
    fn look_at(&mut self, node: &Node) {
        let name = node.metadata.name.clone().unwrap_or_default();
        let uninitialized = has_taint(node, UNINITIALIZED);
        let before = self.uninitialized.insert(name.clone(), uninitialized);
        if before == Some(true) && !uninitialized {
            self.untainted += 1;
            if !has_addresses(node) {
                self.violations.push(format!("node {name} could be scheduled to before it had addresses"));
            }
        }
    }
}
