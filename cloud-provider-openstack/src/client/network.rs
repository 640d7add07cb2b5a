//! Neutron: ports, subnets, networks and routers.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicUsize, Ordering},
};

use cloud_provider::{
    error::Result,
    http::{self, HeaderValue, Method},
};
use futures::{StreamExt, stream};
use serde::{
    Deserialize, Serialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::json;

use super::{Client, Service, compute::null_as_default};

/// IDs in the query of one request, so that it stays below the 8 KB that most servers take.
const IDS: usize = 150;
/// Entries on one page of a list.
const PAGE: usize = 1_000;
/// Requests of one question at the same time.
const IN_FLIGHT: usize = 5;

/// A port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Port {
    /// The ID.
    pub id: String,
    /// The server, router or load balancer that it belongs to; empty where there is none.
    #[serde(deserialize_with = "null_as_default")]
    pub device_id: String,
    /// What kind of thing that is, such as `compute:nova`.
    #[serde(deserialize_with = "null_as_default")]
    pub device_owner: String,
    /// The network.
    #[serde(deserialize_with = "null_as_default")]
    pub network_id: String,
    /// Such as `ACTIVE` or `DOWN`.
    #[serde(deserialize_with = "null_as_default")]
    pub status: String,
    /// Its addresses.
    #[serde(deserialize_with = "null_as_default")]
    pub fixed_ips: Vec<FixedIp>,
    /// Its security groups.
    #[serde(deserialize_with = "null_as_default")]
    pub security_groups: Vec<String>,
    /// Other addresses that it may send from.
    #[serde(deserialize_with = "null_as_default")]
    pub allowed_address_pairs: Vec<AddressPair>,
    /// Absent where Neutron does not know port security.
    pub port_security_enabled: Option<bool>,
    /// For the header `If-Match`; absent in old Neutrons.
    pub revision_number: Option<u64>,
    /// Its tags.
    #[serde(deserialize_with = "null_as_default")]
    pub tags: Vec<String>,
    /// Where it is the parent of a trunk.
    pub trunk_details: Option<Trunk>,
}

/// A trunk: ports that reach a server through another one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Trunk {
    /// Them.
    #[serde(deserialize_with = "null_as_default")]
    pub sub_ports: Vec<SubPort>,
}

/// One of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SubPort {
    /// The ID of the port.
    pub port_id: String,
}

/// An address of a port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FixedIp {
    /// The address.
    pub ip_address: String,
    /// Its subnet.
    pub subnet_id: String,
}

/// Addresses that a port may send from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AddressPair {
    /// An address, or a network.
    pub ip_address: String,
    /// With this hardware address; absent means the port's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac_address: Option<String>,
}

/// A change of a port; what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PortUpdate {
    /// All its security groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_groups: Option<Vec<String>>,
    /// All its address pairs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_address_pairs: Option<Vec<AddressPair>>,
}

/// A subnet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Subnet {
    /// The ID.
    pub id: String,
    /// The name.
    #[serde(deserialize_with = "null_as_default")]
    pub name: String,
    /// Its network.
    #[serde(deserialize_with = "null_as_default")]
    pub network_id: String,
    /// Its addresses.
    #[serde(deserialize_with = "null_as_default")]
    pub cidr: String,
    /// 4 or 6.
    pub ip_version: u8,
    /// Its tags.
    #[serde(deserialize_with = "null_as_default")]
    pub tags: Vec<String>,
}

/// A network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Network {
    /// The ID.
    pub id: String,
    /// The name.
    #[serde(deserialize_with = "null_as_default")]
    pub name: String,
    /// The IDs of its subnets.
    #[serde(deserialize_with = "null_as_default")]
    pub subnets: Vec<String>,
    /// Whether it leads outside.
    #[serde(rename = "router:external", deserialize_with = "null_as_default")]
    pub external: bool,
}

/// A route of a router.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExtraRoute {
    /// Which addresses it is for.
    pub destination: String,
    /// The address that it leads to.
    pub nexthop: String,
}

/// A router.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Router {
    /// The ID.
    pub id: String,
    /// Its routes.
    #[serde(deserialize_with = "null_as_default")]
    pub routes: Vec<ExtraRoute>,
    /// For the header `If-Match`; absent in old Neutrons.
    pub revision_number: Option<u64>,
}

