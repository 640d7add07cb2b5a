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
    compare::{
        Cloud, Controller, Scenario,
        sweep::{Disturbance, Flags, InProcess, Makes, Subject, Subjects},
    },
    in_process::{self, Controllers},
};

use crate::account::{Account, Accounts, REGION};

#[async_trait]
impl Subjects for Accounts {
    async fn subject(&self, scenario: &Scenario, client: &kube::Client) -> anyhow::Result<Box<dyn Subject>> {
        let account = Arc::new(Account::start(scenario).await?);
        let Flags { options, provider } = Flags::<AwsProvider>::of(scenario)?;
        let program = AwsProvider::program();
        let names = program.registry().find("tagging").context("there is no tagging controller")?;
        let tagging = options.controllers.is_enabled(names).then(|| tagging::Settings::new(&provider)).transpose()?;
        let maker = Maker {
            account: account.simulator.handle(),
            cluster_name: options.cloud.cluster_name.as_str().into(),
            tagging,
        };
        Ok(Box::new(OnSimulator { account, controller: InProcess::new(maker, client.clone(), options) }))
    }
}

struct OnSimulator {
    account: Arc<Account>,
    controller: InProcess<Maker>,
}

impl Subject for OnSimulator {
    fn cloud(&self) -> Arc<dyn Cloud> {
        self.account.clone()
    }

    fn kinds_of_nodes(&self) -> &'static [&'static str] {
        &["instances", "route_tables"]
    }

    fn controller(&self) -> &dyn Controller {
        &self.controller
    }

    fn at_write(&self, nth: u64, disturbance: Disturbance) {
        self.account.state.at_write(nth, disturbance);
    }

    fn struck(&self) -> Option<String> {
        self.account.state.struck()
    }

    fn resume(&self) {
        self.account.state.resume();
    }
}

/// Each start has an access key of its own, which ends with it.
struct Maker {
    account: Handle,
    cluster_name: Arc<str>,
    /// Where the tagging controller is on.
    tagging: Option<tagging::Settings>,
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
