use proptest::prelude::*;

use super::*;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn set(cluster: &str, node_prefix: u8) -> CidrSet {
    CidrSet::new(net(cluster), node_prefix, &Metrics::new()).unwrap()
}

fn all(set: &mut CidrSet) -> Vec<IpNet> {
    std::iter::from_fn(|| set.allocate().ok()).collect()
}

#[test]
fn section_12_9_full_set() {
    for cluster in ["127.123.234.0/30", "beef:1234::/30"] {
        let mut set = set(cluster, 30);
        for _ in 0..2 {
            assert_eq!(set.allocate().unwrap(), net(cluster).trunc());
            assert_eq!(
                set.allocate().unwrap_err().to_string(),
                "CIDR allocation failed; there are no remaining CIDRs left to allocate in the accepted range"
            );
            set.release(net(cluster)).unwrap();
        }
    }
}

#[test]
fn section_12_9_index_to_block() {
    for (cluster, node_prefix, index, block) in [
        ("127.123.3.0/16", 24, 0, "127.123.0.0/24"),
        ("127.123.0.0/16", 24, 15, "127.123.15.0/24"),
        ("192.168.5.219/28", 32, 5, "192.168.5.213/32"),
        ("2001:db8:1234:3::/48", 64, 0, "2001:db8:1234::/64"),
        ("2001:db8:1234::/48", 64, 15, "2001:db8:1234:f::/64"),
        ("2001:db8:85a3::8a2e:370:7334/50", 63, 6425, "2001:db8:85a3:3232::/63"),
        ("2001:db8::/32", 48, 0, "2001:db8::/48"),
        ("2001:db8::/32", 48, 15, "2001:db8:f::/48"),
        ("2001:db8::/32", 48, 6425, "2001:db8:1919::/48"),
        ("2001:db8:1234:ff00::/56", 72, 0, "2001:db8:1234:ff00::/72"),
        ("2001:db8:1234:ff00::/56", 72, 15, "2001:db8:1234:ff00:f00::/72"),
        ("2001:db8:1234:ff00::/56", 72, 6425, "2001:db8:1234:ff19:1900::/72"),
        ("2001:db8:1234:0:1234::/80", 96, 0, "2001:db8:1234:0:1234::/96"),
        ("2001:db8:1234:0:1234::/80", 96, 15, "2001:db8:1234:0:1234:f::/96"),
        ("2001:db8:1234:ff00::370:7334/80", 96, 6425, "2001:db8:1234:ff00:0:1919::/96"),
    ] {
        let set = set(cluster, node_prefix);
        assert_eq!(set.block(index), net(block), "{cluster}");
        assert_eq!(set.touched(net(block)).unwrap(), index..index + 1, "{cluster}");
    }
}

#[test]
fn section_12_9_exhaust_256() {
    for (cluster, node_prefix) in [("127.123.234.0/16", 24), ("beef:1234::/16", 24)] {
        let mut set = set(cluster, node_prefix);
        let first = all(&mut set);
        assert_eq!(first.len(), 256);
        assert_eq!(set.allocate(), Err(Error::Exhausted));
        for block in &first {
            set.release(*block).unwrap();
        }
        assert!(set.is_empty());
        assert_eq!(all(&mut set), first, "{cluster}");
    }
}

#[test]
fn section_12_9_occupied() {
    for (cluster, node_prefix) in [("127.123.234.0/16", 24), ("beef:1234::/16", 24)] {
        let mut set = set(cluster, node_prefix);
        let blocks = all(&mut set);
        for block in &blocks {
            set.release(*block).unwrap();
        }
        for block in &blocks[128..] {
            set.occupy(*block).unwrap();
        }
        set.occupy(blocks[200]).unwrap();
        assert_eq!(all(&mut set), blocks[..128], "{cluster}");
    }
}

#[test]
fn section_12_9_double_occupy_and_release() {
    let mut set = set("10.42.0.0/16", 24);
    for (occupy, cidr, taken) in [
        (true, "10.42.5.0/24", 1),
        (true, "10.42.9.0/24", 2),
        (true, "10.42.8.0/22", 5),
        (true, "10.42.9.0/24", 5),
        (false, "10.42.9.0/24", 4),
        (false, "10.42.9.0/24", 4),
        (false, "10.42.4.0/22", 3),
    ] {
        if occupy { set.occupy(net(cidr)) } else { set.release(net(cidr)) }.unwrap();
        assert_eq!(set.taken(), taken, "{cidr}");
    }
    assert_eq!(all(&mut set).len(), 253);
}

