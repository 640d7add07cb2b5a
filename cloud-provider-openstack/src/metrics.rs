//! The metrics of OpenStack calls, under upstream's names.

use cloud_provider::{
    http::{Observed, Observer},
    metrics::Metrics,
};
use prometheus::{HistogramVec, IntCounterVec};

/// The metrics of OpenStack calls; clones share them.
#[derive(Debug, Clone)]
pub struct ApiMetrics {
    duration: HistogramVec,
    total: IntCounterVec,
    errors: IntCounterVec,
}

impl ApiMetrics {
    /// Registers them.
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            duration: metrics.histogram_vec(
                "openstack_api_request_duration_seconds",
                "[ALPHA] Latency of an OpenStack API call",
                prometheus::DEFAULT_BUCKETS,
                &["request"],
            ),
            total: metrics.counter_vec(
                "openstack_api_requests_total",
                "[ALPHA] Total number of OpenStack API calls",
                &["request"],
            ),
            errors: metrics.counter_vec(
                "openstack_api_request_errors_total",
                "[ALPHA] Total number of errors for an OpenStack API call",
                &["request"],
            ),
        }
    }
}

impl Observer for ApiMetrics {
    /// One call with all its attempts. Failures count in all three, as upstream has it.
    fn call(&self, call: &Observed<'_>) {
        let labels = [call.operation];
        self.duration.with_label_values(&labels).observe(call.took.as_secs_f64());
        self.total.with_label_values(&labels).inc();
        if call.failed {
            self.errors.with_label_values(&labels).inc();
        }
    }
}
