//! Which subnets a load balancer gets.

use std::collections::BTreeMap;

use cloud_provider::{Error, Kind, error::Result};

use super::{annotations, names};
use crate::{
    client::network::{RouteTable, Subnet},
    cluster_id::{ClusterId, TAG_PREFIX},
};

/// What discovery looks at: everything of one VPC.
#[derive(Debug, Clone, Copy)]
pub struct Discovery<'a> {
    /// The subnets of the VPC.
    pub subnets: &'a [Subnet],
    /// The route tables of the VPC.
    pub route_tables: &'a [RouteTable],
    /// Zones by name, with `availability-zone`, `local-zone` or `wavelength-zone`.
    pub zone_kinds: &'a BTreeMap<String, String>,
    /// The cluster, by whose tag subnets are chosen.
    pub cluster: &'a ClusterId,
    /// The controller's own subnet, or the configured one: used where no subnet is left.
    pub own_subnet: Option<&'a str>,
    /// Whether private subnets will do.
    pub internal: bool,
}

/// Subnets for a load balancer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// Those that a new one gets.
    pub chosen: Vec<Subnet>,
    /// Those that [`Discovery`] could have chosen as well; none where an annotation names subnets.
    pub candidates: Vec<Subnet>,
}

impl Choice {
    /// The choice for a load balancer that has subnets: it keeps one that may still be chosen, although there is a better one
    /// in its zone by now. A move within a zone would change its address there.
    pub fn keeping(&self, attached: &[Subnet]) -> Vec<Subnet> {
        let may_stay = |subnet: &&Subnet| self.candidates.iter().any(|other| other.id == subnet.id);
        let kept =
            |chosen: &Subnet| attached.iter().filter(may_stay).find(|subnet| subnet.zone == chosen.zone).cloned();
        self.chosen.iter().map(|chosen| kept(chosen).unwrap_or_else(|| chosen.clone())).collect()
    }
}

impl<'a> Discovery<'a> {
    /// One subnet per availability zone, in the order of zone names.
    ///
    /// Subnets of other clusters are left out; so are private ones for an internet-facing load balancer, and those in
    /// local and wavelength zones. In one zone, the role tag of the scheme beats none, then the cluster tag beats none,
    /// then the lower ID wins.
    ///
    /// # Errors
    ///
    /// Where a subnet has no route table, not even the main one.
    pub fn choose(&self) -> Result<Vec<&'a Subnet>> {
        let mut by_zone: BTreeMap<&str, &Subnet> = BTreeMap::new();
        for subnet in self.candidates()? {
            let best = by_zone.entry(subnet.zone.as_str()).or_insert(subnet);
            if self.rank(subnet) < self.rank(best) {
                *best = subnet;
            }
        }
        Ok(by_zone.into_values().collect())
    }

    /// All among which [`choose`](Self::choose) does.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn candidates(&self) -> Result<Vec<&'a Subnet>> {
        let mut candidates: Vec<&Subnet> = self
            .subnets
            .iter()
            .filter(|subnet| {
                self.cluster.has_tag(&subnet.tags) || !subnet.tags.keys().any(|key| key.starts_with(TAG_PREFIX))
            })
            .collect();
        if candidates.is_empty() {
            candidates.extend(self.subnets.iter().filter(|subnet| Some(subnet.id.as_str()) == self.own_subnet));
        }
        candidates.retain(|subnet| !subnet.zone.is_empty() && !subnet.id.is_empty());
        let mut reachable = Vec::new();
        for subnet in candidates {
            if self.is_public(&subnet.id)? || self.internal {
                reachable.push(subnet);
            }
        }
        let is_usual = |zone: &str| self.zone_kinds.get(zone).is_none_or(|kind| kind == "availability-zone");
        reachable.retain(|subnet| is_usual(&subnet.zone));
        Ok(reachable)
    }

    /// The lowest wins.
    fn rank<'s>(&self, subnet: &'s Subnet) -> (bool, bool, &'s str) {
        let role = if self.internal { names::INTERNAL_SUBNET_ROLE } else { names::PUBLIC_SUBNET_ROLE };
        (!subnet.tags.contains_key(role), !self.cluster.has_tag(&subnet.tags), &subnet.id)
    }

    /// Whether the subnet has a route to an internet gateway.
    fn is_public(&self, subnet: &str) -> Result<bool> {
        let own = self.route_tables.iter().find(|table| table.subnets.iter().any(|id| id == subnet));
        let table = own.or_else(|| self.route_tables.iter().find(|table| table.main));
        let table =
            table.ok_or_else(|| Error::transient(format!("could not locate routing table for subnet {subnet}")))?;
        Ok(table.routes.iter().filter_map(|route| route.gateway.as_deref()).any(|gateway| gateway.starts_with("igw")))
    }
}

