//! What the flags ask for, checked before anything starts.

use std::fmt;

use ipnet::IpNet;

/// Masks of nodes where no flag says otherwise.
const DEFAULT_IPV4: u8 = 24;
const DEFAULT_IPV6: u8 = 64;

/// The flags of node IPAM, as they were given.
#[derive(Debug, Clone, Default)]
pub struct Flags<'a> {
    /// `--cidr-allocator-type`.
    pub allocator: &'a str,
    /// The entries of `--cluster-cidr`.
    pub cluster_cidrs: &'a [String],
    /// `--service-cluster-ip-range`: at most two entries.
    pub service_ranges: &'a str,
    /// `--node-cidr-mask-size`; 0 for unset, as for the other two.
    pub mask: i32,
    /// `--node-cidr-mask-size-ipv4`.
    pub mask_ipv4: i32,
    /// `--node-cidr-mask-size-ipv6`.
    pub mask_ipv6: i32,
}

/// Who allocates, and from what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settings {
    /// This process, from ranges of its own: `RangeAllocator`.
    Range(RangeSettings),
    /// The cloud: `CloudAllocator`.
    Cloud(Stack),
}

/// What is allocated from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeSettings {
    /// Every node gets one block of each, in this order.
    pub ranges: Vec<NodeRange>,
    /// Ranges of services. No block that overlaps one is allocated.
    pub services: Vec<IpNet>,
}

/// A range of the cluster and the size of its nodes' blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeRange {
    /// The whole range.
    pub cluster: IpNet,
    /// The length of a node's mask.
    pub node_prefix: u8,
}

/// The families of a cluster's addresses, the primary one first. Displays as upstream's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Stack {
    Ipv4,
    Ipv4Ipv6,
    Ipv6Ipv4,
    Ipv6,
}

impl fmt::Display for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv4Ipv6 => "IPv4_IPv6",
            Self::Ipv6Ipv4 => "IPv6_IPv4",
            Self::Ipv6 => "IPv6",
        })
    }
}

impl Stack {
    /// By the ranges of services; IPv4 where there are none.
    fn of(services: &[IpNet]) -> Self {
        match services {
            [IpNet::V4(_), IpNet::V6(_)] => Self::Ipv4Ipv6,
            [IpNet::V6(_), IpNet::V4(_)] => Self::Ipv6Ipv4,
            [IpNet::V6(_), ..] => Self::Ipv6,
            _ => Self::Ipv4,
        }
    }

    /// The first range of each family, in the order of the cluster; `None` where a family is missing.
    pub(super) fn choose(self, ranges: &[IpNet]) -> Option<Vec<IpNet>> {
        let first = |is_ipv6: bool| ranges.iter().find(|range| range.addr().is_ipv6() == is_ipv6).copied();
        let families: &[bool] = match self {
            Self::Ipv4 => &[false],
            Self::Ipv4Ipv6 => &[false, true],
            Self::Ipv6Ipv4 => &[true, false],
            Self::Ipv6 => &[true],
        };
        families.iter().map(|is_ipv6| first(*is_ipv6)).collect()
    }
}

/// Flags that contradict each other or make no sense. Displays as upstream's text, where upstream has one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each text says what is wrong")]
pub enum Error {
    #[error("invalid CIDR allocator type: {0}")]
    Allocator(String),
    #[error(
        "--cidr-allocator-type={0} is not supported: use CloudAllocator where the cloud assigns ranges, or RangeAllocator"
    )]
    LegacyAllocator(String),
    #[error("Must specify --cluster-cidr if --allocate-node-cidrs is set")]
    NoClusterCidr,
    #[error("invalid CIDR[{index}] of --cluster-cidr: invalid CIDR address: {text}")]
    ClusterCidr { index: usize, text: String },
    #[error("length of clusterCIDRs is:{0} more than max allowed of 2")]
    TooManyClusterCidrs(usize),
    #[error("len of ClusterCIDRs=={0} and they are not configured as dual stack (at least one from each IPFamily)")]
    NotDualStack(usize),
    #[error("--service-cluster-ip-range can not contain more than two entries")]
    TooManyServiceRanges,
    #[error("serviceCIDR and secondaryServiceCIDR are not dualstack (from different IPfamiles)")]
    ServicesNotDualStack,
    #[error("usage of --node-cidr-mask-size is not allowed with dual-stack clusters")]
    MaskWithDualStack,
    #[error(
        "usage of --node-cidr-mask-size-ipv4 and --node-cidr-mask-size-ipv6 is not allowed if --node-cidr-mask-size is \
         set. For dual-stack clusters please unset it and use IPFamily specific flags"
    )]
    TwoMasks,
    #[error(
        "Invalid --cluster-cidr, mask size of cluster CIDR must be less than or equal to --node-cidr-mask-size \
         configured for CIDR family: {cluster} and {mask}"
    )]
    Mask { cluster: IpNet, mask: i32 },
    #[error("New CIDR set failed; the node CIDR size is too big: {cluster} and {mask}, the difference is at most 16")]
    TooBig { cluster: IpNet, mask: i32 },
    #[error("cluster CIDR {cluster} lies within service CIDR {service}: no range is left for nodes")]
    NothingLeft { cluster: IpNet, service: IpNet },
}