#[test]
fn section_12_9_index_of_ip() {
    for (cluster, node_prefix, cidr, index) in [
        ("127.0.0.0/8", 16, "127.0.0.0/16", 0),
        ("127.0.0.0/8", 16, "127.123.0.0/16", 123),
        ("127.0.0.0/8", 16, "127.168.0.0/16", 168),
        ("127.0.0.0/8", 16, "127.224.0.0/16", 224),
        ("be00::/8", 16, "be00::/16", 0),
        ("be00::/8", 16, "beef::/16", 0xef),
        ("be00::/8", 16, "be68::/16", 0x68),
        ("be00::/8", 16, "be24::/16", 0x24),
        ("192.168.0.0/16", 24, "192.168.12.0/24", 12),
        ("192.168.0.0/16", 24, "192.168.151.0/24", 151),
        ("beef::/16", 24, "beef:1200::/24", 0x12),
        ("beef::/16", 24, "beef:9700::/24", 0x97),
    ] {
        assert_eq!(set(cluster, node_prefix).touched(net(cidr)).unwrap(), index..index + 1, "{cidr}");
    }
    for (cluster, cidr, text) in [
        ("192.168.0.0/16", "127.168.224.0/24", "cidr 127.168.224.0/24 is out the range of cluster cidr 192.168.0.0/16"),
        ("beef::/16", "2001:db00::/24", "cidr 2001:db00::/24 is out the range of cluster cidr beef::/16"),
        ("beef::/16", "10.0.0.0/24", "cidr 10.0.0.0/24 is out the range of cluster cidr beef::/16"),
    ] {
        assert_eq!(set(cluster, 24).touched(net(cidr)).unwrap_err().to_string(), text);
    }
}

#[test]
fn section_12_9_occupy_range() {
    for (cluster, node_prefix, cidr, bits) in [
        ("127.0.0.0/8", 16, "127.0.0.0/8", 0..256),
        ("127.0.0.0/8", 16, "127.0.0.0/2", 0..256),
        ("127.0.0.0/8", 16, "127.0.0.0/16", 0..1),
        ("127.0.0.0/8", 32, "127.0.0.0/16", 0..65536),
        ("127.0.0.0/7", 16, "127.0.0.0/15", 256..258),
        ("127.0.0.0/7", 15, "127.0.0.0/15", 128..129),
        ("127.0.0.0/7", 18, "127.0.0.0/15", 1024..1032),
        ("2001:beef:1200::/40", 48, "2001:beef:1200::/40", 0..256),
        ("2001:beef:1200::/40", 48, "2001:beef:1234::/34", 0..256),
        ("2001:beef:1200::/40", 48, "2001:beef:1200::/48", 0..1),
        ("2001:beef:1200::/48", 64, "2001:beef:1200::/48", 0..65536),
        ("2001:beef:7f00::/39", 48, "2001:beef:7f00::/47", 256..258),
        ("2001:beef:7f00::/39", 47, "2001:beef:7f00::/47", 128..129),
        ("2001:beef:7f00::/39", 50, "2001:beef:7f00::/47", 1024..1032),
    ] {
        let mut set = set(cluster, node_prefix);
        assert_eq!(set.touched(net(cidr)).unwrap(), bits, "{cluster} by {cidr}");
        assert_eq!(set.occupy(net(cidr)).unwrap(), bits.len(), "{cluster} by {cidr}");
        assert_eq!(set.first_free(0..bits.start + 1), (bits.start > 0).then_some(0));
        assert_eq!(set.first_free(bits.clone()), None);
        assert_eq!(set.taken(), bits.len());
    }
}

#[test]
fn section_12_9_limits() {
    let mut wide = set("127.0.0.0/8", 32);
    assert_eq!((wide.allocate().unwrap(), wide.allocate().unwrap()), (net("127.0.0.0/32"), net("127.0.0.1/32")));
    assert_eq!(
        CidrSet::new(net("beef:1234::/32"), 49, &Metrics::new()).unwrap_err().to_string(),
        "New CIDR set failed; the node CIDR size is too big"
    );
    let mut narrow = set("2001:beef:1234:369b::/60", 64);
    assert_eq!(narrow.allocate().unwrap(), net("2001:beef:1234:3690::/64"));
    assert_eq!(narrow.allocate().unwrap(), net("2001:beef:1234:3691::/64"));
}

#[test]
fn masks_that_do_not_fit_are_refused() {
    for (cluster, node_prefix) in [("10.0.0.0/16", 15), ("10.0.0.0/16", 33), ("fd00::/64", 63), ("fd00::/120", 129)] {
        let refused = CidrSet::new(net(cluster), node_prefix, &Metrics::new()).unwrap_err();
        assert_eq!(refused, Error::Mask { cluster: net(cluster), node_prefix });
    }
    for everything in ["0.0.0.0/0", "::/0"] {
        let mut one = set(everything, 0);
        assert_eq!(one.allocate().unwrap(), net(everything));
        assert!(one.is_full());
    }
}

#[test]
fn section_12_9_max() {
    assert_eq!(set("10.0.0.0/16", 24).len(), 256);
    assert_eq!(set("2001:db8::/48", 64).len(), 65536);
}

