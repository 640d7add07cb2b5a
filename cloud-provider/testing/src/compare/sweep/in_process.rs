//! The production provider in this process: a controller that can be killed and started.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use async_trait::async_trait;
use cloud_provider::cluster::workqueue::Backoff;
use cloud_provider::manager::{Provider, options};
use kube::Client;

use super::super::cloud::Controller;
use super::super::scenario::Scenario;
use crate::in_process::{Controllers, Settings};

/// Upstream's is 5 s: with that a sweep would be waiting most of the time.
const FIRST_RETRY: Duration = Duration::from_millis(150);

/// What a scenario's flags say.
#[derive(Debug)]
pub struct Flags<P: Provider> {
    /// Those of the core.
    pub options: options::Settings,
    /// Those of the provider.
    pub provider: P::Flags,
}

impl<P: Provider> Flags<P> {
    /// The flags of a comparison, and those of the scenario.
    ///
    /// # Errors
    /// When there is no such flag, or a value is wrong.
    pub fn of(scenario: &Scenario) -> anyhow::Result<Self> {
        let cloud = format!("--cloud-provider={}", P::NAME);
        let base = [
            P::COMMAND,
            &cloud,
            "--leader-elect=false",
            "--secure-port=0",
            "--node-monitor-period=1s",
            "--node-deletion-grace-period=0s",
            "--new-node-deletion-grace-period=0s",
            "--configure-cloud-routes=false",
        ];
        let argv = base.into_iter().chain(scenario.flags.iter().map(String::as_str)).map(Into::into);
        let program = P::program();
        let parsed = program.parse::<P::Flags>(argv).map_err(|exit| anyhow!("the scenario's flags: {exit:?}"))?;
        let options = parsed.options.validate(&program).context("the scenario's flags")?;
        Ok(Self { options, provider: parsed.provider })
    }
}

/// Makes the controllers of a start.
#[async_trait]
pub trait Makes: Send + Sync {
    /// Who a start is to the cloud.
    type Key: Send + Sync;

    /// Lets the start of this number, counted from 1, in.
    fn let_in(&self, start: u32) -> Self::Key;

    /// What a start sent and the cloud has not looked at yet has no effect from now on.
    fn shut_out(&self, key: Self::Key);

    /// Starts them on the cluster, with the production client and the scenario's cloud configuration.
    ///
    /// # Errors
    /// When that is wrong, or the cloud cannot be reached.
    async fn start(
        &self,
        cluster: &Client,
        config: &str,
        key: &Self::Key,
        pacing: Settings,
    ) -> anyhow::Result<Controllers>;
}

/// A controller that is killed and started in this process.
pub struct InProcess<M: Makes> {
    maker: M,
    client: Client,
    options: options::Settings,
    state: Mutex<State<M::Key>>,
}

struct State<K> {
    starts: u32,
    running: Option<(Controllers, K)>,
}

impl<M: Makes> InProcess<M> {
    /// On the cluster of `client`; nothing is started yet.
    pub fn new(maker: M, client: Client, options: options::Settings) -> Self {
        Self { maker, client, options, state: Mutex::new(State { starts: 0, running: None }) }
    }

    fn state(&self) -> MutexGuard<'_, State<M::Key>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> u32 {
        let mut state = self.state();
        state.starts += 1;
        state.starts
    }
}

#[async_trait]
impl<M: Makes> Controller for InProcess<M> {
    async fn start(&self, config: &str) -> anyhow::Result<()> {
        let key = self.maker.let_in(self.next());
        let mut pacing = Settings::from_flags(&self.options)?;
        pacing.service.backoff = Backoff { base: FIRST_RETRY, ..Backoff::SERVICES };
        let controllers = self.maker.start(&self.client, config, &key, pacing).await?;
        self.state().running = Some((controllers, key));
        Ok(())
    }

    async fn stop(&self) -> anyhow::Result<()> {
        let running = self.state().running.take();
        if let Some((controllers, key)) = running {
            self.maker.shut_out(key);
            controllers.kill().await;
        }
        Ok(())
    }

    fn check(&self) -> anyhow::Result<()> {
        self.state().running.as_mut().map_or(Ok(()), |(controllers, _)| controllers.check())
    }
}
