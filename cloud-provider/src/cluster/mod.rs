//! The cluster side: admission, trimmed objects, the shared store, patches.

pub mod admission;
pub mod client;
pub mod events;
pub mod objects;
pub mod outage;
pub mod patch;
pub(crate) mod refusal;
pub mod store;
pub mod token_bucket;
pub mod workqueue;
