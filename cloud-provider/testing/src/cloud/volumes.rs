//! Disks, a page at a time. In this cloud they are called what `gcePersistentDisk` volumes name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use cloud_provider::cloud::{Location, Volumes};
use cloud_provider::cluster::objects::{PersistentVolume, VolumeSource};
use cloud_provider::error::{Error, Result};
use serde::{Deserialize, Serialize};

use super::backend::REGION;
use super::calls::{Client, Operation, Request, Terms};
use super::instances::again;
use super::model::Account;

/// How many disks one call names at most.
const PAGE: usize = 100;

/// Looks up disks by name.
pub(super) struct Disks {
    client: Client,
}

/// Disks by name, up to [`PAGE`] of them.
#[derive(Serialize, Deserialize)]
pub(super) struct DescribeDisks(Vec<String>);

impl Request for DescribeDisks {
    const PATH: &'static str = "describe-disks";
    /// The zones of each, or that there is no such disk.
    type Answer = Vec<Option<BTreeSet<String>>>;

    fn operation(&self) -> Operation {
        Operation::DescribeDisks
    }

    fn about(&self) -> String {
        format!("{} disks", self.0.len())
    }

    fn carry_out(&self, account: &mut Account, _: &Terms<'_>) -> Result<Self::Answer> {
        Ok(self.0.iter().map(|name| account.disks.get(name).cloned()).collect())
    }
}

impl Disks {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }
}

#[async_trait]
impl Volumes for Disks {
    async fn locate(&self, volumes: &[Arc<PersistentVolume>]) -> Vec<Result<Option<Location>>> {
        let names = volumes.iter().map(|volume| match &volume.spec.source {
            Some(VolumeSource::GcePersistentDisk { pd_name }) => Some(pd_name),
            _ => None,
        });
        let names: Vec<Option<&String>> = names.collect();
        let asked: Vec<usize> = (0..names.len()).filter(|&n| names[n].is_some()).collect();
        let mut answers = BTreeMap::new();
        for page in asked.chunks(PAGE) {
            let of_page = page.iter().filter_map(|&n| names[n].cloned()).collect();
            match self.client.send(&DescribeDisks(of_page)).await {
                Ok(found) => answers.extend(page.iter().copied().zip(found.into_iter().map(Ok))),
                Err(error) => answers.extend(page.iter().map(|&n| (n, Err(again(&error))))),
            }
        }
        let conclude = |(n, name): (usize, &Option<&String>)| {
            let Some(name) = name else { return Ok(None) };
            match answers.remove(&n) {
                Some(Ok(Some(zones))) => {
                    Ok(Some(Location { zones, region: REGION.to_owned(), additional_labels: BTreeMap::new() }))
                }
                Some(Ok(None)) => Err(Error::not_found(format!("there is no disk {name}"))),
                Some(Err(error)) => Err(error),
                None => Err(Error::transient(format!("the answer does not mention {name}"))),
            }
        };
        names.iter().enumerate().map(conclude).collect()
    }
}