/// How extra routes are changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteChange {
    /// `add_extraroutes`
    Add,
    /// `remove_extraroutes`
    Remove,
}

macro_rules! wrapped {
    ($name:ident { $field:ident : $type:ty }) => {
        #[derive(Deserialize)]
        struct $name {
            $field: $type,
        }
    };
}
wrapped!(OnePort { port: Port });
wrapped!(OneSubnet { subnet: Subnet });
wrapped!(OneNetwork { network: Network });
wrapped!(OneRouter { router: Router });

/// How many IDs go into one request: less once a server has said that a URL is too long.
#[derive(Debug)]
pub(super) struct BatchSize(AtomicUsize);

impl Default for BatchSize {
    fn default() -> Self {
        Self(AtomicUsize::new(IDS))
    }
}

impl Client {
    /// The ports that match `filters`.
    ///
    /// # Errors
    ///
    /// When a page fails.
    pub async fn ports(&self, filters: &[(&str, &str)]) -> Result<Vec<Port>> {
        self.list(Service::Network, "port_list", &["ports"], "ports", filters).await
    }

    /// All ports of a project.
    ///
    /// # Errors
    ///
    /// When a page fails.
    pub async fn ports_of_project(&self, project: &str) -> Result<Vec<Port>> {
        self.ports(&[("project_id", project), ("limit", &PAGE.to_string())]).await
    }

    /// The ports of these servers, many with one request.
    ///
    /// # Errors
    ///
    /// When a request fails.
    pub async fn ports_of(&self, devices: &[&str]) -> Result<Vec<Port>> {
        self.of_many("port_list", "ports", "device_id", devices).await
    }

    /// The ports with these IDs, many with one request; those that do not exist are left out.
    ///
    /// # Errors
    ///
    /// When a request fails.
    pub async fn ports_by_id(&self, ids: &[&str]) -> Result<Vec<Port>> {
        self.of_many("port_list", "ports", "id", ids).await
    }

    /// The networks with these IDs, many with one request; those that do not exist are left out.
    ///
    /// # Errors
    ///
    /// When a request fails.
    pub async fn networks_by_id(&self, ids: &[&str]) -> Result<Vec<Network>> {
        self.of_many("network_list", "networks", "id", ids).await
    }

    /// How many requests [`ports_of`](Self::ports_of) needs for so many servers, and a listing for so many ports.
    pub(crate) fn requests_for_ports(&self, servers: usize, ports: usize) -> (usize, usize) {
        // The last page of a listing is only known as such when it is not full.
        (servers.div_ceil(self.0.batch.0.load(Ordering::Relaxed)), ports / PAGE + 1)
    }

