//! The controllers on a real control plane.

mod harness;
mod node;
mod node_lifecycle;
mod service;
