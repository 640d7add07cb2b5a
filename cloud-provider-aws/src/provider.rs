//! What the manager is handed: names, flags, and the cloud.

use std::sync::Arc;

use clap::Args;
use cloud_provider::{
    Error, Kind,
    cloud::{Cloud, Instances, LoadBalancers},
    error::Result,
    manager::{
        Built, Context, Provider,
        cli::Program,
        names::{Controller, Registry},
        options::values::Pairs,
    },
};

use crate::{config, environment::Environment, instances::Ec2Instances, load_balancer::ElasticLoadBalancers};

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
}

impl Aws {
    /// The cloud of an environment.
    pub fn new(environment: &Environment) -> Self {
        Self {
            instances: Arc::new(environment.instances()),
            load_balancers: Arc::new(ElasticLoadBalancers::new(environment)),
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
}

/// The provider `aws`.
pub struct AwsProvider;

impl Provider for AwsProvider {
    const NAME: &'static str = "aws";
    const COMMAND: &'static str = "aws-cloud-controller-manager";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const FAILURE_EXIT: u8 = 255;
    type Flags = Tagging;

    fn program() -> Program {
        let mut registry = Registry::default();
        if let Err(error) = registry.register(TAGGING) {
            tracing::error!(%error, "the tagging controller is not known");
        }
        Program::new(Self::COMMAND, Self::VERSION).with_usage_error_code(Self::FAILURE_EXIT).with_registry(registry)
    }

    async fn build(_flags: &Tagging, context: Context) -> Result<Built> {
        if context.provider_controllers.iter().any(|name| name == TAGGING.name) {
            let problem = "this version has no tagging controller yet: leave \"tagging\" out of --controllers";
            return Err(Error::new(Kind::Unsupported, problem));
        }
        let (settings, warnings) = config::parse(context.cloud_config.as_deref())?;
        for warning in warnings {
            tracing::warn!("cloud config: {warning}");
        }
        let environment = Environment::new(settings, context.cluster_name, context.gate, &context.metrics).await?;
        Ok(Aws::new(&environment).into())
    }
}

/// The flags of the tagging controller; without effect while it is off.
#[derive(Args, Debug, Clone)]
#[group(skip)]
#[command(next_help_heading = "Tagging controller flags")]
pub struct Tagging {
    /// Tags for the instances of nodes, as key=value pairs
    #[arg(long, value_name = "key=value,...")]
    pub tags: Vec<Pairs>,
    /// Kinds of resources that get the tags; only "instance" is supported
    #[arg(long, value_name = "resource")]
    pub resources: Vec<String>,
    /// Items per second that the tagging controller works on; 0 means no limit of its own
    #[arg(long, default_value_t = 0.0, value_name = "float", allow_negative_numbers = true)]
    pub tagging_controller_rate_limit: f64,
    /// Items that the tagging controller may work on at once beyond its rate
    #[arg(long, default_value_t = 0, value_name = "int", allow_negative_numbers = true)]
    pub tagging_controller_burst_limit: i64,
    /// Nodes that the tagging controller works on at the same time
    #[arg(long, default_value_t = 1, value_name = "int", allow_negative_numbers = true)]
    pub tagging_controller_concurrent_node_syncs: i64,
    /// Tag many instances with one call
    #[arg(long)]
    pub tagging_controller_enable_batching: bool,
}
