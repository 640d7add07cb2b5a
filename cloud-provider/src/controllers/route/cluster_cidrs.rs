//! The cluster's ranges of pod addresses, which bound what the controller deletes.

use ipnet::IpNet;

use crate::{Error, error::Result};

/// `--cluster-cidr`: one range, or one for each IP family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterCidrs(Vec<IpNet>);

impl ClusterCidrs {
    /// Reads the entries of `--cluster-cidr`.
    ///
    /// # Errors
    ///
    /// Where there is none, one is no CIDR, or there are more than one range, or one for each IP family. The process cannot
    /// start then, as upstream's.
    pub fn parse(entries: &[String]) -> Result<Self> {
        let refuse = |problem: String| {
            let advice = "routes need the ranges of pod addresses, one or one for each IP family; \
                          --configure-cloud-routes=false turns routes off";
            Err(Error::invalid("--cluster-cidr", format!("--cluster-cidr: {problem}: {advice}")))
        };
        let mut ranges = Vec::new();
        for entry in entries {
            match entry.trim().parse::<IpNet>() {
                Ok(range) => ranges.push(range.trunc()),
                Err(_) => return refuse(format!("{entry:?} is not a CIDR")),
            }
        }
        match ranges[..] {
            [_] | [IpNet::V4(_), IpNet::V6(_)] | [IpNet::V6(_), IpNet::V4(_)] => Ok(Self(ranges)),
            [] => refuse("it is empty".into()),
            [_, _] => refuse(format!("{} are of the same IP family", entries.join(" and "))),
            _ => refuse(format!("it names {} ranges", ranges.len())),
        }
    }

    /// Whether a route to `destination` is the controller's to delete: its first or its last address lies in a range.
    pub fn is_responsible_for(&self, destination: IpNet) -> bool {
        let (first, last) = (destination.network(), destination.broadcast());
        self.0.iter().any(|range| range.contains(&first) || range.contains(&last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ClusterCidrs> {
        let entries: Vec<String> = text.split(',').filter(|entry| !entry.is_empty()).map(str::to_owned).collect();
        ClusterCidrs::parse(&entries)
    }

    #[test]
    fn section_12_8_is_responsible() {
        for (range, route, responsible) in [
            ("10.244.0.0/16", "10.244.0.0/24", true),
            ("10.244.0.0/16", "10.244.10.0/24", true),
            ("10.244.0.0/16", "10.244.255.0/24", true),
            ("10.244.0.0/14", "10.244.0.0/24", true),
            ("10.244.0.0/14", "10.247.255.0/24", true),
            ("a00:100::/10", "a00:100::/24", true),
            ("10.244.0.0/16", "10.224.0.0/24", false),
            ("10.244.0.0/16", "10.0.10.0/24", false),
            ("10.244.0.0/16", "10.255.255.0/24", false),
            ("10.244.0.0/14", "10.248.0.0/24", false),
            ("10.244.0.0/14", "10.243.255.0/24", false),
            ("a00:100::/10", "b00:100::/24", false),
            // Of a route that is wider than the range, either end counts.
            ("10.244.0.0/16", "10.244.0.0/15", true),
            ("10.245.0.0/16", "10.244.0.0/15", true),
            ("10.244.0.0/16", "0.0.0.0/0", false),
            ("10.244.0.0/16", "::/0", false),
        ] {
            let answer = parse(range).unwrap().is_responsible_for(route.parse().unwrap());
            assert_eq!(answer, responsible, "{range} {route}");
        }
    }

    #[test]
    fn one_range_or_one_for_each_family() {
        for good in ["10.0.0.0/8", "fd00::/48", "10.0.0.0/8,fd00::/48", "fd00::/48, 10.0.0.0/8", "10.1.2.3/8"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for (bad, problem) in [
            ("", "it is empty"),
            ("10.0.0.0", r#""10.0.0.0" is not a CIDR"#),
            ("10.0.0.0/8,x", r#""x" is not a CIDR"#),
            ("10.0.0.0/16,10.1.0.0/16", "10.0.0.0/16 and 10.1.0.0/16 are of the same IP family"),
            ("10.0.0.0/16,10.1.0.0/16,fd00::/48", "it names 3 ranges"),
        ] {
            let error = parse(bad).unwrap_err().chain();
            assert!(error.starts_with(&format!("--cluster-cidr: {problem}: ")), "{error}");
            assert!(error.contains("--configure-cloud-routes=false"), "{error}");
        }
    }
}
