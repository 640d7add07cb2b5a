//! The metrics of AWS calls, under upstream's names.

use std::time::Duration;

use cloud_provider::metrics::Metrics;
use prometheus::{HistogramVec, IntCounterVec};

use crate::client::Service;

/// The metrics of AWS calls; clones share them.
#[derive(Debug, Clone)]
pub struct ApiMetrics {
    duration: HistogramVec,
    errors: IntCounterVec,
    throttled: IntCounterVec,
    status: IntCounterVec,
}

impl ApiMetrics {
    /// Registers them.
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            duration: metrics.histogram_vec(
                "cloudprovider_aws_api_request_duration_seconds",
                "[ALPHA] Latency of AWS API calls",
                prometheus::DEFAULT_BUCKETS,
                &["request"],
            ),
            errors: metrics.counter_vec("cloudprovider_aws_api_request_errors", "[ALPHA] AWS API errors", &["request"]),
            throttled: metrics.counter_vec(
                "cloudprovider_aws_api_throttled_requests_total",
                "[ALPHA] AWS API throttled requests",
                &["operation_name"],
            ),
            status: metrics.counter_vec(
                "cloudprovider_aws_api_response_status_total",
                "[ALPHA] AWS API responses with an error status, counted once for each call that failed for good",
                &["service", "operation", "status_code"],
            ),
        }
    }

    /// One logical request, all its pages together. `request` is one of upstream's few names, such as
    /// `describe_instance`; successes are timed, failures only counted.
    pub fn request(&self, request: &str, took: Duration, succeeded: bool) {
        if succeeded {
            self.duration.with_label_values(&[request]).observe(took.as_secs_f64());
        } else {
            self.errors.with_label_values(&[request]).inc();
        }
    }

    /// A call that failed for good with `RequestLimitExceeded`.
    pub fn throttled(&self, operation: &str) {
        self.throttled.with_label_values(&[operation]).inc();
    }

    /// A call that failed for good with this HTTP status.
    pub fn failed(&self, service: Service, operation: &str, status: u16) {
        self.status.with_label_values(&[service.sdk_id(), operation, &status.to_string()]).inc();
    }
}
