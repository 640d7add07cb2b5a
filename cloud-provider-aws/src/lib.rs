//! The Kubernetes cloud controller manager for Amazon Web Services.
//!
//! | module | holds |
//! |---|---|
//! | [`config`], [`cluster_id`], [`provider_id`] | formats: cloud config, cluster tags, provider IDs |
//! | [`client`] | calls to AWS in plain types |
//! | [`instances`] | the instances behind nodes |
//! | [`load_balancer`] | load balancers for services |
//! | [`routes`] | routes to the pods of nodes |
//! | [`tagging`] | the controller that tags the instances of nodes |
//! | [`volumes`] | where EBS volumes are |
//! | [`ecr`] | the kubelet's credential plugin, a program of its own |
//! | [`provider`] | flags, start, and what the manager is handed |

pub mod client;
pub mod cluster_id;
pub mod config;
pub mod instances;
pub mod load_balancer;
pub mod metrics;
pub mod provider_id;

#[cfg(feature = "sdk")]
pub mod ecr;
#[cfg(feature = "sdk")]
mod environment;
#[cfg(feature = "sdk")]
pub mod provider;
#[cfg(feature = "sdk")]
pub mod routes;
#[cfg(feature = "sdk")]
pub mod tagging;
#[cfg(feature = "sdk")]
pub mod volumes;

#[cfg(feature = "sdk")]
pub use environment::Environment;
#[cfg(feature = "sdk")]
pub use provider::AwsProvider;
