//! Our controller beside upstream's: the same scenarios, each with both, in an empty cluster and a fresh account of a simulated
//! cloud; what they leave is compared field by field.
//!
//! - [`Scenario`]: what is there and what happens, read from YAML files.
//! - [`Cloud`], [`State`], [`Clouds`]: what the engine asks of a cloud; a cloud's crate implements them in its tests.
//! - [`World`]: a scenario with one controller. After each step it waits until the world is at rest and keeps a
//!   normalised document: nodes, services, events, and every cloud resource that is not as in the fresh account.
//! - [`Recording`]: what upstream's controller did, in a file, so that it need not be run; with the account and the objects
//!   that it left, which another controller can take over.
//! - [`Suite`]: all scenarios, in lanes.
//! - [`sweep`]: all scenarios with a controller that ends, or that is failed, at each single write.
//! - [`OnSimulator`], [`Simulations`]: what all accounts on simulators of this process share.
//! - [`each_field_is_compared`]: the guard against a comparison that looks away.
//! - [`Cli`]: the command line of a cloud's test program.
//!
//! # One scenario, with any controller
//!
//! A [`Controller`] is whatever can be started and stopped. It may be controllers in this process
//! ([`in_process`](crate::in_process)), so that a test decides when they end:
//!
//! ```no_run
//! use cloud_provider_testing::ControlPlane;
//! use cloud_provider_testing::compare::{Clouds, Cluster, Controller, Rest, Scenario, World, differences};
//!
//! # async fn example(clouds: &dyn Clouds, scenario: &Scenario, undisturbed: &dyn Controller, disturbed: &dyn Controller) -> anyhow::Result<()> {
//! let plane = ControlPlane::start(Default::default()).await?;
//! let cluster = Cluster::new(&plane, &scenario.name).await?;
//! // Names and IDs are the same in each run: UIDs of services hang on scenario and name only.
//! let cloud = clouds.cloud(scenario).await?;
//! let wanted = World::new(&cluster, cloud, scenario).await?.play(undisturbed, &Rest::default(), &[]).await?;
//! undisturbed.stop().await?;
//!
//! let cloud = clouds.cloud(scenario).await?;
//! let got = World::new(&cluster, cloud, scenario).await?.play(disturbed, &Rest::default(), &[]).await?;
//! disturbed.stop().await?;
//! for (wanted, got) in wanted.checkpoints.iter().zip(&got.checkpoints) {
//!     assert!(differences(&wanted.state, &got.state).is_empty(), "after {}", got.title);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`Rest::expecting`] ends waiting as soon as the wanted state is there.

mod accepted;
mod candidate;
mod cli;
mod cloud;
mod cluster;
mod difference;
mod document;
mod fields;
mod program;
mod recording;
mod report;
mod rest;
mod scenario;
mod simulated;
mod suite;
pub mod sweep;
mod takeover;
mod world;

pub use accepted::{Accepted, Entry, Sorted, Used};
pub use candidate::Candidate;
pub use cli::{Cli, Files};
pub use cloud::{Activity, Cloud, Clouds, Controller, Move, State};
pub use cluster::Cluster;
pub use difference::{Difference, differences, mutants};
pub use document::{merge, normalise, renamed};
pub use fields::each_field_is_compared;
pub use program::program;
pub use recording::{Checkpoint, Left, Recording};
pub use report::{Figures, Report};
pub use rest::{Expected, Rest};
pub use scenario::{Machine, NewService, Nothing, Port, Scenario, Step, load, parse};
pub use simulated::{OnSimulator, Simulated, Simulations, Traits, mark_removed};
pub use suite::Suite;
pub use world::{Played, World};