/// The subnets that an annotation names, by ID or by the value of their `Name` tag, in the order of the annotation, so that
/// addresses named in other annotations meet their subnets (upstream leaves the order to the API).
///
/// # Errors
///
/// Where the list is empty, or the number of subnets found is another than that of entries.
pub fn named<'a>(entries: &[String], subnets: &'a [Subnet], vpc: &str) -> Result<Vec<&'a Subnet>> {
    if entries.is_empty() {
        return Err(annotations::SUBNETS.error("unable to resolve empty subnet slice"));
    }
    let mut found: Vec<&Subnet> = Vec::new();
    for entry in entries {
        let matching = subnets.iter().filter(|subnet| {
            if is_id(entry) {
                subnet.id == *entry
            } else {
                subnet.vpc == vpc && subnet.tags.get("Name").is_some_and(|name| matches_filter(entry, name))
            }
        });
        for subnet in matching {
            if !found.iter().any(|other| other.id == subnet.id) {
                found.push(subnet);
            }
        }
    }
    if found.len() != entries.len() {
        let names: Vec<&str> = found.iter().map(|subnet| subnet.id.as_str()).collect();
        let problem =
            format!("expected to find {}, but found {} subnets for {entries:?}: {names:?}", entries.len(), found.len());
        return Err(annotations::SUBNETS.error(problem));
    }
    Ok(found)
}

/// Whether an entry of the annotation is an ID.
pub fn is_id(entry: &str) -> bool {
    entry.starts_with("subnet-")
}

/// EC2's filters know `*` and `?`.
fn matches_filter(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// Upstream's refusal where no subnet is left.
pub fn none_suitable() -> Error {
    Error::new(
        Kind::Invalid { field: annotations::SUBNETS.key.to_owned() },
        format!(
            "could not find any suitable subnets for creating the ELB; tag subnets with {} (or {} for internal load \
             balancers) and the cluster's tag, give public ones a route to an internet gateway, or name subnets in {}",
            names::PUBLIC_SUBNET_ROLE,
            names::INTERNAL_SUBNET_ROLE,
            annotations::SUBNETS.key
        ),
    )
}

/// One step in moving a classic load balancer to other subnets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Move {
    /// Attach these.
    Attach(Vec<String>),
    /// Detach these.
    Detach(Vec<String>),
}

