//! Where volumes are, many at a time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use async_trait::async_trait;

use crate::{cluster::objects::PersistentVolume, error::Result};

/// The disks behind persistent volumes.
///
/// # Contract
///
/// - `locate` gives exactly one result per volume, in the order of `volumes`. One bad ID never fails its neighbours.
/// - `None` for a volume whose source belongs to another cloud, by its kind alone. A disk of this cloud that cannot be
///   found is an error: a volume is admitted or labelled only on a positive answer.
/// - Reads only. Admission of a volume waits for the answer, so one volume should cost one call.
/// - Volumes that wait for their disk, and volumes whose labels a provisioner vouches for, are never asked about.
///
/// Upstream: `PVLabeler.GetLabelsForVolume`, one volume at a time.
#[async_trait]
pub trait Volumes: Send + Sync {
    /// Says where the disks of `volumes` are.
    async fn locate(&self, volumes: &[Arc<PersistentVolume>]) -> Vec<Result<Option<Location>>>;
}

/// Where a disk is, and so where pods that use it have to run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Location {
    /// The zones that the disk can be attached in, as the nodes' zone labels spell them; several for a replicated disk,
    /// empty where the cloud or the disk has no zones.
    pub zones: BTreeSet<String>,
    /// The region; empty where there is none.
    pub region: String,
    /// More labels, of any key. Like zone and region they also become requirements on nodes, so the nodes that can use the
    /// disk must carry them.
    pub additional_labels: BTreeMap<String, String>,
}
