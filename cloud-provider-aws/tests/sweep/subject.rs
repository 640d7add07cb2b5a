//! The production provider in this process, on an account of the simulator.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use async_trait::async_trait;
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use cloud_provider::{
    cloud::Gate,
    cluster::workqueue::Backoff,
    manager::{Provider as _, options},
    metrics::Metrics,
};
use cloud_provider_aws::{
    AwsProvider, Environment,
    client::{Client, Imds, Settings},
    config,
    provider::Aws,
    tagging::{self, TaggingController},
};
use cloud_provider_aws_simulator::{AtWrite, Credential, Handle};
use cloud_provider_testing::{
    compare::{
        Cloud, Controller, Scenario,
        sweep::{Disturbance, STALE, Subject, Subjects},
    },
    in_process::{self, Controllers},
};

use crate::account::{Account, Accounts, REGION};

/// Upstream's is 5 s: with that the sweep would be waiting most of the time.
const FIRST_RETRY: Duration = Duration::from_millis(150);

#[async_trait]
impl Subjects for Accounts {
    async fn subject(&self, scenario: &Scenario, client: &kube::Client) -> anyhow::Result<Box<dyn Subject>> {
        let account = Arc::new(Account::start(scenario).await?);
        let flags = Flags::new(&scenario.flags)?;
        let controller =
            InProcess { account: account.simulator.handle(), client: client.clone(), flags, state: Mutex::default() };
        Ok(Box::new(OnSimulator { account, controller }))
    }
}

struct OnSimulator {
    account: Arc<Account>,
    controller: InProcess,
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
        let what = match disturbance {
            Disturbance::Crash => AtWrite::Silence,
            Disturbance::LostAnswer => AtWrite::LostAnswer,
            Disturbance::FalseError => AtWrite::FalseError,
            Disturbance::Failure => AtWrite::Refusal,
            Disturbance::StaleReads => AtWrite::StaleReads(STALE.as_millis().try_into().unwrap_or(u64::MAX)),
        };
        self.account.simulator.handle().at_write(nth, what);
    }

    fn struck(&self) -> Option<String> {
        self.account.simulator.handle().struck()
    }

    fn resume(&self) {
        self.account.simulator.handle().resume();
    }
}

/// What a scenario's flags say.
struct Flags {
    options: options::Settings,
    /// Where the tagging controller is on.
    tagging: Option<tagging::Settings>,
}

impl Flags {
    fn new(flags: &[String]) -> anyhow::Result<Self> {
        let base = [
            AwsProvider::COMMAND,
            "--cloud-provider=aws",
            "--leader-elect=false",
            "--secure-port=0",
            "--node-monitor-period=1s",
            "--node-deletion-grace-period=0s",
            "--new-node-deletion-grace-period=0s",
            "--configure-cloud-routes=false",
        ];
        let argv = base.into_iter().chain(flags.iter().map(String::as_str)).map(Into::into);
        let program = AwsProvider::program();
        let parsed = program.parse::<tagging::Flags>(argv).map_err(|exit| anyhow!("the scenario's flags: {exit:?}"))?;
        let options = parsed.options.validate(&program).context("the scenario's flags")?;
        let names = program.registry().find("tagging").context("there is no tagging controller")?;
        let tagging = options.controllers.is_enabled(names).then(|| tagging::Settings::new(&parsed.provider));
        Ok(Self { options, tagging: tagging.transpose()? })
    }
}

/// A controller that is killed and started in this process. Each start has an access key of its own, which ends with it: a
/// request that is still on its way then has no effect.
struct InProcess {
    account: Handle,
    client: kube::Client,
    flags: Flags,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    starts: u32,
    running: Option<(Controllers, String)>,
}

impl InProcess {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn new_key(&self) -> String {
        let mut state = self.state();
        state.starts += 1;
        let access_key = format!("AKIASWEEP{:011}", state.starts);
        drop(state);
        let secret_key = "secret".to_owned();
        self.account.add_credential(Credential { access_key: access_key.clone(), secret_key, ..Credential::default() });
        access_key
    }

    async fn environment(&self, config: &str, access_key: &str) -> anyhow::Result<Environment> {
        let (settings, _) = config::parse(Some(config))?;
        let credentials = Credentials::new(access_key, "secret", None, None, "sweep");
        let credentials = Some(SharedCredentialsProvider::new(credentials));
        let endpoints = settings.endpoints(REGION);
        let of_client = Settings { region: REGION.into(), endpoints, role: None };
        let client = Client::with_credentials(&of_client, credentials, Gate::open(), &Metrics::new()).await;
        let imds = Imds::new(settings.imds_endpoint().as_ref());
        let cluster_name = self.flags.options.cloud.cluster_name.as_str().into();
        Ok(Environment::with_client(settings, client, &imds, cluster_name).await?)
    }
}

#[async_trait]
impl Controller for InProcess {
    async fn start(&self, config: &str) -> anyhow::Result<()> {
        let access_key = self.new_key();
        let environment = self.environment(config, &access_key).await?;
        let mut settings = in_process::Settings::from_flags(&self.flags.options)?;
        settings.service.backoff = Backoff { base: FIRST_RETRY, ..Backoff::SERVICES };
        let cloud: Arc<dyn cloud_provider::cloud::Cloud> = Arc::new(Aws::new(&environment));
        let mut controllers = Controllers::start(&self.client, &cloud, settings);
        if let Some(settings) = &self.flags.tagging {
            let (nodes, metrics) = (controllers.nodes().clone(), Metrics::new());
            let client = self.client.clone();
            let tagging = TaggingController::new(environment.client, nodes, client, settings.clone(), &metrics);
            controllers.run(tagging);
        }
        self.state().running = Some((controllers, access_key));
        Ok(())
    }

    async fn stop(&self) -> anyhow::Result<()> {
        let running = self.state().running.take();
        if let Some((controllers, access_key)) = running {
            self.account.remove_credential(&access_key);
            controllers.kill().await;
        }
        Ok(())
    }

    fn check(&self) -> anyhow::Result<()> {
        self.state().running.as_mut().map_or(Ok(()), |(controllers, _)| controllers.check())
    }
}
