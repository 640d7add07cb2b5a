//! What controllers are built from.

use std::sync::Arc;

use kube::Client;

use super::options::Settings;
use crate::{
    cloud::Cloud,
    cluster::{
        events::Recorder,
        objects::{Node, Service},
        store::Store,
    },
    controllers::Managed,
    error::Result,
    metrics::Metrics,
};

/// Handles for one controller. The stores are fed by the manager and shared by all controllers.
#[derive(Clone)]
pub struct Parts {
    /// The cloud.
    pub cloud: Arc<dyn Cloud>,
    /// All nodes.
    pub nodes: Store<Node>,
    /// All services.
    pub services: Store<Service>,
    /// The flags.
    pub settings: Arc<Settings>,
    /// Where the controller registers its metrics.
    pub metrics: Metrics,
    /// The controller's own client, by the client name it is registered with. Its writes end with the leadership.
    pub client: Client,
    /// Records events with the controller's event source.
    pub recorder: Recorder,
}

/// How a controller is built: `None` where it has nothing to do in this process, after logging why.
pub type Start = Box<dyn Fn(Parts) -> Result<Option<Box<dyn Managed>>> + Send + Sync>;
