//! The periodic check of every load balancer against drift, where the flag asks for it.

use std::{sync::Arc, time::Duration};

use super::ServiceController;
use crate::{cluster::objects::Object, service::predicates};

impl ServiceController {
    /// Puts every service through a full round once in each period, spread over it. Repairs what somebody changed in the
    /// cloud; a round that finds nothing to repair writes nothing and tells nothing.
    pub(super) async fn check_periodically(self: Arc<Self>) {
        let Some(period) = self.settings.reconciliation_period else { return std::future::pending().await };
        tokio::join!(self.services.synced(), self.nodes.synced());
        loop {
            tokio::time::sleep(period).await;
            self.enqueue_checks(period);
        }
    }

    fn enqueue_checks(&self, period: Duration) {
        for service in self.services.list() {
            let key = service.key();
            // One that failed waits for its back-off, and is put through a full round then.
            if predicates::wants_load_balancer(&service) && self.queue.failures(&key) == 0 {
                self.state().checked.insert(key.clone());
                self.queue.add_after(key, period.mul_f64(rand::random()));
            }
        }
    }
}
