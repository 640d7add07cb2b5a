//! The production provider in this process, in a project of the simulator.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use cloud_provider::{cloud::Gate, metrics::Metrics};
use cloud_provider_openstack::{
    OpenStackProvider,
    client::Client,
    config::{self, Surroundings},
    provider::OpenStack,
};
use cloud_provider_testing::{
    compare::{
        Cloud as _,
        sweep::{Flags, Makes, Production},
    },
    in_process::{Controllers, Settings},
};

use crate::account::{Account, user_id};

/// Each start has a user of its own, who ends with it.
pub(crate) struct Maker {
    account: Arc<Account>,
    cluster_name: Arc<str>,
}

impl Production for Maker {
    type Account = Account;
    type Provider = OpenStackProvider;

    fn new(account: &Arc<Account>, flags: &Flags<OpenStackProvider>) -> anyhow::Result<Self> {
        Ok(Self { account: account.clone(), cluster_name: flags.options.cloud.cluster_name.as_str().into() })
    }
}

#[async_trait]
impl Makes for Maker {
    /// The user's name.
    type Key = String;

    fn let_in(&self, start: u32) -> String {
        let name = format!("sweep-{start}");
        self.account.simulator.handle().insert("users", Account::user(&name));
        name
    }

    fn shut_out(&self, name: String) {
        let handle = self.account.simulator.handle();
        handle.remove("users", &user_id(&name));
        handle.revoke_tokens();
    }

    async fn start(
        &self,
        cluster: &kube::Client,
        config: &str,
        name: &String,
        pacing: Settings,
    ) -> anyhow::Result<Controllers> {
        let variables: BTreeMap<_, _> = self.account.environment(name).into_iter().collect();
        let surroundings = Surroundings::new(variables, Vec::new());
        let (settings, _) = config::parse(Some(config), &surroundings)?;
        let metrics = Metrics::new();
        let client = Client::connect(settings.client.clone(), Gate::open(), &metrics).await?;
        let cloud = OpenStack::new(&client, &settings, &surroundings, &self.cluster_name, &metrics).await?;
        let cloud: Arc<dyn cloud_provider::cloud::Cloud> = Arc::new(cloud);
        Ok(Controllers::start(cluster, &cloud, pacing))
    }
}
