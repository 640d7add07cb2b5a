//! The addresses of nodes, in the order in which they stand in their status.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
};

use cloud_provider::cluster::objects::{AddressKind, NodeAddress};
use ipnet::IpNet;

use super::ports::ServerPorts;
use crate::{
    client::{compute::Server, network::Port},
    config::Networking,
};

/// The addresses of a server, by upstream's rules in upstream's order:
///
/// 1. what its active ports have is internal;
/// 2. `accessIPv4` and `accessIPv6` are external;
/// 3. `hostname` in its metadata is a host name;
/// 4. then what Nova shows for each network by name, and the ports of its trunks: floating addresses are external, and so are
///    those of `public-network-name`, which then are not internal; of the others only those of `internal-network-name`, where
///    that is set, are internal.
///
/// At last they are sorted by `address-sort-order`, where that is set.
pub fn of_server(server: &Server, ports: &ServerPorts, networking: &Networking) -> Vec<NodeAddress> {
    let mut addresses = Addresses { list: Vec::new(), ipv6: !networking.ipv6_disabled };
    for port in ports.ports.iter().filter(|port| port.status == "ACTIVE") {
        addresses.extend(AddressKind::InternalIp, port);
    }
    addresses.add_ip(AddressKind::ExternalIp, &server.access_ipv4);
    addresses.add_ip(AddressKind::ExternalIp, &server.access_ipv6);
    if !server.metadata.hostname.is_empty() {
        addresses.add(AddressKind::Hostname, &server.metadata.hostname);
    }
    let mut networks: BTreeMap<&str, Vec<(&str, bool)>> = BTreeMap::new();
    for (network, shown) in &server.addresses {
        let entries = shown.iter().map(|address| (address.address.as_str(), address.kind == "floating"));
        networks.entry(network).or_default().extend(entries);
    }
    for (network, port) in &ports.sub_ports {
        let entries = port.fixed_ips.iter().map(|fixed| (fixed.ip_address.as_str(), false));
        networks.entry(network).or_default().extend(entries);
    }
    let listed = |names: &[String], network: &str| names.iter().any(|name| name == network);
    for (network, entries) in networks {
        let public = listed(&networking.public_networks, network);
        let internal = networking.internal_networks.is_empty() || listed(&networking.internal_networks, network);
        for (address, floating) in entries {
            if floating {
                addresses.add_ip(AddressKind::ExternalIp, address);
            } else if public {
                addresses.remove(address);
                addresses.add_ip(AddressKind::ExternalIp, address);
            } else if internal {
                addresses.add_ip(AddressKind::InternalIp, address);
            } else {
                addresses.remove(address);
            }
        }
    }
    let mut list = addresses.list;
    sort(&mut list, &networking.sort_order);
    list
}

struct Addresses {
    list: Vec<NodeAddress>,
    ipv6: bool,
}

impl Addresses {
    fn extend(&mut self, kind: AddressKind, port: &Port) {
        for fixed in &port.fixed_ips {
            self.add_ip(kind.clone(), &fixed.ip_address);
        }
    }

    /// What is no IPv4 address counts as IPv6, as upstream has it.
    fn add_ip(&mut self, kind: AddressKind, address: &str) {
        let is_ipv4 = address.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_ipv4());
        if !address.is_empty() && (self.ipv6 || is_ipv4) {
            self.add(kind, address);
        }
    }

    fn add(&mut self, kind: AddressKind, address: &str) {
        let new = NodeAddress::new(kind, address);
        if !self.list.contains(&new) {
            self.list.push(new);
        }
    }

    fn remove(&mut self, address: &str) {
        self.list.retain(|known| known.address != address);
    }
}

/// Addresses in the first of these networks come first, and those in one network in their own order; all others stay in the
/// order in which they are, at the end.
pub fn sort(addresses: &mut [NodeAddress], order: &[IpNet]) {
    if order.is_empty() {
        return;
    }
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    addresses.sort_by_key(|address| {
        let ip = address.address.parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
        match ip.and_then(|ip| Some((order.iter().position(|network| network.contains(&ip))?, bits(ip)))) {
            Some((place, bits)) => (place, bits),
            None => (usize::MAX, Ipv6Addr::UNSPECIFIED),
        }
    });
}

#[cfg(test)]
mod tests {
    use cloud_provider::config::Notes;

    use super::*;
    use crate::client::{compute::ServerAddress, network::FixedIp};

    const ACCESS_V6: &str = "2001:4800:790e:510:be76:4eff:fe04:82a8";
    const PUBLIC_V6: &str = "2001:4800:780e:510:be76:4eff:fe04:84a8";

