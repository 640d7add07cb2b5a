//! Labels of persistent volumes: the zone, the region and what else the cloud says about a disk, and a node affinity
//! from them, so that pods are scheduled where their disks are.
//!
//! New volumes get them from the webhook ([`LabelAdmission`]), those that exist from the controller. Both only look at
//! volumes that name a cloud's disk directly; CSI drivers bring an affinity of their own.

mod labels;
mod webhook;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures::StreamExt as _;
use kube::{
    Api, Client,
    api::{GetParams, ListParams, PostParams},
    core::Request,
};
use serde::Deserialize as _;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use self::labels::{Labels, Origin};
use super::{Managed, plan::Plan};
use crate::{
    Error, Kind,
    cloud::Volumes,
    cluster::{
        events::{Recorder, Severity, Subject},
        objects::{Key, Object, PersistentVolume},
        store::{Change, Store},
        workqueue::{Backoff, Gather, Taken, WorkQueue},
    },
    error::{Result, warn_of},
    metrics::Metrics,
};

pub use webhook::LabelAdmission;

/// How volumes are gathered into batches, each of which is one look-up.
const GATHER: Gather = Gather { idle: Duration::from_millis(100), max_wait: Duration::from_secs(1), max_items: 500 };
/// A disk that cannot be found is rarely found soon after.
const BACKOFF: Backoff = Backoff { base: Duration::from_secs(5), max: Duration::from_secs(1000), bucket: None };
/// Volumes written at the same time.
const WRITES: usize = 8;
/// How often a write is tried anew at once when the volume changed meanwhile.
const CONFLICTS: usize = 5;
/// Volumes of one page of a list.
const PAGE: u32 = 500;
/// Where volumes are read and written as they are.
const PATH: &str = "/api/v1/persistentvolumes";

/// The labels that each volume shall have, in order; none for a volume that is left alone. One look-up for all volumes
/// whose labels the cloud has to say.
async fn wanted(cloud: &dyn Volumes, volumes: &[Arc<PersistentVolume>]) -> Vec<Result<Labels>> {
    let origins: Vec<Origin> = volumes.iter().map(|volume| labels::origin(volume)).collect();
    let asked = volumes.iter().zip(&origins).filter(|(_, origin)| **origin == Origin::Cloud);
    let asked: Vec<Arc<PersistentVolume>> = asked.map(|(volume, _)| Arc::clone(volume)).collect();
    let answers = if asked.is_empty() { Vec::new() } else { cloud.locate(&asked).await };
    debug_assert_eq!(answers.len(), asked.len(), "one answer per volume is the trait's contract");
    let mut answers = answers.into_iter();
    let conclude = |(volume, origin): (&Arc<PersistentVolume>, Origin)| match origin {
        Origin::None => Ok(Labels::new()),
        Origin::Own(labels) => Ok(labels),
        Origin::Cloud => {
            let id = volume.spec.source.as_ref().map(|source| source.id()).unwrap_or_default();
            match answers.next() {
                Some(Ok(location)) => Ok(location.as_ref().map(labels::of_location).unwrap_or_default()),
                Some(Err(error)) => Err(error.context(format!("locate the disk {id:?}"))),
                None => Err(Error::transient(format!("the cloud says nothing about the disk {id:?}"))),
            }
        }
    };
    volumes.iter().zip(origins).map(conclude).collect()
}

/// Labels volumes that exist.
///
/// Labels that are missing or differ are written. The API server lets an affinity be set on a volume that has none, and
/// never be changed after that: it is added where there is none, and what is there stays. A volume is looked up when the
/// controller starts and when its labels no longer are what the cloud said.
///
/// Needs `list`, `watch`, `get` and `update` of persistent volumes, which upstream's manifests grant.
pub struct PersistentVolumeLabelController {
    cloud: Arc<dyn Volumes>,
    client: Client,
    store: Store<PersistentVolume>,
    recorder: Recorder,
    queue: WorkQueue<Key>,
    /// What the cloud said about a volume, by UID.
    told: Arc<Mutex<HashMap<String, Labels>>>,
}

