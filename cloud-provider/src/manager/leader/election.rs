//! The election as it runs: acquire, renew, release.

use std::time::Duration;

use jiff::Timestamp;
use prometheus::{IntCounter, IntGauge};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::decide::{Candidate, Observed, Record, Step};
use super::lock::Lock;
use super::{Change, Elector, Health, Leadership, Settings};
use crate::cluster::client::Policy;
use crate::cluster::events::{Severity, Subject};
use crate::metrics::Metrics;

/// Pauses of those that wait are up to this much longer than the retry period, so that they do not move in step.
const ACQUIRE_JITTER: f64 = 0.5;

/// client-go's metrics of one lease.
pub(super) struct ElectionMetrics {
    leading: IntGauge,
    slow_path: IntCounter,
}

impl ElectionMetrics {
    pub(super) fn new(metrics: &Metrics, lease: &str) -> ElectionMetrics {
        let leading = metrics.gauge_vec(
            "leader_election_master_status",
            "[ALPHA] Gauge of if the reporting system is master of the relevant lease, 0 indicates backup, 1 indicates master. \
             'name' is the string used to identify the lease. Please make sure to group by name.",
            &["name"],
        );
        let slow_path = metrics.counter_vec(
            "leader_election_slowpath_total",
            "[ALPHA] Total number of slow path exercised in renewing leader leases. 'name' is the string used to identify the \
             lease. Please make sure to group by name.",
            &["name"],
        );
        let leading = leading.with_label_values(&[lease]);
        leading.set(0);
        ElectionMetrics { leading, slow_path: slow_path.with_label_values(&[lease]) }
    }
}

pub(super) struct Campaign {
    pub(super) elector: Elector,
    pub(super) health: Health,
    pub(super) tell: mpsc::Sender<Change>,
}

/// What an attempt came to.
enum Attempt {
    /// We lead since the attempt began.
    Holding { since: Instant },
    /// Another leads.
    Other { holder: String },
}

/// Why the renewals ended.
enum End {
    Lost,
    Stopped,
}

impl Campaign {
    /// Runs until leadership is lost or `token` is cancelled.
    pub(super) async fn run(self, token: CancellationToken) {
        let last = tokio::select! {
            biased;
            contest = self.enter() => match contest {
                Some(contest) => self.contest(contest, &token).await,
                None => Change::Lost,
            },
            () = token.cancelled() => Change::Stopped,
        };
        drop(self.tell.send(last).await);
    }

    /// The client of this thread. Its credentials were usable when the process started, so failing is final.
    async fn enter(&self) -> Option<Contest<'_>> {
        let settings = &self.elector.settings;
        let policy = Policy::lease(settings.attempt_timeout());
        match self.elector.clients.client("leader-election", policy).await {
            Ok(client) => Some(Contest {
                lock: Lock::new(client, &settings.namespace, &settings.name),
                campaign: self,
                observed: None,
                warned: String::new(),
            }),
            Err(error) => {
                error!(error = &error as &dyn std::error::Error, "no client for leader election");
                None
            }
        }
    }

    async fn contest(&self, mut contest: Contest<'_>, token: &CancellationToken) -> Change {
        let Some(since) = contest.acquire(token).await else { return Change::Stopped };
        let leadership = Leadership::until(since + self.elector.settings.renew_deadline);
        contest.record("became leader");
        info!(lease = self.elector.settings.name, identity = self.elector.settings.identity, "became leader");
        self.elector.metrics.leading.set(1);
        self.health.set(Some(since));
        drop(self.tell.send(Change::Acquired(leadership.clone())).await);

        let end = contest.hold(since, &leadership, token).await;
        leadership.end();
        self.elector.metrics.leading.set(0);
        self.health.set(None);
        contest.record("stopped leading");
        match end {
            End::Stopped => {
                contest.release().await;
                Change::Stopped
            }
            End::Lost => Change::Lost,
        }
    }
}

/// The state of one candidacy.
struct Contest<'a> {
    campaign: &'a Campaign,
    lock: Lock,
    observed: Option<Observed>,
    /// The failure that was told last.
    warned: String,
}

