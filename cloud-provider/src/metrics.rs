//! The metrics of one process: an explicit registry that is handed to its users, no global state.
//!
//! Names, labels and buckets are exactly those of `k8s.io/cloud-provider` v0.37 and of client-go, odd
//! spellings included, so that dashboards and alerts of the Go controllers keep working. Each controller
//! defines its own struct of metrics beside its code and fills it with the constructors of [`Metrics`].

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::Collector;
use prometheus::{
    Counter, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

mod bounds;
mod process;

/// The content type of [`Metrics::render`]: Prometheus text exposition, version 0.0.4.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The `manager` label of [`Metrics::controller_running`].
const MANAGER: &str = "cloud-controller-manager";

/// Handle to the metrics of this process; clones share them.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    /// What was registered, by name, so that two owners of one name share it.
    known: Mutex<HashMap<&'static str, Box<dyn Any + Send>>>,
    /// Called before each rendering; one that answers `false` is dropped.
    refreshers: Mutex<Vec<Refresher>>,
    running: IntGaugeVec,
    features: IntGaugeVec,
    health: HealthMetrics,
}

type Refresher = Box<dyn FnMut() -> bool + Send>;

/// What `kubernetes_build_info` says about this binary.
#[derive(Clone, Copy, Debug, Default)]
#[expect(missing_docs, reason = "the fields are the labels of the metric")]
pub struct BuildInfo<'a> {
    pub major: &'a str,
    pub minor: &'a str,
    pub git_version: &'a str,
    pub git_commit: &'a str,
    pub git_tree_state: &'a str,
    pub build_date: &'a str,
    pub go_version: &'a str,
    pub compiler: &'a str,
    pub platform: &'a str,
}

