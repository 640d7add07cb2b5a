//! The `workqueue_*` metrics of client-go's Kubernetes provider.

use std::sync::Arc;

use prometheus::{Gauge, Histogram, IntCounter, IntGauge};

use crate::metrics::{Metrics, exponential_buckets};

/// The metrics of one queue, all with its name as label `name`.
pub(super) struct QueueMetrics {
    name: &'static str,
    pub(super) adds: IntCounter,
    pub(super) depth: IntGauge,
    pub(super) retries: IntCounter,
    pub(super) queue_duration: Histogram,
    pub(super) work_duration: Histogram,
}

impl QueueMetrics {
    pub(super) fn new(name: &'static str, metrics: &Metrics) -> Self {
        let counter = |metric, help| metrics.counter_vec(metric, help, &["name"]).with_label_values(&[name]);
        let histogram = |metric, help| {
            metrics
                .histogram_vec(metric, help, &exponential_buckets(1e-8, 10.0, 10), &["name"])
                .with_label_values(&[name])
        };
        QueueMetrics {
            name,
            adds: counter("workqueue_adds_total", "[BETA] Total number of adds handled by workqueue"),
            retries: counter("workqueue_retries_total", "[BETA] Total number of retries handled by workqueue"),
            depth: metrics
                .gauge_vec("workqueue_depth", "[BETA] Current depth of workqueue", &["name"])
                .with_label_values(&[name]),
            queue_duration: histogram(
                "workqueue_queue_duration_seconds",
                "[BETA] How long in seconds an item stays in workqueue before being requested.",
            ),
            work_duration: histogram(
                "workqueue_work_duration_seconds",
                "[BETA] How long in seconds processing an item from workqueue takes.",
            ),
        }
    }

    /// Shows the runs in progress, whose ages in seconds `ages` reads from the queue, as long as it exists.
    pub(super) fn watch<T, F>(&self, metrics: &Metrics, queue: &Arc<T>, ages: F)
    where
        T: Send + Sync + 'static,
        F: Fn(&T) -> Vec<f64> + Send + 'static,
    {
        let gauge = |metric, help| -> Gauge {
            metrics.float_gauge_vec(metric, help, &["name"]).with_label_values(&[self.name])
        };
        let unfinished = gauge(
            "workqueue_unfinished_work_seconds",
            "[BETA] How many seconds of work has done that is in progress and hasn't been observed by work_duration. Large \
             values indicate stuck threads. One can deduce the number of stuck threads by observing the rate at which this \
             increases.",
        );
        let longest = gauge(
            "workqueue_longest_running_processor_seconds",
            "[BETA] How many seconds has the longest running processor for workqueue been running.",
        );
        let queue = Arc::downgrade(queue);
        metrics.on_render(move || {
            let running = queue.upgrade().map(|queue| ages(&queue));
            let seconds = running.as_deref().unwrap_or_default();
            // The sum of nothing would be -0.
            unfinished.set(seconds.iter().fold(0.0, |sum, age| sum + age));
            longest.set(seconds.iter().copied().fold(0.0, f64::max));
            running.is_some()
        });
    }
}
