//! What the tests of every cloud use, and the demo: a Kubernetes control plane on loopback and programs that
//! are sure to end.
//!
//! - [`cloud`]: a cloud in memory that does what it is told.
//! - [`conformance`]: the scenarios that every cloud passes for what it declares.
//! - [`control_plane`]: a real etcd and kube-apiserver, found, downloaded or built on the spot.
//! - [`demo`]: the main job, to watch.
//! - [`in_process`]: the controllers without their manager.
//! - [`objects`]: nodes as kubelets register them, services that want a load balancer, heartbeats.
//! - [`process`]: running a program under test, its logs, signals and memory.
//! - [`progress`]: telling the user what takes its time.
//! - [`reference`]: pages that are generated from definitions in code.

pub mod cloud;
pub mod conformance;
pub mod control_plane;
pub mod demo;
pub mod http;
pub mod in_process;
pub mod objects;
pub mod process;
pub mod progress;
pub mod rbac;
pub mod reference;

pub use control_plane::ControlPlane;
