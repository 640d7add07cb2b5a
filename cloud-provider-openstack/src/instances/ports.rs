//! The ports of servers, and those that reach them through trunks.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use cloud_provider::{error::Failure, snapshot::Snapshot};
use tokio::time::Instant;

use crate::client::{Client, compute::Server, network::Port};

/// After this time an answer is forgotten.
const FORGET: Duration = Duration::from_secs(15 * 60);

/// The ports of one server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerPorts {
    /// Its own, in Neutron's order.
    pub ports: Vec<Port>,
    /// Those of its trunks, with the names of their networks.
    pub sub_ports: Vec<(String, Port)>,
}

/// What is known of ports, by server.
pub struct KnownPorts {
    client: Client,
    servers: Snapshot<String, Arc<ServerPorts>>,
}

impl KnownPorts {
    /// Nothing is known yet.
    pub fn new(client: Client) -> Self {
        Self { client, servers: Snapshot::new(FORGET) }
    }

    /// The ports of a server from a read that began at `oldest` or later.
    pub fn of(&self, server: &str, oldest: Instant) -> Option<Arc<ServerPorts>> {
        self.servers.get(&server.to_owned(), oldest)
    }

    /// Makes sure that the ports of these servers are known from reads that began at `oldest` or later.
    ///
    /// # Errors
    ///
    /// When they cannot be read, for all of them. Ports of trunks that cannot be read are left out, as upstream does.
    pub async fn refresh(&self, servers: &[Arc<Server>], oldest: Instant) -> Result<(), Failure> {
        if self.missing(servers, oldest).is_empty() {
            return Ok(());
        }
        let _turn = self.servers.turn().await;
        let missing = self.missing(servers, oldest);
        let began = Instant::now();
        let read = self.read(&missing).await;
        let mut ports = read.map_err(|error| Failure::from(&error.context("read the ports of the servers")))?;
        let mut sub_ports = self.sub_ports(&ports).await;
        self.servers.insert(
            began,
            missing.into_iter().map(|server| {
                let ports = ports.remove(&server.id).unwrap_or_default();
                let trunks = ports.iter().filter_map(|port| port.trunk_details.as_ref());
                let ids = trunks.flat_map(|trunk| &trunk.sub_ports);
                let sub_ports = ids.filter_map(|sub| sub_ports.remove(&sub.port_id)).collect();
                (server.id.clone(), Arc::new(ServerPorts { ports, sub_ports }))
            }),
        );
        Ok(())
    }

    fn missing(&self, servers: &[Arc<Server>], oldest: Instant) -> Vec<Arc<Server>> {
        servers.iter().filter(|server| self.of(&server.id, oldest).is_none()).cloned().collect()
    }

    /// The ports of many servers: by the IDs of the servers, or all of the project, whichever are fewer calls.
    async fn read(&self, servers: &[Arc<Server>]) -> cloud_provider::error::Result<HashMap<String, Vec<Port>>> {
        let (by_server, by_listing) =
            self.client.requests_for_ports(servers.len(), self.servers.len().max(servers.len()));
        let mut found = HashMap::new();
        let mut rest: Vec<&str> = servers.iter().map(|server| server.id.as_str()).collect();
        let session = self.client.session().await?;
        if let Some(project) = session.project.as_ref().filter(|_| by_listing < by_server) {
            let wanted: HashSet<&str> = rest.iter().copied().collect();
            let listed = self.client.ports_of_project(project).await?;
            group(&mut found, listed.into_iter().filter(|port| wanted.contains(port.device_id.as_str())));
            // Ports of a server may be another project's; Nova's own view of the server tells.
            let complete = |server: &&Arc<Server>| found.get(&server.id).is_some_and(|ports| covers(ports, server));
            rest = servers.iter().filter(|server| !complete(server)).map(|server| server.id.as_str()).collect();
            for server in &rest {
                found.remove(*server);
            }
        }
        group(&mut found, self.client.ports_of(&rest).await?);
        Ok(found)
    }

    /// The ports of trunks with the names of their networks, by port. Whatever of them cannot be read is left out.
    async fn sub_ports(&self, ports: &HashMap<String, Vec<Port>>) -> HashMap<String, (String, Port)> {
        let trunks = ports.values().flatten().filter_map(|port| port.trunk_details.as_ref());
        let ids: Vec<&str> = trunks.flat_map(|trunk| &trunk.sub_ports).map(|sub| sub.port_id.as_str()).collect();
        if ids.is_empty() {
            return HashMap::new();
        }
        let found = async {
            let ports = self.client.ports_by_id(&ids).await?;
            let ids: HashSet<&str> = ports.iter().map(|port| port.network_id.as_str()).collect();
            let networks = self.client.networks_by_id(&ids.into_iter().collect::<Vec<_>>()).await?;
            let names: HashMap<String, String> =
                networks.into_iter().map(|network| (network.id, network.name)).collect();
            let named = ports.into_iter().filter_map(|port| {
                let name = names.get(&port.network_id)?.clone();
                Some((port.id.clone(), (name, port)))
            });
            Ok::<_, cloud_provider::Error>(named.collect())
        };
        found.await.unwrap_or_else(|error| {
            tracing::warn!(error = %error.chain(), "ports of trunks not read, their addresses are left out");
            HashMap::new()
        })
    }
}

fn group(found: &mut HashMap<String, Vec<Port>>, ports: impl IntoIterator<Item = Port>) {
    for port in ports {
        found.entry(port.device_id.clone()).or_default().push(port);
    }
}

/// Whether these ports hold all fixed addresses that Nova shows for the server.
fn covers(ports: &[Port], server: &Server) -> bool {
    let ip = |text: &str| text.parse::<IpAddr>().ok();
    let held: HashSet<IpAddr> =
        ports.iter().flat_map(|port| &port.fixed_ips).filter_map(|fixed| ip(&fixed.ip_address)).collect();
    let fixed = server.addresses.values().flatten().filter(|address| address.kind != "floating");
    fixed.filter_map(|address| ip(&address.address)).all(|address| held.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::network::FixedIp;

    #[test]
    fn ports_that_lack_an_address_that_nova_shows_are_not_all() {
        let server: Server = serde_json::from_str(
            r#"{"id": "1", "addresses": {"a": [{"addr": "10.0.0.1", "OS-EXT-IPS:type": "fixed"}, {"addr": "fd00::0:1"},
                {"addr": "192.0.2.1", "OS-EXT-IPS:type": "floating"}]}}"#,
        )
        .unwrap();
        let port = |address: &str| Port {
            fixed_ips: vec![FixedIp { ip_address: address.into(), subnet_id: String::new() }],
            ..Port::default()
        };
        assert!(covers(&[port("10.0.0.1"), port("fd00::1")], &server));
        assert!(!covers(&[port("10.0.0.1")], &server));
    }
}
