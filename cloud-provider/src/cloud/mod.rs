//! What a cloud crate implements.
//!
//! A [`Cloud`] hands out the capabilities it has; a capability it lacks is absent, not a stub. Implementations are
//! shared between controllers and called concurrently.

mod access;
mod instances;
mod load_balancers;
mod locks;
mod pod_ranges;
mod reconcile;
pub mod routes;
mod volumes;

use std::sync::Arc;

pub use access::{Access, Gate};
pub use instances::{Freshness, Instance, Instances, Metadata, Power, Want};
pub use load_balancers::{
    Change, Ingress, IpMode, LoadBalancerStatus, LoadBalancers, Mode, Note, Outcome, Owned, PortStatus, Scope, ScopeId,
    ServiceOutcome, ServiceState,
};
pub use locks::KeyedLocks;
pub use pod_ranges::{Assignment, PodRanges};
pub use reconcile::{Applied, Model, Operation, Reconciler};
pub use routes::Routes;
pub use volumes::{Location, Volumes};

/// One cloud, as the controllers see it.
pub trait Cloud: Send + Sync + 'static {
    /// The provider's name: the scheme of its provider IDs and the value of `--cloud-provider`.
    fn name(&self) -> &'static str;

    /// Whether the cluster has an identity in this cloud. Without one the manager refuses to start unless
    /// `--allow-untagged-cloud` is given, since resources could not be told apart.
    fn has_cluster_id(&self) -> bool;

    /// Looking up instances, for the node controllers.
    fn instances(&self) -> Option<Arc<dyn Instances>> {
        None
    }

    /// Load balancers, for the service controller.
    fn load_balancers(&self) -> Option<Arc<dyn LoadBalancers>> {
        None
    }

    /// Ranges of pods' addresses that the cloud assigns to nodes, for the node IPAM controller with
    /// `--cidr-allocator-type=CloudAllocator`.
    fn pod_ranges(&self) -> Option<Arc<dyn PodRanges>> {
        None
    }

    /// Routes to the pods of nodes, for the route controller.
    fn routes(&self) -> Option<Arc<dyn Routes>> {
        None
    }

    /// The disks behind persistent volumes, for their labels.
    fn volumes(&self) -> Option<Arc<dyn Volumes>> {
        None
    }
}
