//! What the version of Octavia and the provider driver can do.

/// The name of the provider driver that serves from Open vSwitch.
pub const OVN: &str = "ovn";

/// The version of an API, without the `v`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32);

impl Version {
    /// Reads `v2.26`; a missing minor version is 0.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
        Some(Self(major.parse().ok()?, minor.parse().ok()?))
    }
}

/// What can be asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Features {
    /// Timeouts of listeners.
    pub timeouts: bool,
    /// Tags, and so shared load balancers.
    pub tags: bool,
    /// Flavors of load balancers.
    pub flavors: bool,
    /// Source ranges of listeners.
    pub allowed_cidrs: bool,
    /// Availability zones of load balancers.
    pub availability_zones: bool,
    /// HTTP monitors.
    pub http_monitors: bool,
    /// HTTP monitors on pools for UDP.
    pub http_monitors_on_udp: bool,
    /// A second address of another family.
    pub additional_vips: bool,
}

impl Features {
    /// What `version` can do with the provider driver of that name.
    pub fn of(version: Version, provider: &str) -> Self {
        let full = provider != OVN;
        Self {
            timeouts: full && version >= Version(2, 1),
            tags: version >= Version(2, 5),
            flavors: full && version >= Version(2, 6),
            allowed_cidrs: full && version >= Version(2, 12),
            availability_zones: full && version >= Version(2, 14),
            http_monitors: full,
            http_monitors_on_udp: full && version >= Version(2, 16),
            additional_vips: version >= Version(2, 26),
        }
    }

    /// Whether the monitor of a port of that protocol may ask over HTTP.
    pub fn http_monitor(self, protocol: &str) -> bool {
        if protocol == "UDP" { self.http_monitors_on_udp } else { self.http_monitors }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(Version::parse("v2.26"), Some(Version(2, 26)));
        assert!(Version::parse("v2.5").unwrap() < Version::parse("v2.14").unwrap());
        assert_eq!(Version::parse("v2"), Some(Version(2, 0)));
        assert_eq!(Version::parse("latest"), None);
    }

    #[test]
    fn each_feature_has_its_version() {
        let count = |version, provider| {
            let features = Features::of(version, provider);
            let all = [
                features.timeouts,
                features.tags,
                features.flavors,
                features.allowed_cidrs,
                features.availability_zones,
                features.http_monitors_on_udp,
                features.additional_vips,
            ];
            all.into_iter().filter(|on| *on).count()
        };
        let versions = [(2, 0), (2, 1), (2, 5), (2, 6), (2, 12), (2, 14), (2, 16), (2, 26)];
        for (nth, (major, minor)) in versions.into_iter().enumerate() {
            assert_eq!(count(Version(major, minor), "amphora"), nth, "{major}.{minor}");
        }
    }

    #[test]
    fn ovn_has_tags_and_little_else() {
        let features = Features::of(Version(2, 27), OVN);
        let expected = Features { tags: true, additional_vips: true, ..Features::default() };
        assert_eq!(features, expected);
        assert!(!features.http_monitor("TCP") && !features.http_monitor("UDP"));
    }
}
