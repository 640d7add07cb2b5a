//! Composition: flags, leader election, serving, and the controllers' lives.

pub mod cli;
pub mod leader;
pub mod logging;
pub mod names;
pub mod options;
pub mod provider;
mod run;

pub use provider::{Context, Provider};
pub use run::run;