/// The steps from the `attached` subnets to the `wanted` ones, both with their zones.
///
/// A classic load balancer has at most one subnet per zone and must keep one at any time. So what goes to a free zone is
/// attached first, then the unwanted ones leave, then the rest comes; where all would leave, one stays until there is
/// another. (Upstream detaches first and gets stuck: kubernetes/kubernetes#27363.)
pub fn moves(attached: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> Vec<Move> {
    let mut leaving: Vec<&String> = attached.keys().filter(|id| !wanted.contains_key(*id)).collect();
    let arriving: Vec<&String> = wanted.keys().filter(|id| !attached.contains_key(*id)).collect();
    let taken = |id: &&String| {
        let zone = &wanted[*id];
        !zone.is_empty() && attached.values().any(|other| other == zone)
    };
    let (later, first): (Vec<&String>, Vec<&String>) = arriving.into_iter().partition(taken);
    let owned = |ids: &[&String]| ids.iter().map(|id| (*id).clone()).collect::<Vec<_>>();
    let stays = attached.len() > leaving.len() || !first.is_empty();
    let keep = if stays || later.len() < 2 { None } else { leaving.pop() };
    let (now, last): (Vec<&String>, Vec<&String>) =
        later.into_iter().partition(|id| keep.is_none_or(|kept| wanted[*id] != attached[kept]));
    let keep: Vec<&String> = keep.into_iter().collect();
    // The last subnet of a single zone cannot leave before its successor is there; AWS then says why that fails.
    let stuck = !stays && keep.is_empty() && !now.is_empty();
    let order = [
        Move::Attach(owned(&first)),
        if stuck { Move::Attach(owned(&now)) } else { Move::Detach(owned(&leaving)) },
        if stuck { Move::Detach(owned(&leaving)) } else { Move::Attach(owned(&now)) },
        Move::Detach(owned(&keep)),
        Move::Attach(owned(&last)),
    ];
    order.into_iter().filter(|step| !matches!(step, Move::Attach(ids) | Move::Detach(ids) if ids.is_empty())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::network::Route;

    const CLUSTER_TAG: &str = "kubernetes.io/cluster/c";
    const OTHER_TAG: &str = "kubernetes.io/cluster/other";
    const PUBLIC: &str = names::PUBLIC_SUBNET_ROLE;
    const INTERNAL: &str = names::INTERNAL_SUBNET_ROLE;

    fn subnet(id: &str, zone: &str, tags: &[&str]) -> Subnet {
        let tags = tags.iter().map(|key| ((*key).to_owned(), "owned".to_owned())).collect();
        Subnet { id: id.into(), vpc: "vpc-1".into(), zone: zone.into(), cidr: "10.0.0.0/24".into(), ipv6: false, tags }
    }

    fn all() -> Vec<Subnet> {
        vec![
            subnet("a1", "2a", &[PUBLIC]),
            subnet("a2", "2a", &[PUBLIC]),
            subnet("a3", "2a", &[CLUSTER_TAG, INTERNAL]),
            subnet("b1", "2b", &[CLUSTER_TAG, PUBLIC]),
            subnet("b2", "2b", &[CLUSTER_TAG, INTERNAL]),
            subnet("c1", "2c", &[CLUSTER_TAG, INTERNAL]),
            subnet("other", "2c", &[OTHER_TAG]),
            subnet("notag", "2c", &[]),
            subnet("local", "lax-1a", &[CLUSTER_TAG]),
            subnet("c0000002", "2d", &[]),
            subnet("c0000000", "2d", &[]),
            subnet("c0000001", "2d", &[]),
        ]
    }

    fn table(main: bool, subnets: &[&str], gateway: &str) -> RouteTable {
        RouteTable {
            id: "rtb".into(),
            main,
            subnets: subnets.iter().map(|id| (*id).to_owned()).collect(),
            routes: ["local", gateway].map(|id| Route { gateway: Some(id.into()), ..Route::default() }).into(),
            ..RouteTable::default()
        }
    }

    fn choose(ids: &[&str], private: &[&str], internal: bool) -> Vec<String> {
        let subnets: Vec<Subnet> = all().into_iter().filter(|subnet| ids.contains(&subnet.id.as_str())).collect();
        let route_tables = [table(true, &[], "igw-1"), table(false, private, "vgw-1")];
        let zone_kinds = [("2a", "availability-zone"), ("lax-1a", "local-zone")];
        let discovery = Discovery {
            subnets: &subnets,
            route_tables: &route_tables,
            zone_kinds: &zone_kinds.map(|(zone, kind)| (zone.to_owned(), kind.to_owned())).into(),
            cluster: &ClusterId::new("", "c").unwrap().unwrap(),
            own_subnet: Some("other"),
            internal,
        };
        discovery.choose().unwrap().into_iter().map(|subnet| subnet.id.clone()).collect()
    }

    /// aws.md 12.5.
    #[test]
    fn discovery_as_in_12_5() {
        let everything: Vec<String> = all().into_iter().map(|subnet| subnet.id).collect();
        let most: Vec<&str> = everything.iter().map(String::as_str).filter(|id| !id.starts_with("c00")).collect();
        type Row<'a> = (&'a [&'a str], &'a [&'a str], bool, &'a [&'a str]);
        let rows: [Row<'_>; 12] = [
            (&["a1"], &[], false, &["a1"]),
            (&["a2"], &["a2"], false, &[]),
            (&["a1", "a3"], &[], false, &["a1"]),
            (&["c1", "notag"], &[], false, &["c1"]),
            (&["a1", "notag"], &[], false, &["a1", "notag"]),
            (&["b1", "other"], &[], false, &["b1"]),
            (&["b1", "b2"], &["b2"], true, &["b2"]),
            (&["a1", "a2"], &[], false, &["a1"]),
            (&most, &["b2"], false, &["a1", "b1", "c1"]),
            (&["local", "a1"], &[], false, &["a1"]),
            (&["c0000000", "c0000001", "c0000002"], &[], false, &["c0000000"]),
            (&["other"], &[], false, &["other"]),
        ];
        for (subnets, private, internal, expected) in rows {
            assert_eq!(choose(subnets, private, internal), expected, "{subnets:?}");
        }
    }

    #[test]
    fn an_attached_subnet_stays_as_long_as_it_may_be_chosen() {
        let (a1, a2, b1) = (subnet("a1", "2a", &[]), subnet("a2", "2a", &[]), subnet("b1", "2b", &[]));
        let choice =
            Choice { chosen: vec![a1.clone(), b1.clone()], candidates: vec![a1.clone(), a2.clone(), b1.clone()] };
        assert_eq!(choice.keeping(std::slice::from_ref(&a2)), [a2.clone(), b1.clone()]);
        assert_eq!(choice.keeping(&[subnet("a3", "2a", &[])]), [a1.clone(), b1.clone()]);
        let named = Choice { candidates: Vec::new(), ..choice };
        assert_eq!(named.keeping(&[a2]), [a1, b1]);
    }

    #[test]
    fn a_subnet_without_any_route_table_is_an_error() {
        let subnets = [subnet("a1", "2a", &[])];
        let discovery = Discovery {
            subnets: &subnets,
            route_tables: &[],
            zone_kinds: &BTreeMap::new(),
            cluster: &ClusterId::new("", "c").unwrap().unwrap(),
            own_subnet: None,
            internal: false,
        };
        let error = discovery.choose().unwrap_err();
        assert_eq!(error.to_string(), "could not locate routing table for subnet a1");
    }

    #[test]
    fn the_annotation_names_subnets_in_its_own_order() {
        let mut subnets =
            vec![subnet("subnet-1", "2a", &[]), subnet("subnet-2", "2b", &[]), subnet("subnet-3", "2c", &[])];
        subnets[2].tags.insert("Name".into(), "third".into());
        let list = |entries: &[&str]| {
            let entries: Vec<String> = entries.iter().map(|entry| (*entry).to_owned()).collect();
            named(&entries, &subnets, "vpc-1")
                .map(|found| found.into_iter().map(|subnet| subnet.id.clone()).collect::<Vec<_>>())
        };
        assert_eq!(list(&["subnet-2", "third", "subnet-1"]).unwrap(), ["subnet-2", "subnet-3", "subnet-1"]);
        assert_eq!(list(&["th*"]).unwrap(), ["subnet-3"]);
        let error = list(&["subnet-1", "subnet-9", "none"]).unwrap_err().to_string();
        assert!(error.contains("expected to find 3, but found 1 subnets"), "{error}");
        assert!(list(&[]).unwrap_err().to_string().contains("unable to resolve empty subnet slice"));
    }

    #[test]
    fn a_classic_load_balancer_always_keeps_a_subnet() {
        let set = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(id, zone)| ((*id).to_owned(), (*zone).to_owned())).collect()
        };
        let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        let (attach, detach) = (|list: &[&str]| Move::Attach(ids(list)), |list: &[&str]| Move::Detach(ids(list)));
        assert_eq!(moves(&set(&[("s1", "a")]), &set(&[("s1", "a")])), []);
        assert_eq!(moves(&set(&[("s1", "a")]), &set(&[("s2", "b")])), [attach(&["s2"]), detach(&["s1"])]);
        // A swap within zones: one leaves, its successor comes, then the other one.
        let swap = moves(&set(&[("s1", "a"), ("s2", "b")]), &set(&[("s3", "a"), ("s4", "b")]));
        assert_eq!(swap, [detach(&["s1"]), attach(&["s3"]), detach(&["s2"]), attach(&["s4"])]);
        // Another one stays, so both may leave at once.
        let swap = moves(&set(&[("s1", "a"), ("s9", "z")]), &set(&[("s3", "a"), ("s9", "z")]));
        assert_eq!(swap, [detach(&["s1"]), attach(&["s3"])]);
        assert_eq!(moves(&set(&[("s1", "a")]), &set(&[("s2", "a")])), [attach(&["s2"]), detach(&["s1"])]);
    }
}
