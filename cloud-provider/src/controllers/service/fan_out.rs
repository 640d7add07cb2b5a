//! From changes of nodes to the load balancers that they concern.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::ServiceController;
use crate::{cluster::objects::Object, service::predicates};

/// A burst of node changes counts as one change until nothing has happened for this long …
const QUIET: Duration = Duration::from_millis(500);
/// … or this long after its first one.
const LONGEST: Duration = Duration::from_secs(5);

impl ServiceController {
    /// Waits for changes of nodes and puts those services into the queue whose set of backends differs from what their
    /// load balancer was last told.
    pub(super) async fn fan_out(self: Arc<Self>) {
        tokio::join!(self.services.synced(), self.nodes.synced());
        loop {
            self.nodes_changed.notified().await;
            let deadline = Instant::now() + LONGEST;
            while tokio::time::timeout_at(deadline.min(Instant::now() + QUIET), self.nodes_changed.notified())
                .await
                .is_ok()
                && Instant::now() < deadline
            {}
            self.enqueue_concerned();
        }
    }

    fn enqueue_concerned(&self) {
        let started = Instant::now();
        let nodes = self.eligible_nodes();
        let mut concerned = 0;
        for service in self.services.list() {
            let key = service.key();
            // A service without a finished round is in the queue anyway, and one that failed waits for its back-off; both
            // read the nodes when their turn comes.
            if !predicates::wants_load_balancer(&service) || self.queue.failures(&key) > 0 {
                continue;
            }
            let backends = self.backends(&service, &nodes);
            let differs = self.state().told.get(&key).is_some_and(|told| *told != backends);
            if differs {
                concerned += 1;
                self.queue.add(key);
            }
        }
        self.metrics.node_sync_latency.observe(started.elapsed().as_secs_f64());
        if concerned > 0 {
            tracing::info!(nodes = nodes.len(), load_balancers = concerned, "nodes changed, updating load balancers");
        }
    }
}
