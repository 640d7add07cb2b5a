//! The conformance suite, run by the real controller: on the simulator, and on OpenStack's own services. What both hold is
//! looked at in the same way.

#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout, reason = "a failing helper fails its test")]

mod controller;
mod real;
mod roles;
mod scale;
mod simulator;
mod view;
