//! Nova: servers and flavors.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use cloud_provider::{
    Error,
    error::Result,
    http::{self, HeaderName, HeaderValue, Method, Request},
};
use serde::{Deserialize, Deserializer};

use super::{Client, Service};

/// Servers on one page of a listing; Nova's own limit, unless it is configured lower.
pub const PAGE: usize = 1_000;
/// From this microversion on a server names its flavor, which else costs a call for each flavor.
const MICROVERSION: &str = "2.47";
const MICROVERSION_HEADER: HeaderName = HeaderName::from_static("x-openstack-nova-api-version");
/// Flavors that are remembered.
const FLAVORS: usize = 1_000;

/// A server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Server {
    /// The ID.
    pub id: String,
    /// The name.
    #[serde(default, deserialize_with = "null_as_default")]
    pub name: String,
    /// Such as `ACTIVE` or `SHUTOFF`.
    #[serde(default, deserialize_with = "null_as_default")]
    pub status: String,
    /// `accessIPv4`; empty where there is none.
    #[serde(default, rename = "accessIPv4", deserialize_with = "null_as_default")]
    pub access_ipv4: String,
    /// `accessIPv6`; empty where there is none.
    #[serde(default, rename = "accessIPv6", deserialize_with = "null_as_default")]
    pub access_ipv6: String,
    /// Addresses by the names of their networks.
    #[serde(default, deserialize_with = "null_as_default")]
    pub addresses: BTreeMap<String, Vec<ServerAddress>>,
    /// The flavor.
    #[serde(default, deserialize_with = "null_as_default")]
    pub flavor: ServerFlavor,
    /// The server's metadata, as much of it as is used.
    #[serde(default, deserialize_with = "null_as_default")]
    pub metadata: ServerMetadata,
    /// The availability zone; empty where there is none.
    #[serde(default, rename = "OS-EXT-AZ:availability_zone", deserialize_with = "null_as_default")]
    pub zone: String,
}

/// An address of a server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ServerAddress {
    /// The address.
    #[serde(rename = "addr")]
    pub address: String,
    /// `fixed` or `floating`.
    #[serde(default, rename = "OS-EXT-IPS:type", deserialize_with = "null_as_default")]
    pub kind: String,
}

/// What a server says about its flavor: an ID, and from microversion 2.47 on the name instead.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct ServerFlavor {
    /// The ID.
    #[serde(default)]
    pub id: Option<String>,
    /// The name, at the time when the server was made.
    #[serde(default)]
    pub original_name: Option<String>,
}

/// The metadata that is used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct ServerMetadata {
    /// The host name; empty where there is none.
    #[serde(default, deserialize_with = "null_as_default")]
    pub hostname: String,
}

/// Names of flavors that were read, and whether the microversion is too new for this Nova.
#[derive(Debug, Default)]
pub(super) struct FlavorNames {
    names: Mutex<HashMap<String, String>>,
    no_microversion: AtomicBool,
}

