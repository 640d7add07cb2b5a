//! Leader election on a `coordination.k8s.io/v1` Lease, by the protocol of client-go, so that Go controllers
//! and ours respect each other; with get, create and update only, as existing roles grant them.
//!
//! What the protocol rests on: a lease of someone else is judged by how long *we* have seen it unchanged, never by the
//! clock that wrote it; and a leader that could not renew within the renew deadline, which is shorter than the lease,
//! stops before anyone else can start.
//!
//! Beyond client-go: the election runs on a thread of its own, so that a busy process still renews; every attempt is
//! bounded; a [`Leadership`] says at any moment, by the clock, whether writes are still allowed; the lease is
//! released when the process ends in good order.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::error;

use crate::cluster::client::{Clients, Gate};
use crate::cluster::events::Recorder;
use crate::metrics::Metrics;

mod decide;
mod election;
mod lock;
#[cfg(test)]
mod tests;

/// client-go's factor between the retry period and the shortest renew deadline.
const JITTER_FACTOR: f64 = 1.2;
/// How long after the end of its lease a leader still counts as healthy, as upstream.
const HEALTH_TOLERANCE: Duration = Duration::from_secs(20);

/// One candidacy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// Who we are, see [`identity`].
    pub identity: String,
    /// How long others wait after our last renewal. Whole seconds.
    pub lease_duration: Duration,
    /// How long we lead without a renewal.
    pub renew_deadline: Duration,
    /// Pause between attempts.
    pub retry_period: Duration,
}

/// Durations that cannot work together; the texts are client-go's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum Invalid {
    #[error("leaseDuration must be greater than renewDeadline")]
    LeaseDuration,
    #[error("renewDeadline must be greater than retryPeriod*JitterFactor")]
    RenewDeadline,
    #[error("leaseDuration must be greater than zero")]
    NoLeaseDuration,
    #[error("renewDeadline must be greater than zero")]
    NoRenewDeadline,
    #[error("retryPeriod must be greater than zero")]
    NoRetryPeriod,
    #[error("Lock identity is empty")]
    NoIdentity,
}

impl Settings {
    /// Upstream's defaults: lease 15 s, renew deadline 10 s, retry period 2 s, and a fresh [`identity`].
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Settings {
        Settings {
            namespace: namespace.into(),
            name: name.into(),
            identity: identity(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }

    /// The rules of client-go, in its order.
    pub fn validate(&self) -> Result<(), Invalid> {
        let rules = [
            (self.lease_duration > self.renew_deadline, Invalid::LeaseDuration),
            (self.renew_deadline > self.retry_period.mul_f64(JITTER_FACTOR), Invalid::RenewDeadline),
            (self.lease_duration >= Duration::from_secs(1), Invalid::NoLeaseDuration),
            (!self.renew_deadline.is_zero(), Invalid::NoRenewDeadline),
            (!self.retry_period.is_zero(), Invalid::NoRetryPeriod),
            (!self.identity.is_empty(), Invalid::NoIdentity),
        ];
        rules.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, invalid)| Err(invalid))
    }

    /// Longest duration of one attempt, as upstream: half of the renew deadline, at least a second.
    fn attempt_timeout(&self) -> Duration {
        (self.renew_deadline / 2).max(Duration::from_secs(1))
    }
}

/// A name for this process that no other has: `<host name>_<random UUID>`, as upstream.
pub fn identity() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok());
    let name = name.as_deref().map(str::trim).filter(|name| !name.is_empty()).unwrap_or("localhost");
    format!("{name}_{}", uuid::Uuid::new_v4())
}

/// What happens to a candidate, in this order. Each comes at most once.
#[derive(Clone, Debug)]
pub enum Change {
    /// We lead, until the leadership ends.
    Acquired(Leadership),
    /// We led and do not any more. The process has to end: whatever it still does, another may do too.
    Lost,
    /// The election was stopped by its token; a lease that was held is released.
    Stopped,
}

/// Whether this process leads. Ends at the renew deadline at the latest, by the clock.
#[derive(Clone)]
pub struct Leadership {
    inner: Arc<LeadershipInner>,
}

struct LeadershipInner {
    /// Moments are counted from here, in nanoseconds.
    start: Instant,
    /// End of the leadership unless it is renewed; 0 once it has ended.
    deadline: AtomicU64,
    ended: CancellationToken,
}

impl Leadership {
    fn until(deadline: Instant) -> Leadership {
        let leadership = Leadership {
            inner: Arc::new(LeadershipInner {
                start: Instant::now(),
                deadline: AtomicU64::new(0),
                ended: CancellationToken::new(),
            }),
        };
        leadership.extend(deadline);
        leadership
    }

