//! The controllers on a real control plane.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing helper fails its test")]

mod cloud_ipam;
mod harness;
mod node;
mod node_cases;
mod node_ipam;
mod node_lifecycle;
mod persistent_volume_label;
mod route;
mod service;
mod service_cases;
mod service_races;
