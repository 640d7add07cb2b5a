//! The cluster side: trimmed objects, the shared store, patches.

pub mod objects;
pub mod patch;
pub mod store;
