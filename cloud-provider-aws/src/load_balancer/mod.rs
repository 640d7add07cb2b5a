//! Load balancers for services: classic ones and network load balancers.

pub mod annotations;
#[cfg(feature = "sdk")]
mod classic;
pub mod health_check;
pub mod names;
#[cfg(feature = "sdk")]
pub(crate) mod resolve;
#[cfg(feature = "sdk")]
pub(crate) mod security_groups;
pub mod subnets;
