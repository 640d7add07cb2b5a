//! What the tests of every cloud use, and the demo: a Kubernetes control plane on loopback and programs that
//! are sure to end.
//!
//! - [`mod@bench`]: our controller and upstream's, measured side by side.
//! - [`cloud`]: a cloud in memory that does what it is told.
//! - [`compare`]: our controller beside upstream's.
//! - [`conformance`]: the scenarios that every cloud passes for what it declares.
//! - [`control_plane`]: a real etcd and kube-apiserver, found, downloaded or built on the spot.
//! - [`demo`]: the main job, to watch.
//! - [`gateway`]: a mock of a cloud whose calls are noted.
//! - [`in_process`]: the controllers without their manager.
//! - [`load`]: a large cluster, and what it costs.
//! - [`objects`]: nodes as kubelets register them, services that want a load balancer, heartbeats.
//! - [`mod@openstack`]: a project on OpenStack's own services.
//! - [`process`]: running a program under test, its logs, signals and memory.
//! - [`proxy`]: an API server that makes trouble.
//! - [`progress`]: telling the user what takes its time.
//! - [`mod@reference`]: pages that are generated from definitions in code.
//! - [`upstream`]: the Go controllers.

pub mod bench;
pub mod cloud;
pub mod compare;
pub mod conformance;
pub mod control_plane;
pub mod demo;
pub mod gateway;
mod go;
pub mod http;
pub mod in_process;
pub mod load;
mod measure;
pub mod objects;
pub mod openstack;
pub mod process;
pub mod progress;
pub mod proxy;
pub mod rbac;
pub mod reference;
pub mod upstream;

pub use control_plane::ControlPlane;

/// A part of the cache under `XDG_CACHE_HOME` or `~/.cache`.
fn cache(part: &str) -> anyhow::Result<std::path::PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(std::path::PathBuf::from);
    let cache = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")));
    let cache = cache.ok_or_else(|| anyhow::anyhow!("neither XDG_CACHE_HOME nor HOME is set"))?;
    Ok(cache.join("cloud-provider").join(part))
}
