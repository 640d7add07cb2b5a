//! The provider against the simulator, in one process.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing helper fails its test")]

mod answers;
mod audit;
mod calls;
mod driver;
mod ecr;
mod groups;
mod instances;
mod network;
mod options;
mod permissions;
mod routes;
mod start;
mod support;
mod tagging;
mod trust;
mod upstream_cases;
mod volumes;
