//! Formats inherited from the Go programs: cloud config files, durations, feature gates, quantities.

pub mod duration;
pub mod feature_gates;
pub mod gcfg;
pub mod keys;
pub mod leader_migration;
mod problems;
pub mod quantity;
pub mod secret;

pub use problems::{Notes, Problems};
