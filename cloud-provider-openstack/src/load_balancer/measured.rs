//! Rounds counted under upstream's names.

use std::sync::Arc;

use async_trait::async_trait;
use cloud_provider::{
    Kind,
    cloud::{LoadBalancers, Mode, Outcome, Owned, Scope, ScopeId},
    cluster::objects::{Node, Service},
    error::Result,
    metrics::Metrics,
};
use prometheus::{HistogramVec, IntCounterVec};
use tokio::time::Instant;

/// Upstream's buckets.
const BUCKETS: [f64; 16] = [0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 7.5, 10.0, 12.5, 15.0, 17.5, 20.0, 22.5, 25.0, 27.5];
/// Those that it adds for what takes long.
const LONG: [f64; 5] = [30.0, 50.0, 75.0, 100.0, 1000.0];

/// Load balancers with metrics of their rounds. Waiting for Octavia is no failure.
pub(super) struct Measured<L> {
    inner: L,
    duration: HistogramVec,
    total: IntCounterVec,
    errors: IntCounterVec,
}

impl<L: LoadBalancers + 'static> Measured<L> {
    /// Registers the metrics.
    pub(super) fn shared(inner: L, metrics: &Metrics) -> Arc<dyn LoadBalancers> {
        let buckets: Vec<f64> = BUCKETS.into_iter().chain(LONG).collect();
        let labels = ["operation"];
        Arc::new(Self {
            inner,
            duration: metrics.histogram_vec(
                "cloudprovider_openstack_reconcile_duration_seconds",
                "[ALPHA] Time taken by various parts of OpenStack cloud controller manager reconciliation loops",
                &buckets,
                &labels,
            ),
            total: metrics.counter_vec(
                "cloudprovider_openstack_reconcile_total",
                "[ALPHA] Total number of OpenStack cloud controller manager reconciliations",
                &labels,
            ),
            errors: metrics.counter_vec(
                "cloudprovider_openstack_reconcile_errors_total",
                "[ALPHA] Total number of OpenStack cloud controller manager reconciliation errors",
                &labels,
            ),
        })
    }
}

#[async_trait]
impl<L: LoadBalancers> LoadBalancers for Measured<L> {
    fn scope(&self, service: &Service) -> ScopeId {
        self.inner.scope(service)
    }

    fn backend(&self, service: &Service, node: &Node) -> Option<String> {
        self.inner.backend(service, node)
    }

    fn concurrency(&self) -> usize {
        self.inner.concurrency()
    }

    fn claims(&self, service: &Service) -> Vec<String> {
        self.inner.claims(service)
    }

    async fn owned(&self, cluster_name: &str) -> Result<Option<Vec<Owned>>> {
        self.inner.owned(cluster_name).await
    }

    async fn sync(&self, scope: &Scope, mode: Mode) -> Outcome {
        let operation = match mode {
            Mode::DryRun => return self.inner.sync(scope, mode).await,
            Mode::Backends => "loadbalancer_update",
            Mode::Full if scope.wanted.is_empty() => "loadbalancer_delete",
            Mode::Full => "loadbalancer_ensure",
        };
        let started = Instant::now();
        let outcome = self.inner.sync(scope, mode).await;
        self.duration.with_label_values(&[operation]).observe(started.elapsed().as_secs_f64());
        self.total.with_label_values(&[operation]).inc();
        let errors = outcome.services.values().filter_map(|service| service.error.as_ref());
        if errors.into_iter().any(|error| !matches!(error.kind(), Kind::Pending { .. })) {
            self.errors.with_label_values(&[operation]).inc();
        }
        outcome
    }
}
