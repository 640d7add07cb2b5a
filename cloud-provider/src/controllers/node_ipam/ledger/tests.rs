use proptest::prelude::*;

use super::*;
use crate::controllers::node_ipam::settings::NodeRange;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn ledger(ranges: &[(&str, u8)], services: &[&str]) -> Ledger {
    let ranges =
        ranges.iter().map(|(cluster, node_prefix)| NodeRange { cluster: net(cluster), node_prefix: *node_prefix });
    let services = services.iter().map(|service| net(service)).collect();
    Ledger::new(&RangeSettings { ranges: ranges.collect(), services }, &Metrics::new()).unwrap()
}

/// A node whose UID is its name.
fn node(name: &str, cidrs: &[&str]) -> Node {
    let mut node = Node::default();
    node.metadata.name = Some(name.into());
    node.metadata.uid = Some(name.into());
    node.spec.pod_cidrs = cidrs.iter().map(|cidr| (*cidr).to_owned()).collect();
    node
}

fn reserve(ledger: &mut Ledger, name: &str) -> String {
    let cidrs = ledger.reserve(&node(name, &[])).unwrap().unwrap();
    cidrs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

const SINGLE: &[(&str, u8)] = &[("10.10.0.0/16", 24)];
const DUAL: &[(&str, u8)] = &[("10.10.0.0/16", 24), ("ace:cab:deca::/8", 24)];

#[test]
fn section_12_10_construct() {
    for (ranges, cidrs) in
        [(SINGLE, &[][..]), (DUAL, &[]), (SINGLE, &["10.10.0.1/24"]), (DUAL, &["10.10.0.1/24", "a00::/86"])]
    {
        assert_eq!(ledger(ranges, &[]).observe(&node("n", cidrs)), Ok(Vec::new()), "{cidrs:?}");
    }
    for (ranges, cidrs, text) in [
        (
            SINGLE,
            &["172.10.0.1/24"][..],
            "failed to mark cidr[172.10.0.0/24] at idx [0] as occupied for node: n: cidr 172.10.0.0/24 is out the range of \
             cluster cidr 10.10.0.0/16",
        ),
        (
            SINGLE,
            &["10.10.0.1/24", "a00::/86"],
            "node:n has an allocated cidr: a00::/86 at index:1 that does not exist in cluster cidrs configuration",
        ),
        (
            DUAL,
            &["172.10.0.1/24", "a00::/86"],
            "failed to mark cidr[172.10.0.0/24] at idx [0] as occupied for node: n: cidr 172.10.0.0/24 is out the range of \
             cluster cidr 10.10.0.0/16",
        ),
        (
            DUAL,
            &["10.10.0.1/24", "cdd::/86"],
            "failed to mark cidr[cdd::/86] at idx [1] as occupied for node: n: cidr cdd::/86 is out the range of cluster \
             cidr a00::/8",
        ),
        (SINGLE, &["invalid"], "failed to parse node n, CIDR invalid"),
    ] {
        let misfit = ledger(ranges, &[]).observe(&node("n", cidrs)).unwrap_err().to_string();
        assert!(misfit.starts_with(text), "{misfit}");
        assert!(misfit.contains("--cluster-cidr") && misfit.contains("delete the node object"), "{misfit}");
    }
}

#[test]
fn section_12_10_allocate() {
    let small = &[("127.123.234.0/24", 30)];
    assert_eq!(reserve(&mut ledger(small, &[]), "n"), "127.123.234.0/30");
    let mut with_services = ledger(small, &["127.123.234.0/26"]);
    assert_eq!(reserve(&mut with_services.clone(), "n"), "127.123.234.64/30");
    for (name, last) in [("a", 64), ("b", 68), ("c", 72), ("d", 80)] {
        with_services.observe(&node(name, &[&format!("127.123.234.{last}/30")])).unwrap();
    }
    assert_eq!(reserve(&mut with_services, "n"), "127.123.234.76/30");

    let (v4, v6, other) = (("127.123.234.0/8", 24), ("ace:cab:deca::/84", 98), ("10.0.0.0/8", 24));
    assert_eq!(reserve(&mut ledger(&[v4, v6], &["127.123.234.0/26"]), "n"), "127.0.0.0/24 ace:cab:deca::/98");
    assert_eq!(reserve(&mut ledger(&[v6, v4], &["127.123.234.0/26"]), "n"), "ace:cab:deca::/98 127.0.0.0/24");
    let three = reserve(&mut ledger(&[v4, v6, other], &["127.123.234.0/26"]), "n");
    assert_eq!(three, "127.0.0.0/24 ace:cab:deca::/98 10.0.0.0/24");

    let mut counted = ledger(&[("10.10.0.0/22", 24)], &[]);
    counted.observe(&node("node0", &["10.10.0.0/24"])).unwrap();
    counted.observe(&node("node1", &["10.10.2.0/24"])).unwrap();
    assert_eq!(reserve(&mut counted, "node2"), "10.10.1.0/24");
}

fn exhausted() -> Ledger {
    let mut full = ledger(&[("127.123.234.0/28", 30)], &[]);
    for (name, last) in [("a", 0), ("b", 4), ("c", 8), ("d", 12)] {
        full.observe(&node(name, &[&format!("127.123.234.{last}/30")])).unwrap();
    }
    full
}

#[test]
fn section_12_10_exhausted_and_released() {
    let mut full = exhausted();
    assert_eq!(
        full.reserve(&node("n", &[])).unwrap_err().to_string(),
        "failed to allocate cidr from cluster cidr at idx:0: CIDR allocation failed; there are no remaining CIDRs left to \
         allocate in the accepted range"
    );
    full.forget(&node("b", &["127.123.234.4/30"]));
    assert_eq!(reserve(&mut full, "n"), "127.123.234.4/30");
    let mut recycled = exhausted();
    for _ in 0..2 {
        recycled.forget(&node("a", &[]));
        assert_eq!(reserve(&mut recycled, "a"), "127.123.234.0/30");
    }
}

#[test]
fn section_12_10_delete_semantics() {
    let mut live = ledger(SINGLE, &[]);
    live.observe(&node("gone", &["10.10.0.0/24"])).unwrap();
    // Terminating or not, its blocks are its own until it is gone.
    assert_eq!(reserve(&mut live, "n"), "10.10.1.0/24");
    assert_eq!(reserve(&mut ledger(SINGLE, &[]), "n"), "10.10.0.0/24");
    // A node that was never seen, or whose ranges are nonsense, is no trouble.
    for cidrs in [&["10.10.7.0/24"][..], &[], &["invalid"]] {
        live.forget(&node("unheard-of", cidrs));
    }
    assert_eq!(live.holders.len(), 2);
}

#[test]
fn section_12_10_occupy_service_cidr() {
    let wide = net("10.1.0.0/16");
    for service in ["10.0.255.0/24", "10.1.0.0/24", "10.1.255.0/24", "10.2.0.0/24"] {
        let mut ledger = ledger(&[("10.1.0.0/16", 24)], &[service]);
        let all: Vec<String> = (0..300)
            .map_while(|n| ledger.reserve(&node(&n.to_string(), &[])).ok().flatten())
            .map(|cidrs| cidrs[0].to_string())
            .collect();
        assert!(!all.contains(&service.to_owned()), "{service}");
        assert_eq!(all.len(), if wide.contains(&net(service)) { 255 } else { 256 }, "{service}");
    }
}

#[test]
fn nothing_of_the_first_family_is_lost_when_the_second_is_exhausted() {
    let mut ledger = ledger(&[("10.0.0.0/16", 24), ("fd00::/127", 128)], &[]);
    reserve(&mut ledger, "a");
    reserve(&mut ledger, "b");
    for _ in 0..1000 {
        assert!(ledger.reserve(&node("c", &[])).unwrap_err().to_string().contains("idx:1"));
    }
    assert_eq!(ledger.sets[0].taken(), 2);
    assert_eq!(ledger.next_starved(), None);
    ledger.release("a");
    assert_eq!(ledger.next_starved(), Some(Key::cluster("c")));
    assert_eq!(ledger.next_starved(), None);
    assert_eq!(reserve(&mut ledger, "c"), "10.0.2.0/24 fd00::/128");
}

#[test]
fn a_reservation_stays_the_same_until_it_is_written_or_released() {
    let mut ledger = ledger(SINGLE, &[]);
    assert_eq!(reserve(&mut ledger, "n"), "10.10.0.0/24");
    assert_eq!(reserve(&mut ledger, "n"), "10.10.0.0/24");
    ledger.written("n");
    assert_eq!(ledger.reserve(&node("n", &[])), Ok(None));
    ledger.observe(&node("n", &["10.10.0.0/24"])).unwrap();
    ledger.release("n");
    assert!(ledger.sets[0].is_empty());
}

#[test]
fn somebody_elses_range_replaces_the_reservation() {
    let mut ledger = ledger(SINGLE, &[]);
    reserve(&mut ledger, "n");
    ledger.observe(&node("n", &["10.10.9.0/24"])).unwrap();
    assert_eq!(ledger.sets[0].taken(), 1);
    assert_eq!(ledger.sets[0].touched(net("10.10.9.0/24")), Ok(9..10));
    assert_eq!(ledger.reserve(&node("n", &[])), Ok(None));
}

#[test]
fn a_reservation_yields_to_a_node_that_has_the_range() {
    let mut ledger = ledger(SINGLE, &[]);
    assert_eq!(reserve(&mut ledger, "n"), "10.10.0.0/24");
    assert_eq!(ledger.observe(&node("other", &["10.10.0.0/24"])), Ok(Vec::new()));
    assert_eq!(reserve(&mut ledger, "n"), "10.10.1.0/24");
    assert_eq!(ledger.sets[0].taken(), 2);
}

#[test]
fn what_several_hold_stays_taken_until_the_last_is_gone() {
    // The masks of nodes were /26 once: four nodes share a block of today.
    let mut ledger = ledger(&[("10.0.0.0/23", 24)], &[]);
    ledger.observe(&node("a", &["10.0.0.0/26"])).unwrap();
    assert_eq!(ledger.observe(&node("b", &["10.0.0.64/26"])), Ok(vec![Key::cluster("a")]));
    ledger.forget(&node("a", &[]));
    assert_eq!(reserve(&mut ledger, "n"), "10.0.1.0/24");
    assert!(ledger.reserve(&node("m", &[])).is_err());
    ledger.forget(&node("b", &[]));
    assert_eq!(reserve(&mut ledger, "m"), "10.0.0.0/24");
}

#[test]
fn a_node_within_the_range_of_services_does_not_give_it_away() {
    let mut ledger = ledger(&[("10.0.0.0/23", 24)], &["10.0.0.0/24"]);
    ledger.observe(&node("old", &["10.0.0.0/24"])).unwrap();
    ledger.forget(&node("old", &[]));
    assert_eq!(reserve(&mut ledger, "n"), "10.0.1.0/24");
    assert!(ledger.reserve(&node("m", &[])).is_err());
}

#[test]
fn what_fits_of_a_misfit_is_held() {
    let mut ledger = ledger(DUAL, &[]);
    ledger.observe(&node("n", &["10.10.0.0/24", "cdd::/24"])).unwrap_err();
    assert!(reserve(&mut ledger, "m").starts_with("10.10.1.0/24"));
}

#[derive(Debug, Clone)]
enum Step {
    Reserve(u8),
    Written(u8),
    Observe(u8, u8),
    Gone(u8),
}

proptest! {
    /// Whatever happens in whatever order: nobody is given a block that somebody else, or a service, holds; and when all
    /// nodes are gone, everything but the services' blocks is free.
    #[test]
    fn no_block_has_two_holders_and_none_is_lost(steps in prop::collection::vec(prop_oneof![
        3 => (0_u8..20).prop_map(Step::Reserve),
        1 => (0_u8..20).prop_map(Step::Written),
        1 => (0_u8..20, 0_u8..16).prop_map(|(n, block)| Step::Observe(n, block)),
        2 => (0_u8..20).prop_map(Step::Gone),
    ], 0..200)) {
        let mut ledger = ledger(&[("10.0.0.0/20", 24), ("fd00::/60", 64)], &["10.0.3.0/24", "fd00::/64"]);
        // With whether the range was seen or written; a mere reservation yields.
        let mut held: HashMap<u8, (Vec<IpNet>, bool)> = HashMap::new();
        for step in steps {
            match step {
                Step::Reserve(n) => {
                    let Ok(Some(given)) = ledger.reserve(&node(&n.to_string(), &[])) else { continue };
                    for cidr in &given {
                        let others = held.iter().filter(|(other, _)| **other != n);
                        prop_assert!(!others.flat_map(|(_, (cidrs, _))| cidrs).any(|other| other == cidr), "{cidr} twice");
                        prop_assert!(*cidr != net("10.0.3.0/24") && *cidr != net("fd00::/64"));
                    }
                    held.insert(n, (given, false));
                }
                Step::Written(n) => {
                    ledger.written(&n.to_string());
                    held.entry(n).and_modify(|(_, written)| *written = true);
                }
                Step::Observe(n, block) => {
                    let cidrs: [String; 2] = [format!("10.0.{block}.0/24"), format!("fd00:0:0:{block:x}::/64")];
                    ledger.observe(&node(&n.to_string(), &[&cidrs[0], &cidrs[1]])).unwrap();
                    let cidrs: Vec<IpNet> = cidrs.iter().map(|cidr| net(cidr)).collect();
                    held.retain(|_, (other, written)| *written || other.iter().all(|cidr| !cidrs.contains(cidr)));
                    held.insert(n, (cidrs, true));
                }
                Step::Gone(n) => {
                    ledger.forget(&node(&n.to_string(), &[]));
                    held.remove(&n);
                }
            }
        }
        for n in 0..20 {
            ledger.forget(&node(&n.to_string(), &[]));
        }
        prop_assert_eq!((ledger.sets[0].taken(), ledger.sets[1].taken()), (1, 1));
        prop_assert!(ledger.holders.is_empty() && ledger.starved.is_empty());
    }
}
