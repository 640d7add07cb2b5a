//! Composition: flags, leader election, serving, and the controllers' lives.

pub mod authn;
pub mod cli;
pub mod healthz;
pub mod leader;
pub mod logging;
pub mod names;
pub mod options;
mod percent;
pub mod provider;
mod run;
mod secure_port;
pub mod serving;

pub use provider::{Context, Provider};
pub use run::run;
