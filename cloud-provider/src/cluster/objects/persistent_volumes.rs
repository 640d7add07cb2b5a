//! Persistent volumes, trimmed to what labelling reads.

use std::borrow::Cow;

use k8s_openapi::ClusterResourceScope;
use kube::core::ObjectMeta;
use serde::{Deserialize, Deserializer, de::IgnoredAny};

use super::{Object, trimmed_meta};

/// A persistent volume.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct PersistentVolume {
    /// Name, UID, resource version, times, labels, annotations; nothing else.
    #[serde(deserialize_with = "trimmed_meta")]
    pub metadata: ObjectMeta,
    /// The volume's spec.
    pub spec: PersistentVolumeSpec,
}

/// The part of a persistent volume's spec that is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PersistentVolumeSpec {
    /// The disk, where it is of a kind that names a cloud's disk directly. `None` for all others, CSI volumes included.
    pub source: Option<VolumeSource>,
    /// Whether `spec.nodeAffinity` is set.
    pub has_node_affinity: bool,
}

/// A disk of a cloud, as a persistent volume names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeSource {
    /// `spec.awsElasticBlockStore`
    AwsElasticBlockStore {
        /// `vol-…`, or `aws://zone/vol-…`.
        volume_id: String,
    },
    /// `spec.gcePersistentDisk`
    GcePersistentDisk {
        /// The name of the disk.
        pd_name: String,
    },
    /// `spec.azureDisk`
    AzureDisk {
        /// The name of the disk.
        disk_name: String,
        /// Its resource ID, or the URL of its blob.
        disk_uri: String,
        /// `Shared`, `Dedicated` or `Managed`.
        kind: String,
    },
    /// `spec.cinder`
    Cinder {
        /// The UUID of the volume.
        volume_id: String,
    },
    /// `spec.vsphereVolume`
    VsphereVolume {
        /// `[datastore] folder/disk.vmdk`
        volume_path: String,
    },
}

impl VolumeSource {
    /// What names the disk within its kind.
    pub fn id(&self) -> &str {
        match self {
            Self::AwsElasticBlockStore { volume_id } | Self::Cinder { volume_id } => volume_id,
            Self::GcePersistentDisk { pd_name } => pd_name,
            Self::AzureDisk { disk_name, .. } => disk_name,
            Self::VsphereVolume { volume_path } => volume_path,
        }
    }
}

impl<'de> Deserialize<'de> for PersistentVolumeSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        struct Ebs {
            #[serde(rename = "volumeID")]
            volume_id: String,
        }
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        struct Gce {
            pd_name: String,
        }
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        struct Azure {
            disk_name: String,
            #[serde(rename = "diskURI")]
            disk_uri: String,
            kind: String,
        }
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        struct Vsphere {
            volume_path: String,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Fields {
            aws_elastic_block_store: Option<Ebs>,
            gce_persistent_disk: Option<Gce>,
            azure_disk: Option<Azure>,
            cinder: Option<Ebs>,
            vsphere_volume: Option<Vsphere>,
            node_affinity: Option<IgnoredAny>,
        }
        let fields = Fields::deserialize(deserializer)?;
        // A volume has exactly one source; the API server sees to that.
        let ebs =
            fields.aws_elastic_block_store.map(|ebs| VolumeSource::AwsElasticBlockStore { volume_id: ebs.volume_id });
        let gce = fields.gce_persistent_disk.map(|gce| VolumeSource::GcePersistentDisk { pd_name: gce.pd_name });
        let azure = fields.azure_disk.map(|Azure { disk_name, disk_uri, kind }| VolumeSource::AzureDisk {
            disk_name,
            disk_uri,
            kind,
        });
        let cinder = fields.cinder.map(|cinder| VolumeSource::Cinder { volume_id: cinder.volume_id });
        let vsphere = fields.vsphere_volume.map(|disk| VolumeSource::VsphereVolume { volume_path: disk.volume_path });
        let source = ebs.or(gce).or(azure).or(cinder).or(vsphere);
        Ok(Self { source, has_node_affinity: fields.node_affinity.is_some() })
    }
}

resource!(PersistentVolume, ClusterResourceScope, "PersistentVolume", "persistentvolumes");

impl PersistentVolume {
    /// The volume's name.
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_kind_of_disk_is_read_and_other_volumes_have_no_source() {
        let volume_id = || "1".to_owned();
        for (spec, source) in [
            (
                json!({"awsElasticBlockStore": {"volumeID": "1", "fsType": "ext4"}}),
                Some(VolumeSource::AwsElasticBlockStore { volume_id: volume_id() }),
            ),
            (
                json!({"gcePersistentDisk": {"pdName": "1"}}),
                Some(VolumeSource::GcePersistentDisk { pd_name: volume_id() }),
            ),
            (
                json!({"azureDisk": {"diskName": "1", "diskURI": "/d/1", "kind": "Managed"}}),
                Some(VolumeSource::AzureDisk {
                    disk_name: volume_id(),
                    disk_uri: "/d/1".into(),
                    kind: "Managed".into(),
                }),
            ),
            (json!({"cinder": {"volumeID": "1"}}), Some(VolumeSource::Cinder { volume_id: volume_id() })),
            (
                json!({"vsphereVolume": {"volumePath": "1"}}),
                Some(VolumeSource::VsphereVolume { volume_path: volume_id() }),
            ),
            (json!({"csi": {"driver": "ebs.csi.aws.com", "volumeHandle": "1"}}), None),
            (json!({}), None),
        ] {
            let volume: PersistentVolume =
                serde_json::from_value(json!({"metadata": {"name": "a"}, "spec": spec})).unwrap();
            assert_eq!(volume.spec, PersistentVolumeSpec { source, has_node_affinity: false });
            assert_eq!(volume.spec.source.as_ref().map_or("1", VolumeSource::id), "1");
        }
    }

    #[test]
    fn an_affinity_counts_when_it_is_not_null() {
        for (affinity, is_set) in
            [(json!(null), false), (json!({}), true), (json!({"required": {"nodeSelectorTerms": []}}), true)]
        {
            let volume: PersistentVolume =
                serde_json::from_value(json!({"metadata": {}, "spec": {"nodeAffinity": affinity}})).unwrap();
            assert_eq!(volume.spec.has_node_affinity, is_set);
        }
    }
}
