//! The addresses of nodes, in the order in which they stand in their status.

use std::net::IpAddr;

use cloud_provider::cluster::objects::{AddressKind, NodeAddress};

use crate::{
    client::ec2_types::{Instance, Interface, NetworkInterface},
    config::IpFamily,
};

/// An address that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("EC2 instance had invalid address: {instance} ({address:?})")]
pub struct BadAddress {
    instance: String,
    address: String,
}

/// The addresses of an instance, one family after the other.
///
/// IPv4: all private addresses of all interfaces in use, by device index, then the public one, then the DNS names, the
/// private one as host name too. IPv6: the first address of each interface. As upstream has it, the interfaces are only
/// put in order for IPv4 and whatever comes after it, and IPv6 alone has no host name.
///
/// # Errors
///
/// For an address that is none.
pub fn of_instance(instance: &Instance, families: &[IpFamily]) -> Result<Vec<NodeAddress>, BadAddress> {
    let mut interfaces: Vec<&Interface> = instance.interfaces.iter().filter(|interface| interface.in_use).collect();
    let ip = |kind, text: &str| ip(kind, text, instance.id.as_str());
    let mut addresses = Vec::new();
    for family in families {
        match family {
            IpFamily::V4 => {
                interfaces.sort_by_key(|interface| interface.device_index.unwrap_or(i32::MAX));
                for text in interfaces.iter().flat_map(|interface| &interface.private_ips) {
                    addresses.extend(ip(AddressKind::InternalIp, text)?);
                }
                addresses.extend(ip(AddressKind::ExternalIp, &instance.public_ip)?);
                let names = [
                    (AddressKind::InternalDns, &instance.private_dns_name),
                    (AddressKind::Hostname, &instance.private_dns_name),
                    (AddressKind::ExternalDns, &instance.public_dns_name),
                ];
                let names = names.into_iter().filter(|(_, name)| !name.is_empty());
                addresses.extend(names.map(|(kind, name)| NodeAddress::new(kind, name.clone())));
            }
            IpFamily::V6 => {
                for text in interfaces.iter().filter_map(|interface| interface.ipv6_addresses.first()) {
                    addresses.extend(ip(AddressKind::InternalIp, text)?);
                }
            }
        }
    }
    Ok(addresses)
}

/// The addresses of a Fargate node.
///
/// # Errors
///
/// For an address that is none.
pub fn of_fargate(interface: &NetworkInterface, families: &[IpFamily]) -> Result<Vec<NodeAddress>, BadAddress> {
    let mut addresses = Vec::new();
    for family in families {
        let text = match family {
            IpFamily::V4 => interface.private_ip.as_str(),
            IpFamily::V6 => interface.ipv6_addresses.first().map(String::as_str).unwrap_or_default(),
        };
        let Some(address) = ip(AddressKind::InternalIp, text, &interface.private_dns_name)? else { continue };
        addresses.push(address);
        if !interface.private_dns_name.is_empty() {
            addresses.push(NodeAddress::new(AddressKind::InternalDns, interface.private_dns_name.clone()));
        }
    }
    Ok(addresses)
}

