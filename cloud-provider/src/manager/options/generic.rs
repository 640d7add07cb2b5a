//! Section "generic": the connection to the API server, controllers, the cloud.

use std::{collections::BTreeMap, path::PathBuf};

use clap::{ArgAction, Args};

use super::{
    Errors, path,
    values::{Strings, Switches, flatten},
};
use crate::{
    cluster::client::Limit,
    config::{
        duration::GoDuration,
        feature_gates::{FeatureGates, Gate},
    },
};

/// Requests per second to the API server when only the burst is given, as upstream's default.
const DEFAULT_QPS: f32 = 20.0;
/// Burst of requests when only their rate is given, as upstream's default.
const DEFAULT_BURST: i32 = 30;

/// Flags of section "generic", without those of leader election.
#[derive(Args, Clone, Debug)]
#[group(skip)]
#[command(next_help_heading = "Generic flags")]
pub struct Generic {
    /// Everything is looked at again after this time, up to twice as much
    #[arg(long, default_value = "12h")]
    pub min_resync_period: GoDuration,
    /// Content type of requests to the API server. Requests are always JSON here
    #[arg(long, default_value = "application/vnd.kubernetes.protobuf")]
    pub kube_api_content_type: String,
    /// Requests per second to the API server for each client; negative for no limit. Unset: automatic, paced by the
    /// API server's own flow control (upstream: 20)
    #[arg(long)]
    pub kube_api_qps: Option<f32>,
    /// Requests to the API server that may go at once beyond the rate. Unset: automatic (upstream: 30)
    #[arg(long)]
    pub kube_api_burst: Option<i32>,
    /// Time between the starts of controllers
    #[arg(long, default_value = "0s")]
    pub controller_start_interval: GoDuration,
    /// Controllers to run: '*' is all that are on by default, 'foo' enables, '-foo' disables the controller foo
    #[arg(long, default_value = "*")]
    pub controllers: Vec<Strings>,
    /// Name of the cloud provider. Required
    #[arg(long, default_value = "")]
    pub cloud_provider: String,
    /// File with the configuration of the cloud provider; empty for none
    #[arg(long, default_value = "")]
    pub cloud_config: String,
    /// Accepted for old manifests; has no effect in a cloud controller manager
    #[arg(long, default_value = "")]
    pub external_cloud_volume_plugin: String,
    /// Give each controller the credentials of its own service account
    #[arg(long)]
    pub use_service_account_credentials: bool,
    /// Run without a cluster ID on the cloud's instances
    #[arg(long, hide = true)]
    pub allow_untagged_cloud: bool,
    /// Time between reconciliations of routes
    #[arg(long, default_value = "10s")]
    pub route_reconciliation_period: GoDuration,
    /// Name of the cluster, as it appears in names and tags of cloud resources
    #[arg(long, default_value = "kubernetes")]
    pub cluster_name: String,
    /// Address ranges of pods: one, or one for each IP family
    #[arg(long, default_value = "")]
    pub cluster_cidr: String,
    /// Whether nodes get their ranges of pod addresses allocated and routed
    #[arg(long)]
    pub allocate_node_cidrs: bool,
    /// How to allocate: RangeAllocator, CloudAllocator, IPAMFromCluster, IPAMFromCloud
    #[arg(long, default_value = "RangeAllocator")]
    pub cidr_allocator_type: String,
    /// Whether routes to nodes' pods are configured in the cloud
    #[arg(long, action = ArgAction::Set, default_value = "true")]
    pub configure_cloud_routes: bool,
    /// Has no effect
    #[arg(long, hide = true, default_value = "0s")]
    pub node_sync_period: GoDuration,
    /// Features that are not part of every setup, name=true|false
    #[arg(long)]
    pub feature_gates: Vec<Switches>,
}

/// What a cloud provider and its controllers are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudSettings {
    /// `--cloud-provider`.
    pub provider: String,
    /// `--cloud-config`.
    pub config_file: Option<PathBuf>,
    /// `--allow-untagged-cloud`.
    pub allow_untagged: bool,
    /// `--cluster-name`.
    pub cluster_name: String,
    /// The entries of `--cluster-cidr`, as written.
    pub cluster_cidrs: Vec<String>,
    /// `--allocate-node-cidrs`.
    pub allocate_node_cidrs: bool,
    /// `--cidr-allocator-type`, as written.
    pub cidr_allocator_type: String,
    /// `--configure-cloud-routes`.
    pub configure_routes: bool,
    /// `--route-reconciliation-period`.
    pub route_reconciliation_period: std::time::Duration,
}

impl Generic {
    pub(super) fn feature_gates(&self, provider: &[Gate], errors: &mut Errors) -> FeatureGates {
        let mut gates = FeatureGates::new(provider);
        let set: BTreeMap<_, _> = flatten(&self.feature_gates).into_iter().collect();
        if let Err(refused) = gates.set(&set) {
            refused.iter().for_each(|error| errors.add(error.to_string()));
        }
        gates
    }

    /// None for no limit on our side: the API server's flow control sets the pace. One of the two flags alone goes
    /// with upstream's default of the other. Zero is client-go's word for its own defaults, which controller managers
    /// never use; it means unset here.
    pub(super) fn limit(&self) -> Option<Limit> {
        let qps = self.kube_api_qps.filter(|qps| *qps != 0.0);
        let burst = self.kube_api_burst.filter(|burst| *burst > 0);
        if qps.is_some_and(|qps| qps < 0.0) || qps.is_none() && burst.is_none() {
            return None;
        }
        Some(Limit { qps: qps.unwrap_or(DEFAULT_QPS).into(), burst: burst.unwrap_or(DEFAULT_BURST).unsigned_abs() })
    }

    pub(super) fn cloud(&self) -> CloudSettings {
        let cidrs = self.cluster_cidr.split(',').map(str::trim).filter(|cidr| !cidr.is_empty());
        CloudSettings {
            provider: self.cloud_provider.clone(),
            config_file: path(&self.cloud_config),
            allow_untagged: self.allow_untagged_cloud,
            cluster_name: self.cluster_name.clone(),
            cluster_cidrs: cidrs.map(str::to_owned).collect(),
            allocate_node_cidrs: self.allocate_node_cidrs,
            cidr_allocator_type: self.cidr_allocator_type.clone(),
            configure_routes: self.configure_cloud_routes,
            route_reconciliation_period: self.route_reconciliation_period.to_std(),
        }
    }
}
