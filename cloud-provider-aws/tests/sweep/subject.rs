//! The production provider in this process, on an account of the simulator.

use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use cloud_provider::{cloud::Gate, manager::Provider as _, metrics::Metrics};
use cloud_provider_aws::{
    AwsProvider, Environment,
    client::{Client, Imds, Settings},
    config,
    provider::Aws,
    tagging::{self, TaggingController},
};
use cloud_provider_aws_simulator::{Credential, Handle};
use cloud_provider_testing::{
    compare::sweep::{Flags, Makes, Production},
    in_process::{self, Controllers},
};

use crate::account::{Account, REGION};

/// Each start has an access key of its own, which ends with it.
pub(crate) struct Maker {
    account: Handle,
    cluster_name: Arc<str>,
    /// Where the tagging controller is on.
    tagging: Option<tagging::Settings>,
}

impl Production for Maker {
    type Account = Account;
    type Provider = AwsProvider;

    fn new(account: &Arc<Account>, flags: &Flags<AwsProvider>) -> anyhow::Result<Self> {
        let Flags { options, provider } = flags;
        let program = AwsProvider::program();
        let names = program.registry().find("tagging").context("there is no tagging controller")?;
        let tagging = options.controllers.is_enabled(names).then(|| tagging::Settings::new(provider)).transpose()?;
        let cluster_name = options.cloud.cluster_name.as_str().into();
        Ok(Self { account: account.simulator.handle(), cluster_name, tagging })
    }
}

#[async_trait]
impl Makes for Maker {
    /// The access key.
    type Key = String;

    fn let_in(&self, start: u32) -> String {
        let (access_key, secret_key) = (format!("AKIASWEEP{start:011}"), "secret".to_owned());
        self.account.add_credential(Credential { access_key: access_key.clone(), secret_key, ..Credential::default() });
        access_key
    }

    fn shut_out(&self, access_key: String) {
        self.account.remove_credential(&access_key);
    }

    async fn start(
        &self,
        cluster: &kube::Client,
        config: &str,
        access_key: &String,
        pacing: in_process::Settings,
    ) -> anyhow::Result<Controllers> {
        let (settings, _) = config::parse(Some(config))?;
        let credentials = Credentials::new(access_key, "secret", None, None, "sweep");
        let credentials = Some(SharedCredentialsProvider::new(credentials));
        let endpoints = settings.endpoints(REGION);
        let of_client = Settings { region: REGION.into(), endpoints, role: None };
        let client = Client::with_credentials(&of_client, credentials, Gate::open(), &Metrics::new()).await;
        let imds = Imds::new(settings.imds_endpoint().as_ref());
        let environment = Environment::with_client(settings, client, &imds, self.cluster_name.clone()).await?;
        let cloud: Arc<dyn cloud_provider::cloud::Cloud> = Arc::new(Aws::new(&environment));
        let mut controllers = Controllers::start(cluster, &cloud, pacing);
        if let Some(settings) = &self.tagging {
            let (nodes, metrics) = (controllers.nodes().clone(), Metrics::new());
            let tagging =
                TaggingController::new(environment.client, nodes, cluster.clone(), settings.clone(), &metrics);
            controllers.run(tagging);
        }
        Ok(controllers)
    }
}
