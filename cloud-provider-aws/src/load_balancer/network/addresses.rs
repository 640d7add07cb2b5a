//! The subnets and addresses of a network load balancer.

use std::collections::BTreeSet;

use cloud_provider::{
    Error,
    cluster::objects::{Object, Service},
    error::Result,
    service::source_ranges,
};
use ipnet::{IpNet, Ipv6Net};

use super::{
    desired::{Security, Wanted},
    observed::Observed,
    ports,
};
use crate::{
    client::{elbv2::SubnetMapping, network::Subnet},
    load_balancer::annotations::{self, Annotation},
};

/// The families of a load balancer's addresses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Families {
    /// A new load balancer gets IPv4, one that is there keeps what it has.
    #[default]
    AsIs,
    /// IPv4 alone.
    Ipv4,
    /// Both.
    Both,
    /// Both, where subnets, ports and source ranges permit it.
    BothIfPossible,
}

impl Families {
    /// What a service asks for: with the annotation, or else with the families that it has itself, where it has two. One
    /// family is the default of Kubernetes and says nothing.
    ///
    /// # Errors
    ///
    /// Where the annotation is wrong, or both families are required together with UDP, for which AWS wants more than
    /// this provider sets.
    pub(super) fn of(service: &Service, extended: bool) -> Result<Self> {
        if !extended {
            return Ok(Self::AsIs);
        }
        let annotation = annotations::IP_ADDRESS_TYPE;
        let policy = service.spec.ip_family_policy.as_deref().unwrap_or_default();
        let families = match annotation.filled(service) {
            Some("ipv4") => Self::Ipv4,
            Some("dualstack") => Self::Both,
            Some(other) => return Err(annotation.error(format!("unsupported IP address type {other:?}"))),
            None if service.spec.ip_families.len() < 2 => Self::AsIs,
            None if policy == "RequireDualStack" => Self::Both,
            None => Self::BothIfPossible,
        };
        match families {
            Self::Both if ports::any_udp(service) => Err(Error::invalid(
                annotation.key,
                "a network load balancer with addresses of both families serves no UDP port here; ask for ipv4, or for \
                 two services",
            )),
            Self::BothIfPossible if ports::any_udp(service) => Ok(Self::Ipv4),
            families => Ok(families),
        }
    }
}

/// Who may be a client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Clients {
    /// The source ranges, those of IPv4 alone where the service names none.
    pub(super) ranges: BTreeSet<IpNet>,
    /// Whether the service names them.
    named: bool,
}

impl Clients {
    pub(super) fn of(service: &Service) -> Result<Self> {
        let annotated = service.annotation(source_ranges::ANNOTATION).is_some_and(|list| !list.trim().is_empty());
        let named = annotated || !service.spec.load_balancer_source_ranges.is_empty();
        Ok(Self { ranges: source_ranges::of(service)?, named })
    }

    /// The ranges for a load balancer that has addresses of both families, or IPv4 alone. Who names no ranges means
    /// everybody.
    pub(super) fn ranges(&self, dual_stack: bool) -> BTreeSet<IpNet> {
        let mut ranges = self.ranges.clone();
        if dual_stack && !self.named {
            ranges.insert(Ipv6Net::default().into());
        }
        ranges
    }

    /// Whether every client is let in that comes over IPv6.
    fn all_over_ipv6(&self) -> bool {
        self.ranges(true).iter().any(|range| matches!(range, IpNet::V6(range) if range.prefix_len() == 0))
    }
}

/// Whether the load balancer is to have addresses of both families. `whole` is false where only its back ends are looked
/// at.
///
/// # Errors
///
/// Where clients over IPv6 could not be told apart: they reach nodes from the load balancer's own addresses, so that only
/// its own security groups can.
pub(super) fn dual_stack(wanted: &Wanted, observed: &Observed, whole: bool) -> Result<bool> {
    let has = observed.load_balancer.as_ref().is_some_and(|balancer| balancer.dual_stack);
    let guarded = match &observed.load_balancer {
        Some(balancer) => !balancer.security_groups.is_empty(),
        None => wanted.security != Security::AsIs,
    };
    let enforced = guarded || wanted.clients.all_over_ipv6();
    match wanted.families {
        Families::AsIs | Families::Ipv4 => Ok(false),
        Families::Both | Families::BothIfPossible if !whole => Ok(has),
        Families::BothIfPossible => Ok(all_ipv6(&observed.goal) && enforced),
        Families::Both if enforced => Ok(true),
        Families::Both => Err(Error::invalid(
            "spec.loadBalancerSourceRanges",
            "clients over IPv6 cannot be restricted on a network load balancer without security groups; have it made \
             with NLBSecurityGroupMode=Managed, add ::/0, or ask for ipv4",
        )),
    }
}

