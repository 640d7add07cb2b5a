//! Composition: flags, leader election, serving, and the controllers' lives.

pub mod leader;
pub mod provider;

pub use provider::{Context, Provider};
