//! The real controller as a process.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use cloud_provider_testing::{
    conformance::{Disk, RouteSupport, ServiceKind, Start},
    process::{Process, Program},
};
use serde_json::json;

/// The value of `--cluster-name`.
pub(crate) const CLUSTER: &str = "conformance";
/// Where everything is.
pub(crate) const REGION: &str = "RegionOne";
/// The availability zone of servers and volumes.
pub(crate) const ZONE: &str = "nova";

/// Starts it with this cloud config. `routes`: what routes it keeps.
pub(crate) fn start(config: &str, routes: Option<RouteSupport>, start: Start<'_>) -> anyhow::Result<Process> {
    let path = start.dir.join(format!("{}.cloud-config", start.name));
    std::fs::write(&path, config).context("write the cloud config")?;
    let ranges = routes.unwrap_or(RouteSupport { ipv6: false }).cluster_cidr();
    Program::new(env!("CARGO_BIN_EXE_openstack-cloud-controller-manager"))
        .named(start.name)
        .log_dir(start.dir)
        .args(["--cloud-provider=openstack".to_owned(), format!("--cluster-name={CLUSTER}")])
        .arg(format!("--cloud-config={}", path.display()))
        .arg(format!("--kubeconfig={}", start.kubeconfig.display()))
        .arg("--controllers=*,persistent-volume-label-controller")
        .arg(format!("--configure-cloud-routes={}", routes.is_some()))
        .arg(format!("--cluster-cidr={ranges}"))
        .args(start.flags())
        .args(["--secure-port=0", "--v=4"])
        .spawn()
}

/// The kinds of services on OpenStack.
pub(crate) fn services() -> Vec<ServiceKind> {
    let kind = |name: &str, annotations: &[(&str, &str)]| {
        let annotations = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        ServiceKind { name: name.to_owned(), annotations }
    };
    vec![
        kind("public", &[]),
        kind("internal", &[("service.beta.kubernetes.io/openstack-internal-load-balancer", "true")]),
    ]
}

/// A disk as a persistent volume names it.
pub(crate) fn disk(id: &str) -> Disk {
    Disk {
        source: json!({ "cinder": { "volumeID": id } }),
        zones: BTreeSet::from([ZONE.to_owned()]),
        region: REGION.to_owned(),
    }
}

/// How often each call was made, as scenarios want to have it.
pub(crate) type Calls = BTreeMap<String, u64>;
