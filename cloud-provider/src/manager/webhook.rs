//! The webhook server: admission webhooks on a TLS listener of their own (KEP-2699).
//!
//! Every replica serves them, before it leads and without leading: the API server calls whichever it reaches. Nobody is
//! authenticated on this listener; what a webhook may be asked is harmless to answer.

use std::{
    collections::BTreeSet,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{StatusCode, header::CONTENT_TYPE};
use prometheus::{HistogramVec, IntCounterVec};

use super::{
    options::Settings,
    provider::Built,
    serving::{self, Answer, Call, Routes, Server},
};
use crate::{
    Error,
    cluster::admission::{self, Handler},
    config::feature_gates::WEBHOOK,
    controllers::persistent_volume_label::LabelAdmission,
    error::Result,
    metrics::Metrics,
};

#[cfg(test)]
mod tests;

/// The name of the core's own webhook: labels of persistent volumes, when they are created.
pub const PERSISTENT_VOLUME_LABEL: &str = "pvlabel";
/// Where it is served, as by the webhook that upstream took out of the core.
const PERSISTENT_VOLUME_LABEL_PATH: &str = "/admit";

/// A webhook: what `--webhooks` calls it, where it is served and what answers.
#[derive(Clone)]
pub struct Webhook {
    name: &'static str,
    path: &'static str,
    handler: Arc<dyn Handler>,
}

impl Webhook {
    /// A webhook at exactly `path`, which begins with a slash.
    pub fn new(name: &'static str, path: &'static str, handler: impl Handler) -> Self {
        Self { name, path, handler: Arc::new(handler) }
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("name", &self.name).field("path", &self.path).finish_non_exhaustive()
    }
}

/// The server, listening; `None` where no webhook is enabled, and where `--webhook-secure-port=0` or the feature gate turn
/// it off.
///
/// # Errors
///
/// A certificate or an address that cannot be used; two webhooks at one path.
pub(super) fn open(settings: &Settings, built: &Built, metrics: &Metrics) -> Result<Option<Server>> {
    let Some(webhook) = &settings.webhook else { return Ok(None) };
    if !settings.feature_gates.enabled(WEBHOOK) {
        tracing::warn!(webhooks = ?webhook.names, "not served: --feature-gates={}=true turns webhooks on", WEBHOOK.name);
        return Ok(None);
    }
    let mut enabled = Vec::new();
    for name in &webhook.names {
        if let Some(own) = built.webhooks.iter().find(|own| own.name == name) {
            enabled.push(own.clone());
        } else if let (PERSISTENT_VOLUME_LABEL, Some(volumes)) = (name.as_str(), built.cloud.volumes()) {
            let handler = LabelAdmission::new(volumes);
            enabled.push(Webhook::new(PERSISTENT_VOLUME_LABEL, PERSISTENT_VOLUME_LABEL_PATH, handler));
        } else {
            tracing::warn!(webhook = name, "not served: the cloud provider has nothing to answer it with");
        }
    }
    if enabled.is_empty() {
        return Ok(None);
    }
    tracing::info!(webhooks = ?enabled, "serving webhooks");
    let server = Server::bind(&webhook.serving, routes(enabled, metrics)?, None)
        .map_err(|error| Error::invalid("--webhook-secure-port", "serve webhooks").with_source(error))?;
    Ok(Some(server))
}

/// What serves these webhooks, each at its path.
///
/// A request has to be JSON by its content type and to hold an `AdmissionReview`; anything else is a bad request (400). A
/// handler that fails is told as such (500). Each request is counted by webhook and status code; upstream counts only
/// those that fail.
///
/// # Errors
///
/// When two have the same path.
pub fn routes(webhooks: impl IntoIterator<Item = Webhook>, metrics: &Metrics) -> Result<Routes> {
    let requests = Requests::new(metrics);
    let (mut routes, mut paths) = (Routes::default(), BTreeSet::new());
    for webhook in webhooks {
        if !paths.insert(webhook.path) {
            let problem = format!("webhook {} is at the path of another, {}", webhook.name, webhook.path);
            return Err(Error::invalid("--webhooks", problem));
        }
        let (path, requests) = (webhook.path, requests.clone());
        routes.add(path, move |call| {
            let (webhook, requests) = (webhook.clone(), requests.clone());
            async move {
                let begun = Instant::now();
                let answer = answer(&webhook, &call).await;
                requests.observe(webhook.name, answer.status(), begun.elapsed());
                answer
            }
        });
    }
    Ok(routes)
}

async fn answer(webhook: &Webhook, call: &Call) -> Answer {
    let request = match read(call) {
        Ok(request) => request,
        Err(problem) => {
            tracing::warn!(webhook = webhook.name, problem, "bad request to a webhook");
            return serving::text(StatusCode::BAD_REQUEST, format!("{problem}\n"));
        }
    };
    let uid = request.uid.clone();
    match webhook.handler.handle(request).await {
        Ok(response) => {
            tracing::debug!(webhook = webhook.name, uid, allowed = response.is_allowed(), "answered");
            serving::json(StatusCode::OK, &response.review(uid))
        }
        Err(error) => {
            let error = error.chain();
            tracing::error!(webhook = webhook.name, uid, error, "webhook failed");
            serving::text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n"))
        }
    }
}

fn read(call: &Call) -> std::result::Result<admission::Request, String> {
    const JSON: &str = "application/json";
    let content_type = call.headers().get(CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    if content_type.as_deref() != Some(JSON) {
        return Err(format!("expected content type {JSON:?}, got {:?}", content_type.unwrap_or_default()));
    }
    admission::read(call.body())
}

/// The metrics of all webhooks.
#[derive(Clone)]
struct Requests {
    total: IntCounterVec,
    duration: HistogramVec,
}

impl Requests {
    fn new(metrics: &Metrics) -> Self {
        const BUCKETS: &[f64] = &[0.25, 0.5, 0.7, 1.0, 1.5, 3.0, 5.0, 10.0];
        const LABELS: &[&str] = &["code", "webhook"];
        Self {
            total: metrics.counter_vec(
                "cloud_provider_webhook_request_total",
                "Requests to webhooks, by status code and webhook.",
                LABELS,
            ),
            duration: metrics.histogram_vec(
                "cloud_provider_webhook_request_duration_seconds",
                "Time to answer a request to a webhook, by status code and webhook.",
                BUCKETS,
                LABELS,
            ),
        }
    }

    fn observe(&self, webhook: &str, code: StatusCode, time: Duration) {
        let labels = [code.as_str(), webhook];
        self.total.with_label_values(&labels).inc();
        self.duration.with_label_values(&labels).observe(time.as_secs_f64());
    }
}