/// The address in its canonical spelling; nothing for an empty text.
fn ip(kind: AddressKind, text: &str, instance: &str) -> Result<Option<NodeAddress>, BadAddress> {
    if text.is_empty() {
        return Ok(None);
    }
    let bad = |_| BadAddress { instance: instance.to_owned(), address: text.to_owned() };
    text.parse::<IpAddr>().map(|address| Some(NodeAddress::new(kind, address.to_string()))).map_err(bad)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{client::ec2_types::State, provider_id::InstanceId};

    fn instance() -> Instance {
        Instance {
            id: InstanceId::new("i-00000000000000001"),
            state: State::Running,
            instance_type: "c3.large".into(),
            zone: "us-west-2a".into(),
            zone_id: String::new(),
            private_dns_name: "ip-172-20-0-100.ec2.internal".into(),
            public_dns_name: String::new(),
            public_ip: String::new(),
            vpc: String::new(),
            subnet: String::new(),
            tags: Default::default(),
            security_groups: Vec::new(),
            interfaces: Vec::new(),
        }
    }

    fn interface(index: Option<i32>, private: &[&str], ipv6: &[&str]) -> Interface {
        let own = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        Interface { in_use: true, device_index: index, private_ips: own(private), ipv6_addresses: own(ipv6) }
    }

    fn list(addresses: &[NodeAddress]) -> String {
        let entry = |address: &NodeAddress| format!("{} {}", address.kind.as_str(), address.address);
        addresses.iter().map(entry).collect::<Vec<_>>().join(", ")
    }

    /// aws.md 12.3.
    #[test]
    fn addresses_as_in_12_3() {
        let name = "InternalDNS ip-172-20-0-100.ec2.internal, Hostname ip-172-20-0-100.ec2.internal";
        let v4 = |instance: &Instance| list(&of_instance(instance, &[IpFamily::V4]).unwrap());
        assert_eq!(v4(&instance()), name);

        let public = Instance { public_ip: "1.2.3.4".into(), ..instance() };
        assert_eq!(v4(&public), format!("ExternalIP 1.2.3.4, {name}"));

        let whole = Instance {
            public_dns_name: "ec2-1-2-3-4.x".into(),
            interfaces: vec![interface(Some(0), &["192.168.0.1"], &[])],
            ..public.clone()
        };
        let expected = format!("InternalIP 192.168.0.1, ExternalIP 1.2.3.4, {name}, ExternalDNS ec2-1-2-3-4.x");
        assert_eq!(v4(&whole), expected);

        let two = Instance {
            interfaces: vec![
                interface(None, &["172.20.9.9"], &[]),
                interface(Some(1), &["172.20.1.1", "172.20.1.2"], &[]),
                interface(Some(0), &["172.20.0.100", "172.20.0.101"], &[]),
                Interface { in_use: false, ..interface(Some(0), &["172.20.8.8"], &[]) },
            ],
            ..public
        };
        let ips = "InternalIP 172.20.0.100, InternalIP 172.20.0.101, InternalIP 172.20.1.1, InternalIP 172.20.1.2, InternalIP 172.20.9.9";
        assert_eq!(v4(&two), format!("{ips}, ExternalIP 1.2.3.4, {name}"));

        let v6 = Instance {
            interfaces: vec![interface(Some(0), &["10.0.0.1"], &["2001:DB8::1", "2001:db8::2"])],
            ..instance()
        };
        assert_eq!(list(&of_instance(&v6, &[IpFamily::V6]).unwrap()), "InternalIP 2001:db8::1");
        let both = of_instance(&v6, &[IpFamily::V6, IpFamily::V4]).unwrap();
        assert_eq!(list(&both), format!("InternalIP 2001:db8::1, InternalIP 10.0.0.1, {name}"));
    }

    #[test]
    fn an_address_that_is_none_is_an_error_and_an_empty_one_is_skipped() {
        let bad = Instance { interfaces: vec![interface(Some(0), &["10.0.0"], &[])], ..instance() };
        assert!(of_instance(&bad, &[IpFamily::V4]).is_err());
        let empty = Instance { interfaces: vec![interface(Some(0), &[""], &[""])], ..instance() };
        assert_eq!(of_instance(&empty, &[IpFamily::V4, IpFamily::V6]).unwrap().len(), 2);
    }

    /// aws.md 12.3, last row.
    #[test]
    fn fargate_addresses_as_in_12_3() {
        let mut interface = NetworkInterface {
            private_ip: "192.168.164.88".into(),
            private_dns_name: "ip-192-168-164-88.internal".into(),
            ipv6_addresses: vec!["2600::1".into()],
            zone: "us-west-2c".into(),
        };
        let named = "InternalIP 192.168.164.88, InternalDNS ip-192-168-164-88.internal";
        assert_eq!(list(&of_fargate(&interface, &[IpFamily::V4]).unwrap()), named);
        let named = "InternalIP 2600::1, InternalDNS ip-192-168-164-88.internal";
        assert_eq!(list(&of_fargate(&interface, &[IpFamily::V6]).unwrap()), named);
        interface.private_dns_name.clear();
        assert_eq!(list(&of_fargate(&interface, &[IpFamily::V4]).unwrap()), "InternalIP 192.168.164.88");
    }
}
