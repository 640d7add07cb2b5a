//! Cinder: volumes.

use cloud_provider::error::Result;
use serde::Deserialize;

use super::{Client, Service, compute::null_as_default};

/// A volume, as much of it as its labels need.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Volume {
    /// The ID.
    pub id: String,
    /// The availability zone; empty where there is none.
    #[serde(default, deserialize_with = "null_as_default")]
    pub availability_zone: String,
}

impl Client {
    /// One volume.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`](cloud_provider::Kind::NotFound) where Cinder says that there is none.
    pub async fn volume(&self, id: &str) -> Result<Volume> {
        #[derive(Deserialize)]
        struct Answer {
            volume: Volume,
        }
        Ok(self.get::<Answer>(Service::BlockStorage, "volume_get", &["volumes", id], &[]).await?.volume)
    }

    /// All volumes of the project.
    ///
    /// # Errors
    ///
    /// When a page fails.
    pub async fn volumes(&self) -> Result<Vec<Volume>> {
        self.list(Service::BlockStorage, "volume_list", &["volumes", "detail"], "volumes", &[("limit", "1000")]).await
    }
}
