//! The zones of the region.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::failure::Failure;
use crate::client::{Client, ec2_types::Zone};

/// How long zones that the region does not list are not asked for again.
const UNLISTED: Duration = Duration::from_secs(5 * 60);

/// The zones of the region, read when one is asked for that is not known yet, and kept for good: zones do not change.
pub struct Zones {
    client: Client,
    known: Mutex<Known>,
    reading: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    zones: HashMap<String, Zone>,
    read: Option<Instant>,
}

impl Zones {
    /// Zones that are not known yet.
    pub fn new(client: Client) -> Self {
        Self { client, known: Mutex::default(), reading: tokio::sync::Mutex::default() }
    }

    /// The zones with these names; those that the region does not list are left out.
    ///
    /// # Errors
    ///
    /// When they could not be read.
    pub async fn get(&self, names: &[&str]) -> cloud_provider::error::Result<HashMap<String, Zone>> {
        self.look_up(names).await.map_err(|failure| failure.to_error("read the availability zones"))
    }

    pub(super) async fn look_up(&self, names: &[&str]) -> Result<HashMap<String, Zone>, Failure> {
        if let Some(zones) = self.known(names) {
            return Ok(zones);
        }
        let _reading = self.reading.lock().await;
        if let Some(zones) = self.known(names) {
            return Ok(zones);
        }
        let zones = self.client.availability_zones().await.map_err(|error| Failure::from(&error))?;
        {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.zones.extend(zones.into_iter().map(|zone| (zone.name.clone(), zone)));
            known.read = Some(Instant::now());
        }
        Ok(self.known(names).unwrap_or_default())
    }

    /// The zones that are known; `None` when it is time to read them again for those that are not.
    fn known(&self, names: &[&str]) -> Option<HashMap<String, Zone>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found: HashMap<_, _> =
            names.iter().filter_map(|&name| Some((name.to_owned(), known.zones.get(name)?.clone()))).collect();
        let all = names.iter().all(|&name| found.contains_key(name));
        let lately = known.read.is_some_and(|read| read.elapsed() < UNLISTED);
        (all || lately).then_some(found)
    }
}