pub(super) fn null_as_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Client {
    /// One server by its ID.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`](cloud_provider::error::Kind::NotFound) where Nova says that there is none.
    pub async fn server(&self, id: &str) -> Result<Server> {
        #[derive(Deserialize)]
        struct Answer {
            server: Server,
        }
        let request = self.request(Service::Compute, "server_get", Method::GET, &["servers", id]).await?;
        let read = |request| async move { Ok(self.send(request).await?.json::<Answer>()?) };
        Ok(self.with_microversion(request, read).await?.server)
    }

    /// All servers of the project.
    ///
    /// # Errors
    ///
    /// When one of the pages fails.
    pub async fn servers(&self) -> Result<Vec<Server>> {
        self.list_servers(&[("limit", &PAGE.to_string())]).await
    }

    /// The servers with exactly this name, as far as the database of this Nova tells names apart.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    pub async fn servers_named(&self, name: &str) -> Result<Vec<Server>> {
        self.list_servers(&[("name", &exactly(name))]).await
    }

    async fn list_servers(&self, query: &[(&str, &str)]) -> Result<Vec<Server>> {
        let request = self.request(Service::Compute, "server_list", Method::GET, &["servers", "detail"]).await?;
        let request = request.query(query.iter().copied());
        self.with_microversion(request, |request| self.all(request, "servers")).await
    }

    /// Asks with the microversion, and without it once Nova has said that it does not know it.
    async fn with_microversion<T, F>(&self, request: Request, send: impl Fn(Request) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let refused = &self.0.names.no_microversion;
        if !refused.load(Ordering::Relaxed) {
            let newer = request.clone().header(MICROVERSION_HEADER, HeaderValue::from_static(MICROVERSION));
            match send(newer).await {
                Err(error) if status(&error) == Some(406) => refused.store(true, Ordering::Relaxed),
                result => return result,
            }
        }
        send(request).await
    }

    /// The ID of the flavor of a server, which only older microversions tell, by the flavor's name remembered.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or Nova does not tell it.
    pub async fn flavor_id(&self, server: &str, name: &str) -> Result<String> {
        #[derive(Deserialize)]
        struct Answer {
            server: Server,
        }
        let key = format!("name {name}");
        let names = || self.0.names.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = names().get(&key) {
            return Ok(id.clone());
        }
        let answer: Answer = self.get(Service::Compute, "server_get", &["servers", server], &[]).await?;
        let id = answer.server.flavor.id;
        let id = id.ok_or_else(|| Error::transient(format!("Nova does not tell the flavor of server {server}")))?;
        self.0.names.remember(key, id.clone());
        Ok(id)
    }

    /// The name of a flavor, read once: flavors do not change.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub async fn flavor_name(&self, id: &str) -> Result<String> {
        #[derive(Deserialize)]
        struct Answer {
            flavor: Flavor,
        }
        #[derive(Deserialize)]
        struct Flavor {
            name: String,
        }
        let names = || self.0.names.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = names().get(id) {
            return Ok(name.clone());
        }
        let answer: Answer = self.get(Service::Compute, "flavor_get", &["flavors", id], &[]).await?;
        self.0.names.remember(id.to_owned(), answer.flavor.name.clone());
        Ok(answer.flavor.name)
    }
}

impl FlavorNames {
    fn remember(&self, key: String, value: String) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() >= FLAVORS {
            names.clear();
        }
        names.insert(key, value);
    }
}

/// The pattern of one name alone, quoted as upstream quotes it.
fn exactly(name: &str) -> String {
    let mut pattern = String::from("^");
    for c in name.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern + "$"
}

fn status(error: &cloud_provider::Error) -> Option<u16> {
    Some(http::Error::of(error)?.status()?.as_u16())
}

impl Server {
    /// Whether it is shut down. Upstream knows no other status that is.
    pub fn is_shut_down(&self) -> bool {
        self.status == "SHUTOFF"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_4_2_names_are_quoted() {
        assert_eq!(exactly("node-1.a+b"), r"^node-1\.a\+b$");
        assert_eq!(exactly(r"a\(b)"), r"^a\\\(b\)$");
    }

    #[test]
    fn servers_of_old_and_new_microversions_are_read_and_nulls_are_nothing() {
        let old = r#"{"id": "1", "name": "a", "status": "ACTIVE", "flavor": {"id": "f", "links": []}, "accessIPv4": null,
            "addresses": {"n": [{"addr": "10.0.0.1", "version": 4, "OS-EXT-IPS:type": "fixed"}, {"addr": "x"}]},
            "metadata": {"hostname": "h", "other": "o"}, "OS-EXT-AZ:availability_zone": "nova"}"#;
        let server: Server = serde_json::from_str(old).unwrap();
        assert_eq!(server.flavor.id.as_deref(), Some("f"));
        assert_eq!((server.addresses["n"].len(), server.metadata.hostname.as_str()), (2, "h"));
        let new = r#"{"id": "1", "flavor": {"original_name": "m1.small", "vcpus": 1}, "name": null, "addresses": null, "metadata": null}"#;
        let server: Server = serde_json::from_str(new).unwrap();
        assert_eq!(server.flavor.original_name.as_deref(), Some("m1.small"));
        assert!(!server.is_shut_down());
    }
}
