//! The production provider in this process, on a cloud of the simulator.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::Context as _;
use async_trait::async_trait;
use cloud_provider::{cloud::Gate, metrics::Metrics};
use cloud_provider_openstack::{
    client::Client,
    config::{self, Surroundings},
    provider::{OpenStack, OpenStackProvider},
};
use cloud_provider_testing::{
    compare::{
        Cloud, Controller, Scenario,
        sweep::{Disturbance, Flags, InProcess, Makes, Subject, Subjects},
    },
    in_process::{self, Controllers},
};

use crate::account::{Account, Accounts, OURS};

#[async_trait]
impl Subjects for Accounts {
    async fn subject(&self, scenario: &Scenario, client: &kube::Client) -> anyhow::Result<Box<dyn Subject>> {
        let account = Arc::new(Account::start(scenario).await?);
        let Flags { options, .. } = Flags::<OpenStackProvider>::of(scenario)?;
        let maker = Maker { account: account.clone(), cluster_name: options.cloud.cluster_name.as_str().into() };
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
        &["servers", "ports", "routers"]
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

/// Each start has a token of its own, which ends with it.
struct Maker {
    account: Arc<Account>,
    cluster_name: Arc<str>,
}

#[async_trait]
impl Makes for Maker {
    type Key = ();

    fn let_in(&self, _start: u32) {}

    fn shut_out(&self, (): ()) {
        self.account.simulator.handle().revoke_tokens();
    }

    async fn start(
        &self,
        cluster: &kube::Client,
        config: &str,
        (): &(),
        pacing: in_process::Settings,
    ) -> anyhow::Result<Controllers> {
        let variables: BTreeMap<_, _> = self.account.environment(OURS).into_iter().collect();
        let surroundings = Surroundings::new(variables, Vec::new());
        let (settings, _) = config::parse(Some(config), &surroundings).context("the cloud configuration")?;
        let metrics = Metrics::new();
        let client = Client::connect(settings.client.clone(), Gate::open(), &metrics).await?;
        let cloud = OpenStack::new(&client, &settings, &surroundings, &self.cluster_name, &metrics).await?;
        let cloud: Arc<dyn cloud_provider::cloud::Cloud> = Arc::new(cloud);
        Ok(Controllers::start(cluster, &cloud, pacing))
    }
}
