//! The conformance suite, run by the real controller: on the simulator, and on moto, a public mock of AWS that we did not
//! write. Both get the same account; what they show of it is read with the official SDK.

#![cfg(feature = "sdk")]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a failing helper fails its test")]

mod account;
mod controller;
mod moto;
mod roles;
mod simulator;
