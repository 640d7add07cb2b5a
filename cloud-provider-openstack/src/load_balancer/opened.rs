//! Which nodes are known to be open to a service's load balancer, so that not every round has to read all of their ports.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use cloud_provider::error::Result;
use tokio::time::Instant;

use super::{Octavia, firewall::Firewall};
use crate::client::{
    network::{Port, Subnet},
    security_group::SecurityGroup,
};

/// How long it is believed: somebody may have taken a group off a port.
const BELIEVED: Duration = Duration::from_secs(5 * 60);

/// The groups that all members had, by ID, since when that is known, and which members these were.
#[derive(Debug, Default)]
pub(super) struct Opened(Mutex<HashMap<String, (Instant, u64)>>);

impl Opened {
    /// Whether the members of `firewall` are known to have the group.
    pub(super) fn is_known(&self, group: &str, firewall: &Firewall, subnet: &Subnet) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.get(group).filter(|(since, _)| since.elapsed() < BELIEVED);
        known.is_some_and(|(_, members)| *members == members_of(firewall, subnet))
    }

    /// They have it.
    pub(super) fn note(&self, group: &str, firewall: &Firewall, subnet: &Subnet) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, (since, _)| since.elapsed() < BELIEVED);
        all.insert(group.to_owned(), (Instant::now(), members_of(firewall, subnet)));
    }
}

/// What decides which ports get the group.
fn members_of(firewall: &Firewall, subnet: &Subnet) -> u64 {
    let mut hasher = DefaultHasher::new();
    subnet.id.hash(&mut hasher);
    for backend in &firewall.backends {
        (&backend.server, &backend.address).hash(&mut hasher);
    }
    hasher.finish()
}

impl Octavia {
    /// The ports of members that may lack the group. They are read where the members changed, or were not looked at for a
    /// while; else there is none.
    pub(super) async fn ports_to_open(
        &self,
        firewall: &Firewall,
        group: Option<&SecurityGroup>,
        subnet: Option<&Subnet>,
    ) -> Result<Vec<Port>> {
        let known = group.zip(subnet);
        if known.is_some_and(|(group, subnet)| self.opened.is_known(&group.id, firewall, subnet)) {
            return Ok(Vec::new());
        }
        let servers: Vec<&str> = firewall.backends.iter().filter_map(|backend| backend.server.as_deref()).collect();
        if servers.is_empty() {
            return Ok(Vec::new());
        }
        let ports = self.client.ports_of(&servers).await?;
        if let Some((group, subnet)) =
            known.filter(|(group, subnet)| firewall.closed(&ports, subnet, Some(&group.id)).is_empty())
        {
            self.opened.note(&group.id, firewall, subnet);
        }
        Ok(ports)
    }
}
