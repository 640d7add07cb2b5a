//! Events on Kubernetes objects, as core/v1 `Event`, created and patched and nothing else: the roles that
//! operators granted to the Go controllers do not cover `events.k8s.io`.
//!
//! Recording never blocks: events wait in queues of 16,384 together, and those beyond them are counted and dropped.
//! [`Sink::run`] writes them, those about one object one after the other, those about others beside them. On the way they
//! pass client-go's correlation: repeats raise the count of the event that exists, many similar ones are folded into one,
//! floods are dropped.

use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use prometheus::IntCounter;
use serde_json::json;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

mod correlator;
#[cfg(test)]
mod tests;

use crate::metrics::Metrics;
use correlator::{Correlator, Observed};

/// Events that are written at the same time. Each lane has its own objects, and so its own correlation.
const LANES: usize = 8;
/// Events of one lane that wait to be written. All lanes together hold what the start of a cluster of 5,000 nodes says;
/// client-go's queue holds 1000.
const QUEUE: usize = 2048;
/// Attempts per event, as in client-go.
const ATTEMPTS: u32 = 12;
/// Pause between attempts; the first one is a random part of it, so that processes do not move in step.
const PAUSE: Duration = Duration::from_secs(10);
/// Longest duration of one attempt.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long waiting events may still be written after cancellation.
const DRAIN: Duration = Duration::from_secs(3);
/// Where events on cluster-scoped objects go.
const DEFAULT_NAMESPACE: &str = "default";

/// The type of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// Told for information.
    Normal,
    /// Told because something is wrong.
    Warning,
}

impl Severity {
    fn name(self) -> &'static str {
        match self {
            Severity::Normal => "Normal",
            Severity::Warning => "Warning",
        }
    }
}

/// The object that an event is about (`involvedObject`), written as given: upstream leaves `apiVersion` out
/// for some nodes, and sets the UID of a node to its name in the route controller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Subject {
    /// `v1`, `coordination.k8s.io/v1`, …; may be empty.
    pub api_version: String,
    /// `Node`, `Service`, ….
    pub kind: String,
    /// None for cluster-scoped objects; their events go to the namespace `default`.
    pub namespace: Option<String>,
    /// The name of the object.
    pub name: String,
    /// The UID of the object; may be empty.
    pub uid: String,
}

/// An event as it was recorded.
#[derive(Clone, Debug)]
struct Recorded {
    component: &'static str,
    subject: Subject,
    severity: Severity,
    reason: &'static str,
    message: String,
    at: Timestamp,
}

/// Records events for one component (`source.component`); clones are cheap.
#[derive(Clone, Debug)]
pub struct Recorder {
    component: &'static str,
    lanes: Arc<[mpsc::Sender<Recorded>]>,
    dropped: IntCounter,
}

impl Recorder {
    /// Records an event. Never blocks; the event is dropped when too many wait already, and after the sink has ended.
    pub fn event(&self, subject: &Subject, severity: Severity, reason: &'static str, message: impl Into<String>) {
        let (subject, message, at) = (subject.clone(), message.into(), Timestamp::now());
        debug!(kind = subject.kind, object = subject.name, r#type = severity.name(), reason, message, "event");
        let recorded = Recorded { component: self.component, subject, severity, reason, message, at };
        match self.lanes[lane(&recorded.subject)].try_send(recorded) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                // Told once; the metric goes on.
                if self.dropped.get() == 0 {
                    warn!("events are recorded faster than they are written, some are dropped");
                }
                self.dropped.inc();
            }
            Err(TrySendError::Closed(recorded)) => {
                debug!(reason = recorded.reason, "event not written, nobody writes events any more");
            }
        }
    }
}

/// Events about one object keep their order.
fn lane(subject: &Subject) -> usize {
    let mut hasher = DefaultHasher::new();
    subject.hash(&mut hasher);
    hasher.finish() as usize % LANES
}

/// Where recorders send their events, and what writes them.
pub struct Sink {
    client: Client,
    waiting: Vec<mpsc::Receiver<Recorded>>,
    lanes: Arc<[mpsc::Sender<Recorded>]>,
    dropped: IntCounter,
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting: usize = self.waiting.iter().map(mpsc::Receiver::len).sum();
        f.debug_struct("Sink").field("waiting", &waiting).finish_non_exhaustive()
    }
}

impl Sink {
    /// A sink that writes with `client`; nothing is written before [`Sink::run`].
    pub fn new(client: Client) -> Sink {
        Self::counting(client, &Metrics::new())
    }

    /// The same; dropped events are counted in `event_recorder_dropped_events_total`.
    pub fn counting(client: Client, metrics: &Metrics) -> Sink {
        let (lanes, waiting): (Vec<_>, Vec<_>) = (0..LANES).map(|_| mpsc::channel(QUEUE)).unzip();
        let dropped = metrics.counter(
            "event_recorder_dropped_events_total",
            "Events that were dropped because more waited to be written than the queue holds.",
        );
        Sink { client, waiting, lanes: lanes.into(), dropped }
    }

