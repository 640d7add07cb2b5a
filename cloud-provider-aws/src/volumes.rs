//! Where EBS volumes are, for the labels of persistent volumes.
//!
//! Upstream had this in its in-tree days (`GetLabelsForVolume`); its own controller manager dropped it. Only volumes that
//! name a disk directly (`spec.awsElasticBlockStore`) are asked for: those of the EBS CSI driver bring a node affinity.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use async_trait::async_trait;
use cloud_provider::{
    Error,
    cloud::{Location, Volumes},
    cluster::objects::{PersistentVolume, VolumeSource},
    error::Result,
};

use crate::{
    client::{Client, ec2::VOLUMES},
    instances::failure::Failure,
};

/// The ID of an EBS volume, `vol-…`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VolumeId(String);

impl VolumeId {
    /// Reads all forms that were ever written into persistent volumes: `vol-…`, `aws://<zone>/vol-…` and
    /// `aws:///<zone>/vol-…`. The zone in them is not believed.
    pub fn parse(text: &str) -> Option<Self> {
        let path = text.strip_prefix("aws://").unwrap_or(text).trim_matches('/');
        let id = if text.starts_with("aws://") { path.rsplit('/').next()? } else { path };
        let is_id =
            id.strip_prefix("vol-").is_some_and(|rest| !rest.contains('/') && !rest.contains(char::is_whitespace));
        is_id.then(|| Self(id.to_owned()))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The EBS volumes of the region.
pub struct EbsVolumes {
    client: Client,
}

impl EbsVolumes {
    /// Volumes that `client` can see.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// The zones of these volumes, read by filter, so that a volume that does not exist is left out instead of failing
    /// the others.
    async fn zones(&self, ids: &BTreeSet<VolumeId>) -> HashMap<VolumeId, Result<String, Failure>> {
        let ids: Vec<&str> = ids.iter().map(VolumeId::as_str).collect();
        let mut zones = HashMap::new();
        for chunk in ids.chunks(VOLUMES) {
            match self.client.volume_zones(chunk).await {
                Ok(found) => zones.extend(found.into_iter().map(|(id, zone)| (VolumeId(id), Ok(zone)))),
                Err(error) => {
                    let failure = Failure::from(&error);
                    zones.extend(chunk.iter().map(|id| (VolumeId((*id).to_owned()), Err(failure.clone()))));
                }
            }
        }
        zones
    }

    fn location(&self, id: &VolumeId, zones: &HashMap<VolumeId, Result<String, Failure>>) -> Result<Location> {
        match zones.get(id) {
            Some(Ok(zone)) => Ok(Location {
                zones: BTreeSet::from([zone.clone()]),
                region: self.client.region().to_owned(),
                additional_labels: BTreeMap::new(),
            }),
            Some(Err(failure)) => Err(failure.to_error(format!("look up EBS volume {}", id.as_str()))),
            None => Err(Error::not_found(format!("there is no EBS volume {} in this region", id.as_str()))),
        }
    }
}

#[async_trait]
impl Volumes for EbsVolumes {
    /// One DescribeVolumes for up to 200 volumes.
    async fn locate(&self, volumes: &[Arc<PersistentVolume>]) -> Vec<Result<Option<Location>>> {
        let parsed: Vec<Option<(&str, Option<VolumeId>)>> = volumes
            .iter()
            .map(|volume| match &volume.spec.source {
                Some(VolumeSource::AwsElasticBlockStore { volume_id }) => {
                    Some((volume_id.as_str(), VolumeId::parse(volume_id)))
                }
                _ => None,
            })
            .collect();
        let wanted = parsed.iter().flatten().filter_map(|(_, id)| id.clone()).collect();
        let zones = self.zones(&wanted).await;
        let answer = |(text, id): (&str, Option<VolumeId>)| match id {
            Some(id) => self.location(&id, &zones),
            None => Err(Error::invalid(
                "spec.awsElasticBlockStore.volumeID",
                format!("Invalid format for AWS volume ({text})"),
            )),
        };
        parsed.into_iter().map(|volume| volume.map(answer).transpose()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_volume_id_is_read() {
        for text in
            ["vol-1234", "aws://us-east-1a/vol-1234", "aws:///us-east-1a/vol-1234", "aws:///vol-1234", "/vol-1234"]
        {
            assert_eq!(VolumeId::parse(text).as_ref().map(VolumeId::as_str), Some("vol-1234"), "{text}");
        }
        for text in ["", "i-1234", "vol", "us-east-1a/vol-1234", "gce://us-east-1a/vol-1234", "vol-12/34", "vol-12 34"]
        {
            assert_eq!(VolumeId::parse(text), None, "{text}");
        }
    }
}
