//! Who has which address: allocation pools, and what is taken in a subnet.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use serde_json::{Value, json};

use crate::{
    document::{Document, Fields as _, objects},
    error::ApiError,
    seed::address_after,
    state::State,
};

impl State {
    /// The addresses of all ports in a subnet.
    fn taken_addresses(&self, subnet: &str) -> BTreeSet<IpAddr> {
        let fixed = self.ports.values().flat_map(|port| objects(port, "fixed_ips"));
        fixed
            .filter(|fixed| fixed.text("subnet_id") == subnet)
            .filter_map(|fixed| fixed.text("ip_address").parse().ok())
            .collect()
    }

    /// The free addresses of a subnet's allocation pools, in order.
    pub(crate) fn free_addresses(&self, subnet: &str) -> impl Iterator<Item = IpAddr> + use<> {
        let pools: Vec<(IpAddr, IpAddr)> = self
            .subnets
            .get(subnet)
            .into_iter()
            .flat_map(|subnet| objects(subnet, "allocation_pools"))
            .filter_map(|pool| Some((pool.text("start").parse().ok()?, pool.text("end").parse().ok()?)))
            .collect();
        let taken = self.taken_addresses(subnet);
        let in_order = pools.into_iter().flat_map(|(first, last)| {
            (0_u128..).map(move |number| address_after(first, number)).take_while(move |address| *address <= last)
        });
        in_order.filter(move |address| !taken.contains(address))
    }

    /// The subnet of a network that holds an address.
    pub(crate) fn subnet_with_address(&self, network: &str, address: &str) -> Option<&Document> {
        let address: IpAddr = address.parse().ok()?;
        self.subnets
            .with("network_id", network)
            .find(|subnet| subnet.text("cidr").parse::<IpNet>().is_ok_and(|cidr| cidr.contains(&address)))
    }

    /// Whether a port has an address.
    pub(super) fn is_taken(&self, subnet: &str, address: &str) -> bool {
        address.parse().is_ok_and(|address: IpAddr| self.taken_addresses(subnet).contains(&address))
    }

    /// The fixed IPs of a new or changed port: what was asked for, else one IPv4 and one IPv6 address of the network.
    /// Addresses in `kept` are the port's own.
    pub(crate) fn fixed_ips(
        &self,
        network: &str,
        asked: Option<&[Value]>,
        kept: &[Value],
    ) -> Result<Vec<Value>, ApiError> {
        let Some(asked) = asked else { return self.automatic_ips(network) };
        let mut fixed = Vec::new();
        for one in asked.iter().filter_map(Value::as_object) {
            fixed.push(self.fixed_ip(network, one, kept)?);
        }
        Ok(fixed)
    }

    fn automatic_ips(&self, network: &str) -> Result<Vec<Value>, ApiError> {
        let mut fixed = Vec::new();
        for version in [4, 6] {
            let mut subnets = self
                .subnets
                .with("network_id", network)
                .filter(|subnet| subnet.number("ip_version") == Some(version))
                .peekable();
            if subnets.peek().is_none() {
                continue;
            }
            let found = subnets.find_map(|subnet| {
                let id = subnet.text("id");
                self.free_addresses(id)
                    .next()
                    .map(|address| json!({ "subnet_id": id, "ip_address": address.to_string() }))
            });
            fixed.push(found.ok_or_else(|| exhausted(network))?);
        }
        Ok(fixed)
    }

    fn fixed_ip(&self, network: &str, asked: &Document, kept: &[Value]) -> Result<Value, ApiError> {
        let (subnet, address) = (asked.text("subnet_id"), asked.text("ip_address"));
        let subnet = match (subnet, address) {
            ("", "") => {
                return Err(ApiError::bad_request(
                    "Invalid input for fixed_ips. Reason: 'ip_address' or 'subnet_id' is needed",
                ));
            }
            ("", address) => self.subnet_with_address(network, address).ok_or_else(|| {
                let text =
                    format!("IP address {address} is not a valid IP for any of the subnets on the specified network.");
                ApiError::of(400, "InvalidIpForNetwork", text)
            })?,
            (subnet, _) => {
                let missing = || ApiError::of(404, "SubnetNotFound", format!("Subnet {subnet} could not be found."));
                self.subnets.get(subnet).filter(|found| found.text("network_id") == network).ok_or_else(missing)?
            }
        };
        let id = subnet.text("id");
        if address.is_empty() {
            let free = self.free_addresses(id).next().ok_or_else(|| exhausted(network))?;
            return Ok(json!({ "subnet_id": id, "ip_address": free.to_string() }));
        }
        let inside = subnet
            .text("cidr")
            .parse::<IpNet>()
            .is_ok_and(|cidr| address.parse::<IpAddr>().is_ok_and(|address| cidr.contains(&address)));
        if !inside {
            let text = format!("IP address {address} is not a valid IP for the specified subnet.");
            return Err(ApiError::of(400, "InvalidIpForSubnet", text));
        }
        let own = kept.iter().any(|kept| kept["ip_address"] == address);
        if !own && self.is_taken(id, address) {
            return Err(in_use(network, address));
        }
        Ok(json!({ "subnet_id": id, "ip_address": address }))
    }
}

pub(super) fn in_use(network: &str, address: &str) -> ApiError {
    let text = format!("Unable to complete operation for network {network}. The IP address {address} is in use.");
    ApiError::of(409, "IpAddressInUse", text)
}

fn exhausted(network: &str) -> ApiError {
    ApiError::of(409, "IpAddressGenerationFailure", format!("No more IP addresses available on network {network}."))
}