impl PersistentVolumeLabelController {
    /// A controller that watches volumes itself.
    pub fn new(cloud: Arc<dyn Volumes>, client: Client, recorder: Recorder, metrics: &Metrics) -> Self {
        Self {
            cloud,
            client,
            store: Store::default(),
            recorder,
            queue: WorkQueue::new("persistentvolumes", BACKOFF, metrics),
            told: Arc::default(),
        }
    }

    async fn list(&self) -> Result<Vec<Arc<PersistentVolume>>> {
        let api: Api<PersistentVolume> = Api::all(self.client.clone());
        let (mut volumes, mut params) = (Vec::new(), ListParams::default().limit(PAGE));
        loop {
            let page =
                api.list(&params).await.map_err(|error| Error::from(error).context("list persistent volumes"))?;
            volumes.extend(page.items.into_iter().filter(|volume| !volume.is_terminating()).map(Arc::new));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(volumes),
            }
        }
    }

    async fn work(&self) {
        self.store.synced().await;
        while let Some(batch) = self.queue.next_batch(GATHER).await {
            self.label(batch).await;
        }
    }

    async fn label(&self, batch: Vec<Taken<Key>>) {
        let mut keys = Vec::new();
        let mut volumes = Vec::new();
        for key in batch {
            match self.store.get(&key).filter(|volume| !volume.is_terminating()) {
                Some(volume) => {
                    keys.push(key);
                    volumes.push(volume);
                }
                None => self.queue.forget(&key),
            }
        }
        let labels = wanted(&*self.cloud, &volumes).await;
        let work = keys.into_iter().zip(volumes).zip(labels);
        futures::stream::iter(work)
            .for_each_concurrent(WRITES, |((key, volume), labels)| async move {
                let labelled = match labels {
                    Ok(labels) => self.label_one(&volume, labels).await,
                    Err(error) => Err(error),
                };
                match labelled {
                    Ok(()) => self.queue.forget(&key),
                    Err(error) => self.try_again(&key, &volume, &error),
                }
            })
            .await;
    }

    fn try_again(&self, key: &Key, volume: &PersistentVolume, error: &Error) {
        let retry_in = self.queue.retry(key.clone(), error);
        warn_of!(error, volume = %key, error = %error.chain(), ?retry_in, "volume not labelled");
        self.recorder.event(&about(volume), Severity::Warning, "LabelingFailed", error.chain());
    }

    async fn label_one(&self, volume: &PersistentVolume, labels: Labels) -> Result<()> {
        // Noted before the write, since the store can hear of it before we do.
        lock(&self.told).insert(volume.uid().to_owned(), labels.clone());
        if is_complete(volume, &labels) {
            return Ok(());
        }
        let mut conflicts = 0;
        loop {
            match self.write(volume, &labels).await {
                Err(error) if error.is_not_found() => return Ok(()),
                Err(error) if *error.kind() == Kind::Conflict && conflicts < CONFLICTS => conflicts += 1,
                written => return written.map_err(|error| error.context(format!("label volume {}", volume.name()))),
            }
        }
    }

    /// Writes what a volume lacks, on top of what it is now. A conflict if it changes meanwhile.
    async fn write(&self, volume: &PersistentVolume, labels: &Labels) -> Result<()> {
        let request = |request| -> Result<http::Request<Vec<u8>>> {
            let request: std::result::Result<_, kube::core::request::Error> = request;
            request.map_err(|error| Error::invalid("metadata.name", "make a request").with_source(error))
        };
        let api = Request::new(PATH);
        let get = request(api.get(volume.name(), &GetParams::default()))?;
        let mut object: Value = self.client.request(get).await?;
        let undecodable = |error: serde_json::Error| Error::transient("decode the volume").with_source(error);
        let live = PersistentVolume::deserialize(&object).map_err(undecodable)?;
        if live.uid() != volume.uid() {
            return Err(Error::not_found("another volume has the name now"));
        }
        let missing = labels::missing(&live, labels);
        let affinity = match lacks_affinity(&live, labels) {
            true => labels::require(&Value::Null, labels)?,
            false => None,
        };
        if missing.is_empty() && affinity.is_none() {
            return Ok(());
        }
        for (key, value) in &missing {
            // The volume was decoded, so these are objects or null.
            object["metadata"]["labels"][key] = value.as_str().into();
        }
        let affinity_added = affinity.is_some();
        if let Some(affinity) = affinity {
            object["spec"]["nodeAffinity"] = affinity;
        }
        let put = request(api.replace(volume.name(), &PostParams::default(), object.to_string().into_bytes()))?;
        self.client.request::<Value>(put).await?;
        tracing::info!(volume = volume.name(), labels = ?missing, affinity_added, "volume labelled");
        Ok(())
    }
}

