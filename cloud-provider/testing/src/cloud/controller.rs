//! Starting `memory-cloud-controller-manager` as a process of its own.

use std::net::TcpListener;
use std::path::Path;

use anyhow::Context as _;

use super::{NAME, Served};
use crate::control_plane::ControlPlane;
use crate::process::Program;

/// The binary at `path` (tests have it as `env!("CARGO_BIN_EXE_memory-cloud-controller-manager")`), called `name` in
/// logs, with the flags that it needs to run on `cloud` with the rights in `kubeconfig`, and a free secure port. Its log
/// goes to the folder of the control plane. Add flags, then spawn it.
///
/// # Errors
/// When the cloud config cannot be written, or no port is free.
pub fn controller(
    path: impl AsRef<Path>,
    name: &str,
    cloud: &Served,
    plane: &ControlPlane,
    kubeconfig: &Path,
) -> anyhow::Result<Program> {
    let config = plane.dir().join(format!("{name}.conf"));
    std::fs::write(&config, cloud.cloud_config()).with_context(|| format!("write {}", config.display()))?;
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).context("find a port")?;
    let credentials = ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"];
    Ok(Program::new(path.as_ref())
        .named(name)
        .log_dir(plane.dir())
        .arg(format!("--cloud-provider={NAME}"))
        .arg(format!("--cloud-config={}", config.display()))
        .args(credentials.map(|flag| format!("--{flag}={}", kubeconfig.display())))
        .args(["--bind-address=127.0.0.1", "--v=2"])
        .arg(format!("--secure-port={}", port.port())))
}
