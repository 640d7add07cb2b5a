//! What the manager is handed: names, flags, and the cloud.

use std::sync::Arc;

use clap::ArgAction;
use cloud_provider::{
    cloud::{Cloud, Instances, LoadBalancers, Routes, Volumes},
    error::Result,
    manager::{Built, Context, Provider},
    metrics::Metrics,
};

use crate::{
    client::{Client, Service},
    config::{self, Surroundings},
    instances::{self, Servers},
    load_balancer::{self, STEPS_VARIABLE},
    provider_id,
    routes::RouterRoutes,
    volumes::CinderVolumes,
};

/// `true` puts the region into provider IDs.
const REGIONAL: &str = "OS_CCM_REGIONAL";

/// OpenStack, in one region and project.
pub struct OpenStack {
    instances: Option<Arc<Servers>>,
    load_balancers: Option<Arc<dyn LoadBalancers>>,
    routes: Option<Arc<RouterRoutes>>,
    volumes: Option<Arc<CinderVolumes>>,
}

impl OpenStack {
    /// What this OpenStack can do, by its catalog and the configuration. What it lacks is told in the log.
    ///
    /// # Errors
    ///
    /// When there is no token to be had.
    pub async fn new(
        client: &Client,
        settings: &config::Settings,
        surroundings: &Surroundings,
        cluster_name: &Arc<str>,
        metrics: &Metrics,
    ) -> Result<Self> {
        let mut has = Vec::new();
        for service in Service::ALL {
            if client.has(service).await? {
                has.push(service);
            }
        }
        let has = |services: &[Service]| services.iter().all(|service| has.contains(service));
        let servers = has(&[Service::Compute, Service::Network]).then(|| {
            let settings = instances::Settings {
                networking: settings.networking.clone(),
                regional: surroundings.variable(REGIONAL).as_deref() == Some("true"),
                remove_without_provider_id: settings.remove_nodes_without_provider_id,
            };
            Arc::new(Servers::new(client.clone(), settings))
        });
        if servers.is_none() {
            tracing::error!("no look-up of nodes: the catalog lacks compute or network in this region");
        }
        let balanced = settings.load_balancer.enabled && has(&[Service::LoadBalancer, Service::Network]);
        let load_balancers = balanced.then(|| {
            let steps = surroundings.variable(STEPS_VARIABLE);
            let settings = settings.load_balancer.clone();
            load_balancer::load_balancers(client.clone(), settings, cluster_name.clone(), steps.as_deref(), metrics)
        });
        if settings.load_balancer.enabled && !balanced {
            tracing::error!("no load balancers: the catalog lacks load-balancer or network in this region");
        }
        let routes = match &settings.router {
            Some(router) => RouterRoutes::new(client.clone(), router).await.map(Arc::new).map_or_else(
                |error| {
                    tracing::error!(error = %error.chain(), router, "no routes");
                    None
                },
                Some,
            ),
            None => None,
        };
        let volumes = has(&[Service::BlockStorage]).then(|| Arc::new(CinderVolumes::new(client.clone())));
        Ok(Self { instances: servers, load_balancers, routes, volumes })
    }
}

impl Cloud for OpenStack {
    fn name(&self) -> &'static str {
        OpenStackProvider::NAME
    }

    /// Always, as upstream has it: names hold `--cluster-name`.
    fn has_cluster_id(&self) -> bool {
        true
    }

    fn instances(&self) -> Option<Arc<dyn Instances>> {
        self.instances.clone().map(|instances| instances as _)
    }

    fn load_balancers(&self) -> Option<Arc<dyn LoadBalancers>> {
        self.load_balancers.clone()
    }

    fn routes(&self) -> Option<Arc<dyn Routes>> {
        self.routes.clone().map(|routes| routes as _)
    }

    fn volumes(&self) -> Option<Arc<dyn Volumes>> {
        self.volumes.clone().map(|volumes| volumes as _)
    }
}

/// The flags of this provider.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Flags {
    /// A component of the header User-Agent of requests to OpenStack, before those of this program. May be given several times;
    /// the last comes first.
    #[arg(long, value_name = "stringArray", action = ArgAction::Append)]
    pub user_agent: Vec<String>,
}

/// The provider `openstack`.
pub struct OpenStackProvider;

impl Provider for OpenStackProvider {
    const NAME: &'static str = provider_id::NAME;
    const COMMAND: &'static str = "openstack-cloud-controller-manager";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Flags = Flags;

    async fn build(flags: &Flags, context: Context) -> Result<Built> {
        let surroundings = Surroundings::of_process();
        let (mut settings, warnings) = config::parse(context.cloud_config.as_deref(), &surroundings)?;
        for warning in warnings {
            tracing::warn!("cloud config: {warning}");
        }
        settings.client.user_agent = flags.user_agent.clone();
        let client = Client::connect(settings.client.clone(), context.gate, &context.metrics).await?;
        Ok(OpenStack::new(&client, &settings, &surroundings, &context.cluster_name, &context.metrics).await?.into())
    }
}
