//! The Kubernetes cloud controller manager for OpenStack.
//!
//! | module | holds |
//! |---|---|
//! | [`config`], [`provider_id`] | formats: cloud config, clouds.yaml, provider IDs |
//! | [`client`] | calls to OpenStack in plain types |
//! | [`instances`] | the servers behind nodes |
//! | [`load_balancer`] | load balancers for services |
//! | [`routes`] | routes to the pods of nodes |
//! | [`volumes`] | where Cinder volumes are |
//! | [`provider`] | flags, start, and what the manager is handed |

pub mod client;
pub mod config;
pub mod instances;
pub mod load_balancer;
pub mod metrics;
pub mod provider;
pub mod provider_id;
pub mod routes;
pub mod volumes;

pub use provider::OpenStackProvider;
