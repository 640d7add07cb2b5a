//! Load balancers from a service to the cloud, on the simulator: what the service controller asks for, without Kubernetes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing helper fails its test")]

mod annotations;
mod bench;
mod faults;
mod firewall;
mod floating_ips;
mod lifecycle;
mod scale;
mod sharing;
