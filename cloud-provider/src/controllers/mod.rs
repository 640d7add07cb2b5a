//! The controllers. Each is a struct with a `run` that ends when its token is cancelled.

pub mod node;
pub mod node_ipam;
pub mod node_lifecycle;
pub mod persistent_volume_label;
pub mod plan;
pub mod route;
pub mod service;

use std::sync::Arc;

use async_trait::async_trait;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;

use self::plan::Plan;
use crate::{
    cluster::{
        events::Subject,
        objects::{Node, Object, Service},
    },
    error::Result,
};

/// A controller as the manager runs it.
#[async_trait]
pub trait Managed: Send + Sync {
    /// Works until `token` is cancelled, and leaves nothing running behind.
    ///
    /// # Errors
    ///
    /// What makes it impossible to go on. The process ends, so an error that may pass by itself is not one of these.
    async fn run(self: Box<Self>, token: CancellationToken) -> Result<()>;

    /// What a run would change now, in the cloud and in the cluster; changes nothing. The stores are complete when this is
    /// called, and it may be called again. The decisions are those of [`run`](Self::run), by the same code.
    async fn plan(&self) -> Plan;
}

/// The subject of an event about a node.
fn about_node(node: &Node) -> Subject {
    Subject {
        api_version: "v1".into(),
        kind: "Node".into(),
        namespace: None,
        name: node.name().into(),
        uid: node.uid().into(),
    }
}

/// The subject of an event about a service.
fn about_service(service: &Service) -> Subject {
    let key = service.key();
    Subject {
        api_version: "v1".into(),
        kind: "Service".into(),
        namespace: Some(key.namespace),
        name: key.name,
        uid: service.uid().into(),
    }
}

/// A panic in a task of a controller goes on in the controller, so that it ends the process and is not lost.
pub fn rethrow(finished: Result<(), JoinError>) {
    if let Err(error) = finished
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}

/// The first few names of a list, and how many more there are, for a log line.
fn some_names(nodes: &[Arc<Node>]) -> String {
    const SHOWN: usize = 5;
    let mut text = nodes.iter().take(SHOWN).map(|node| node.name()).collect::<Vec<_>>().join(", ");
    if nodes.len() > SHOWN {
        text.push_str(&format!(" and {} more", nodes.len() - SHOWN));
    }
    text
}