impl Settings {
    /// Reads the flags, for a process that runs the controller with `--allocate-node-cidrs`. Adds to `warnings` what is
    /// ignored.
    ///
    /// # Errors
    ///
    /// The first contradiction.
    pub fn derive(flags: &Flags<'_>, warnings: &mut Vec<String>) -> Result<Self, Error> {
        let services = services(flags.service_ranges, warnings)?;
        match flags.allocator {
            "RangeAllocator" => {
                let clusters = clusters(flags.cluster_cidrs)?;
                let ranges = node_ranges(flags, &clusters, warnings)?;
                for (range, service) in ranges.iter().flat_map(|range| services.iter().map(move |s| (range, s))) {
                    if service.contains(&range.cluster) {
                        return Err(Error::NothingLeft { cluster: range.cluster, service: *service });
                    }
                }
                Ok(Self::Range(RangeSettings { ranges, services }))
            }
            "CloudAllocator" => {
                // The cloud knows its ranges.
                if let Err(error) = clusters(flags.cluster_cidrs) {
                    warnings.push(format!("{error}; CloudAllocator does without"));
                }
                Ok(Self::Cloud(Stack::of(&services)))
            }
            "IPAMFromCluster" | "IPAMFromCloud" => Err(Error::LegacyAllocator(flags.allocator.to_owned())),
            other => Err(Error::Allocator(other.to_owned())),
        }
    }
}

fn clusters(texts: &[String]) -> Result<Vec<IpNet>, Error> {
    if texts.is_empty() {
        return Err(Error::NoClusterCidr);
    }
    let parsed = texts.iter().enumerate().map(|(index, text)| {
        let invalid = |_| Error::ClusterCidr { index, text: text.clone() };
        text.parse::<IpNet>().map(|cidr| cidr.trunc()).map_err(invalid)
    });
    let cidrs = parsed.collect::<Result<Vec<_>, _>>()?;
    match cidrs[..] {
        [_] => Ok(cidrs),
        [a, b] if a.addr().is_ipv4() != b.addr().is_ipv4() => Ok(cidrs),
        [_, _] => Err(Error::NotDualStack(2)),
        _ => Err(Error::TooManyClusterCidrs(cidrs.len())),
    }
}

/// Entries that are no ranges are ignored, as upstream does.
fn services(text: &str, warnings: &mut Vec<String>) -> Result<Vec<IpNet>, Error> {
    let entries: Vec<&str> = text.split(',').map(str::trim).collect();
    if entries.len() > 2 {
        return Err(Error::TooManyServiceRanges);
    }
    let mut cidrs = Vec::new();
    for entry in entries.into_iter().filter(|entry| !entry.is_empty()) {
        match entry.parse::<IpNet>() {
            Ok(cidr) => cidrs.push(cidr.trunc()),
            Err(_) => {
                warnings.push(format!("Unsuccessful parsing of service CIDR {entry}: invalid CIDR address: {entry}"))
            }
        }
    }
    match cidrs[..] {
        [a, b] if a.addr().is_ipv4() == b.addr().is_ipv4() => Err(Error::ServicesNotDualStack),
        _ => Ok(cidrs),
    }
}

