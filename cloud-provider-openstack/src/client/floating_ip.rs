//! Floating IPs, in Neutron.

use std::collections::BTreeMap;

use cloud_provider::error::Result;
use serde::{Deserialize, Serialize, de::IgnoredAny};

use super::{Client, Service};

const FLOATING_IPS: &str = "floatingips";

/// A floating IP.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct FloatingIp {
    /// The ID.
    pub id: String,
    /// The address.
    pub floating_ip_address: String,
    /// The port that it leads to.
    #[serde(default)]
    pub port_id: Option<String>,
    /// The description.
    #[serde(default)]
    pub description: Option<String>,
}

impl FloatingIp {
    /// Whether it leads to that port.
    pub fn leads_to(&self, port: Option<&str>) -> bool {
        port.is_some() && self.port_id.as_deref() == port
    }

    /// Whether it leads nowhere.
    pub fn is_free(&self) -> bool {
        self.port_id.as_deref().unwrap_or_default().is_empty()
    }
}

/// A floating IP to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct NewFloatingIp {
    /// The external network.
    pub floating_network_id: String,
    /// The port that it leads to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_id: Option<String>,
    /// The description.
    pub description: String,
    /// The subnet that it shall be in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subnet_id: Option<String>,
    /// The address that is asked for; usually an administrator's right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floating_ip_address: Option<String>,
}

#[derive(Deserialize)]
struct One {
    floatingip: FloatingIp,
}

#[derive(Serialize)]
struct Port<'a> {
    port_id: Option<&'a str>,
}

impl Client {
    /// The floating IPs that lead to a port. Filters are applied here too: what they let through may be deleted.
    pub async fn floating_ips_of(&self, port: &str) -> Result<Vec<FloatingIp>> {
        let mut found = self.floating_ips_by(("port_id", port)).await?;
        found.retain(|it| it.port_id.as_deref() == Some(port));
        Ok(found)
    }

    /// The floating IPs with that address, in whichever network.
    pub async fn floating_ips_at(&self, address: &str) -> Result<Vec<FloatingIp>> {
        let mut found = self.floating_ips_by(("floating_ip_address", address)).await?;
        found.retain(|it| it.floating_ip_address == address);
        Ok(found)
    }

    /// The floating IPs with that description.
    pub async fn floating_ips_described(&self, description: &str) -> Result<Vec<FloatingIp>> {
        let mut found = self.floating_ips_by(("description", description)).await?;
        found.retain(|it| it.description.as_deref() == Some(description));
        Ok(found)
    }

    async fn floating_ips_by(&self, filter: (&str, &str)) -> Result<Vec<FloatingIp>> {
        self.list(Service::Network, "floating_ip_list", &[FLOATING_IPS], FLOATING_IPS, &[filter]).await
    }

    /// All floating IPs that there are.
    pub async fn all_floating_ips(&self) -> Result<Vec<FloatingIp>> {
        self.list(Service::Network, "floating_ip_list", &[FLOATING_IPS], FLOATING_IPS, &[]).await
    }

    /// Makes a floating IP.
    pub async fn create_floating_ip(&self, new: &NewFloatingIp) -> Result<FloatingIp> {
        let body = BTreeMap::from([("floatingip", new)]);
        Ok(self.post::<One>(Service::Network, "floating_ip_create", &[FLOATING_IPS], &body).await?.floatingip)
    }

    /// Lets a floating IP lead to a port, or nowhere. Nowhere is told by an explicit null.
    pub async fn move_floating_ip(&self, id: &str, port: Option<&str>) -> Result<()> {
        let body = BTreeMap::from([("floatingip", Port { port_id: port })]);
        let path = [FLOATING_IPS, id];
        self.put::<IgnoredAny>(Service::Network, "floating_ip_update", &path, &body).await.map(drop)
    }

    /// Deletes a floating IP. False where it was gone already.
    pub async fn delete_floating_ip(&self, id: &str) -> Result<bool> {
        self.delete(Service::Network, "floating_ip_delete", &[FLOATING_IPS, id], &[]).await
    }
}
