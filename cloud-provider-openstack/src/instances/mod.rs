//! The servers behind nodes.
//!
//! A look-up of many nodes costs a handful of calls: [`servers`] and [`ports`] keep what was read, and ask for many at a time
//! or list all, whichever costs less.
//!
//! # What "gone" means
//!
//! A server is gone when Nova answers a question for this very ID with 404. Whatever Nova shows exists, in any status. A node
//! without provider ID is never gone, as upstream has it, unless `[Node] remove-without-provider-id` says so; then it is when a
//! question for its name alone finds no server.

pub mod addresses;
pub mod labels;
mod look_up;
pub mod ports;
pub mod servers;

pub use look_up::{Servers, Settings};
