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

mod at_write;
mod auth;
mod calls;
mod context;
mod control;
mod core;
mod ec2;
mod ecr;
mod elb;
mod elbv2;
mod error;
mod glob;
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
    sync::{Arc, Mutex},
};

use tokio::{net::TcpListener, task::JoinHandle};

pub use crate::{
    at_write::AtWrite,
    auth::Credential,
    calls::{Call, Count, Counts},
    handle::Handle,
    knobs::{Delays, Effect, Fault, Knobs, Latency, Omission, Quotas, RateLimit},
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
    address: SocketAddr,
    handle: Handle,
    server: JoinHandle<()>,
}

impl Simulator {
    /// Starts serving on the current tokio runtime. Fails if the address is not on loopback or cannot be bound.
    pub async fn start(options: Options) -> io::Result<Self> {
        if !options.listen.ip().is_loopback() {
            let text = format!(
                "{} is not on loopback, and the simulator must not be reachable from elsewhere",
                options.listen
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let listener = TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        let core = core::Core::new(&options);
        let core = Arc::new(Mutex::new(core));
        let server = tokio::spawn(server::serve(listener, Arc::clone(&core)));
        Ok(Self { address, handle: Handle { core }, server })
    }

    /// The endpoint URL of all services, such as `http://127.0.0.1:4566`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Knobs, state and calls.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.server.abort();
    }
}
