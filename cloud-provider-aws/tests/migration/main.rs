//! Controllers handed over between upstream's controller manager and ours, both as they run in production: on the same
//! cluster and the same account, with leader migration.

#![cfg(feature = "sdk")]
#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]

mod hand_over;
mod world;