impl<'a> BuildInfo<'a> {
    /// What a version such as `v1.2.3` says, for this compiler and this kind of machine.
    pub fn of(version: &'a str) -> Self {
        let mut parts = version.trim_start_matches('v').splitn(3, '.');
        let mut part = || parts.next().unwrap_or_default();
        let platform = if cfg!(target_arch = "aarch64") { "linux/arm64" } else { "linux/amd64" };
        Self { major: part(), minor: part(), git_version: version, compiler: "rustc", platform, ..Self::default() }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// A registry with the metrics that every process has: process statistics, running controllers,
    /// feature gates and health checks.
    pub fn new() -> Self {
        let inner = Inner {
            registry: Registry::new(),
            known: Mutex::default(),
            refreshers: Mutex::default(),
            running: valid(IntGaugeVec::new(
                Opts::new(
                    "running_managed_controllers",
                    "[BETA] Indicates where instances of a controller are currently running",
                ),
                &["name", "manager"],
            )),
            features: valid(IntGaugeVec::new(
                Opts::new(
                    "kubernetes_feature_enabled",
                    "[BETA] This metric records the data about the stage and enablement of a k8s feature.",
                ),
                &["name", "stage"],
            )),
            health: HealthMetrics::new(),
        };
        let metrics = Metrics { inner: Arc::new(inner) };
        metrics.register("running_managed_controllers", metrics.inner.running.clone());
        metrics.register("kubernetes_feature_enabled", metrics.inner.features.clone());
        process::register(&metrics);
        metrics
    }

    /// A counter without labels.
    pub fn counter(&self, name: &'static str, help: &str) -> IntCounter {
        self.shared(name, || IntCounter::with_opts(Opts::new(name, help)))
    }

    /// A counter of fractions without labels.
    pub fn float_counter(&self, name: &'static str, help: &str) -> Counter {
        self.shared(name, || Counter::with_opts(Opts::new(name, help)))
    }

    /// A counter with labels.
    pub fn counter_vec(&self, name: &'static str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.shared(name, || IntCounterVec::new(Opts::new(name, help), labels))
    }

    /// A gauge without labels.
    pub fn gauge(&self, name: &'static str, help: &str) -> IntGauge {
        self.shared(name, || IntGauge::with_opts(Opts::new(name, help)))
    }

    /// A gauge with labels.
    pub fn gauge_vec(&self, name: &'static str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.shared(name, || IntGaugeVec::new(Opts::new(name, help), labels))
    }

    /// A gauge of fractions with labels.
    pub fn float_gauge_vec(&self, name: &'static str, help: &str, labels: &[&str]) -> GaugeVec {
        self.shared(name, || GaugeVec::new(Opts::new(name, help), labels))
    }

    /// A histogram without labels; `buckets` are upper bounds in rising order, without the infinite one.
    pub fn histogram(&self, name: &'static str, help: &str, buckets: &[f64]) -> Histogram {
        self.shared(name, || Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec())))
    }

    /// A histogram with labels; `buckets` as in [`Metrics::histogram`].
    pub fn histogram_vec(&self, name: &'static str, help: &str, buckets: &[f64], labels: &[&str]) -> HistogramVec {
        self.shared(name, || HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels))
    }

    /// Runs `refresh` before each rendering, for values that are read rather than counted, until it
    /// answers `false`.
    pub fn on_render(&self, refresh: impl FnMut() -> bool + Send + 'static) {
        self.inner.refreshers.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(refresh));
    }

    /// Sets `running_managed_controllers` for the controller of this metric name (`cloud-node`, `service`, …).
    pub fn controller_running(&self, name: &str, running: bool) {
        self.inner.running.with_label_values(&[name, MANAGER]).set(running.into());
    }

    /// Sets `kubernetes_feature_enabled`; `stage` is `ALPHA`, `BETA`, `DEPRECATED` or empty (generally available).
    pub fn feature_enabled(&self, name: &str, stage: &str, enabled: bool) {
        self.inner.features.with_label_values(&[name, stage]).set(enabled.into());
    }

    /// Sets `kubernetes_build_info`.
    pub fn build_info(&self, info: &BuildInfo<'_>) {
        let labels = [
            ("major", info.major),
            ("minor", info.minor),
            ("git_version", info.git_version),
            ("git_commit", info.git_commit),
            ("git_tree_state", info.git_tree_state),
            ("build_date", info.build_date),
            ("go_version", info.go_version),
            ("compiler", info.compiler),
            ("platform", info.platform),
        ];
        let help = "[BETA] A metric with a constant '1' value labeled by major, minor, git version, git commit, git tree \
                    state, build date, Go version, and compiler from which Kubernetes was built, and platform on which it is \
                    running.";
        let gauge = self.gauge_vec("kubernetes_build_info", help, &labels.map(|(name, _)| name));
        gauge.reset();
        gauge.with_label_values(&labels.map(|(_, value)| value)).set(1);
    }

    /// The health check metrics, served apart from the rest (`/metrics/slis`).
    pub fn health(&self) -> &HealthMetrics {
        &self.inner.health
    }

    /// All metrics but the health checks', as [`CONTENT_TYPE`].
    pub fn render(&self) -> String {
        self.inner.refreshers.lock().unwrap_or_else(PoisonError::into_inner).retain_mut(|refresh| refresh());
        encode(&self.inner.registry)
    }

    /// The metric of this name, registered at the first call. Later calls, also by other owners, share it.
    fn shared<T>(&self, name: &'static str, make: impl FnOnce() -> prometheus::Result<T>) -> T
    where
        T: Collector + Clone + 'static,
    {
        let known = self.inner.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(metric) = known.get(name).and_then(|metric| metric.downcast_ref::<T>()) {
            return metric.clone();
        }
        drop(known);
        let metric = valid(make());
        self.register(name, metric.clone());
        metric
    }

    fn register<T: Collector + Clone + 'static>(&self, name: &'static str, metric: T) {
        let mut known = self.inner.known.lock().unwrap_or_else(PoisonError::into_inner);
        match self.inner.registry.register(Box::new(metric.clone())) {
            Ok(()) => drop(known.insert(name, Box::new(metric))),
            // The metric still counts, it is only not shown.
            Err(error) => tracing::error!(name, %error, "metric is defined twice, in different ways"),
        }
    }
}

/// The metrics of health checks, upstream's `/metrics/slis`: `kubernetes_healthcheck` and
/// `kubernetes_healthchecks_total`, and when the process started. `type` is the endpoint without its slash.
#[derive(Debug)]
pub struct HealthMetrics {
    registry: Registry,
    last: IntGaugeVec,
    total: IntCounterVec,
}

impl HealthMetrics {
    fn new() -> Self {
        let registry = Registry::new();
        let last = valid(IntGaugeVec::new(
            Opts::new("kubernetes_healthcheck", "[STABLE] This metric records the result of a single healthcheck."),
            &["name", "type"],
        ));
        let total = valid(IntCounterVec::new(
            Opts::new("kubernetes_healthchecks_total", "[STABLE] This metric records the results of all healthcheck."),
            &["name", "type", "status"],
        ));
        let start = process::start_time();
        for collector in [Box::new(last.clone()) as Box<dyn Collector>, Box::new(total.clone()), Box::new(start)] {
            valid(registry.register(collector));
        }
        HealthMetrics { registry, last, total }
    }

