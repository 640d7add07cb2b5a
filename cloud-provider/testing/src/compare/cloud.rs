//! What the engine asks of a cloud, and of a controller on it.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use super::accepted;
use super::scenario::{Machine, Scenario};

/// Makes accounts.
#[async_trait]
pub trait Clouds: Send + Sync {
    /// A fresh account, as the scenario wants it, with nothing of its machines in it.
    ///
    /// # Errors
    /// When it cannot be made.
    async fn cloud(&self, scenario: &Scenario) -> anyhow::Result<Arc<dyn Cloud>>;

    /// Scenarios that cannot be played in such accounts, with the reasons.
    fn skipped(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    /// The name of the file of accepted differences.
    fn accepted(&self) -> &'static str {
        accepted::FILE
    }

    /// Whether results are recorded. Where not, both controllers always run.
    fn are_recorded(&self) -> bool {
        true
    }
}

/// How much happened in an account so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Activity {
    /// All calls.
    pub calls: u64,
    /// Those that change something, and succeeded.
    pub writes: u64,
}

/// What happens to a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    /// It is started.
    Start,
    /// It is stopped.
    Stop,
    /// It is terminated, and listed for a while.
    Terminate,
    /// It is not listed any more.
    Forget,
}

/// What is in an account, and what happened there.
#[async_trait]
pub trait State: Send + Sync {
    /// Changes something by hand. `{name}` in keys and values stands for the name that the cloud gives the load balancer of the
    /// service `name`, whose UID is found by `uid`.
    ///
    /// # Errors
    /// When the change is not understood.
    async fn change(
        &self,
        change: &Value,
        uid: &(dyn for<'a> Fn(&'a str) -> String + Send + Sync),
    ) -> anyhow::Result<()>;

    /// How much happened so far.
    ///
    /// # Errors
    /// When the cloud does not tell.
    async fn activity(&self) -> anyhow::Result<Activity>;

    /// The changes that the controller with this name made, or tried to make, in order.
    ///
    /// # Errors
    /// When the cloud does not tell.
    async fn changes_by(&self, who: &str) -> anyhow::Result<Vec<String>>;

    /// Every resource that is not as it was in the fresh account, whole, with all attributes; null for what is gone.
    ///
    /// # Errors
    /// When the cloud does not tell.
    async fn capture(&self) -> anyhow::Result<Value>;

    /// Whether it can [`restore`](Self::restore).
    fn can_restore(&self) -> bool {
        true
    }

    /// Puts what [`capture`](Self::capture) told into a fresh account.
    ///
    /// # Errors
    /// When it is not understood.
    async fn restore(&self, captured: &Value) -> anyhow::Result<()>;
}

/// An account of a cloud, in which nothing happens by chance: machines have IDs and addresses by their names.
#[async_trait]
pub trait Cloud: State {
    /// The whole key of an annotation that a scenario names without a slash.
    fn annotation(&self, short: &str) -> String;

    /// Starts a machine; returns its ID as kubelets may be given it, and the usual name of its node. Where
    /// [`Machine::exists`] is false only names it.
    ///
    /// # Errors
    /// When the scenario asks for something that there is not.
    async fn add_machine(&self, machine: &Machine) -> anyhow::Result<(String, String)>;

    /// Moves a machine by its ID.
    ///
    /// # Errors
    /// When there is none, or it cannot be moved so.
    async fn move_machine(&self, id: &str, to: Move) -> anyhow::Result<()>;

    /// How many times as long as a simulator in this process it takes for everything.
    fn slowness(&self) -> u32 {
        1
    }

    /// Makes a captured account comparable: takes out what is different in every run (times), and
    /// returns what the cloud generated with the name to put there, such as an ID and the name of what has it.
    fn normalise(&self, captured: &mut Value) -> Vec<(String, String)>;

    /// Names of fields whose lists have no order.
    fn sets(&self) -> &'static [&'static str];

    /// The text of the cloud configuration that leads a controller here, with the scenario's keys.
    fn config(&self, keys: &BTreeMap<String, Value>) -> String;

    /// Lets a controller in under this name: environment variables for its process.
    fn environment(&self, who: &str) -> Vec<(String, String)>;
}

/// A controller that can be stopped and started: a process, or tasks.
#[async_trait]
pub trait Controller: Send + Sync {
    /// Starts it. `config` is the text of its cloud configuration.
    ///
    /// # Errors
    /// When it cannot be started.
    async fn start(&self, config: &str) -> anyhow::Result<()>;

    /// Stops it, if it runs, and waits for its end.
    ///
    /// # Errors
    /// When it cannot be stopped.
    async fn stop(&self) -> anyhow::Result<()>;

    /// Fails where it has ended though it should run.
    ///
    /// # Errors
    /// Then, with its last words.
    fn check(&self) -> anyhow::Result<()>;
}
