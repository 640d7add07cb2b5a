//! Connections of kubelets: in a cluster each has its own, here a few share the load of all.

use kube::Client;

use crate::control_plane::ControlPlane;

/// HTTP/2 lets one connection carry some hundred requests at a time; thousands of kubelets need more than one.
const CONNECTIONS: usize = 8;

pub(super) async fn clients(plane: &ControlPlane) -> anyhow::Result<Vec<Client>> {
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(plane.client().await?);
    }
    Ok(clients)
}
