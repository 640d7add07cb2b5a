//! What goes wrong around a controller, with the controller as a process of its own, the real API server and the cloud in
//! memory: it converges, nothing is lost, nothing is deleted that is still there, and what fails gets few calls.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing helper fails its test")]

mod api_server;
mod cloud_down;
mod harness;
