//! Events on Kubernetes objects, as core/v1 `Event`, created and patched and nothing else: the roles that
//! operators granted to the Go controllers do not cover `events.k8s.io`.
//!
//! Recording never blocks: events wait in a queue of 1000, and those beyond it are counted and dropped.
//! [`Sink::run`] writes them one after the other. On the way they pass client-go's correlation: repeats raise
//! the count of the event that exists, many similar ones are folded into one, floods are dropped.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

mod correlator;
#[cfg(test)]
mod tests;

use correlator::{Correlator, Observed};

/// Events that wait to be written, as in client-go.
const QUEUE: usize = 1000;
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
    queue: mpsc::Sender<Recorded>,
    dropped: Arc<AtomicU64>,
}

impl Recorder {
    /// Records an event. Never blocks; the event is dropped when too many wait already.
    pub fn event(&self, subject: &Subject, severity: Severity, reason: &'static str, message: impl Into<String>) {
        let (subject, message, at) = (subject.clone(), message.into(), Timestamp::now());
        debug!(kind = subject.kind, object = subject.name, r#type = severity.name(), reason, message, "event");
        let recorded = Recorded { component: self.component, subject, severity, reason, message, at };
        if self.queue.try_send(recorded).is_err() && self.dropped.fetch_add(1, Ordering::Relaxed) == 0 {
            warn!("events are recorded faster than they are written, some are dropped");
        }
    }
}

/// Where recorders send their events, and what writes them.
pub struct Sink {
    client: Client,
    events: mpsc::Receiver<Recorded>,
    queue: mpsc::Sender<Recorded>,
    dropped: Arc<AtomicU64>,
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink").field("waiting", &self.events.len()).finish_non_exhaustive()
    }
}

impl Sink {
    /// A sink that writes with `client`; nothing is written before [`Sink::run`].
    pub fn new(client: Client) -> Sink {
        let (queue, events) = mpsc::channel(QUEUE);
        Sink { client, events, queue, dropped: Arc::default() }
    }

    /// A recorder that writes through this sink.
    pub fn recorder(&self, component: &'static str) -> Recorder {
        Recorder { component, queue: self.queue.clone(), dropped: Arc::clone(&self.dropped) }
    }

    /// How many events were dropped so far because the queue was full, as a shared count.
    pub fn dropped(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.dropped)
    }

    /// Writes events until `token` is cancelled, then those that still wait, once each and for 3 s at most.
    pub async fn run(mut self, token: CancellationToken) {
        let mut writer = Writer { client: self.client, correlator: Correlator::default() };
        loop {
            tokio::select! {
                biased;
                () = token.cancelled() => break,
                Some(recorded) = self.events.recv() => writer.handle(recorded, &token).await,
            }
        }
        self.events.close();
        let drained = timeout(DRAIN, async {
            while let Some(recorded) = self.events.recv().await {
                writer.handle(recorded, &token).await;
            }
        });
        if drained.await.is_err() {
            warn!(waiting = self.events.len(), "stopped before all events were written");
        }
    }
}

struct Writer {
    client: Client,
    correlator: Correlator,
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
