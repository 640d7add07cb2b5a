//! Holding the controller off a single service.

use crate::cluster::objects::{Object, Service};

/// On a service, with the value `true`: nothing of its load balancer is changed, created or removed, and nothing is written
/// on the service, until the annotation goes. What shares cloud resources with it is held as well, since it cannot be
/// brought up to date apart from it. A paused service that is deleted stays until the pause ends.
pub const ANNOTATION: &str = "cloud-provider.rs/pause";

/// Whether the service is paused.
pub fn is_paused(service: &Service) -> bool {
    service.annotation(ANNOTATION) == Some("true")
}
