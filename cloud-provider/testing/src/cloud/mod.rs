//! A cloud in memory that does what it is told: the reference implementation of the traits, and the double with
//! which the core is tested.
//!
//! [`Backend`] is the cloud's side: what exists in it, how slow and how broken it is, what was called. It outlives
//! controllers, and [served](Backend::serve) on loopback it is shared by controllers in processes of their own, which are
//! [`MemoryProvider`] with the manager around it. [`MemoryCloud`] is a controller's side, written as a cloud crate would be: pages of instances by ID or name;
//! load balancers as resolve, desired, observe, plan, apply, with states that take time.

mod backend;
mod calls;
mod controller;
mod instances;
mod load_balancers;
mod model;
mod pod_ranges;
mod provider;
mod remote;
mod routes;
mod served;
mod wire;

use std::sync::Arc;

use cloud_provider::Error;
use cloud_provider::cloud::{Cloud, Gate, Instances, LoadBalancers, PodRanges, Reconciler, Routes};

pub use backend::Backend;
pub use calls::{Call, Fault, Operation, Rule};
pub use controller::controller;
pub use load_balancers::{ID_ANNOTATION, REJECT_ANNOTATION, REPORT_ID_ANNOTATION, SHARED_ANNOTATION};
pub use model::{Listener, LoadBalancer, Power, RouteEntry, VirtualMachine};
pub use provider::{Flags, MemoryProvider};
pub use served::Served;

/// The name of the cloud, and the scheme of its provider IDs.
pub const NAME: &str = "memory";

/// One controller's connection to a [`Backend`].
pub struct MemoryCloud {
    instances: Arc<instances::ByPage>,
    load_balancers: Arc<Reconciler<load_balancers::Balancing>>,
    routes: Option<Arc<routes::Table>>,
    client: calls::Client,
}

impl MemoryCloud {
    /// Connects. Writes pass `gate`.
    pub fn new(backend: &Arc<Backend>, gate: Gate) -> Self {
        Self::with(calls::Client::new(Arc::clone(backend), gate))
    }

    /// Connects to a [`Served`] cloud by its URL. Writes pass `gate`.
    ///
    /// # Errors
    /// When it is no URL such as `http://127.0.0.1:8080`; nothing is called yet.
    pub fn remote(url: &str, gate: Gate) -> Result<Self, Error> {
        Ok(Self::with(calls::Client::remote(remote::Remote::new(url)?, gate)))
    }

    fn with(client: calls::Client) -> Self {
        Self {
            instances: Arc::new(instances::ByPage::new(client.clone())),
            load_balancers: Arc::new(Reconciler::new(load_balancers::Balancing::new(client.clone()))),
            routes: None,
            client,
        }
    }

    /// The same cloud with its route table declared: off by default, since a controller manager on a cloud with routes does
    /// not start without `--cluster-cidr`.
    #[must_use]
    pub fn with_routes(self) -> Self {
        let table = routes::Table::new(self.client.clone());
        Self { routes: Some(Arc::new(table)), ..self }
    }
}

impl Cloud for MemoryCloud {
    fn name(&self) -> &'static str {
        NAME
    }

    fn has_cluster_id(&self) -> bool {
        true
    }

    fn instances(&self) -> Option<Arc<dyn Instances>> {
        Some(Arc::clone(&self.instances) as Arc<dyn Instances>)
    }

    fn load_balancers(&self) -> Option<Arc<dyn LoadBalancers>> {
        Some(Arc::clone(&self.load_balancers) as Arc<dyn LoadBalancers>)
    }

    fn routes(&self) -> Option<Arc<dyn Routes>> {
        self.routes.clone().map(|table| table as Arc<dyn Routes>)
    }

    fn pod_ranges(&self) -> Option<Arc<dyn PodRanges>> {
        Some(Arc::clone(&self.instances) as Arc<dyn PodRanges>)
    }
}
