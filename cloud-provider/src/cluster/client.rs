//! Clients of the Kubernetes API: one per purpose, each with its own user agent, rate limit and retry policy.
//!
//! On top of kube's client this brings what a controller that runs for months needs: every request is bounded
//! in time; kube's own retries (15 of them, waiting up to 1000 s) are off and ours are few, so that the back-off
//! of the work queues stays in charge; tokens, certificates and CA bundles are read again when their files
//! change; requests are counted as client-go counts them; and writes can be refused, for a dry run or when
//! leadership has ended; and while the API server fails, the requests of all clients together are few. A permission that
//! no role grants is told once, whatever asks for it how often. A controller may have the identity of its own service account.
//!
//! Proxies: `proxy-url` of the kubeconfig needs a kube feature that is off; proxy variables of the environment
//! are not used for the API server.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;

use crate::metrics::Metrics;

mod connection;
mod identity;
mod metrics;
mod service_account;
mod transport;

use connection::Connection;
use identity::Own;
use metrics::RequestMetrics;
use service_account::Accounts;
use transport::Transport;

use super::outage::Outage;
use super::refusal::Refusals;
use super::token_bucket::TokenBucket;

/// So many requests in a row without an answer, or answered with 5xx, mean that the API server fails.
const OUTAGE: u32 = 3;

/// How to reach the API server, and who we are.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// `--kubeconfig`. Neither this nor `master`: the service account of the pod.
    pub kubeconfig: Option<PathBuf>,
    /// `--master`: overrides the server of the kubeconfig. `http://` where it names no scheme.
    pub master: Option<String>,
    /// First part of the user agent, see [`user_agent`]; the name of the client is appended.
    pub user_agent: String,
    /// `--kube-api-qps` and `--kube-api-burst`, for each client; none unless set, since the API server paces fairly itself.
    pub limit: Option<Limit>,
    /// Whether anything may be changed.
    pub access: Access,
    /// `--use-service-account-credentials`: whether each [`Clients::controller`] has an identity of its own.
    pub service_accounts: bool,
}

/// Requests per second of one client.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// Sustained rate, above 0.
    pub qps: f64,
    /// Requests at once.
    pub burst: u32,
}

/// What the clients may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Everything.
    #[default]
    ReadWrite,
    /// Nothing but GET: every other request fails with [`Refused::DryRun`] before it leaves the process.
    ReadOnly,
}

/// How long a client tries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// For one attempt, until the answer begins. Bodies may take longer, as long as data comes.
    pub attempt: Duration,
    /// For all attempts and the pauses between them.
    pub total: Duration,
    /// Attempts after the first: on 429 and 5xx where the server says when to come back, and for reads on a broken connection.
    pub retries: u32,
    /// Longest silence on a connection. Must be above the 60 s between bookmarks for clients that watch.
    pub silence: Duration,
    /// A rate limit of this client in place of the one in [`Settings`].
    pub limit: Option<Limit>,
    /// Whether requests are spaced while the API server fails, see [`Outage`].
    pub spaced: bool,
}

impl Policy {
    /// For controllers: reads, watches and writes.
    pub const CONTROLLER: Policy = Policy {
        attempt: Duration::from_secs(60),
        total: Duration::from_secs(90),
        retries: 5,
        silence: Duration::from_secs(330),
        limit: None,
        spaced: true,
    };

    /// For token and access reviews, with upstream's rate and time limits.
    pub const REVIEW: Policy = Policy {
        attempt: Duration::from_secs(10),
        total: Duration::from_secs(10),
        retries: 0,
        silence: Duration::from_secs(330),
        limit: Some(Limit { qps: 200.0, burst: 400 }),
        spaced: true,
    };

    /// For leases: a single attempt of `timeout`, never slowed.
    pub const fn lease(timeout: Duration) -> Policy {
        Policy {
            attempt: timeout,
            total: timeout,
            retries: 0,
            silence: timeout,
            limit: Some(Limit { qps: 1000.0, burst: 1000 }),
            spaced: false,
        }
    }
}

