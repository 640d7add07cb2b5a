//! The instances behind nodes: EC2 instances by provider ID or by name, and Fargate's.
//!
//! A look-up of many nodes costs a handful of calls: [`snapshot`] keeps what was read, `by_id` and `by_name` ask for
//! many at a time, [`zones`] and [`topology`] add labels.
//!
//! # What "gone" means
//!
//! An instance is gone when EC2 answers `InvalidInstanceID.NotFound` naming it, or shows it as `terminated`. A Fargate
//! node is gone when a question for its address alone finds no attached network interface. A node without provider ID is
//! gone, as upstream has it since v1.37, when a question for its name alone finds no instance; with
//! `KeepNodesWithoutProviderID` it never is. Everything else is an error, and the node stays.

pub mod addresses;
#[cfg(any(feature = "sdk", test))]
mod by_id;
#[cfg(any(feature = "sdk", test))]
mod by_name;
#[cfg(any(feature = "sdk", test))]
pub(crate) mod failure;
#[cfg(feature = "sdk")]
mod fargate;
#[cfg(feature = "sdk")]
mod look_up;
#[cfg(feature = "sdk")]
pub mod snapshot;
#[cfg(feature = "sdk")]
pub mod topology;
#[cfg(feature = "sdk")]
pub mod zones;

#[cfg(feature = "sdk")]
pub use look_up::{Ec2Instances, Settings};
#[cfg(feature = "sdk")]
pub use snapshot::{BackendInstance, Snapshot};
#[cfg(feature = "sdk")]
pub use zones::Zones;
