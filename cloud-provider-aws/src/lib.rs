//! The Kubernetes cloud controller manager for Amazon Web Services.

pub mod client;
pub mod metrics;
