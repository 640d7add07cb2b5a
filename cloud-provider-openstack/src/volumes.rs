//! Where Cinder volumes are, for the labels of persistent volumes.
//!
//! Upstream had this in its in-tree days (`GetLabelsForVolume`). Only volumes that name a disk directly (`spec.cinder`) are asked
//! for: those of the Cinder CSI driver bring a node affinity.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use async_trait::async_trait;
use cloud_provider::{
    Error,
    cloud::{Location, Volumes},
    cluster::objects::{PersistentVolume, VolumeSource},
    error::{Failure, Result},
};
use futures::{StreamExt, stream};

use crate::{client::Client, instances::labels::zone};

/// From so many volumes on, all are listed.
const LISTED_FROM: usize = 20;
/// Reads of single volumes at the same time.
const IN_FLIGHT: usize = 5;

/// The volumes of the project.
pub struct CinderVolumes {
    client: Client,
}

impl CinderVolumes {
    /// Volumes that `client` can see.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// The zones of these volumes. A volume that does not exist is left out.
    async fn zones(&self, ids: BTreeSet<&str>) -> HashMap<String, Result<String, Failure>> {
        let mut zones = HashMap::new();
        let mut rest: Vec<String> = ids.into_iter().map(str::to_owned).collect();
        if rest.len() >= LISTED_FROM {
            match self.client.volumes().await {
                Ok(listed) => {
                    zones.extend(listed.into_iter().map(|volume| (volume.id, Ok(volume.availability_zone))));
                    // A volume of another project is in no listing.
                    rest.retain(|id| !zones.contains_key(id));
                }
                Err(error) => {
                    let failure = Failure::from(&error);
                    return rest.into_iter().map(|id| (id, Err(failure.clone()))).collect();
                }
            }
        }
        let read = |id: String| async move {
            let volume = self.client.volume(&id).await;
            (id, volume)
        };
        let read: Vec<_> = stream::iter(rest).map(read).buffer_unordered(IN_FLIGHT).collect().await;
        zones.extend(read.into_iter().filter_map(|(id, result)| match result {
            Ok(volume) => Some((id, Ok(volume.availability_zone))),
            Err(error) if error.is_not_found() => None,
            Err(error) => Some((id, Err(Failure::from(&error)))),
        }));
        zones
    }

    fn location(&self, id: &str, zones: &HashMap<String, Result<String, Failure>>) -> Result<Location> {
        match zones.get(id) {
            // As nodes spell it: a label that says otherwise would keep all pods away.
            Some(Ok(name)) => Ok(Location {
                zones: Some(zone(name)).into_iter().filter(|zone| !zone.is_empty()).collect(),
                region: self.client.region().to_owned(),
                additional_labels: BTreeMap::new(),
            }),
            Some(Err(failure)) => Err(failure.to_error(format!("look up Cinder volume {id}"))),
            None => Err(Error::not_found(format!("there is no Cinder volume {id}"))),
        }
    }
}

#[async_trait]
impl Volumes for CinderVolumes {
    /// One call for each volume; for many, a listing.
    async fn locate(&self, volumes: &[Arc<PersistentVolume>]) -> Vec<Result<Option<Location>>> {
        let id = |volume: &Arc<PersistentVolume>| match &volume.spec.source {
            Some(VolumeSource::Cinder { volume_id }) => Some(volume_id.clone()),
            _ => None,
        };
        let ids: Vec<Option<String>> = volumes.iter().map(id).collect();
        let known = ids.iter().flatten().map(String::as_str).filter(|id| !id.is_empty());
        let zones = self.zones(known.collect()).await;
        let answer = |id: String| match id.as_str() {
            "" => Err(Error::invalid("spec.cinder.volumeID", "a volume's ID is missing")),
            id => self.location(id, &zones),
        };
        ids.into_iter().map(|id| id.map(answer).transpose()).collect()
    }
}
