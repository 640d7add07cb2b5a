//! Nodes, services and volumes as clusters have them, and the writes that keep a cluster busy.

mod load;
mod nodes;
mod services;
mod volumes;

pub use load::{Heartbeats, Pace, register_nodes};
pub use nodes::{KubeletNode, UNINITIALIZED, set_ready};
pub use services::LoadBalancerService;
pub use volumes::persistent_volume;
