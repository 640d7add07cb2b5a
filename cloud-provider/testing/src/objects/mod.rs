//! Nodes and services as clusters have them, and the writes that keep a cluster busy.

mod load;
mod nodes;
mod services;

pub use load::{Heartbeats, Pace, register_nodes};
pub use nodes::{KubeletNode, UNINITIALIZED, set_ready};
pub use services::LoadBalancerService;
