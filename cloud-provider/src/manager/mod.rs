//! Composition: flags, leader election, serving, and the controllers' lives.

pub mod authn;
pub mod cli;
mod controllers;
mod debugging;
pub mod healthz;
pub mod leader;
pub mod logging;
pub mod names;
pub mod options;
pub mod parts;
mod percent;
pub mod provider;
mod report;
mod run;
mod secure_port;
pub mod serving;
pub mod webhook;

pub use parts::Parts;
pub use provider::{Built, Context, Provider};
pub use run::run;
