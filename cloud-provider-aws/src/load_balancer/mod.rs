//! Load balancers for services: classic ones and network load balancers.

pub mod annotations;
#[cfg(feature = "sdk")]
mod audit;
#[cfg(feature = "sdk")]
mod classic;
#[cfg(feature = "sdk")]
mod elastic;
#[cfg(all(test, feature = "sdk"))]
mod generated;
pub mod health_check;
#[cfg(feature = "sdk")]
mod listing;
pub mod names;
#[cfg(feature = "sdk")]
mod network;
#[cfg(feature = "sdk")]
pub(crate) mod resolve;
#[cfg(feature = "sdk")]
pub(crate) mod security_groups;
pub mod subnets;

#[cfg(feature = "sdk")]
pub use elastic::ElasticLoadBalancers;
#[cfg(feature = "sdk")]
use elastic::{backend, change_of_type, scope};
