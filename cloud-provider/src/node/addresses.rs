//! Node addresses: the filter by provided node IP and the merge with what the node has.

use std::net::IpAddr;

use crate::cluster::objects::{AddressKind, NodeAddress};

/// Written by the kubelet from `--node-ip`: one IP, or a comma-separated dual-stack pair.
pub const PROVIDED_NODE_IP: &str = "alpha.kubernetes.io/provided-node-ip";

/// The addresses a node shall have, given those of the cloud and those it has now.
///
/// Where the cloud names no host name, the node's own are kept, at the end. With a provided node IP the list is filtered
/// by `by_node_ip`.
///
/// # Errors
///
/// A provided node IP that does not parse, or that the cloud does not know; in upstream's words.
pub fn wanted(
    cloud: &[NodeAddress],
    current: &[NodeAddress],
    provided_node_ip: Option<&str>,
) -> Result<Vec<NodeAddress>, String> {
    let mut addresses = cloud.to_vec();
    if !addresses.iter().any(|address| address.kind == AddressKind::Hostname) {
        addresses.extend(current.iter().filter(|address| address.kind == AddressKind::Hostname).cloned());
    }
    match provided_node_ip {
        Some(annotation) => by_node_ip(&addresses, &parse_node_ips(annotation)?),
        None => Ok(addresses),
    }
}

/// Puts the addresses that match the node IPs first, in the order of the node IPs, and drops the other addresses of the
/// types that matched; the rest keeps its order.
fn by_node_ip(addresses: &[NodeAddress], node_ips: &[IpAddr]) -> Result<Vec<NodeAddress>, String> {
    let mut chosen: Vec<NodeAddress> = Vec::new();
    for node_ip in node_ips {
        let before = chosen.len();
        chosen.extend(addresses.iter().filter(|address| parse_lenient(&address.address) == Some(*node_ip)).cloned());
        if chosen.len() == before {
            return Err(format!("failed to get node address from cloud provider that matches ip: {node_ip}"));
        }
    }
    let matched: Vec<AddressKind> = chosen.iter().map(|address| address.kind.clone()).collect();
    chosen.extend(addresses.iter().filter(|address| !matched.contains(&address.kind)).cloned());
    Ok(chosen)
}

fn parse_node_ips(annotation: &str) -> Result<Vec<IpAddr>, String> {
    let parse = |text: &str| parse_lenient(text).ok_or_else(|| format!("could not parse {annotation:?}"));
    let ips = annotation.split(',').map(parse).collect::<Result<Vec<_>, _>>()?;
    match ips[..] {
        [_] => Ok(ips),
        [a, b] if a.is_ipv4() != b.is_ipv4() && !a.is_unspecified() && !b.is_unspecified() => Ok(ips),
        _ => Err(format!("{annotation:?} must be one IP address, or one of each IP family")),
    }
}

