//! Controllers handed over between upstream's controller manager and ours, both as they run in production: on the same
//! cluster and the same account, with leader migration.

#![cfg(feature = "sdk")]
#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]

mod hand_over;
mod world;

use cloud_provider_testing::upstream::Upstream;

/// What ours replaces.
const UPSTREAM: Upstream = Upstream {
    program: "aws-cloud-controller-manager",
    module: "k8s.io/cloud-provider-aws",
    version: "v1.37.0",
    package: "cmd/aws-cloud-controller-manager",
};
