//! Zones of volumes: how labels and parameters list them, and which of them a new volume gets.

use std::collections::BTreeSet;

/// Stands between the zones in the label of a volume that is in several.
const IN_LABELS: &str = "__";

/// An element of a list of zones is empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{list:?}: a list of zones separated by {separator:?} must not have empty elements")]
pub struct EmptyZone {
    list: String,
    separator: &'static str,
}

/// The zones of a parameter, `a, b`. Blanks around zones do not count.
///
/// # Errors
/// When an element is empty, and so for an empty list.
pub fn parse_list(list: &str) -> Result<BTreeSet<String>, EmptyZone> {
    split(list, ",")
}

/// The zones of a zone label, `a__b`.
///
/// # Errors
/// As [`parse_list`].
pub fn parse_label(value: &str) -> Result<BTreeSet<String>, EmptyZone> {
    split(value, IN_LABELS)
}

/// The value of the zone label of a volume that is in these zones, sorted.
pub fn to_label(zones: &BTreeSet<String>) -> String {
    zones.iter().map(String::as_str).collect::<Vec<_>>().join(IN_LABELS)
}

fn split(list: &str, separator: &'static str) -> Result<BTreeSet<String>, EmptyZone> {
    let element = |zone: &str| {
        let zone = zone.trim();
        if zone.is_empty() { Err(EmptyZone { list: list.to_owned(), separator }) } else { Ok(zone.to_owned()) }
    };
    list.split(separator).map(element).collect()
}

/// The zones for the `count` replicas of a new volume, spread by the name of its claim.
///
/// Claims of one stateful set, `CLAIM-SET-0`, `CLAIM-SET-1`, …, go round the zones one after the other, and all claims of
/// one of its pods to the same zone; where they begin is a hash of the name. Volumes that exist were placed by this rule,
/// so it never changes. A claim without a name gets a random place.
pub fn choose(zones: &BTreeSet<String>, claim: &str, count: u32) -> BTreeSet<String> {
    let sorted: Vec<&String> = zones.iter().collect();
    let Ok(len) = u32::try_from(sorted.len()) else { return zones.clone() };
    if len == 0 {
        return BTreeSet::new();
    }
    let (hash, index) = place(claim);
    // In 32 bits that wrap around, as the rule has always been.
    let first = hash.wrapping_add(index.wrapping_mul(count));
    (0..count.min(len)).map(|replica| sorted[(first.wrapping_add(replica) % len) as usize].clone()).collect()
}

/// The hash of a claim's base name, and the number at its end.
fn place(claim: &str) -> (u32, u32) {
    if claim.is_empty() {
        return (rand::random(), 0);
    }
    let numbered = claim.rsplit_once('-').and_then(|(base, number)| {
        // No sign, which `parse` would take.
        let digits = number.bytes().all(|byte| byte.is_ascii_digit());
        number.parse().ok().filter(|_| digits).map(|number| (base, number))
    });
    match numbered {
        Some((base, number)) => (fnv1(base.rsplit('-').next().unwrap_or(base)), number),
        None => (fnv1(claim), 0),
    }
}

/// FNV-1 of 32 bits; not FNV-1a.
fn fnv1(text: &str) -> u32 {
    text.bytes().fold(2_166_136_261, |hash: u32, byte| hash.wrapping_mul(16_777_619) ^ u32::from(byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(zones: &str) -> BTreeSet<String> {
        zones.chars().map(|zone| zone.to_string()).collect()
    }

    #[test]
    fn section_12_12_fnv_1_32() {
        for (text, hash) in
            [("henley", 1_180_403_676), ("henley-", 2_652_299_129), ("henley-a", 1_459_735_322), ("", 2_166_136_261)]
        {
            assert_eq!(fnv1(text), hash, "{text:?}");
        }
    }

    #[test]
    fn section_12_12_zones_a_b_c() {
        for (claim, one, two) in [
            ("henley", "a", "ab"),
            ("henley-0", "a", "ab"),
            ("henley-1", "b", "ca"),
            ("henley-2", "c", "bc"),
            ("henley-3", "a", "ab"),
        ] {
            assert_eq!(choose(&set("abc"), claim, 1), set(one), "{claim}");
            assert_eq!(choose(&set("abc"), claim, 2), set(two), "{claim}");
        }
    }

    #[test]
    fn claims_of_one_pod_share_their_zone_and_a_name_without_number_is_hashed_whole() {
        assert_eq!(choose(&set("abc"), "data-web-2", 1), choose(&set("abc"), "logs-web-2", 1));
        assert_eq!(place("web-+1"), (fnv1("web-+1"), 0));
        assert_eq!(place("web-4294967296"), (fnv1("web-4294967296"), 0), "beyond 32 bits it is no number");
        assert_eq!(choose(&set("abc"), "web-4294967295", 3), set("abc"), "numbers wrap around");
        assert_eq!(choose(&set(""), "web", 1), set(""));
        assert_eq!(choose(&set("ab"), "web", 5), set("ab"));
        assert_eq!(choose(&set("abc"), "", 2).len(), 2);
    }

    #[test]
    fn section_12_12_zones_to_set() {
        for list in ["", ",", "us-east-1a, , us-east-1d", ", us-west-1b", "us-west-2b,"] {
            assert!(parse_list(list).is_err(), "{list:?}");
        }
        assert_eq!(parse_list("us-east-1a").unwrap(), ["us-east-1a".to_owned()].into());
        assert_eq!(
            parse_list("us-east-1a, us-west-2a").unwrap(),
            ["us-east-1a".to_owned(), "us-west-2a".to_owned()].into()
        );
    }

    proptest! {
        #[test]
        fn a_label_gives_its_zones_back(zones in prop::collection::btree_set("[a-z][a-z0-9-]{0,8}", 1..5)) {
            prop_assert_eq!(parse_label(&to_label(&zones)).unwrap(), zones);
        }
    }
}
