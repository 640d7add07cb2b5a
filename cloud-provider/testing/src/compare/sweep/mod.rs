//! The crash sweep: at each single write of a scenario the controller ends and starts again, or the write fails, or its answer is
//! lost, or reads are stale for a while. The end has to be that of the undisturbed run, with nothing left over.
//!
//! - [`Subject`], [`Subjects`]: what is asked of a cloud, beyond [`Cloud`], and of its controller in this process.
//! - [`Disturbance`]: what happens at a write.
//! - [`InProcess`]: that controller, from what a cloud [`Makes`].
//! - [`Providers`]: both, for a cloud on simulators of this process.
//! - [`Sweep`]: the command line of a cloud's test program, which plays all points or a sample of them.
//!
//! A scenario is played undisturbed first, with all services deleted at its end, and after each step account and cluster are
//! kept. A *point* is one write in one step. To get there nothing is played again: account and cluster are put back as they were
//! before the step, the controller starts, comes to rest, and the step happens once more.
//!
//! What is compared is the whole account and all nodes and services, without events: a resource that leaked is one that the
//! undisturbed run does not have.

mod cli;
mod in_process;
mod known;
mod on_simulator;
mod point;
mod report;
mod stage;

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::cloud::{Cloud, Controller};
use super::scenario::Scenario;

pub use cli::Sweep;
pub use in_process::{Flags, InProcess, Makes};
pub use on_simulator::{Production, Providers};

/// What happens at a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Disturbance {
    /// It is carried out; the controller ends at once, and starts again.
    Crash,
    /// It is carried out, and the connection ends without an answer. A cloud's SDK may send it again by itself.
    LostAnswer,
    /// It is carried out, and answered with an error that no SDK tries again.
    FalseError,
    /// It is not carried out, and answered with an error that no SDK tries again.
    Failure,
    /// It is carried out, and for [`STALE`] reads see the account as it was before.
    StaleReads,
}

/// How long reads are stale.
pub const STALE: std::time::Duration = std::time::Duration::from_millis(1200);

impl Disturbance {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Crash, Self::LostAnswer, Self::FalseError, Self::Failure, Self::StaleReads];

    /// Its name in flags and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::LostAnswer => "lost-answer",
            Self::FalseError => "false-error",
            Self::Failure => "failure",
            Self::StaleReads => "stale-reads",
        }
    }
}

/// Makes accounts with controllers.
#[async_trait]
pub trait Subjects: Send + Sync {
    /// A fresh account, as the scenario wants it, and a controller for it in this process, on the cluster of `client`.
    ///
    /// # Errors
    /// When it cannot be made.
    async fn subject(&self, scenario: &Scenario, client: &kube::Client) -> anyhow::Result<Box<dyn Subject>>;
}

/// An account in which something can happen at a write that is picked by its number, with its controller.
pub trait Subject: Send + Sync {
    /// The account.
    fn cloud(&self) -> Arc<dyn Cloud>;

    /// Whether a resource, by its comparable ID, changes with nodes and not with services.
    fn is_of_nodes(&self, kind: &str, id: &str) -> bool;

    /// The controller. Its [`stop`](Controller::stop) is what `SIGKILL` is to a process: nothing that it began is ended, and what
    /// it sent and the cloud has not looked at yet has no effect.
    fn controller(&self) -> &dyn Controller;

    /// Picks the `nth` write from now on that would succeed, counted from 1. At [`Disturbance::Crash`] the account is silent from
    /// then on until [`resume`](Self::resume).
    fn at_write(&self, nth: u64, disturbance: Disturbance);

    /// The name of the write that was picked, once it has come.
    fn struck(&self) -> Option<String>;

    /// Ends what a picked write began.
    fn resume(&self);
}
