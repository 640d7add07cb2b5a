//! Names, types, labels and buckets of the metrics, on the real `/metrics` (reference: core.md section 10).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cloud_provider_testing::ControlPlane;
use cloud_provider_testing::control_plane::Options;
use cloud_provider_testing::objects::{KubeletNode, LoadBalancerService, register_nodes};
use cloud_provider_testing::reference::{check, table};

use http::Method;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::process::{Manager, free_port};

const SECONDS: &str = "0.005 0.025 0.1 0.25 0.5 1 2 4 8 15 30 60 +Inf";
const BYTES: &str = "64 256 512 1024 4096 16384 65536 262144 1.048576e+06 4.194304e+06 1.6777216e+07 +Inf";
const SINCE_CREATION: &str = "1 4 16 64 256 1024 +Inf";
const QUEUE: &str = "1e-08 1e-07 1e-06 9.999999999999999e-06 9.999999999999999e-05 0.001 0.01 0.1 1 10 +Inf";
const DOUBLING: &str = "1 2 4 8 16 32 64 128 256 512 1024 2048 4096 8192 16384 +Inf";
const MILLISECONDS: &str =
    "0.001 0.002 0.004 0.008 0.016 0.032 0.064 0.128 0.256 0.512 1.024 2.048 4.096 8.192 16.384 +Inf";

const ANSWERS: &str = "0.25 0.5 0.7 1 1.5 3 5 10 +Inf";

/// Upstream's metrics: name, type, labels, buckets. The last says whether a manager at work always shows it.
const METRICS: &[(&str, &str, &str, &str, bool)] = &[
    ("node_controller_cloud_provider_taint_removal_delay_seconds", "histogram", "", SINCE_CREATION, true),
    ("node_controller_initial_node_sync_delay_seconds", "histogram", "", SINCE_CREATION, true),
    ("cloud_node_lifecycle_controller_monitor_nodes_duration_seconds", "histogram", "", MILLISECONDS, true),
    ("cloud_node_lifecycle_controller_cloud_provider_calls_total", "counter", "operation result", "", true),
    ("service_controller_loadbalancer_sync_total", "counter", "", "", true),
    ("service_controller_nodesync_error_total", "counter", "", "", true),
    ("service_controller_nodesync_latency_seconds", "histogram", "", DOUBLING, true),
    ("service_controller_update_loadbalancer_host_latency_seconds", "histogram", "", DOUBLING, true),
    ("route_controller_route_sync_total", "counter", "outcome trigger", "", true),
    ("node_ipam_controller_cidrset_cidrs_allocations_total", "counter", "clusterCIDR", "", true),
    ("node_ipam_controller_cidrset_cidrs_releases_total", "counter", "clusterCIDR", "", true),
    ("node_ipam_controller_cidrset_usage_cidrs", "gauge", "clusterCIDR", "", true),
    ("node_ipam_controller_cirdset_max_cidrs", "gauge", "clusterCIDR", "", true),
    (
        "node_ipam_controller_cidrset_allocation_tries_per_request",
        "histogram",
        "clusterCIDR",
        "1 5 25 125 625 +Inf",
        true,
    ),
    ("running_managed_controllers", "gauge", "manager name", "", true),
    ("workqueue_depth", "gauge", "name", "", true),
    ("workqueue_adds_total", "counter", "name", "", true),
    ("workqueue_queue_duration_seconds", "histogram", "name", QUEUE, true),
    ("workqueue_work_duration_seconds", "histogram", "name", QUEUE, true),
    ("workqueue_unfinished_work_seconds", "gauge", "name", "", true),
    ("workqueue_longest_running_processor_seconds", "gauge", "name", "", true),
    ("workqueue_retries_total", "counter", "name", "", true),
    ("rest_client_request_duration_seconds", "histogram", "host verb", SECONDS, true),
    ("rest_client_requests_total", "counter", "code host method", "", true),
    ("rest_client_rate_limiter_duration_seconds", "histogram", "host verb", SECONDS, true),
    ("rest_client_request_size_bytes", "histogram", "host verb", BYTES, true),
    ("rest_client_response_size_bytes", "histogram", "host verb", BYTES, true),
    ("rest_client_request_retries_total", "counter", "code host verb", "", false),
    ("cloud_provider_webhook_request_total", "counter", "code webhook", "", true),
    ("cloud_provider_webhook_request_duration_seconds", "histogram", "code webhook", ANSWERS, true),
    ("leader_election_master_status", "gauge", "name", "", true),
    ("leader_election_slowpath_total", "counter", "name", "", true),
    (
        "kubernetes_build_info",
        "gauge",
        "build_date compiler git_commit git_tree_state git_version go_version major minor platform",
        "",
        true,
    ),
    ("kubernetes_feature_enabled", "gauge", "name stage", "", true),
    ("process_cpu_seconds_total", "counter", "", "", true),
    ("process_max_fds", "gauge", "", "", true),
    ("process_open_fds", "gauge", "", "", true),
    ("process_resident_memory_bytes", "gauge", "", "", true),
    ("process_start_time_seconds", "gauge", "", "", true),
    ("process_virtual_memory_bytes", "gauge", "", "", true),
];

