//! A cloud on simulators of this process, with its production provider in this process.

use std::marker::PhantomData;
use std::sync::Arc;

use async_trait::async_trait;
use cloud_provider::manager::Provider;
use kube::Client;

use super::super::cloud::{Cloud, Controller};
use super::super::scenario::Scenario;
use super::super::simulated::OnSimulator;
use super::in_process::{Flags, InProcess, Makes};
use super::{Disturbance, Subject, Subjects};

/// Makes the controllers of a provider on an account of a simulator.
pub trait Production: Makes + Sized + 'static {
    /// The account.
    type Account: OnSimulator;
    /// The provider.
    type Provider: Provider;

    /// Of this account, as a scenario's flags want it.
    ///
    /// # Errors
    /// When the flags are wrong.
    fn new(account: &Arc<Self::Account>, flags: &Flags<Self::Provider>) -> anyhow::Result<Self>;
}

/// Makes such accounts with controllers.
#[derive(Debug, Clone, Copy)]
pub struct Providers<P>(PhantomData<fn() -> P>);

impl<P> Default for Providers<P> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

#[async_trait]
impl<P: Production> Subjects for Providers<P> {
    async fn subject(&self, scenario: &Scenario, client: &Client) -> anyhow::Result<Box<dyn Subject>> {
        let account = Arc::new(P::Account::start(scenario).await?);
        let flags = Flags::of(scenario)?;
        let maker = P::new(&account, &flags)?;
        let controller = InProcess::new(maker, client.clone(), flags.options);
        Ok(Box::new(Simulation { account, controller }))
    }
}

struct Simulation<P: Production> {
    account: Arc<P::Account>,
    controller: InProcess<P>,
}

impl<P: Production> Subject for Simulation<P> {
    fn cloud(&self) -> Arc<dyn Cloud> {
        self.account.clone()
    }

    fn is_of_nodes(&self, kind: &str, id: &str) -> bool {
        P::Account::is_of_nodes(kind, id)
    }

    fn controller(&self) -> &dyn Controller {
        &self.controller
    }

    fn at_write(&self, nth: u64, disturbance: Disturbance) {
        self.account.simulated().at_write(nth, disturbance);
    }

    fn struck(&self) -> Option<String> {
        self.account.simulated().struck()
    }

    fn resume(&self) {
        self.account.simulated().resume();
    }
}