    fn server(public: &str, hostname: &str) -> Server {
        let entry = |address: &str, kind: &str| ServerAddress { address: address.into(), kind: kind.into() };
        let mut server: Server = serde_json::from_str(r#"{"id": "1"}"#).unwrap();
        server.addresses = BTreeMap::from([
            (
                "private".to_owned(),
                vec![entry("10.0.0.32", "fixed"), entry("50.56.176.36", "floating"), entry("10.0.0.31", "")],
            ),
            (public.to_owned(), vec![entry("50.56.176.35", ""), entry(PUBLIC_V6, "")]),
        ]);
        server.access_ipv4 = "50.56.176.99".into();
        server.access_ipv6 = ACCESS_V6.into();
        server.metadata.hostname = hostname.into();
        server
    }

    fn port(status: &str, addresses: &[&str]) -> Port {
        let fixed = |address: &&str| FixedIp { ip_address: (*address).into(), subnet_id: String::new() };
        Port { status: status.into(), fixed_ips: addresses.iter().map(fixed).collect(), ..Port::default() }
    }

    fn ports(addresses: &[&str]) -> ServerPorts {
        ServerPorts { ports: vec![port("ACTIVE", addresses)], sub_ports: Vec::new() }
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    /// Kind and last part of each address, as the table of 12.3 has them.
    fn short(addresses: &[NodeAddress]) -> String {
        let one = |address: &NodeAddress| {
            let kind = &address.kind.as_str()[..1];
            let text = match address.address.as_str() {
                ACCESS_V6 => "790e",
                PUBLIC_V6 => "780e",
                text if text.starts_with("10.0.0.") || text.starts_with("50.56.176.") => {
                    &text[text.rfind('.').unwrap()..]
                }
                text => text,
            };
            format!("{kind} {text}")
        };
        addresses.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn section_12_3_public_network_name() {
        let public = Networking { public_networks: names(&["public"]), ..Networking::default() };
        let addresses = of_server(
            &server("public", "a1-yinvcez57-0-bvynoyawrhcg-kube-minion-fg5i4jwcc2yy"),
            &ports(&["10.0.0.32", "10.0.0.31"]),
            &public,
        );
        let host = "H a1-yinvcez57-0-bvynoyawrhcg-kube-minion-fg5i4jwcc2yy";
        assert_eq!(short(&addresses), format!("I .32, I .31, E .99, E 790e, {host}, E .36, E .35, E 780e"));

        let named = Networking { public_networks: names(&["pub-net"]), ..Networking::default() };
        let addresses = of_server(&server("pub-net", ""), &ports(&["10.0.0.32", "10.0.0.31"]), &named);
        assert_eq!(short(&addresses), "I .32, I .31, E .99, E 790e, E .36, E .35, E 780e");
    }

    #[test]
    fn section_12_3_an_address_of_a_port_that_is_public_is_external_once() {
        let named = Networking { public_networks: names(&["pub-net"]), ..Networking::default() };
        let addresses = of_server(&server("pub-net", ""), &ports(&["10.0.0.32", "10.0.0.31", "50.56.176.35"]), &named);
        assert_eq!(short(&addresses), "I .32, I .31, E .99, E 790e, E .36, E .35, E 780e");
    }

    #[test]
    fn section_12_3_internal_network_name() {
        let mut both = server("public", "");
        let also = ServerAddress { address: "10.0.0.64".into(), kind: "fixed".into() };
        both.addresses.insert("also-private".into(), vec![also]);
        let internal = |list: &[&str]| Networking { internal_networks: names(list), ..Networking::default() };
        let ports = ports(&["10.0.0.32", "10.0.0.31"]);
        let addresses = of_server(&both, &ports, &internal(&["private", "also-private"]));
        assert_eq!(short(&addresses), "I .32, I .31, E .99, E 790e, I .64, E .36");
        // The table leaves the floating address out; it is external whatever network it is in.
        let addresses = of_server(&both, &ports, &internal(&["also-private"]));
        assert_eq!(short(&addresses), "E .99, E 790e, I .64, E .36");
    }

    #[test]
    fn section_12_3_without_ipv6_and_sorted() {
        let mut networking =
            Networking { public_networks: names(&["public"]), ipv6_disabled: true, ..Networking::default() };
        let (server, ports) = (server("public", ""), ports(&["10.0.0.32", "10.0.0.31"]));
        assert_eq!(short(&of_server(&server, &ports, &networking)), "I .32, I .31, E .99, E .36, E .35");
        networking.ipv6_disabled = false;
        networking.sort_order =
            crate::config::sort_order("10.0.0.0/8, 50.56.176.0/24, 2001:4800::/32", &mut Notes::default().warnings);
        let addresses = of_server(
            &Server { metadata: crate::client::compute::ServerMetadata { hostname: "h".into() }, ..server },
            &ports,
            &networking,
        );
        assert_eq!(short(&addresses), "I .31, I .32, E .35, E .36, E .99, E 780e, E 790e, H h");
    }

    #[test]
    fn ports_that_are_down_do_not_count_and_those_of_trunks_count_under_their_network() {
        let mut found = ports(&["10.0.0.1"]);
        found.ports.push(port("DOWN", &["10.0.0.2"]));
        found.sub_ports.push(("vlan".into(), port("DOWN", &["10.0.0.3"])));
        found.sub_ports.push(("public".into(), port("ACTIVE", &["10.0.0.4"])));
        let server: Server = serde_json::from_str(r#"{"id": "1"}"#).unwrap();
        let public = Networking { public_networks: names(&["public"]), ..Networking::default() };
        assert_eq!(short(&of_server(&server, &found, &public)), "I .1, E .4, I .3");
    }

    proptest::proptest! {
        #[test]
        fn sorting_keeps_all_addresses_and_those_outside_in_their_order(
            texts in proptest::collection::vec("(10\\.[0-9]\\.0\\.[0-9]{1,2}|[a-z]{1,5}|fd00::[0-9a-f]{1,3})", 0..12)
        ) {
            let order = crate::config::sort_order("10.1.0.0/16 fd00::/16", &mut Vec::new());
            let mut addresses: Vec<_> = texts.iter().map(|text| NodeAddress::new(AddressKind::InternalIp, text.clone())).collect();
            let outside = |addresses: &[NodeAddress]| -> Vec<String> {
                let inside = |text: &str| text.parse::<IpAddr>().is_ok_and(|ip| order.iter().any(|network| network.contains(&ip)));
                addresses.iter().map(|a| a.address.clone()).filter(|text| !inside(text)).collect()
            };
            let (before, mut all) = (outside(&addresses), texts.clone());
            sort(&mut addresses, &order);
            proptest::prop_assert_eq!(outside(&addresses), before);
            let mut after: Vec<String> = addresses.into_iter().map(|address| address.address).collect();
            after.sort();
            all.sort();
            proptest::prop_assert_eq!(after, all);
        }
    }
}
