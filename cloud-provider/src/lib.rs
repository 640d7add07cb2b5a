//! Traits, controllers and the manager of Kubernetes cloud controller managers.
//!
//! A cloud crate implements [`cloud::Cloud`] and hands it to the manager, which reads flags, takes part in leader
//! election, serves health and metrics and runs the controllers.
//!
//! | module | holds |
//! |---|---|
//! | [`cloud`] | what a cloud crate implements: instances, load balancers, routes, pod ranges, volumes |
//! | [`error`] | the typed errors that controllers act on |
//! | [`cluster`] | the shared store of trimmed objects, work queue, events, patches |
//! | [`controllers`] | node, node lifecycle, service, route, node IPAM, persistent volume labels |
//! | [`node`], [`service`], [`volume`] | pure helpers |
//! | [`snapshot`] | what was read from a cloud, and how old that is |
//! | [`pace`] | calls that wait for their turn after the cloud refused some of their kind |
//! | [`keys`] | labels, annotations, taints and finalizers of the core |
//! | [`manager`] | composition: flags, leader election, serving |
//! | [`config`] | formats inherited from the Go controllers |
//! | `http` | the kit of clouds without an SDK: attempts, tokens, paging, polling, redaction (feature `http`) |
//!
//! Arrows point one way: `manager → controllers → cloud traits, cluster, helpers`; the traits use none of these.

pub mod cloud;
pub mod cluster;
pub mod config;
pub mod controllers;
pub mod error;
#[cfg(feature = "http")]
pub mod http;
pub mod keys;
pub mod manager;
pub mod metrics;
pub mod node;
pub mod pace;
pub mod service;
pub mod snapshot;
pub mod volume;

pub use error::{Error, Kind};
