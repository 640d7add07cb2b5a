//! The controllers on a real control plane.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing helper fails its test")]

mod cloud_ipam;
mod harness;
mod node;
mod node_ipam;
mod node_lifecycle;
mod route;
mod service;
