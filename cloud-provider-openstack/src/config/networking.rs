//! `[Networking]`.

use cloud_provider::config::Notes;
use ipnet::IpNet;
use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct Section {
    ipv6_support_disabled: bool,
    public_network_name: Vec<String>,
    internal_network_name: Vec<String>,
    address_sort_order: String,
}

/// Which addresses nodes get, and in which order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networking {
    /// `ipv6-support-disabled`.
    pub ipv6_disabled: bool,
    /// `public-network-name`: addresses in these networks are external.
    pub public_networks: Vec<String>,
    /// `internal-network-name`: addresses in other networks are left out; empty means all networks.
    pub internal_networks: Vec<String>,
    /// `address-sort-order`: addresses in the first of these come first. Empty leaves the order as it is.
    pub sort_order: Vec<IpNet>,
}

pub(super) fn validate(section: Section, notes: &mut Notes) -> Networking {
    Networking {
        ipv6_disabled: section.ipv6_support_disabled,
        public_networks: section.public_network_name,
        internal_networks: section.internal_network_name,
        sort_order: sort_order(&section.address_sort_order, &mut notes.warnings),
    }
}

/// CIDRs between commas or blanks. As upstream has it, what is none is left out with a warning.
pub(crate) fn sort_order(text: &str, warnings: &mut Vec<String>) -> Vec<IpNet> {
    let items = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|item| !item.is_empty());
    let mut networks = Vec::new();
    for item in items {
        match item.parse::<IpNet>() {
            Ok(network) => networks.push(network.trunc()),
            Err(_) => warnings.push(format!("[Networking] address-sort-order: {item:?} is not a CIDR, ignored")),
        }
    }
    networks
}