    /// A recorder that writes through this sink.
    pub fn recorder(&self, component: &'static str) -> Recorder {
        Recorder { component, lanes: Arc::clone(&self.lanes), dropped: self.dropped.clone() }
    }

    /// Writes events until `token` is cancelled, then those that still wait, once each and for 3 s at most.
    pub async fn run(self, token: CancellationToken) {
        let lanes = self.waiting.into_iter().map(|events| {
            let writer = Writer { client: self.client.clone(), correlator: Correlator::default() };
            writer.run(events, &token)
        });
        join_all(lanes).await;
    }
}

struct Writer {
    client: Client,
    correlator: Correlator,
}

impl Writer {
    async fn run(mut self, mut events: mpsc::Receiver<Recorded>, token: &CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = token.cancelled() => break,
                Some(recorded) = events.recv() => self.handle(recorded, token).await,
            }
        }
        events.close();
        let drained = timeout(DRAIN, async {
            while let Some(recorded) = events.recv().await {
                self.handle(recorded, token).await;
            }
        });
        if drained.await.is_err() {
            warn!(waiting = events.len(), "stopped before all events were written");
        }
    }
}

/// What an attempt to write came to.
enum Outcome {
    Written { name: Option<String> },
    Rejected(kube::Error),
    Failed(String),
}

impl Writer {
    /// Correlates and writes one event; retries end when `token` is cancelled.
    async fn handle(&mut self, recorded: Recorded, token: &CancellationToken) {
        let Some(observed) = self.correlator.observe(recorded) else { return };
        for attempt in 1..=ATTEMPTS {
            let failure = match timeout(ATTEMPT_TIMEOUT, self.write(&observed)).await {
                Ok(Outcome::Written { name }) => return self.correlator.written(&observed, name),
                Ok(Outcome::Rejected(error)) => {
                    return info!(event = observed.name, %error, "server rejected event, not retried");
                }
                Ok(Outcome::Failed(failure)) => failure,
                Err(_) => format!("no answer within {ATTEMPT_TIMEOUT:?}"),
            };
            if attempt == ATTEMPTS || token.is_cancelled() {
                return warn!(event = observed.name, error = failure, attempt, "event is lost");
            }
            debug!(event = observed.name, error = failure, attempt, "could not write event, retrying");
            let pause = if attempt == 1 { PAUSE.mul_f64(rand::random::<f64>()) } else { PAUSE };
            tokio::select! {
                () = token.cancelled() => {}
                () = sleep(pause) => {}
            }
        }
    }

    async fn write(&self, observed: &Observed) -> Outcome {
        let subject = &observed.recorded.subject;
        let namespace = subject.namespace.as_deref().filter(|name| !name.is_empty()).unwrap_or(DEFAULT_NAMESPACE);
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        if observed.count > 1 {
            let change = json!({
                "count": observed.count,
                "lastTimestamp": Time(observed.recorded.at),
                "message": observed.recorded.message,
            });
            match api.patch(&observed.name, &PatchParams::default(), &Patch::Strategic(change)).await {
                // The server forgets events after an hour or so: then it starts anew.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                answer => return outcome(answer),
            }
        }
        outcome(api.create(&PostParams::default(), &event(observed, namespace)).await)
    }
}

fn outcome(answer: kube::Result<Event>) -> Outcome {
    match answer {
        Ok(event) => Outcome::Written { name: event.metadata.name },
        // Written, only the answer is odd.
        Err(kube::Error::SerdeError(_)) => Outcome::Written { name: None },
        Err(error @ kube::Error::Api(_)) if !is_transient(&error) => Outcome::Rejected(error),
        Err(error) => Outcome::Failed(error.to_string()),
    }
}

fn is_transient(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 429 || status.code >= 500)
}

fn event(observed: &Observed, namespace: &str) -> Event {
    let Recorded { component, subject, severity, reason, message, at } = &observed.recorded;
    let filled = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Event {
        metadata: ObjectMeta {
            name: Some(observed.name.clone()),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: filled(&subject.api_version),
            kind: filled(&subject.kind),
            namespace: subject.namespace.as_deref().and_then(filled),
            name: filled(&subject.name),
            uid: filled(&subject.uid),
            ..ObjectReference::default()
        },
        reason: Some((*reason).to_owned()),
        message: Some(message.clone()),
        type_: Some(severity.name().to_owned()),
        source: Some(EventSource { component: Some((*component).to_owned()), host: None }),
        reporting_component: Some((*component).to_owned()),
        count: Some(i32::try_from(observed.count).unwrap_or(i32::MAX)),
        first_timestamp: Some(Time(observed.first)),
        last_timestamp: Some(Time(*at)),
        ..Event::default()
    }
}
