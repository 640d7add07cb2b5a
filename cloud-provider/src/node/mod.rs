//! Pure helpers about nodes: addresses, labels, taints.

pub mod addresses;
pub mod labels;
pub mod taints;
pub mod unmanaged;
