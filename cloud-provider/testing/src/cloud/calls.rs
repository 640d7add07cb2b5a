//! One call: gate, delay, fault, work, log.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cloud_provider::cloud::{Access, Gate};
use cloud_provider::error::{Error, Kind, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::backend::{Backend, Inner};
use super::model::Account;
use super::remote::Remote;

/// What can be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Operation {
    /// Up to 100 machines by ID or by name.
    DescribeMachines,
    /// Up to 100 disks by name.
    DescribeDisks,
    /// One load balancer and its firewall, by name.
    DescribeLoadBalancer,
    /// The names of all load balancers and firewalls.
    ListNames,
    /// A new load balancer.
    CreateLoadBalancer,
    /// All listeners of a load balancer.
    SetListeners,
    /// All backends of a load balancer.
    SetBackends,
    /// Removes a load balancer.
    DeleteLoadBalancer,
    /// Creates or replaces a firewall.
    PutFirewall,
    /// Removes a firewall, which no load balancer may use any more.
    DeleteFirewall,
    /// The whole route table.
    DescribeRoutes,
    /// A new route to a machine; refused where the destination has one.
    CreateRoute,
    /// Removes the route of a destination.
    DeleteRoute,
}

impl Operation {
    /// Whether it changes something.
    pub fn is_write(self) -> bool {
        self.access() == Access::Write
    }

    fn access(self) -> Access {
        match self {
            Self::DescribeMachines
            | Self::DescribeDisks
            | Self::DescribeLoadBalancer
            | Self::ListNames
            | Self::DescribeRoutes => Access::Read,
            _ => Access::Write,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// What goes wrong with a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It is refused: too many calls.
    Throttle {
        /// How long the cloud asks to wait.
        retry_after: Option<Duration>,
    },
    /// It fails.
    Error(Kind),
    /// It is carried out, but its answer is lost.
    LostAnswer,
    /// It takes longer, and then is carried out.
    Delay(Duration),
}

/// A fault and when it strikes.
#[derive(Debug, Clone)]
pub struct Rule {
    operation: Option<Operation>,
    fault: Fault,
    left: Option<u32>,
}

impl Rule {
    /// Strikes every call of every operation.
    pub fn always(fault: Fault) -> Self {
        Self { operation: None, fault, left: None }
    }

    /// Strikes every call of one operation.
    pub fn on(operation: Operation, fault: Fault) -> Self {
        Self { operation: Some(operation), fault, left: None }
    }

    /// Strikes only the next `times` calls.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.left = Some(times);
        self
    }

    fn strikes(&mut self, operation: Operation) -> bool {
        if self.operation.is_some_and(|only| only != operation) || self.left == Some(0) {
            return false;
        }
        if let Some(left) = &mut self.left {
            *left -= 1;
        }
        true
    }
}

/// A call that was made.
#[derive(Debug, Clone)]
pub struct Call {
    /// What was called.
    pub operation: Operation,
    /// About what: a name, or how many.
    pub about: String,
    /// When it arrived.
    pub begun: Instant,
    /// When it was answered.
    pub at: Instant,
    /// How it failed, where it did.
    pub failure: Option<Kind>,
}

/// One call as it travels, since the cloud may be served by another process.
pub(super) trait Request: Serialize + DeserializeOwned + Send + Sync {
    /// The last part of its URL.
    const PATH: &'static str;
    type Answer: Serialize + DeserializeOwned + Send;

    fn operation(&self) -> Operation;

    /// For the log of calls: a name, or how many.
    fn about(&self) -> String;

    /// The cloud's side of it. Reads may see the past; writes change the present.
    fn carry_out(&self, account: &mut Account, terms: &Terms<'_>) -> Result<Self::Answer>;
}

/// A controller's way to the backend.
#[derive(Clone)]
pub(super) struct Client {
    side: Side,
    gate: Gate,
}

/// Where the cloud is.
#[derive(Clone)]
enum Side {
    /// In this process.
    Here(Arc<Backend>),
    /// In another one.
    There(Arc<Remote>),
}

impl Client {
    pub(super) fn new(backend: Arc<Backend>, gate: Gate) -> Self {
        Self { side: Side::Here(backend), gate }
    }

    pub(super) fn remote(remote: Remote, gate: Gate) -> Self {
        Self { side: Side::There(Arc::new(remote)), gate }
    }

    /// Makes a call, wherever the cloud is.
    pub(super) async fn send<R: Request>(&self, request: &R) -> Result<R::Answer> {
        let operation = request.operation();
        self.gate.admit(operation.access(), &operation.to_string())?;
        match &self.side {
            Side::Here(backend) => backend.answer(request).await,
            Side::There(remote) => remote.send(request).await,
        }
    }
}

impl Backend {
    pub(super) async fn answer<R: Request>(&self, request: &R) -> Result<R::Answer> {
        let (operation, about) = (request.operation(), request.about());
        let begun = Instant::now();
        let (latency, fault) = {
            let mut inner = self.lock();
            let fault = inner.rules.iter_mut().find_map(|rule| rule.strikes(operation).then(|| rule.fault.clone()));
            (inner.latency, fault)
        };
        let wait = latency + if let Some(Fault::Delay(time)) = &fault { *time } else { Duration::ZERO };
        if wait.is_zero() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(wait).await;
        }
        let failed = |kind: Kind| Err(Error::new(kind, format!("{operation} {about}")));

        let mut inner = self.lock();
        let result = match fault {
            Some(Fault::Throttle { retry_after }) => failed(Kind::Throttled { retry_after }),
            Some(Fault::Error(kind)) => failed(kind),
            Some(Fault::LostAnswer) => {
                let _ = carry_out(&mut inner, request);
                failed(Kind::Transient)
            }
            Some(Fault::Delay(_)) | None => carry_out(&mut inner, request),
        };
        let failure = result.as_ref().err().map(|error| error.kind().clone());
        inner.calls.push(Call { operation, about, begun, at: Instant::now(), failure });
        result
    }
}

/// The conditions that a call meets.
pub(super) struct Terms<'a> {
    /// How long a change keeps a load balancer or a route busy.
    pub(super) settling: Duration,
    /// Machines that the answer leaves out.
    pub(super) hidden: &'a std::collections::BTreeSet<String>,
}

fn carry_out<R: Request>(inner: &mut Inner, request: &R) -> Result<R::Answer> {
    let reads = request.operation().access() == Access::Read;
    let terms = Terms { settling: inner.settling, hidden: &inner.hidden };
    match &mut inner.stale {
        Some((until, past)) if reads && *until > Instant::now() => request.carry_out(past, &terms),
        _ => request.carry_out(&mut inner.account, &terms),
    }
}
