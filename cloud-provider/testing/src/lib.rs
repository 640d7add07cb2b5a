//! What the tests of every cloud use, and the demo: a Kubernetes control plane on loopback and programs that
//! are sure to end.
//!
//! - [`control_plane`]: a real etcd and kube-apiserver, found, downloaded or built on the spot.
//! - [`process`]: running a program under test, its logs, signals and memory.
//! - [`progress`]: telling the user what takes its time.

pub mod control_plane;
pub mod process;
pub mod progress;

pub use control_plane::ControlPlane;