/// What those say that are not always shown.
const RARE: [(&str, &str); 1] = [(
    "rest_client_request_retries_total",
    "[ALPHA] Number of request retries, partitioned by status code, verb, and host.",
)];

/// Upstream's metrics of health checks, which have a page of their own: name, type, labels.
const HEALTH: &[(&str, &str, &str)] = &[
    ("kubernetes_healthcheck", "gauge", "name type"),
    ("kubernetes_healthchecks_total", "counter", "name status type"),
];

/// Ours, which upstream has not: name, type, labels.
const OWN: &[(&str, &str, &str)] = &[
    ("cloud_node_lifecycle_controller_deletions_held", "gauge", ""),
    ("event_recorder_dropped_events_total", "counter", ""),
];

/// The reference page, with the help texts that are served at `/metrics` and `/metrics/slis`.
fn reference(page: &str, health: &str) -> String {
    let mut help: BTreeMap<&str, &str> = RARE.into();
    for line in page.lines().chain(health.lines()) {
        if let Some((name, text)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            let rare = help.insert(name, text);
            assert!(rare.is_none_or(|rare| rare == text), "{name} is in RARE with another text");
        }
    }
    let row = |name: &str, kind: &str, labels: &str, whose: &str| {
        [&format!("`{name}`"), kind, labels, whose, help[name]].map(str::to_owned)
    };
    let upstream = METRICS.iter().map(|metric| row(metric.0, metric.1, metric.2, "upstream"));
    let own = OWN.iter().map(|metric| row(metric.0, metric.1, metric.2, "ours"));
    let of_health = HEALTH.iter().map(|metric| row(metric.0, metric.1, metric.2, "upstream"));
    let head = ["metric", "type", "labels", "whose", "what it says"];
    format!(
        "<!-- Generated by cloud-provider/testing/tests/manager/metrics.rs from what a manager serves; see CONTRIBUTING.md. -->\n\n\
         # Metrics of the core\n\n\
         On the secure port, for whoever the API server lets get the path. Names, labels and buckets are upstream's. A metric with \
         labels\nappears with its first value. Each cloud's own metrics are in the README of its crate.\n\n\
         ## At `/metrics`\n\n{}\n\
         ## At `/metrics/slis`\n\nResults of health checks, and `process_start_time_seconds` again. `type` is the endpoint: `healthz`, \
         `livez` or `readyz`.\n`DELETE` forgets them.\n\n{}",
        table(head, upstream.chain(own)),
        table(head, of_health),
    )
}

/// A metric as it is exposed.
#[derive(Debug, Default)]
struct Metric {
    kind: String,
    labels: BTreeSet<String>,
    buckets: Vec<String>,
}

fn parse(page: &str) -> BTreeMap<&str, Metric> {
    let mut metrics: BTreeMap<&str, Metric> = BTreeMap::new();
    for line in page.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            metrics.entry(name).or_default().kind = kind.to_owned();
        }
    }
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        let stem = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        let owner = if metrics.contains_key(name) { name } else { stem };
        let metric = metrics.get_mut(owner).unwrap_or_else(|| panic!("no type of {line}"));
        let labels = line.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}')).map_or("", |(labels, _)| labels);
        for pair in labels.split("\",") {
            match pair.split_once("=\"") {
                Some(("le", bound)) => {
                    let bound = bound.trim_end_matches('"').to_owned();
                    if !metric.buckets.contains(&bound) {
                        metric.buckets.push(bound);
                    }
                }
                Some((label, _)) => drop(metric.labels.insert(label.to_owned())),
                None => {}
            }
        }
    }
    metrics
}