    /// A list, filtered by many values of one field.
    async fn of_many<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        key: &'static str,
        field: &'static str,
        values: &[&str],
    ) -> Result<Vec<T>> {
        // A filter that is empty is none, and would give everything.
        let values: Vec<String> =
            values.iter().filter(|value| !value.is_empty()).map(|&value| value.to_owned()).collect();
        let size = self.0.batch.0.load(Ordering::Relaxed);
        let mut waiting: Vec<Vec<String>> = values.chunks(size).map(<[_]>::to_vec).collect();
        let mut all = Vec::new();
        while !waiting.is_empty() {
            let read = |batch: Vec<String>| async move {
                let filters: Vec<(&str, &str)> = batch.iter().map(|value| (field, value.as_str())).collect();
                let found = self.list::<T>(Service::Network, operation, &[key], key, &filters).await;
                (batch, found)
            };
            let results = stream::iter(std::mem::take(&mut waiting)).map(read).buffer_unordered(IN_FLIGHT);
            for (batch, result) in results.collect::<Vec<_>>().await {
                match result {
                    Ok(found) => all.extend(found),
                    Err(error) if is_too_long(&error) && batch.len() > 1 => {
                        let half = batch.len().div_ceil(2);
                        self.0.batch.0.fetch_min(half, Ordering::Relaxed);
                        waiting.extend(batch.chunks(half).map(<[_]>::to_vec));
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(all)
    }

    /// One port.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub async fn port(&self, id: &str) -> Result<Port> {
        Ok(self.get::<OnePort>(Service::Network, "port_get", &["ports", id], &[]).await?.port)
    }

    /// Changes a port. With `revision`, of a port that was read, the change fails with
    /// [`Kind::Conflict`](cloud_provider::Kind::Conflict) where somebody else has changed the port since.
    ///
    /// # Errors
    ///
    /// When that fails.
    pub async fn update_port(&self, id: &str, update: &PortUpdate, revision: Option<u64>) -> Result<()> {
        let mut request = self.request(Service::Network, "port_update", Method::PUT, &["ports", id]).await?;
        if let Some(condition) = revision.and_then(if_match) {
            // A second attempt after one that was carried out would fail.
            request = request.header(http::header::IF_MATCH, condition).idempotent(false);
        }
        self.send(request.json(&json!({ "port": update }))?).await.map(drop)
    }

    /// The subnets that match `filters`.
    ///
    /// # Errors
    ///
    /// When a page fails.
    pub async fn subnets(&self, filters: &[(&str, &str)]) -> Result<Vec<Subnet>> {
        self.list(Service::Network, "subnet_list", &["subnets"], "subnets", filters).await
    }

    /// One subnet.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub async fn subnet(&self, id: &str) -> Result<Subnet> {
        Ok(self.get::<OneSubnet>(Service::Network, "subnet_get", &["subnets", id], &[]).await?.subnet)
    }

    /// The networks that match `filters`.
    ///
    /// # Errors
    ///
    /// When a page fails.
    pub async fn networks(&self, filters: &[(&str, &str)]) -> Result<Vec<Network>> {
        self.list(Service::Network, "network_list", &["networks"], "networks", filters).await
    }

    /// One network.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub async fn network(&self, id: &str) -> Result<Network> {
        Ok(self.get::<OneNetwork>(Service::Network, "network_get", &["networks", id], &[]).await?.network)
    }

    /// The aliases of Neutron's extensions.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    pub async fn extensions(&self) -> Result<HashSet<String>> {
        #[derive(Deserialize)]
        struct Extension {
            alias: String,
        }
        let list =
            self.list::<Extension>(Service::Network, "network_extension_list", &["extensions"], "extensions", &[]);
        Ok(list.await?.into_iter().map(|extension| extension.alias).collect())
    }

    /// One router.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub async fn router(&self, id: &str) -> Result<Router> {
        Ok(self.get::<OneRouter>(Service::Network, "router_get", &["routers", id], &[]).await?.router)
    }

    /// Replaces all routes of a router. With `revision`, of the router as it was read, it fails with
    /// [`Kind::Conflict`](cloud_provider::Kind::Conflict) where somebody else has changed the router since.
    ///
    /// # Errors
    ///
    /// When that fails.
    pub async fn replace_routes(&self, id: &str, routes: &[ExtraRoute], revision: Option<u64>) -> Result<()> {
        let mut request = self.request(Service::Network, "router_update", Method::PUT, &["routers", id]).await?;
        if let Some(condition) = revision.and_then(if_match) {
            request = request.header(http::header::IF_MATCH, condition).idempotent(false);
        }
        self.send(request.json(&json!({"router": {"routes": routes}}))?).await.map(drop)
    }

    /// Adds routes to a router, or takes them away, whatever other routes it has.
    ///
    /// # Errors
    ///
    /// When that fails.
    pub async fn change_routes(&self, id: &str, change: RouteChange, routes: &[ExtraRoute]) -> Result<()> {
        let action = match change {
            RouteChange::Add => "add_extraroutes",
            RouteChange::Remove => "remove_extraroutes",
        };
        let body = json!({"router": {"routes": routes}});
        self.put::<IgnoredAny>(Service::Network, "router_update", &["routers", id, action], &body).await.map(drop)
    }
}

fn if_match(revision: u64) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!("revision_number={revision}")).ok()
}

fn is_too_long(error: &cloud_provider::Error) -> bool {
    let status = http::Error::of(error).and_then(http::Error::status);
    status.is_some_and(|status| matches!(status.as_u16(), 414 | 431))
}
