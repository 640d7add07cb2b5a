//! The conformance suite, run by the real controller: on the simulator, and on moto, a public mock of AWS that we did not
//! write. Both get the same account; what they show of it is read with the official SDK.

#![cfg(feature = "sdk")]

mod account;
mod controller;
mod moto;
mod roles;
mod simulator;