impl Contest<'_> {
    fn settings(&self) -> &Settings {
        &self.campaign.elector.settings
    }

    fn candidate(&self) -> Candidate<'_> {
        let Settings { identity, lease_duration, .. } = self.settings();
        Candidate { identity, lease_duration: *lease_duration }
    }

    /// Tries until we lead, and says since when. None if `token` was cancelled before.
    async fn acquire(&mut self, token: &CancellationToken) -> Option<Instant> {
        info!(lease = self.settings().name, "attempting to acquire leader lease");
        let mut other = String::new();
        loop {
            let limit = self.settings().attempt_timeout();
            match self.bounded(limit).await {
                Some(Attempt::Holding { since }) => return Some(since),
                Some(Attempt::Other { holder }) if holder != other => {
                    info!(lease = self.settings().name, holder, "lease is held by another");
                    other = holder;
                }
                _ => {}
            }
            let pause = self.settings().retry_period.mul_f64(1.0 + ACQUIRE_JITTER * rand::random::<f64>());
            tokio::select! {
                () = token.cancelled() => {
                    // An attempt without an answer may have been granted.
                    if !self.warned.is_empty() {
                        self.release().await;
                    }
                    return None;
                }
                () = sleep(pause) => {}
            }
        }
    }

    /// Renews until that fails for the renew deadline or `token` is cancelled.
    async fn hold(&mut self, since: Instant, leadership: &Leadership, token: &CancellationToken) -> End {
        let Settings { renew_deadline, retry_period, .. } = *self.settings();
        let mut deadline = since + renew_deadline;
        loop {
            tokio::select! {
                () = token.cancelled() => return End::Stopped,
                () = sleep(retry_period.min(deadline - Instant::now())) => {}
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.bounded(left.min(self.settings().attempt_timeout())).await {
                Some(Attempt::Holding { since }) => {
                    deadline = since + renew_deadline;
                    leadership.extend(deadline);
                    self.campaign.health.set(Some(since));
                }
                Some(Attempt::Other { holder }) => {
                    error!(lease = self.settings().name, holder, "another process took the lease");
                    return End::Lost;
                }
                None => {}
            }
            if Instant::now() >= deadline {
                error!(lease = self.settings().name, deadline = ?renew_deadline, "the lease could not be renewed in time");
                return End::Lost;
            }
        }
    }

    /// One attempt within `limit`. None if it failed, which is told once per kind of failure.
    async fn bounded(&mut self, limit: Duration) -> Option<Attempt> {
        let failure = match timeout(limit, self.attempt()).await {
            Ok(Ok(attempt)) => {
                self.warned.clear();
                return Some(attempt);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {limit:?}"),
        };
        let lease = &self.settings().name;
        if failure == self.warned {
            debug!(lease, error = failure, "leader election still fails");
        } else {
            warn!(lease, error = failure, "leader election attempt failed");
            self.warned = failure;
        }
        None
    }

    async fn attempt(&mut self) -> kube::Result<Attempt> {
        let begin = Instant::now();
        // The leader writes over what it wrote last; only if that fails it looks.
        if let Some(own) = self.observed.as_ref().filter(|own| self.is_mine(own) && own.is_valid(begin))
            && let Step::Update(record) = self.candidate().decide(Some(own), begin, Timestamp::now())
        {
            match self.lock.update(&record).await {
                Ok(()) => return Ok(self.holding(record, begin)),
                Err(error) => debug!(%error, "lease changed or cannot be written, reading it"),
            }
        }
        let read = self.lock.get().await?;
        let now = Instant::now();
        self.observed = read.map(|record| match self.observed.take() {
            Some(before) if before.record == record => before,
            _ => Observed { record, since: now },
        });
        let observed = self.observed.as_ref();
        if observed.is_some_and(|observed| self.is_mine(observed)) {
            self.campaign.elector.metrics.slow_path.inc();
        }
        // What we hold counts from before it is sent.
        let begin = Instant::now();
        match self.candidate().decide(observed, now, Timestamp::now()) {
            Step::Wait => {
                let holder = observed.map(|observed| observed.record.holder.clone()).unwrap_or_default();
                Ok(Attempt::Other { holder })
            }
            Step::Create(record) => self.lock.create(&record).await.map(|()| self.holding(record, begin)),
            Step::Update(record) => self.lock.update(&record).await.map(|()| self.holding(record, begin)),
        }
    }

    fn is_mine(&self, observed: &Observed) -> bool {
        observed.record.holder == self.settings().identity
    }

    fn holding(&mut self, record: Record, since: Instant) -> Attempt {
        self.observed = Some(Observed { record, since });
        Attempt::Holding { since }
    }

    /// Gives the lease up, so that another need not wait for its end.
    async fn release(&mut self) {
        let name = self.settings().name.clone();
        match timeout(self.settings().attempt_timeout(), self.try_release()).await {
            Ok(Ok(true)) => info!(lease = name, "lease released"),
            Ok(Ok(false)) => debug!(lease = name, "lease is not ours"),
            Ok(Err(error)) => warn!(lease = name, %error, "lease could not be released"),
            Err(_) => warn!(lease = name, "lease could not be released in time"),
        }
    }

    async fn try_release(&mut self) -> kube::Result<bool> {
        if let Some(record) = self.released()
            && self.lock.update(&record).await.is_ok()
        {
            return Ok(true);
        }
        self.observed = self.lock.get().await?.map(|record| Observed { record, since: Instant::now() });
        match self.released() {
            Some(record) => self.lock.update(&record).await.map(|()| true),
            None => Ok(false),
        }
    }

    fn released(&self) -> Option<Record> {
        let observed = self.observed.as_ref()?;
        self.candidate().release(&observed.record, Timestamp::now())
    }

    fn record(&self, what: &str) {
        let Settings { namespace, name, identity, .. } = self.settings();
        let Some(recorder) = &self.campaign.elector.recorder else { return };
        let subject = Subject {
            api_version: "coordination.k8s.io/v1".to_owned(),
            kind: "Lease".to_owned(),
            namespace: Some(namespace.clone()),
            name: name.clone(),
            uid: self.lock.uid(),
        };
        recorder.event(&subject, Severity::Normal, "LeaderElection", format!("{identity} {what}"));
    }
}
