//! The part of OpenStack that a Kubernetes cloud controller uses, in this process and over plain HTTP on loopback.
//!
//! Keystone (v3), Nova (2.1 to 2.104), Neutron, Octavia (v2.0 to v2.30), Barbican and Cinder (reading) share one port, each
//! below its own path. openstacksdk and other clients find them in the catalog that comes with a token. It checks
//! requests, roles and quotas as OpenStack does, and answers with each service's own statuses and documents.
//!
//! ```
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! use cloud_provider_openstack_simulator::{Fault, Ids, Options, Seed, Simulator};
//!
//! let simulator = Simulator::start(Options { seed: Seed::cluster("demo", 10), ..Options::default() }).await.unwrap();
//! let handle = simulator.handle();
//! // Point a client at `simulator.auth_url()`, then make the cloud fail:
//! handle.fault(Fault::error("octavia.CreateListener", "409").times(2));
//! handle.adjust(|knobs| knobs.delays.load_balancer_create_ms = 500);
//! assert_eq!(handle.ids("servers").len(), 10);
//! assert_eq!(handle.count("nova.ShowServer"), 0);
//! # });
//! ```
//!
//! Nothing here uses the controller: what both know of OpenStack was written twice, on purpose.
//!
//! The state is a plain struct of tables of JSON documents behind one lock. An action is a function of its request and the
//! state; a write works on a copy that replaces the state only if the whole request was good. Load balancers are pending
//! for as long as [`Delays`] says. Other processes use the control endpoint below `/_simulator/`; the source of its module
//! lists the requests.

mod barbican;
mod cinder;
mod context;
mod control;
mod core;
mod document;
mod error;
mod handle;
mod keystone;
mod knobs;
mod listing;
mod neutron;
mod nova;
mod octavia;
mod policy;
mod request;
mod seed;
mod server;
mod service;
mod state;
#[cfg(test)]
mod tests;
mod time;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};

use cloud_provider_simulation::Server;
pub use cloud_provider_simulation::{AtWrite, Call, Count, Counts, Effect, Fault, Latency, RateLimit};

pub use crate::{
    core::Core,
    document::Document,
    handle::Handle,
    knobs::{Delays, Knobs, Quotas, Release},
    policy::Policy,
    seed::{Ids, Seed, Template},
};

/// The password of the seed's users, and the secret of its application credential.
pub const PASSWORD: &str = "simulator-password-not-a-secret";

/// How to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// Address to serve, on loopback only; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What the cloud holds.
    pub seed: Seed,
    /// Who may do what.
    pub policy: Policy,
    /// How the cloud behaves.
    pub knobs: Knobs,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            seed: Seed::cluster("demo", 0),
            policy: Policy::default(),
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
        let root = format!("http://{}", listener.local_addr()?);
        let handle = Handle::new(core::Core::new(&options, root));
        let answering = handle.clone();
        let server = Server::start(listener, move |request| {
            let handle = answering.clone();
            async move { server::answer(&handle, request).await }
        })?;
        Ok(Self { server, handle })
    }

    /// The URL in front of all services, such as `http://127.0.0.1:4567`.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Keystone's URL.
    pub fn auth_url(&self) -> String {
        format!("{}/identity/v3", self.url())
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Knobs, cloud and calls.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// A controller's configuration for the seed's project: its user and password, the external network for floating IPs,
    /// the private subnet for load balancers, and the router.
    pub fn cloud_conf(&self) -> String {
        let (url, ids) = (self.auth_url(), Ids::default());
        format!(
            "[Global]\nauth-url={url}\nusername=demo\npassword={PASSWORD}\ntenant-name=demo\ndomain-id=default\n\
             region=RegionOne\n[LoadBalancer]\nfloating-network-id={}\nsubnet-id={}\n[Route]\nrouter-id={}\n",
            ids.public_network, ids.subnet, ids.router
        )
    }
}
