//! A complete controller manager as a process: its command line, its secure port, its metrics, its end.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a failing helper fails its test")]

mod command_line;
mod metrics;
mod process;
mod secure_port;
