//! Traits, controllers and the manager of Kubernetes cloud controller managers.

pub mod config;
