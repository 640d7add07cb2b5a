//! The Kubernetes cloud controller manager for Amazon Web Services.

pub mod client;
pub mod cluster_id;
pub mod config;
pub mod instances;
pub mod metrics;
pub mod provider_id;
