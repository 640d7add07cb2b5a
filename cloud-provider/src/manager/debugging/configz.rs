//! `/configz`: the flags as upstream's `CloudControllerManagerConfiguration`.

use serde_json::{Value, json};

use crate::manager::options::{Options, Settings, Workers, values::flatten};

/// The component and the group of its configuration.
const GROUP: &str = "cloudcontrollermanager.config.k8s.io";

/// The configuration with upstream's field names. What is automatic here, because its flag is not set, is 0.
pub(super) fn configuration(options: &Options, settings: &Settings) -> Value {
    let generic = &options.generic;
    json!({ GROUP: {
        "kind": "CloudControllerManagerConfiguration",
        "apiVersion": format!("{GROUP}/v1alpha1"),
        "Generic": generic_configuration(options, settings),
        "KubeCloudShared": {
            "CloudProvider": { "Name": generic.cloud_provider, "CloudConfigFile": generic.cloud_config },
            "ExternalCloudVolumePlugin": generic.external_cloud_volume_plugin,
            "UseServiceAccountCredentials": generic.use_service_account_credentials,
            "AllowUntaggedCloud": generic.allow_untagged_cloud,
            "RouteReconciliationPeriod": generic.route_reconciliation_period.to_string(),
            "ClusterName": generic.cluster_name,
            "ClusterCIDR": generic.cluster_cidr,
            "AllocateNodeCIDRs": generic.allocate_node_cidrs,
            "CIDRAllocatorType": generic.cidr_allocator_type,
            "ConfigureCloudRoutes": generic.configure_cloud_routes,
            "NodeSyncPeriod": generic.node_sync_period.to_string(),
        },
        "NodeController": {
            "ConcurrentNodeSyncs": workers(settings.node.syncs),
            "ConcurrentNodeStatusUpdates": workers(settings.node.status_updates),
        },
        "NodeLifecycleController": {
            "NodeMonitorPeriod": options.node_lifecycle.node_monitor_period.to_string(),
            "ConcurrentNodeLifecycleSyncs": workers(settings.node_lifecycle.syncs),
        },
        "ServiceController": { "ConcurrentServiceSyncs": workers(settings.service.syncs) },
        "NodeStatusUpdateFrequency": options.misc.node_status_update_frequency.to_string(),
        "Webhook": { "Webhooks": list(flatten(&options.webhook.webhooks)) },
    } })
}

fn generic_configuration(options: &Options, settings: &Settings) -> Value {
    let (generic, election, limit) = (&options.generic, &options.leader_election, settings.client.limit);
    json!({
        // No flag sets these two.
        "Port": 0,
        "Address": "0.0.0.0",
        "MinResyncPeriod": generic.min_resync_period.to_string(),
        "ClientConnection": {
            "kubeconfig": options.misc.kubeconfig,
            "acceptContentTypes": "",
            "contentType": generic.kube_api_content_type,
            "qps": limit.map_or(generic.kube_api_qps.unwrap_or_default().into(), |limit| limit.qps),
            "burst": limit.map_or(0, |limit| limit.burst),
        },
        "ControllerStartInterval": generic.controller_start_interval.to_string(),
        "LeaderElection": {
            "leaderElect": election.leader_elect,
            "leaseDuration": election.leader_elect_lease_duration.to_string(),
            "renewDeadline": election.leader_elect_renew_deadline.to_string(),
            "retryPeriod": election.leader_elect_retry_period.to_string(),
            "resourceLock": election.leader_elect_resource_lock,
            "resourceName": election.leader_elect_resource_name,
            "resourceNamespace": election.leader_elect_resource_namespace,
        },
        "Controllers": settings.controllers.items(),
        "Debugging": {
            "enableProfiling": settings.profiling,
            "enableContentionProfiling": settings.contention_profiling,
        },
        "LeaderMigrationEnabled": options.leader_migration.enable_leader_migration,
        "LeaderMigration": migration(settings),
    })
}

/// Upstream has empty fields where nothing migrates.
fn migration(settings: &Settings) -> Value {
    match settings.leader_election.as_ref().and_then(|election| election.migration.as_ref()) {
        Some(migration) => {
            let mut value = json!(migration);
            value["resourceLock"] = json!("leases");
            value
        }
        None => json!({ "leaderName": "", "resourceLock": "", "controllerLeaders": null }),
    }
}

fn workers(workers: Workers) -> u32 {
    workers.map_or(0, std::num::NonZero::get)
}

/// Go's empty slice that was never filled.
fn list(items: Vec<String>) -> Option<Vec<String>> {
    Some(items).filter(|items| !items.is_empty())
}
