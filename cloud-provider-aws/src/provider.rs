//! What the manager is handed: names, flags, and the cloud.

use std::sync::Arc;

use cloud_provider::{
    cloud::{Cloud, Instances, LoadBalancers, Routes, Volumes},
    error::Result,
    manager::{
        Built, Context, Provider,
        cli::Program,
        names::{Controller, Registry},
    },
};

use crate::{
    config,
    environment::Environment,
    instances::Ec2Instances,
    load_balancer::ElasticLoadBalancers,
    routes::Ec2Routes,
    tagging::{self, TaggingController},
    volumes::EbsVolumes,
};

/// Tags the instances of nodes. Off until named.
const TAGGING: Controller = Controller {
    name: "tagging-controller",
    aliases: &["tagging"],
    client: "tagging-controller",
    metric: "tagging",
    event_source: "tagging-controller",
    on_by_default: false,
};

/// Amazon Web Services.
pub struct Aws {
    instances: Arc<Ec2Instances>,
    load_balancers: Arc<ElasticLoadBalancers>,
    routes: Arc<Ec2Routes>,
    volumes: Arc<EbsVolumes>,
}

impl Aws {
    /// The cloud of an environment.
    pub fn new(environment: &Environment) -> Self {
        let instances = Arc::new(environment.instances());
        Self {
            load_balancers: Arc::new(ElasticLoadBalancers::new(environment)),
            routes: Arc::new(Ec2Routes::new(environment, instances.clone())),
            volumes: Arc::new(EbsVolumes::new(environment.client.clone())),
            instances,
        }
    }
}

impl Cloud for Aws {
    fn name(&self) -> &'static str {
        AwsProvider::NAME
    }

    /// Always: without one the start fails, as upstream's does.
    fn has_cluster_id(&self) -> bool {
        true
    }

    fn instances(&self) -> Option<Arc<dyn Instances>> {
        Some(self.instances.clone())
    }

    fn load_balancers(&self) -> Option<Arc<dyn LoadBalancers>> {
        Some(self.load_balancers.clone())
    }

    fn routes(&self) -> Option<Arc<dyn Routes>> {
        Some(self.routes.clone())
    }

    fn volumes(&self) -> Option<Arc<dyn Volumes>> {
        Some(self.volumes.clone())
    }
}

/// The provider `aws`.
pub struct AwsProvider;

impl Provider for AwsProvider {
    const NAME: &'static str = "aws";
    const COMMAND: &'static str = "aws-cloud-controller-manager";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const FAILURE_EXIT: u8 = 255;
    type Flags = tagging::Flags;

    fn program() -> Program {
        let mut registry = Registry::default();
        if let Err(error) = registry.register(TAGGING) {
            tracing::error!(%error, "the tagging controller is not known");
        }
        Program::new(Self::COMMAND, Self::VERSION).with_usage_error_code(Self::FAILURE_EXIT).with_registry(registry)
    }

    async fn build(flags: &tagging::Flags, context: Context) -> Result<Built> {
        let tagging = context.provider_controllers.iter().any(|name| name == TAGGING.name);
        let tagging = tagging.then(|| tagging::Settings::new(flags)).transpose()?;
        let (settings, warnings) = config::parse(context.cloud_config.as_deref())?;
        for warning in warnings {
            tracing::warn!("cloud config: {warning}");
        }
        let environment = Environment::new(settings, context.cluster_name, context.gate, &context.metrics).await?;
        let built = Built::from(Aws::new(&environment));
        let Some(settings) = tagging else { return Ok(built) };
        let client = environment.client.clone();
        Ok(built.with_controller(TAGGING.name, move |parts| {
            let (client, settings) = (client.clone(), settings.clone());
            let controller = TaggingController::new(client, parts.nodes, parts.client, settings, &parts.metrics);
            Ok(Some(Box::new(controller)))
        }))
    }
}
