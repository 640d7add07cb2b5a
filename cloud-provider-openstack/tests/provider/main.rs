//! The provider against the simulator, in one process.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing helper fails its test")]

mod instances;
mod login;
mod routes;
mod support;
mod volumes;