fn node_ranges(flags: &Flags<'_>, clusters: &[IpNet], warnings: &mut Vec<String>) -> Result<Vec<NodeRange>, Error> {
    let dual = clusters.len() > 1;
    if flags.mask != 0 && dual {
        return Err(Error::MaskWithDualStack);
    }
    if flags.mask != 0 && (flags.mask_ipv4 != 0 || flags.mask_ipv6 != 0) {
        return Err(Error::TwoMasks);
    }
    let has = |is_ipv6: bool| clusters.iter().any(|cluster| cluster.addr().is_ipv6() == is_ipv6);
    for (name, mask, used) in [("ipv4", flags.mask_ipv4, has(false)), ("ipv6", flags.mask_ipv6, has(true))] {
        if mask != 0 && !used {
            warnings.push(format!(
                "--node-cidr-mask-size-{name} has no effect: --cluster-cidr names no range of that family"
            ));
        }
    }
    let sized = |cluster: &IpNet| {
        let (family, default) = match cluster {
            IpNet::V4(_) => (flags.mask_ipv4, DEFAULT_IPV4),
            IpNet::V6(_) => (flags.mask_ipv6, DEFAULT_IPV6),
        };
        let mask = [flags.mask, family].into_iter().find(|mask| *mask != 0).unwrap_or(default.into());
        let fits = u8::try_from(mask).ok().filter(|m| (cluster.prefix_len()..=cluster.max_prefix_len()).contains(m));
        let node_prefix = fits.ok_or(Error::Mask { cluster: *cluster, mask })?;
        if cluster.addr().is_ipv6() && node_prefix - cluster.prefix_len() > super::cidr_set::LONGEST_DIFFERENCE {
            return Err(Error::TooBig { cluster: *cluster, mask });
        }
        Ok(NodeRange { cluster: *cluster, node_prefix })
    };
    clusters.iter().map(sized).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn derive(
        cluster: &str,
        services: &str,
        masks: [i32; 3],
        allocator: &str,
    ) -> Result<(Settings, Vec<String>), String> {
        let cluster_cidrs: Vec<String> =
            cluster.split(',').filter(|cidr| !cidr.is_empty()).map(str::to_owned).collect();
        let [mask, mask_ipv4, mask_ipv6] = masks;
        let flags =
            Flags { allocator, cluster_cidrs: &cluster_cidrs, service_ranges: services, mask, mask_ipv4, mask_ipv6 };
        let mut warnings = Vec::new();
        Settings::derive(&flags, &mut warnings).map(|settings| (settings, warnings)).map_err(|error| error.to_string())
    }

    fn ranges(cluster: &str, masks: [i32; 3]) -> Vec<(String, u8)> {
        match derive(cluster, "", masks, "RangeAllocator").unwrap().0 {
            Settings::Range(range) => range.ranges.iter().map(|r| (r.cluster.to_string(), r.node_prefix)).collect(),
            other => panic!("{other:?}"),
        }
    }

    fn refused(cluster: &str, services: &str, masks: [i32; 3], allocator: &str) -> String {
        derive(cluster, services, masks, allocator).unwrap_err()
    }

    #[test]
    fn section_12_10_gcp_start_matrix() {
        for (cluster, services, masks, allocator) in [
            ("10.0.0.0/21", "10.1.0.0/21", [24, 0, 0], "RangeAllocator"),
            // Upstream's test gives 98 here and looks only for an exit: its set is refused a moment later, as is ours.
            ("10.0.0.0/21,2000::/10", "10.1.0.0/21", [0, 24, 26], "RangeAllocator"),
            ("10.0.0.0/21,2000::/10", "10.1.0.0/21,3000::/10", [0, 24, 26], "RangeAllocator"),
            ("10.0.0.0/21", "10.1.0.0/21", [24, 0, 0], "CloudAllocator"),
            ("10.0.0.0/21,2000::/10", "10.1.0.0/21", [0, 24, 98], "CloudAllocator"),
            ("2000::/10", "10.1.0.0/21", [98, 0, 0], "CloudAllocator"),
            ("invalid", "10.1.0.0/21", [24, 0, 0], "CloudAllocator"),
            ("", "10.1.0.0/21", [24, 0, 0], "CloudAllocator"),
            ("10.0.0.0/26", "10.1.0.0/21", [24, 0, 0], "CloudAllocator"),
        ] {
            assert!(derive(cluster, services, masks, allocator).is_ok(), "{cluster} {allocator}");
        }
        for (cluster, services, masks) in [
            ("invalid", "10.1.0.0/21", [24, 0, 0]),
            ("10.0.0.0/26", "10.1.0.0/21", [24, 0, 0]),
            ("10.0.0.0/23", "10.0.0.0/21", [24, 0, 0]),
            ("10.0.0.0/24,2000::/64", "10.1.0.0/21", [0, 24, 48]),
        ] {
            for allocator in ["RangeAllocator", "IPAMFromCluster", "IPAMFromCloud"] {
                assert!(derive(cluster, services, masks, allocator).is_err(), "{cluster} {allocator}");
            }
        }
    }

    #[test]
    fn section_7_1_texts() {
        let range = "RangeAllocator";
        for (text, expected) in [
            (refused("10.0.0.0/16", "", [0; 3], "Magic"), "invalid CIDR allocator type: Magic"),
            (
                refused("10.0.0.0/16", "", [0; 3], "IPAMFromCloud"),
                "--cidr-allocator-type=IPAMFromCloud is not supported: use CloudAllocator where the cloud assigns ranges, \
                 or RangeAllocator",
            ),
            (refused("", "", [0; 3], range), "Must specify --cluster-cidr if --allocate-node-cidrs is set"),
            (refused("x", "", [0; 3], range), "invalid CIDR[0] of --cluster-cidr: invalid CIDR address: x"),
            (
                refused("10.0.0.0/16,10.1.0.0/16", "", [0; 3], range),
                "len of ClusterCIDRs==2 and they are not configured as dual stack (at least one from each IPFamily)",
            ),
            (
                refused("10.0.0.0/16,fd00::/48,10.1.0.0/16", "", [0; 3], range),
                "length of clusterCIDRs is:3 more than max allowed of 2",
            ),
            (
                refused("10.0.0.0/16", "10.1.0.0/16,10.2.0.0/16", [0; 3], range),
                "serviceCIDR and secondaryServiceCIDR are not dualstack (from different IPfamiles)",
            ),
            (
                refused("10.0.0.0/16", "10.1.0.0/16,fd00::/108,10.2.0.0/16", [0; 3], range),
                "--service-cluster-ip-range can not contain more than two entries",
            ),
            (
                refused("10.0.0.0/16,2001:aa::/112", "", [10, 0, 0], range),
                "usage of --node-cidr-mask-size is not allowed with dual-stack clusters",
            ),
            (
                refused("10.0.0.0/16", "", [10, 4, 0], range),
                "usage of --node-cidr-mask-size-ipv4 and --node-cidr-mask-size-ipv6 is not allowed if \
                 --node-cidr-mask-size is set. For dual-stack clusters please unset it and use IPFamily specific flags",
            ),
            (
                refused("10.0.0.0/26", "", [24, 0, 0], range),
                "Invalid --cluster-cidr, mask size of cluster CIDR must be less than or equal to --node-cidr-mask-size \
                 configured for CIDR family: 10.0.0.0/26 and 24",
            ),
            (
                refused("fd00::/40", "", [0; 3], range),
                "New CIDR set failed; the node CIDR size is too big: fd00::/40 and 64, the difference is at most 16",
            ),
            (
                refused("10.0.0.0/23", "10.0.0.0/21", [24, 0, 0], range),
                "cluster CIDR 10.0.0.0/23 lies within service CIDR 10.0.0.0/21: no range is left for nodes",
            ),
        ] {
            assert_eq!(text, expected);
        }
        for mask in [-1, 33] {
            assert!(refused("10.0.0.0/16", "", [mask, 0, 0], range).starts_with("Invalid --cluster-cidr"));
        }
    }

    #[test]
    fn masks_follow_the_order_of_the_ranges() {
        let sizes = |cluster: &str, masks| ranges(cluster, masks).into_iter().map(|(_, size)| size).collect::<Vec<_>>();
        assert_eq!(ranges("10.1.2.3/16", [0; 3]), [("10.1.0.0/16".to_owned(), 24)]);
        assert_eq!(sizes("fd00::/48,10.0.0.0/16", [0; 3]), [64, 24]);
        assert_eq!(sizes("10.0.0.0/16,fd00::/48", [0, 26, 60]), [26, 60]);
        assert_eq!(sizes("fd00::/48", [56, 0, 0]), [56]);
        assert_eq!(sizes("10.0.0.0/16", [0, 25, 0]), [25]);
    }

    #[test]
    fn what_is_ignored_is_told() {
        let (settings, warnings) = derive("10.0.0.0/16", "nonsense", [0, 0, 80], "RangeAllocator").unwrap();
        assert!(matches!(settings, Settings::Range(range) if range.services.is_empty()));
        assert_eq!(
            warnings,
            [
                "Unsuccessful parsing of service CIDR nonsense: invalid CIDR address: nonsense",
                "--node-cidr-mask-size-ipv6 has no effect: --cluster-cidr names no range of that family",
            ]
        );
    }

    #[test]
    fn the_stack_follows_the_ranges_of_services() {
        let all: Vec<IpNet> =
            ["fd00:1::/112", "10.1.0.0/24", "10.2.0.0/24"].iter().map(|text| text.parse().unwrap()).collect();
        for (services, name, chosen) in [
            ("", "IPv4", "10.1.0.0/24"),
            ("10.0.0.0/16", "IPv4", "10.1.0.0/24"),
            ("10.0.0.0/16,fd00::/108", "IPv4_IPv6", "10.1.0.0/24 fd00:1::/112"),
            ("fd00::/108,10.0.0.0/16", "IPv6_IPv4", "fd00:1::/112 10.1.0.0/24"),
            ("fd00::/108", "IPv6", "fd00:1::/112"),
        ] {
            let Settings::Cloud(stack) = derive("", services, [0; 3], "CloudAllocator").unwrap().0 else { panic!() };
            assert_eq!(stack.to_string(), name);
            let ranges: Vec<_> = stack.choose(&all).unwrap().iter().map(ToString::to_string).collect();
            assert_eq!(ranges.join(" "), chosen);
        }
        assert_eq!(Stack::Ipv6Ipv4.choose(&all[1..]), None);
    }
}
