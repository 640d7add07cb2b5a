//! The controllers in this process, without flags, leader election and serving: for tests of what they do.

use std::fmt;
use std::sync::Arc;

use cloud_provider::cloud::Cloud;
use cloud_provider::cluster::events::Sink;
use cloud_provider::cluster::objects::{Node, Service};
use cloud_provider::cluster::store::Store;
use cloud_provider::controllers::persistent_volume_label::PersistentVolumeLabelController;
use cloud_provider::controllers::{Managed, node, node_ipam, node_lifecycle, route, service};
use cloud_provider::manager::options;
use cloud_provider::metrics::Metrics;
use kube::{Api, Client};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How the controllers pace themselves.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Of the node controller.
    pub node: node::Settings,
    /// Of the node lifecycle controller.
    pub node_lifecycle: node_lifecycle::Settings,
    /// Of the service controller.
    pub service: service::Settings,
    /// Of the route controller, which runs where these are given and the cloud has routes.
    pub route: Option<route::Settings>,
    /// Of the node IPAM controller; `None` for none.
    pub node_ipam: Option<node_ipam::Settings>,
}

impl Settings {
    /// As flags say, for those of node, service and route controllers that tests set.
    ///
    /// # Errors
    /// When `--cluster-cidr` is wrong.
    pub fn from_flags(flags: &options::Settings) -> anyhow::Result<Self> {
        let lifecycle = &flags.node_lifecycle;
        let routes = flags.cloud.configure_routes.then(|| {
            let pacing = route::Pacing::Timer(flags.cloud.route_reconciliation_period);
            route::ClusterCidrs::parse(&flags.cloud.cluster_cidrs)
                .map(|cluster_cidrs| route::Settings { cluster_cidrs, pacing })
        });
        Ok(Self {
            node: node::Settings {
                status_update_frequency: flags.node.status_update_frequency,
                ..node::Settings::default()
            },
            node_lifecycle: node_lifecycle::Settings {
                monitor_period: lifecycle.monitor_period,
                grace: lifecycle.grace,
                grace_young: lifecycle.grace_young,
                ..node_lifecycle::Settings::default()
            },
            service: service::Settings {
                cluster_name: flags.cloud.cluster_name.as_str().into(),
                reconciliation_period: flags.service.reconciliation_period,
                ..service::Settings::default()
            },
            route: routes.transpose()?,
            node_ipam: None,
        })
    }
}

/// Running controllers. Dropping them is what `SIGKILL` is to a process: they stop at their next await, and what they had
/// not written is lost.
pub struct Controllers {
    tasks: JoinSet<anyhow::Result<()>>,
    token: CancellationToken,
    nodes: Store<Node>,
}

impl Controllers {
    /// Starts those that the cloud has the capabilities for. A panic in one is not caught: ask [`Controllers::stop`].
    pub fn start(client: &Client, cloud: &Arc<dyn Cloud>, settings: Settings) -> Self {
        let metrics = Metrics::new();
        let nodes = Store::<Node>::default();
        let services = Store::<Service>::default();
        let sink = Sink::new(client.clone());
        let mut running = Self { tasks: JoinSet::new(), token: CancellationToken::new(), nodes: nodes.clone() };
        if let Some(instances) = cloud.instances() {
            let controller = node::NodeController::new(
                Arc::clone(&instances),
                nodes.clone(),
                client.clone(),
                sink.recorder("cloud-node-controller"),
                settings.node,
                &metrics,
            );
            running.run(controller);
            let controller = node_lifecycle::NodeLifecycleController::new(
                instances,
                nodes.clone(),
                client.clone(),
                sink.recorder("cloud-node-lifecycle-controller"),
                settings.node_lifecycle,
                &metrics,
            );
            running.run(controller);
        }
        if let Some(load_balancers) = cloud.load_balancers() {
            let controller = service::ServiceController::new(
                load_balancers,
                services.clone(),
                nodes.clone(),
                client.clone(),
                sink.recorder("service-controller"),
                settings.service,
                &metrics,
            );
            running.run(controller);
        }
        if let (Some(routes), Some(settings)) = (cloud.routes(), settings.route) {
            let controller = route::RouteController::new(
                routes,
                nodes.clone(),
                client.clone(),
                sink.recorder("route_controller"),
                settings,
                &metrics,
            );
            running.run(controller);
        }
        let recorder = sink.recorder("cidrAllocator");
        match settings.node_ipam {
            Some(node_ipam::Settings::Range(ranges)) => {
                match node_ipam::RangeAllocator::new(nodes.clone(), client.clone(), recorder, ranges, &metrics) {
                    Ok(allocator) => running.run(allocator),
                    Err(error) => drop(running.tasks.spawn(async { Err(error.into()) })),
                }
            }
            Some(node_ipam::Settings::Cloud(stack)) => {
                if let Some(ranges) = cloud.pod_ranges() {
                    let (nodes, client) = (nodes.clone(), client.clone());
                    let allocator = node_ipam::CloudAllocator::new(ranges, nodes, client, recorder, stack, &metrics);
                    running.run(allocator);
                }
            }
            None => {}
        }
        if let Some(volumes) = cloud.volumes() {
            let recorder = sink.recorder("persistent-volume-label-controller");
            let controller = PersistentVolumeLabelController::new(volumes, client.clone(), recorder, &metrics);
            running.run(controller);
        }
        running.feed(sink.run(running.token.clone()));
        running.feed(services.run(Api::all(client.clone()), running.token.clone()));
        running.feed(nodes.run(Api::all(client.clone()), running.token.clone()));
        running
    }

    /// Stops them in order and waits for their end.
    ///
    /// # Errors
    /// When one panicked or could not go on.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.token.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        Ok(())
    }

    /// Stops them as `SIGKILL` does, and waits until none takes another step.
    pub async fn kill(mut self) {
        self.tasks.shutdown().await;
    }

    /// Fails where one has ended.
    ///
    /// # Errors
    /// Then, with the reason.
    pub fn check(&mut self) -> anyhow::Result<()> {
        match self.tasks.try_join_next() {
            Some(ended) => {
                ended??;
                anyhow::bail!("a controller has ended")
            }
            None => Ok(()),
        }
    }

    /// The nodes that they know, for a controller of the cloud's own.
    pub fn nodes(&self) -> &Store<Node> {
        &self.nodes
    }

    /// Runs one more.
    pub fn run(&mut self, controller: impl Managed + 'static) {
        let running = Box::new(controller).run(self.token.clone());
        self.tasks.spawn(async { Ok(running.await?) });
    }

    fn feed(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(async {
            task.await;
            Ok(())
        });
    }
}

impl fmt::Debug for Controllers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Controllers").field("tasks", &self.tasks).finish_non_exhaustive()
    }
}
