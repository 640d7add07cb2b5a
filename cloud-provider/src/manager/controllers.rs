//! The core's controllers: how each is built from the flags and from what the cloud can do.

use super::{
    names::{self, Controller},
    parts::Parts,
};
use crate::{
    Error,
    config::feature_gates::{ADDITIONAL_LABELS_RECONCILIATION, WATCH_BASED_ROUTES_RECONCILIATION},
    controllers::{
        Managed, node,
        node_ipam::{self, CloudAllocator, RangeAllocator},
        node_lifecycle,
        persistent_volume_label::PersistentVolumeLabelController,
        route, service,
    },
    error::Result,
};

/// How one of the core's controllers is built, see [`Start`](super::parts::Start).
type Build = fn(Parts) -> Result<Option<Box<dyn Managed>>>;

/// All controllers of the core, in the order in which they start.
pub(super) const CORE: &[(Controller, Build)] = &[
    (names::CLOUD_NODE, cloud_node),
    (names::CLOUD_NODE_LIFECYCLE, cloud_node_lifecycle),
    (names::SERVICE_LB, service_lb),
    (names::NODE_IPAM, node_ipam),
    (names::NODE_ROUTE, node_route),
    (names::PERSISTENT_VOLUME_LABEL, persistent_volume_label),
];

fn cloud_node(parts: Parts) -> Result<Option<Box<dyn Managed>>> {
    let Some(instances) = parts.cloud.instances() else { return Ok(no_instances(names::CLOUD_NODE)) };
    let flags = &parts.settings.node;
    let settings = node::Settings {
        concurrent_node_syncs: workers(flags.syncs),
        concurrent_node_status_updates: workers(flags.status_updates),
        status_update_frequency: flags.status_update_frequency,
        unmanaged: flags.unmanaged.clone(),
        refresh_labels: flags.refresh_labels,
        refresh_additional_labels: parts.settings.feature_gates.enabled(ADDITIONAL_LABELS_RECONCILIATION),
    };
    let controller =
        node::NodeController::new(instances, parts.nodes, parts.client, parts.recorder, settings, &parts.metrics);
    Ok(Some(Box::new(controller)))
}

fn cloud_node_lifecycle(parts: Parts) -> Result<Option<Box<dyn Managed>>> {
    let Some(instances) = parts.cloud.instances() else { return Ok(no_instances(names::CLOUD_NODE_LIFECYCLE)) };
    let flags = &parts.settings.node_lifecycle;
    let settings = node_lifecycle::Settings {
        monitor_period: flags.monitor_period,
        concurrent_syncs: workers(flags.syncs),
        grace: flags.grace,
        grace_young: flags.grace_young,
        guard: node_lifecycle::Guard { threshold: flags.guard_threshold, min_nodes: flags.guard_min_nodes },
        unmanaged: parts.settings.node.unmanaged.clone(),
        ..node_lifecycle::Settings::default()
    };
    let controller = node_lifecycle::NodeLifecycleController::new(
        instances,
        parts.nodes,
        parts.client,
        parts.recorder,
        settings,
        &parts.metrics,
    );
    Ok(Some(Box::new(controller)))
}

fn service_lb(parts: Parts) -> Result<Option<Box<dyn Managed>>> {
    let Some(load_balancers) = parts.cloud.load_balancers() else {
        tracing::warn!("the cloud provider does not support external load balancers");
        return Ok(None);
    };
    let settings = service::Settings {
        cluster_name: parts.settings.cloud.cluster_name.as_str().into(),
        concurrent_service_syncs: workers(parts.settings.service.syncs),
        reconciliation_period: parts.settings.service.reconciliation_period,
        ..service::Settings::default()
    };
    let controller = service::ServiceController::new(
        load_balancers,
        parts.services,
        parts.nodes,
        parts.client,
        parts.recorder,
        settings,
        &parts.metrics,
    );
    Ok(Some(Box::new(controller)))
}

fn node_ipam(parts: Parts) -> Result<Option<Box<dyn Managed>>> {
    let Some(settings) = &parts.settings.node_ipam else {
        let problem = "the AllocateNodeCIDRs is not enabled: --allocate-node-cidrs is not given";
        tracing::warn!(controller = names::NODE_IPAM.name, problem, "not started");
        return Ok(None);
    };
    for ignored in &settings.ignored {
        tracing::warn!("{ignored}");
    }
    let (nodes, client, recorder, metrics) = (parts.nodes, parts.client, parts.recorder, &parts.metrics);
    Ok(Some(match settings.allocator.clone() {
        node_ipam::Settings::Range(ranges) => Box::new(RangeAllocator::new(nodes, client, recorder, ranges, metrics)?),
        node_ipam::Settings::Cloud(stack) => {
            let ranges = parts.cloud.pod_ranges().ok_or_else(|| {
                let problem = format!(
                    "cloudCIDRAllocator does not support {} provider: it assigns no pod ranges to instances; \
                     --cidr-allocator-type=RangeAllocator allocates from --cluster-cidr",
                    parts.cloud.name()
                );
                Error::invalid("--cidr-allocator-type", problem)
            })?;
            Box::new(CloudAllocator::new(ranges, nodes, client, recorder, stack, metrics))
        }
    }))
}