    /// Records one result of the check `name` that was run for an endpoint (`healthz`, `livez`, `readyz`).
    pub fn observe(&self, name: &str, endpoint: &str, healthy: bool) {
        self.last.with_label_values(&[name, endpoint]).set(healthy.into());
        let status = if healthy { "success" } else { "error" };
        self.total.with_label_values(&[name, endpoint, status]).inc();
    }

    /// Forgets all results (upstream: `DELETE /metrics/slis`).
    pub fn reset(&self) {
        self.last.reset();
        self.total.reset();
    }

    /// These metrics as [`CONTENT_TYPE`].
    pub fn render(&self) -> String {
        encode(&self.registry)
    }
}

fn encode(registry: &Registry) -> String {
    let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap_or_else(|error| {
        tracing::error!(%error, "encode metrics");
        String::new()
    });
    bounds::as_go(&text)
}

/// `count` upper bounds that start at `start` and grow by `factor`, as in upstream's definitions.
pub fn exponential_buckets(start: f64, factor: f64, count: usize) -> Vec<f64> {
    std::iter::successors(Some(start), |bound| Some(bound * factor)).take(count).collect()
}

#[expect(clippy::expect_used, reason = "every caller passes literals")]
fn valid<T>(metric: prometheus::Result<T>) -> T {
    metric.expect(
        "metric names, label names and buckets are literals that match Prometheus' grammar; tests render all of them",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_rendered_verbatim_without_a_suffix() {
        let metrics = Metrics::new();
        metrics
            .counter_vec("cloudprovider_aws_api_request_errors", "[ALPHA] AWS API errors", &["request"])
            .with_label_values(&["DescribeInstances"])
            .inc();
        let text = metrics.render();
        assert!(text.contains("# TYPE cloudprovider_aws_api_request_errors counter\n"), "{text}");
        assert!(text.contains("cloudprovider_aws_api_request_errors{request=\"DescribeInstances\"} 1\n"), "{text}");
    }

    #[test]
    fn owners_of_one_name_share_the_metric() {
        let metrics = Metrics::new();
        metrics.counter("service_controller_loadbalancer_sync_total", "[ALPHA] a").inc();
        metrics.counter("service_controller_loadbalancer_sync_total", "[ALPHA] a").inc();
        assert!(metrics.render().contains("service_controller_loadbalancer_sync_total 2\n"));
    }

    #[test]
    fn histogram_buckets_are_those_asked_for() {
        let metrics = Metrics::new();
        metrics
            .histogram(
                "node_controller_initial_node_sync_delay_seconds",
                "[ALPHA] h",
                &exponential_buckets(1.0, 4.0, 6),
            )
            .observe(5.0);
        let text = metrics.render();
        for bound in ["1", "4", "16", "64", "256", "1024", "+Inf"] {
            assert!(text.contains(&format!("_bucket{{le=\"{bound}\"}}")), "{bound}: {text}");
        }
    }

    #[test]
    fn every_process_reports_its_statistics_and_controllers() {
        let metrics = Metrics::new();
        metrics.controller_running("cloud-node", true);
        metrics.feature_enabled("ContextualLogging", "BETA", true);
        metrics.build_info(&BuildInfo::of("v0.1.0"));
        let text = metrics.render();
        assert!(
            text.contains("running_managed_controllers{manager=\"cloud-controller-manager\",name=\"cloud-node\"} 1\n")
        );
        assert!(text.contains("kubernetes_feature_enabled{name=\"ContextualLogging\",stage=\"BETA\"} 1\n"));
        assert!(text.contains("git_version=\"v0.1.0\""));
        for name in [
            "cpu_seconds_total",
            "resident_memory_bytes",
            "virtual_memory_bytes",
            "open_fds",
            "max_fds",
            "start_time_seconds",
        ] {
            let line = text.lines().find(|line| line.starts_with(&format!("process_{name} "))).unwrap();
            assert!(line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() >= 0.0, "{line}");
        }
    }

    #[test]
    fn health_check_results_are_apart_from_the_rest_and_can_be_reset() {
        let metrics = Metrics::new();
        metrics.health().observe("leaderElection", "healthz", false);
        let text = metrics.health().render();
        assert!(text.contains("kubernetes_healthcheck{name=\"leaderElection\",type=\"healthz\"} 0\n"), "{text}");
        assert!(
            text.contains(
                "kubernetes_healthchecks_total{name=\"leaderElection\",status=\"error\",type=\"healthz\"} 1\n"
            )
        );
        assert!(!metrics.render().contains("kubernetes_healthcheck"));
        metrics.health().reset();
        assert!(!metrics.health().render().contains("kubernetes_healthcheck"));
    }
}