    /// Whether we lead at this moment. Unlike [`Leadership::ended`] this needs nobody to run: it is right also in a
    /// process that has just been stopped for an hour.
    pub fn held(&self) -> bool {
        let now = u64::try_from(self.inner.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        now < self.inner.deadline.load(Ordering::Acquire)
    }

    /// Cancelled when the leadership ends.
    pub fn ended(&self) -> &CancellationToken {
        &self.inner.ended
    }

    /// For [`Clients::gated`]: no write leaves the process after the end.
    pub fn gate(&self) -> Gate {
        let leadership = self.clone();
        Arc::new(move || leadership.held())
    }

    fn extend(&self, deadline: Instant) {
        let nanos = deadline.saturating_duration_since(self.inner.start).as_nanos();
        self.inner.deadline.store(u64::try_from(nanos).unwrap_or(u64::MAX), Ordering::Release);
    }

    fn end(&self) {
        self.inner.deadline.store(0, Ordering::Release);
        self.inner.ended.cancel();
    }
}

impl fmt::Debug for Leadership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leadership").field("held", &self.held()).finish()
    }
}

/// Upstream's health check of a candidate, by the name `leaderElection`.
#[derive(Clone, Debug)]
pub struct Health {
    name: Arc<str>,
    lease_duration: Duration,
    /// When we renewed last; none while we do not lead.
    renewed: Arc<Mutex<Option<Instant>>>,
}

impl Health {
    /// Healthy while not leading, and while the last renewal is not older than the lease duration and 20 s.
    pub fn check(&self) -> Result<(), String> {
        let renewed = *self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        match renewed {
            Some(renewed) if renewed.elapsed() > self.lease_duration + HEALTH_TOLERANCE => {
                Err(format!("failed election to renew leadership on lease {}", self.name))
            }
            _ => Ok(()),
        }
    }

    fn set(&self, renewed: Option<Instant>) {
        *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = renewed;
    }
}

/// A candidate that has not started yet.
pub struct Elector {
    settings: Settings,
    clients: Clients,
    recorder: Option<Recorder>,
    metrics: election::ElectionMetrics,
}

impl fmt::Debug for Elector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Elector").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Elector {
    /// A candidate with its own client of `clients`, called `leader-election`; with `recorder`, it records events on the Lease.
    pub fn new(
        settings: Settings,
        clients: Clients,
        recorder: Option<Recorder>,
        metrics: &Metrics,
    ) -> Result<Elector, Invalid> {
        settings.validate()?;
        let metrics = election::ElectionMetrics::new(metrics, &settings.name);
        Ok(Elector { settings, clients, recorder, metrics })
    }

    /// Starts the election on a thread of its own.
    ///
    /// It goes on until leadership is lost, `token` is cancelled or the [`Election`] is dropped. Stop it only when everything
    /// that writes has ended: the lease is released then, and another process starts at once.
    pub fn run(self, token: CancellationToken) -> std::io::Result<Election> {
        // A candidate that changes hands once has at most two changes to tell.
        let (tell, changes) = mpsc::channel(4);
        let health = Health {
            name: self.settings.name.as_str().into(),
            lease_duration: self.settings.lease_duration,
            renewed: Arc::default(),
        };
        let token = token.child_token();
        let stop = token.clone().drop_guard();
        let campaign = election::Campaign { health: health.clone(), tell, elector: self };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("leader-election".to_owned()).spawn(move || {
            runtime.block_on(campaign.run(token));
            // A look-up of a name or a plugin for credentials may hang: dropping the runtime would wait for it.
            runtime.shutdown_background();
        })?;
        Ok(Election { changes, health, thread: Some(thread), done: false, _stop: stop })
    }
}

/// A running candidacy.
#[derive(Debug)]
pub struct Election {
    changes: mpsc::Receiver<Change>,
    health: Health,
    thread: Option<std::thread::JoinHandle<()>>,
    done: bool,
    _stop: DropGuard,
}

impl Election {
    /// The next change; none after [`Change::Lost`] or [`Change::Stopped`]. Should the thread end by itself, that is [`Change::Lost`].
    pub async fn next(&mut self) -> Option<Change> {
        if self.done {
            return None;
        }
        let change = self.changes.recv().await.unwrap_or_else(|| {
            error!("leader election ended unexpectedly");
            Change::Lost
        });
        if !matches!(change, Change::Acquired(_)) {
            self.done = true;
            // It has told its last change and returns at once; so does joining it.
            if let Some(thread) = self.thread.take() {
                drop(thread.join());
            }
        }
        Some(change)
    }

    /// The health check of this candidacy.
    pub fn health(&self) -> Health {
        self.health.clone()
    }
}