#[async_trait]
impl Managed for PersistentVolumeLabelController {
    /// Runs until `token` is cancelled.
    async fn run(self: Box<Self>, token: CancellationToken) -> Result<()> {
        let (queue, told) = (self.queue.clone(), self.told.clone());
        self.store.subscribe(move |change| match change {
            Change::Deleted(volume) => drop(lock(&told).remove(volume.uid())),
            Change::Added(volume) | Change::Updated { new: volume, .. } => {
                if !is_settled(volume, lock(&told).get(volume.uid())) {
                    queue.add(volume.key());
                }
            }
        });
        let feed = self.store.clone().run(Api::all(self.client.clone()), token.clone());
        tokio::select! {
            () = token.cancelled() => {}
            () = feed => {}
            () = self.work() => {}
        }
        self.queue.shut_down();
        Ok(())
    }

    /// What a run would change now. Reads the volumes anew.
    async fn plan(&self) -> Plan {
        let mut plan = Plan::default();
        let volumes = match self.list().await {
            Ok(volumes) => volumes,
            Err(error) => {
                plan.error("persistent volumes", error);
                return plan;
            }
        };
        for (volume, labels) in volumes.iter().zip(wanted(&*self.cloud, &volumes).await) {
            let object = format!("persistentvolume {}", volume.name());
            match labels {
                Ok(labels) => {
                    for (key, value) in labels::missing(volume, &labels) {
                        plan.cluster(&object, format!("set label {key}={value}"));
                    }
                    if lacks_affinity(volume, &labels) {
                        plan.cluster(&object, "set node affinity");
                    }
                }
                Err(error) => plan.error(object, error),
            }
        }
        plan
    }
}

/// Whether a volume needs no look-up: it is on its way out, gets no labels, or is as it shall be by what it says itself or
/// the cloud said before.
fn is_settled(volume: &PersistentVolume, told: Option<&Labels>) -> bool {
    volume.is_terminating()
        || match labels::origin(volume) {
            Origin::None => true,
            Origin::Own(labels) => is_complete(volume, &labels),
            Origin::Cloud => told.is_some_and(|labels| is_complete(volume, labels)),
        }
}

/// Whether nothing is to be written.
fn is_complete(volume: &PersistentVolume, labels: &Labels) -> bool {
    labels::missing(volume, labels).is_empty() && !lacks_affinity(volume, labels)
}

/// Whether an affinity can be set. One that is there cannot be changed.
fn lacks_affinity(volume: &PersistentVolume, labels: &Labels) -> bool {
    !labels.is_empty() && !volume.spec.has_node_affinity
}

fn about(volume: &PersistentVolume) -> Subject {
    Subject {
        api_version: "v1".into(),
        kind: "PersistentVolume".into(),
        namespace: None,
        name: volume.name().into(),
        uid: volume.uid().into(),
    }
}

fn lock(told: &Mutex<HashMap<String, Labels>>) -> MutexGuard<'_, HashMap<String, Labels>> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}