/// Why a write did not leave the process. Found as the source of [`kube::Error::Service`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// [`Access::ReadOnly`].
    #[error("nothing is written in a dry run")]
    DryRun,
    /// The gate of [`Clients::gated`] is closed.
    #[error("this process does not lead any more, nothing is written")]
    NotLeading,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither `--kubeconfig` nor `--master`, and not in a pod.
    #[error("no --kubeconfig and no --master given, and no service account of a pod found")]
    InCluster(#[source] kube::config::InClusterError),
    /// The kubeconfig cannot be used.
    #[error("read kubeconfig {}", path.display())]
    Kubeconfig {
        /// The value of `--kubeconfig`.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: kube::config::KubeconfigError,
    },
    /// `--master` is not a URL.
    #[error("--master {url:?} is not a URL")]
    Master {
        /// The value of `--master`.
        url: String,
        /// What is wrong with it.
        #[source]
        source: http::uri::InvalidUri,
    },
    /// A file that the configuration names cannot be read.
    #[error("read {}", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The user agent holds a character that is not allowed.
    #[error("user agent")]
    UserAgent(#[source] http::header::InvalidHeaderValue),
    /// The TLS or authentication settings cannot be used.
    #[error("set up the connection to the API server")]
    Setup(#[source] kube::Error),
    /// The task that prepares credentials ended early.
    #[error("prepare credentials")]
    Task(#[from] tokio::task::JoinError),
}

/// Answers whether writes may leave the process now.
pub type Gate = Arc<dyn Fn() -> bool + Send + Sync>;

/// Makes the clients of one process.
#[derive(Clone)]
pub struct Clients {
    settings: Arc<Settings>,
    metrics: RequestMetrics,
    gate: Option<Gate>,
    outage: Arc<Outage>,
    accounts: Arc<Accounts>,
    refusals: Arc<Refusals>,
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Clients {
    /// Nothing is read or connected before [`Clients::client`].
    pub fn new(settings: Settings, metrics: &Metrics) -> Clients {
        Clients {
            settings: Arc::new(settings),
            metrics: RequestMetrics::new(metrics),
            gate: None,
            accounts: Arc::default(),
            refusals: Arc::default(),
            outage: Arc::new(Outage::after(OUTAGE)),
        }
    }

    /// The same, but clients made from it send writes only while `gate` answers `true`; else they fail with
    /// [`Refused::NotLeading`].
    #[must_use]
    pub fn gated(&self, gate: Gate) -> Clients {
        Clients { gate: Some(gate), ..self.clone() }
    }

    /// Other settings for the same API server: what is known of its outages is shared, so that the requests of all together
    /// are few.
    #[must_use]
    pub fn beside(&self, settings: Settings) -> Clients {
        Clients { settings: Arc::new(settings), gate: None, accounts: Arc::default(), ..self.clone() }
    }

    /// A client called `name`, which ends the user agent: `cloud-controller-manager`, `leader-election`, `service-controller`, ….
    ///
    /// It belongs to the current runtime. Credentials are read now; the server is not contacted.
    ///
    /// # Errors
    /// A configuration that cannot be used.
    pub async fn client(&self, name: &str, policy: Policy) -> Result<Client, Error> {
        self.open(name, policy, None).await
    }

    /// A client for the controller `name`: with [`Settings::service_accounts`] it has the identity of the service account
    /// `kube-system/<name>`, which is created where it is missing, and a token that is renewed in time. Nothing of that
    /// happens before the first request. What that account may not do, and where there is no token for it, is done with the
    /// main identity, after one warning. In a dry run the main identity does everything, since a token is asked for by a write.
    ///
    /// # Errors
    /// As [`Clients::client`].
    pub async fn controller(&self, name: &str, policy: Policy) -> Result<Client, Error> {
        if !self.settings.service_accounts || self.settings.access == Access::ReadOnly {
            return self.client(name, policy).await;
        }
        let agent = format!("{}/{}", self.settings.user_agent, service_account::user(name));
        let connection = Connection::anonymous(Arc::clone(&self.settings), agent, policy.silence).await?;
        let main = self.client("service-account-tokens", Policy::CONTROLLER).await?;
        let own = Own::new(name, connection, self.accounts.get(name, main));
        self.open(name, policy, Some(own)).await
    }

    async fn open(&self, name: &str, policy: Policy, own: Option<Own>) -> Result<Client, Error> {
        let agent = format!("{}/{name}", self.settings.user_agent);
        let connection = Connection::open(Arc::clone(&self.settings), agent, policy.silence).await?;
        let namespace = connection.default_namespace();
        let limit = policy.limit.or(self.settings.limit);
        let transport = Transport {
            host: connection.host().to_owned(),
            connection,
            own,
            policy,
            bucket: limit.map(|limit| TokenBucket::new(limit.qps, limit.burst)),
            access: self.settings.access,
            gate: self.gate.clone(),
            outage: Arc::clone(&self.outage),
            refusals: Arc::clone(&self.refusals),
            metrics: self.metrics.clone(),
        };
        let transport = Arc::new(transport);
        let service = tower::service_fn(move |request| {
            let transport = Arc::clone(&transport);
            let size = transport.metrics.receiving(&request, &transport.host);
            async move { transport.send(request).await.map(|response| size.count(response)) }
        });
        Ok(Client::new(service, namespace))
    }
}

/// The user agent of a program as client-go builds it: `program/version (os/arch)`.
pub fn user_agent(program: &str, version: &str) -> String {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        arch => arch,
    };
    format!("{program}/{version} ({}/{arch})", std::env::consts::OS)
}

#[cfg(test)]
mod tests;
