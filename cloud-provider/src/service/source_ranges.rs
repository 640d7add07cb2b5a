//! The source ranges of a load balancer.

use std::collections::BTreeSet;

use ipnet::IpNet;

use crate::{
    Error,
    cluster::objects::{Object, Service},
    error::Result,
};

/// Comma-separated ranges; used where `spec.loadBalancerSourceRanges` is empty.
pub const ANNOTATION: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";

/// The source ranges of a service, as a set of canonical networks; `0.0.0.0/0` where it names none.
///
/// # Errors
///
/// [`Invalid`](crate::Kind::Invalid) with the field or annotation, where an entry is no network.
pub fn of(service: &Service) -> Result<BTreeSet<IpNet>> {
    let spec = &service.spec.load_balancer_source_ranges;
    if !spec.is_empty() {
        return parse(spec.iter().map(String::as_str), "spec.loadBalancerSourceRanges");
    }
    match service.annotation(ANNOTATION).map(str::trim) {
        Some(list) if !list.is_empty() => parse(list.split(','), ANNOTATION),
        _ => parse(["0.0.0.0/0"].into_iter(), ANNOTATION),
    }
}

fn parse<'a>(entries: impl Iterator<Item = &'a str>, field: &str) -> Result<BTreeSet<IpNet>> {
    entries
        .map(|entry| {
            let network: IpNet = entry.trim().parse().map_err(|_| {
                let problem =
                    format!("{field}: {entry:?} is not a network; expecting a list of CIDRs such as 10.0.0.0/24");
                Error::invalid(field, problem)
            })?;
            Ok(network.trunc())
        })
        .collect()
}

/// Whether the set lets every IPv4 source in.
pub fn allow_all(ranges: &BTreeSet<IpNet>) -> bool {
    ranges.iter().any(|range| matches!(range, IpNet::V4(range) if range.prefix_len() == 0))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(annotation: Option<&str>, spec: &[&str]) -> Service {
        let annotations = annotation.map(|value| json!({ANNOTATION: value}));
        serde_json::from_value(json!({
            "metadata": {"name": "s", "annotations": annotations},
            "spec": {"loadBalancerSourceRanges": spec},
        }))
        .unwrap()
    }

    #[test]
    fn section_12_6_source_ranges() {
        for bad in ["10.0.0.1/33", "foo.bar", "10.0.0.1/32,*", "10.0.0.1/32,", "10.0.0.1/32, ", "10.0.0.1"] {
            assert!(of(&service(Some(bad), &[])).is_err(), "{bad}");
            let entries: Vec<&str> = bad.split(',').collect();
            assert!(of(&service(None, &entries)).is_err(), "{bad} in the spec");
        }
        let good = [
            ("192.168.0.1/32", 1),
            ("192.168.0.1/32,192.168.0.1/32", 1),
            ("192.168.0.1/32,192.168.0.2/32", 2),
            (" 192.168.0.1/32 , 192.168.0.2/32 ", 2),
        ];
        for (list, count) in good {
            assert_eq!(of(&service(Some(list), &[])).unwrap().len(), count, "{list}");
        }
        for unset in [None, Some(""), Some(" ")] {
            assert!(allow_all(&of(&service(unset, &[])).unwrap()));
        }
    }

    #[test]
    fn section_12_6_allow_all() {
        let all = |spec: &[&str]| allow_all(&of(&service(None, spec)).unwrap());
        assert!(!all(&["10.0.0.1/32"]));
        assert!(!all(&["10.0.0.1/32", "10.0.0.2/32"]));
        assert!(all(&["0.0.0.0/0"]));
        assert!(all(&["192.168.0.0/0"]));
        assert!(all(&["192.168.0.1/32", "0.0.0.0/0"]));
    }
}