#[tokio::test(flavor = "multi_thread")]
async fn section_10_metrics_are_upstreams_by_name_type_labels_and_buckets() {
    let plane = ControlPlane::start(Options::default()).await.unwrap();
    let config = plane.dir().join("cloud.conf");
    std::fs::write(&config, "[Global]\nMachines = 3\nRoutes = true\n").unwrap();
    let config = format!("--cloud-config={}", config.display());
    let webhook_port = free_port();
    let webhooks = format!("--webhook-secure-port={webhook_port}");
    let flags = [
        config.as_str(),
        webhooks.as_str(),
        "--webhook-bind-address=127.0.0.1",
        "--webhooks=pvlabel",
        "--feature-gates=CloudControllerManagerWebhook=true",
        "--controllers=*,node-ipam-controller",
        "--allocate-node-cidrs",
        "--cluster-cidr=10.0.0.0/16",
        "--configure-cloud-routes",
        "--kube-api-qps=50",
        "--node-monitor-period=1s",
    ];
    let manager = Manager::start(&plane, "manager", free_port(), &flags);
    let client = plane.client().await.unwrap();
    let nodes = (0..3).map(|n| KubeletNode::new(format!("node-{n}"))).collect();
    register_nodes(&client, nodes, std::time::Duration::ZERO).await.unwrap();
    LoadBalancerService::new("default", "web").tcp(80).create(&client).await.unwrap();
    manager.leads().await;
    // That is no review, but a request.
    assert_eq!(manager.ask_at(webhook_port, Method::POST, "/admit", "").await.unwrap().0, 400);
    // Its life is looked at from now on.
    let failed = json!({ "status": { "conditions": [{ "type": "Ready", "status": "False" }] } });
    let nodes: Api<Node> = Api::all(client);
    nodes.patch_status("node-0", &PatchParams::default(), &Patch::Strategic(failed)).await.unwrap();

    let complete = || async {
        let page = manager.get("/metrics").await;
        let shown = parse(&page);
        let missing: Vec<_> = METRICS.iter().filter(|m| m.4 && !shown.contains_key(m.0)).map(|m| m.0).collect();
        anyhow::ensure!(missing.is_empty(), "missing: {missing:?}");
        anyhow::ensure!(
            page.contains("node_controller_initial_node_sync_delay_seconds_count 3\n"),
            "not yet initialised"
        );
        Ok(page)
    };
    let page =
        cloud_provider_testing::conformance::eventually(std::time::Duration::from_secs(60), complete).await.unwrap();
    let shown = parse(&page);
    for (name, kind, labels, buckets, _) in METRICS {
        let Some(metric) = shown.get(name) else { continue };
        let of: Vec<_> = metric.labels.iter().map(String::as_str).collect();
        assert_eq!((metric.kind.as_str(), of.join(" ").as_str()), (*kind, *labels), "{name}");
        assert_eq!(metric.buckets.join(" "), *buckets, "{name}");
    }
    for sample in [
        "running_managed_controllers{manager=\"cloud-controller-manager\",name=\"cloud-node\"} 1\n",
        "running_managed_controllers{manager=\"cloud-controller-manager\",name=\"service\"} 1\n",
        "leader_election_master_status{name=\"cloud-controller-manager\"} 1\n",
        "kubernetes_feature_enabled{name=\"ContextualLogging\",stage=\"BETA\"} 1\n",
        "kubernetes_feature_enabled{name=\"CloudControllerManagerWebhook\",stage=\"ALPHA\"} 1\n",
        "kubernetes_feature_enabled{name=\"CloudControllerManagerWatchBasedRoutesReconciliation\",stage=\"ALPHA\"} 0\n",
        "cloud_provider_webhook_request_total{code=\"400\",webhook=\"pvlabel\"} 1\n",
        "workqueue_depth{name=\"Nodes\"}",
        "workqueue_depth{name=\"service\"}",
        "workqueue_depth{name=\"Routes\"}",
        "workqueue_depth{name=\"cidrallocator_node\"}",
    ] {
        assert!(page.contains(sample), "{sample}{page}");
    }
    let health = manager.get("/metrics/slis").await;
    let shown_of_health = parse(&health);
    let own = OWN.iter().map(|metric| (metric, &shown));
    for ((name, kind, labels), shown) in own.chain(HEALTH.iter().map(|metric| (metric, &shown_of_health))) {
        let metric = &shown[name];
        let of: Vec<_> = metric.labels.iter().map(String::as_str).collect();
        assert_eq!((metric.kind.as_str(), of.join(" ").as_str()), (*kind, *labels), "{name}");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/metrics.md");
    check(&path, &reference(&page, &health)).unwrap();
}