#[test]
fn section_12_9_metrics() {
    let metrics = Metrics::new();
    let mut set = CidrSet::new(net("10.0.0.0/16"), 24, &metrics).unwrap();
    let value = |name: &str| -> f64 {
        let start = format!("node_ipam_controller_{name}{{clusterCIDR=\"10.0.0.0/16\"}} ");
        let text = metrics.render();
        let line = text.lines().find_map(|line| line.strip_prefix(&start)).unwrap_or_else(|| panic!("{name}: {text}"));
        line.parse().unwrap()
    };
    assert_eq!(value("cirdset_max_cidrs"), 256.0);
    for count in 1..=256 {
        set.allocate().unwrap();
        assert_eq!(value("cidrset_usage_cidrs"), f64::from(count) / 256.0);
    }
    assert_eq!(value("cidrset_cidrs_allocations_total"), 256.0);
    set.release(net("10.0.0.0/16")).unwrap();
    assert_eq!((value("cidrset_cidrs_releases_total"), value("cidrset_usage_cidrs")), (256.0, 0.0));
    set.occupy(net("10.0.0.0/16")).unwrap();
    assert_eq!((value("cidrset_cidrs_allocations_total"), value("cidrset_usage_cidrs")), (512.0, 1.0));
    set.release(net("10.0.0.0/16")).unwrap();
    set.occupy(net("10.0.0.0/17")).unwrap();
    set.allocate().unwrap();
    assert_eq!(value("cidrset_allocation_tries_per_request_sum"), 128.0);
    assert!(
        metrics
            .render()
            .contains("cidrset_allocation_tries_per_request_bucket{clusterCIDR=\"10.0.0.0/16\",le=\"625\"}")
    );
}

#[derive(Debug, Clone)]
enum Action {
    Allocate,
    Occupy(IpNet),
    Release(IpNet),
}

/// Ranges in and around `cluster`, of all sizes.
fn nearby(cluster: IpNet, node_prefix: u8) -> impl Strategy<Value = IpNet> {
    let widest = cluster.prefix_len().saturating_sub(2);
    let narrowest = (node_prefix + 2).min(cluster.max_prefix_len());
    (widest..=narrowest, any::<u128>()).prop_map(move |(prefix, random)| {
        let host = u128::MAX.checked_shr(128 - u32::from(cluster.max_prefix_len() - widest)).unwrap_or_default();
        let address = number(cluster.network()) & !host | random & host;
        let address = match cluster {
            IpNet::V4(_) => IpAddr::V4((address as u32).into()),
            IpNet::V6(_) => IpAddr::V6(address.into()),
        };
        IpNet::new_assert(address, prefix).trunc()
    })
}

fn actions() -> impl Strategy<Value = (IpNet, u8, Vec<Action>)> {
    let cluster =
        prop_oneof![Just("10.32.0.0/13"), Just("10.0.0.0/27"), Just("fd00:10:20::/52"), Just("fd00::1:0/122")];
    (cluster, 0_u8..8).prop_flat_map(|(cluster, difference)| {
        let cluster = net(cluster);
        let node_prefix = (cluster.prefix_len() + difference).min(cluster.max_prefix_len());
        let action = prop_oneof![
            3 => Just(Action::Allocate),
            1 => nearby(cluster, node_prefix).prop_map(Action::Occupy),
            1 => nearby(cluster, node_prefix).prop_map(Action::Release),
        ];
        (Just(cluster), Just(node_prefix), prop::collection::vec(action, 0..300))
    })
}

proptest! {
    /// Against the plainest model: one flag for each block, with the block's range compared with every given range.
    #[test]
    fn any_sequence_keeps_counts_and_never_hands_out_a_taken_block((cluster, node_prefix, actions) in actions()) {
        let mut set = CidrSet::new(cluster, node_prefix, &Metrics::new()).unwrap();
        let blocks: Vec<IpNet> = cluster.subnets(node_prefix).unwrap().collect();
        let mut taken = vec![false; blocks.len()];
        let mut next = 0;
        for action in actions {
            let overlaps = |block: &IpNet, cidr: &IpNet| block.contains(cidr) || cidr.contains(block);
            match action {
                Action::Allocate => {
                    let turn = (0..blocks.len()).map(|n| (next + n) % blocks.len()).find(|n| !taken[*n]);
                    prop_assert_eq!(set.allocate().ok(), turn.map(|n| blocks[n]));
                    if let Some(n) = turn {
                        taken[n] = true;
                        next = (n + 1) % blocks.len();
                    }
                }
                Action::Occupy(cidr) | Action::Release(cidr) if !overlaps(&cluster, &cidr) => {
                    let out = Error::OutOfRange { cidr, cluster };
                    prop_assert_eq!(set.occupy(cidr), Err(out.clone()));
                    prop_assert_eq!(set.release(cidr), Err(out));
                }
                Action::Occupy(cidr) | Action::Release(cidr) => {
                    let occupy = matches!(action, Action::Occupy(_));
                    let touched = (0..blocks.len()).filter(|n| overlaps(&blocks[*n], &cidr) && taken[*n] != occupy);
                    let touched: Vec<usize> = touched.collect();
                    let changed = if occupy { set.occupy(cidr) } else { set.release(cidr) };
                    prop_assert_eq!(changed, Ok(touched.len()));
                    touched.into_iter().for_each(|n| taken[n] = occupy);
                }
            }
            let count = taken.iter().filter(|taken| **taken).count();
            prop_assert_eq!(set.taken(), count);
            prop_assert_eq!((set.is_full(), set.is_empty()), (count == blocks.len(), count == 0));
        }
    }
}
