//! Certificates, in Barbican.

use cloud_provider::error::Result;
use serde::de::IgnoredAny;

use super::{Client, Service};

/// Where a certificate is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// With key and intermediates, in a container.
    Container,
    /// In a secret of its own, as PKCS12.
    Secret,
}

impl Store {
    /// The name in URLs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Container => "containers",
            Self::Secret => "secrets",
        }
    }
}

impl Client {
    /// Looks whether a container or secret is there.
    ///
    /// # Errors
    ///
    /// [`NotFound`](cloud_provider::Kind::NotFound) where it is not, or may not be seen.
    pub async fn certificate(&self, store: Store, id: &str) -> Result<()> {
        let path = [store.as_str(), id];
        self.get::<IgnoredAny>(Service::KeyManager, "!secret_get", &path, &[]).await.map(drop)
    }
}