/// Reads an IP address as Go's older parser did: leading zeros in the parts of an IPv4 address are decimal.
fn parse_lenient(text: &str) -> Option<IpAddr> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(ip);
    }
    let parts: Vec<u8> = text
        .split('.')
        .map(|part| {
            let digits = !part.is_empty() && part.len() <= 16 && part.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| part.trim_start_matches('0'))
        })
        .map(|part| part.and_then(|part| if part.is_empty() { Some(0) } else { part.parse().ok() }))
        .collect::<Option<_>>()?;
    let octets: [u8; 4] = parts.try_into().ok()?;
    Some(IpAddr::from(octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `INT 10.0.0.1, HN h`.
    fn list(text: &str) -> Vec<NodeAddress> {
        let entry = |entry: &str| {
            let (kind, address) = entry.trim().split_once(' ').unwrap();
            let kind = match kind {
                "INT" => AddressKind::InternalIp,
                "EXT" => AddressKind::ExternalIp,
                "IDNS" => AddressKind::InternalDns,
                "EDNS" => AddressKind::ExternalDns,
                _ => AddressKind::Hostname,
            };
            NodeAddress::new(kind, address)
        };
        text.split(',').map(entry).collect()
    }

    /// The cloud's list always ends with the host name.
    #[test]
    fn section_12_7_node_ip_filter() {
        let two = "10.1.1.1,fc01:1234::5678";
        let cases = [
            ("10.1.1.1", "INT 10.1.1.1", Some("INT 10.1.1.1")),
            ("55.55.55.55", "INT 10.1.1.1, EXT 55.55.55.55", Some("EXT 55.55.55.55, INT 10.1.1.1")),
            (
                "55.55.55.55",
                "INT 44.44.44.44, EXT 44.44.44.44, INT 55.55.55.55, EXT 55.55.55.55",
                Some("INT 55.55.55.55, EXT 55.55.55.55"),
            ),
            (
                "10.1.1.1",
                "INT 10.1.1.1, EXT 55.55.55.55, IDNS ip-10-1-1-1.x, EDNS ec2-55.x",
                Some("INT 10.1.1.1, EXT 55.55.55.55, IDNS ip-10-1-1-1.x, EDNS ec2-55.x"),
            ),
            (
                "10.1.1.1",
                "INT 10.1.1.1, INT 10.2.2.2, INT 10.3.3.3, EXT 55.55.55.55",
                Some("INT 10.1.1.1, EXT 55.55.55.55"),
            ),
            ("10.2.2.2", "INT 10.1.1.1, EXT 55.55.55.55", None),
            (
                "2600:1f14:1d4:d101::ba3d",
                "INT 10.1.1.1, INT 2600:1f14:1d4:d101:0:0:0:ba3d",
                Some("INT 2600:1f14:1d4:d101:0:0:0:ba3d"),
            ),
            (two, "INT 10.1.1.1", None),
            (two, "INT 10.1.1.1, INT fc01:1234::5678", Some("INT 10.1.1.1, INT fc01:1234::5678")),
            (two, "INT fc01:1234::5678, INT 10.1.1.1", Some("INT 10.1.1.1, INT fc01:1234::5678")),
            (
                two,
                "INT 10.1.1.1, INT 10.1.1.2, INT fc01:1234::1234, INT fc01:1234::5678",
                Some("INT 10.1.1.1, INT fc01:1234::5678"),
            ),
            (
                two,
                "INT 10.1.1.1, INT 10.1.1.2, INT fc01:1234::1234, INT fc01:1234::5678, EXT 55.55.55.55",
                Some("INT 10.1.1.1, INT fc01:1234::5678, EXT 55.55.55.55"),
            ),
            (
                "fc01:1234::5678,10.1.1.1",
                "INT 10.1.1.1, EXT 55.55.55.55, INT fc01:1234::5678, EXT 2001:db1::1",
                Some("INT fc01:1234::5678, INT 10.1.1.1, EXT 55.55.55.55, EXT 2001:db1::1"),
            ),
            (
                "55.55.55.55,fc01:1234::5678",
                "INT 10.1.1.1, EXT 55.55.55.55, INT fc01:1234::5678, EXT 2001:db1::1",
                Some("EXT 55.55.55.55, INT fc01:1234::5678"),
            ),
        ];
        for (node_ip, cloud, expected) in cases {
            let cloud = list(&format!("{cloud}, HN h"));
            let result = wanted(&cloud, &[], Some(node_ip));
            assert_eq!(result.ok(), expected.map(|text| list(&format!("{text}, HN h"))), "{node_ip}");
        }
    }

    #[test]
    fn bad_provided_ips_are_refused() {
        for bad in
            ["invalid-ip", "10.0.0.1, fc00::1", "10.0.0.1,10.0.0.2", "10.0.0.1,fc00::1,10.0.0.3", "0.0.0.0,fc00::1"]
        {
            assert!(parse_node_ips(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_node_ips("010.001.0.1").unwrap(), ["10.1.0.1".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn the_nodes_own_host_names_are_kept_last_where_the_cloud_names_none() {
        let result = wanted(&list("INT 10.0.0.1, EXT 1.2.3.4"), &list("HN nodeoverriden"), None).unwrap();
        assert_eq!(result, list("INT 10.0.0.1, EXT 1.2.3.4, HN nodeoverriden"));
        let result = wanted(&list("HN node0.cloud, INT 10.0.0.1"), &list("HN nodeoverriden"), None).unwrap();
        assert_eq!(result, list("HN node0.cloud, INT 10.0.0.1"));
    }
}