/// The IPv4 ranges of subnets.
pub(super) fn cidrs(subnets: &[Subnet]) -> BTreeSet<String> {
    subnets.iter().map(|subnet| subnet.cidr.clone()).filter(|cidr| !cidr.is_empty()).collect()
}

/// Whether all of some subnets have an IPv6 range.
fn all_ipv6(subnets: &[Subnet]) -> bool {
    !subnets.is_empty() && subnets.iter().all(|subnet| subnet.ipv6)
}

/// The addresses that annotations pair with subnets.
///
/// # Errors
///
/// Where there is not one for each subnet.
pub(super) fn check_addresses(service: &Service, subnets: usize) -> Result<()> {
    for (annotation, what) in
        [(annotations::EIP_ALLOCATIONS, "EIP AllocationIDs"), (annotations::PRIVATE_ADDRESSES, "Private IPv4Addresses")]
    {
        if let Some(list) = annotation.raw_list(service).filter(|list| list.len() != subnets) {
            let problem = format!(
                "error creating load balancer: Must have same number of {what} ({}) and SubnetIDs ({subnets})",
                list.len(),
            );
            return Err(Error::invalid(annotation.key, problem));
        }
    }
    Ok(())
}

/// One mapping per subnet, with the addresses that annotations pair with them.
pub(super) fn mappings(service: &Service, subnets: &[Subnet]) -> Vec<SubnetMapping> {
    let list = |annotation: Annotation| annotation.raw_list(service).unwrap_or_default();
    let (allocations, addresses) = (list(annotations::EIP_ALLOCATIONS), list(annotations::PRIVATE_ADDRESSES));
    let mapping = |(index, subnet): (usize, &Subnet)| SubnetMapping {
        subnet: subnet.id.clone(),
        allocation: allocations.get(index).cloned(),
        private_address: addresses.get(index).cloned(),
    };
    subnets.iter().enumerate().map(mapping).collect()
}

/// What the subnets of a load balancer have to become; `None` where they are right. `wanted` holds the addresses for the
/// subnets of `goal`, in the same order. A subnet for which no address is wanted keeps the one it has.
pub(super) fn moved(wanted: &[SubnetMapping], goal: &[Subnet], actual: &[SubnetMapping]) -> Option<Vec<SubnetMapping>> {
    let kept = |(mapping, subnet): (&SubnetMapping, &Subnet)| {
        let has = actual.iter().find(|has| has.subnet == subnet.id).cloned().unwrap_or_default();
        SubnetMapping {
            subnet: subnet.id.clone(),
            allocation: mapping.allocation.clone().or(has.allocation),
            private_address: mapping.private_address.clone().or(has.private_address),
        }
    };
    let goal: Vec<SubnetMapping> = wanted.iter().zip(goal).map(kept).collect();
    let same = goal.len() == actual.len() && goal.iter().all(|mapping| actual.contains(mapping));
    (!same).then_some(goal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(subnet: &str, allocation: Option<&str>) -> SubnetMapping {
        SubnetMapping { subnet: subnet.into(), allocation: allocation.map(str::to_owned), ..SubnetMapping::default() }
    }

    #[test]
    fn only_what_differs_moves_and_given_addresses_stay() {
        let actual = [mapping("a", Some("e1")), mapping("b", Some("e2"))];
        let moved = |wanted: &[SubnetMapping], goal: &[&str]| {
            let goal: Vec<Subnet> = goal.iter().map(|id| Subnet { id: (*id).into(), ..Subnet::default() }).collect();
            moved(wanted, &goal, &actual)
        };
        assert_eq!(moved(&[mapping("b", None), mapping("a", Some("e1"))], &["b", "a"]), None);
        let expected = vec![mapping("a", Some("e1")), mapping("c", None)];
        assert_eq!(moved(&[mapping("a", None), mapping("c", None)], &["a", "c"]), Some(expected));
        let expected = vec![mapping("a", Some("e2")), mapping("b", Some("e1"))];
        assert_eq!(moved(&expected, &["a", "b"]), Some(expected.clone()));
        // Another subnet of the zone was chosen than the one that is kept.
        assert_eq!(moved(&[mapping("a9", Some("e1")), mapping("b9", None)], &["a", "b"]), None);
    }

    #[test]
    fn whoever_names_no_source_ranges_lets_everybody_in() {
        let everybody = Clients { ranges: ["0.0.0.0/0".parse().unwrap()].into(), named: false };
        assert_eq!((everybody.ranges(false).len(), everybody.ranges(true).len()), (1, 2));
        let named = Clients { named: true, ..everybody };
        assert_eq!(named.ranges(true).len(), 1);
        assert!(!named.all_over_ipv6());
    }
}