fn node_route(parts: Parts) -> Result<Option<Box<dyn Managed>>> {
    let flags = &parts.settings.cloud;
    if !flags.configure_routes {
        tracing::info!("will not configure cloud provider routes, --configure-cloud-routes=false");
        return Ok(None);
    }
    let Some(routes) = parts.cloud.routes() else {
        tracing::warn!("--configure-cloud-routes is set, but cloud provider does not support routes");
        return Ok(None);
    };
    let pacing = match parts.settings.feature_gates.enabled(WATCH_BASED_ROUTES_RECONCILIATION) {
        true => route::Pacing::Watch(parts.settings.min_resync_period),
        false if flags.route_reconciliation_period.is_zero() => {
            let problem = "--route-reconciliation-period must be greater than zero";
            return Err(Error::invalid("--route-reconciliation-period", problem));
        }
        false => route::Pacing::Timer(flags.route_reconciliation_period),
    };
    let settings = route::Settings { cluster_cidrs: route::ClusterCidrs::parse(&flags.cluster_cidrs)?, pacing };
    let controller =
        route::RouteController::new(routes, parts.nodes, parts.client, parts.recorder, settings, &parts.metrics);
    Ok(Some(Box::new(controller)))
}

fn persistent_volume_label(parts: Parts) -> Result<Option<Box<dyn Managed>>> {
    let Some(volumes) = parts.cloud.volumes() else {
        tracing::warn!(
            controller = names::PERSISTENT_VOLUME_LABEL.name,
            "not started: the cloud provider does not say where volumes are"
        );
        return Ok(None);
    };
    let controller = PersistentVolumeLabelController::new(volumes, parts.client, parts.recorder, &parts.metrics);
    Ok(Some(Box::new(controller)))
}

fn no_instances(controller: Controller) -> Option<Box<dyn Managed>> {
    tracing::warn!(controller = controller.name, "not started: the cloud provider does not support instances");
    None
}

fn workers(flag: Option<std::num::NonZeroU32>) -> Option<usize> {
    flag.and_then(|count| usize::try_from(count.get()).ok())
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsString, sync::Arc};

    use clap::Args;
    use kube::Client;

    use super::*;
    use crate::{
        cloud::Cloud,
        cluster::{events::Sink, store::Store},
        manager::cli::Program,
        metrics::Metrics,
    };

    #[derive(Args, Clone, Debug)]
    struct NoFlags {}

    struct Bare;

    impl Cloud for Bare {
        fn name(&self) -> &'static str {
            "bare"
        }

        fn has_cluster_id(&self) -> bool {
            true
        }
    }

    fn parts(flags: &[&str]) -> Parts {
        let program = Program::new("test", "0.0.0");
        let argv =
            ["test", "--cloud-provider=bare", "--controllers=*,nodeipam"].iter().chain(flags).map(OsString::from);
        let settings = program.parse::<NoFlags>(argv).unwrap().options.validate(&program).unwrap();
        let unreachable = tower::service_fn(|_: http::Request<kube::client::Body>| async {
            Err::<http::Response<kube::client::Body>, _>(std::io::Error::other("nothing is called"))
        });
        let client = Client::new(unreachable, "default");
        Parts {
            cloud: Arc::new(Bare),
            nodes: Store::default(),
            services: Store::default(),
            settings: Arc::new(settings),
            metrics: Metrics::new(),
            recorder: Sink::new(client.clone()).recorder("test"),
            client,
        }
    }

    #[tokio::test]
    async fn node_ipam_starts_where_something_is_to_be_allocated_and_by_whom_the_cloud_can() {
        assert!(node_ipam(parts(&["--cluster-cidr=10.0.0.0/8"])).unwrap().is_none());
        let range = ["--allocate-node-cidrs", "--cluster-cidr=10.0.0.0/8"];
        assert!(node_ipam(parts(&range)).unwrap().is_some());
        let cloud = ["--allocate-node-cidrs", "--cidr-allocator-type=CloudAllocator"];
        let Err(refused) = node_ipam(parts(&cloud)) else { panic!("a cloud without ranges allocates") };
        let text = refused.to_string();
        assert!(text.starts_with("cloudCIDRAllocator does not support bare provider"), "{text}");
    }
}
