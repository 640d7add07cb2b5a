//! The part of AWS that a Kubernetes cloud controller uses, in this process and over plain HTTP on loopback.
//!
//! EC2 (2016-11-15), classic Elastic Load Balancing (2012-06-01), Elastic Load Balancing v2 (2015-12-01, Network Load
//! Balancers), STS (2011-06-15), the tokens of ECR and ECR Public, and the instance metadata service (version 2) share one port. The official SDKs talk
//! to it when their endpoint URLs name it. It checks requests, signatures, quotas and an IAM policy as AWS does, and
//! answers with AWS's error codes, statuses and documents.
//!
//! ```
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! use cloud_provider_aws_simulator::{Fault, Options, Seed, Simulator};
//!
//! let simulator = Simulator::start(Options { seed: Seed::cluster("demo", 10), ..Options::default() }).await.unwrap();
//! let handle = simulator.handle();
//! // Point a client at `simulator.url()`, then make the cloud fail:
//! handle.fault(Fault::error("EC2.DescribeInstances", "InternalError").times(2));
//! handle.adjust(|knobs| knobs.delays.provisioning_ms = 500);
//! assert_eq!(handle.count("EC2.DescribeInstances"), 0);
//! # });
//! ```
//!
//! Nothing here uses the controller: what both know of AWS was written twice, on purpose.
//!
//! The state is a plain struct behind one lock. An action is a function of its parameters and the state; a write works
//! on a copy that replaces the state only if the whole request was good. Other processes use the control endpoint below
//! `/_simulator/`; the source of its module lists the requests.

mod auth;
mod context;
mod control;
mod core;
mod ec2;
mod ecr;
mod elb;
mod elbv2;
mod error;
mod handle;
mod imds;
mod knobs;
pub mod model;
mod params;
mod policy;
mod seed;
mod server;
mod service;
mod state;
mod sts;
#[cfg(test)]
mod tests;
mod xml;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};

use cloud_provider_simulation::Server;

pub use cloud_provider_simulation::{AtWrite, Call, Count, Counts, Effect, Fault, Latency, RateLimit};

pub use crate::{
    auth::Credential,
    core::Core,
    handle::Handle,
    knobs::{Delays, Knobs, Omission, Quotas},
    policy::{DOCUMENTED, Policy},
    seed::{Seed, Template, private_dns_name},
};

/// The access key ID that is known without configuration.
pub const ACCESS_KEY: &str = "AKIASIMULATOR0000001";

/// Its secret.
pub const SECRET_KEY: &str = "simulator/secret/access/key/not/a/secret";

/// How to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// Address to serve, on loopback only; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What the account holds.
    pub seed: Seed,
    /// What callers may do.
    pub policy: Policy,
    /// Who may call.
    pub credentials: Vec<Credential>,
    /// Whether signatures are recomputed. Without, a known access key and the right shape suffice.
    pub verify_signatures: bool,
    /// How the cloud behaves.
    pub knobs: Knobs,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            seed: Seed::default(),
            policy: Policy::default(),
            credentials: vec![Credential::default()],
            verify_signatures: true,
            knobs: Knobs::default(),
        }
    }
}

/// A running simulator. Dropping it ends the server and all its connections.
pub struct Simulator {
    server: Server,
    handle: Handle,
}

impl Simulator {
    /// Starts serving on the current tokio runtime. Fails if the address is not on loopback or cannot be bound.
    pub async fn start(options: Options) -> io::Result<Self> {
        let listener = Server::bind(options.listen).await?;
        let handle = Handle::new(core::Core::new(&options));
        let answering = handle.clone();
        let server = Server::start(listener, move |request| {
            let handle = answering.clone();
            async move { server::answer(&handle, request).await }
        })?;
        Ok(Self { server, handle })
    }

    /// The endpoint URL of all services, such as `http://127.0.0.1:4566`.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Knobs, state and calls.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }
}
