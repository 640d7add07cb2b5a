//! The services that are called, and where their resources are.

use cloud_provider::http::Url;

/// A service of OpenStack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// Nova.
    Compute,
    /// Neutron.
    Network,
    /// Octavia.
    LoadBalancer,
    /// Barbican.
    KeyManager,
    /// Cinder.
    BlockStorage,
}

impl Service {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Compute, Self::Network, Self::LoadBalancer, Self::KeyManager, Self::BlockStorage];

    /// Its types in catalogs, the official one first.
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Self::Compute => &["compute"],
            Self::Network => &["network"],
            Self::LoadBalancer => &["load-balancer"],
            Self::KeyManager => &["key-manager"],
            Self::BlockStorage => &["block-storage", "volumev3", "volume", "block-store"],
        }
    }

    /// The major version of the API that is spoken.
    pub(super) fn major(self) -> &'static str {
        match self {
            Self::Compute | Self::Network | Self::LoadBalancer => "2",
            Self::KeyManager => "1",
            Self::BlockStorage => "3",
        }
    }

    /// Where its resources are, below its endpoint: as upstream has it, plus Cinder.
    pub(super) fn resources(self, endpoint: Url) -> Url {
        match self {
            // Their endpoints hold a version, and Cinder's the project.
            Self::Compute | Self::BlockStorage => with_slash(endpoint),
            Self::Network => appended(endpoint, "v2.0"),
            Self::LoadBalancer => appended(endpoint, "v2.0"),
            Self::KeyManager => appended(endpoint, "v1"),
        }
    }
}

/// The version that a path names as a whole segment, `v2.1`, with the place of its segment.
fn version(url: &Url) -> Option<(usize, String)> {
    let is_version = |segment: &str| {
        segment.strip_prefix('v').is_some_and(|number| {
            number.starts_with(|c: char| c.is_ascii_digit()) && number.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        })
    };
    let mut segments = url.path_segments()?.enumerate();
    segments.find(|(_, segment)| is_version(segment)).map(|(place, segment)| (place, segment.to_owned()))
}

/// The major version in the path of an endpoint, where it names one.
pub(super) fn major(url: &Url) -> Option<String> {
    let (_, version) = version(url)?;
    version.trim_start_matches('v').split('.').next().map(str::to_owned)
}

/// An endpoint without its version and what comes behind it: where a service lists its versions.
pub(super) fn root(endpoint: &Url) -> Url {
    let mut url = endpoint.clone();
    if let Some((place, _)) = version(endpoint) {
        let before: Vec<String> =
            endpoint.path_segments().into_iter().flatten().take(place).map(str::to_owned).collect();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.clear().extend(before);
        }
    }
    with_slash(url)
}

fn appended(endpoint: Url, version: &str) -> Url {
    let mut url = match self::version(&endpoint) {
        Some((_, found)) if found == version => return with_slash(endpoint),
        _ => endpoint,
    };
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().push(version);
    }
    with_slash(url)
}

pub(super) fn with_slash(mut url: Url) -> Url {
    url.set_query(None);
    url.set_fragment(None);
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().push("");
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(service: Service, endpoint: &str) -> String {
        service.resources(endpoint.parse().unwrap()).into()
    }

    #[test]
    fn section_2_4_resource_bases() {
        assert_eq!(resources(Service::Compute, "http://h/compute/v2.1"), "http://h/compute/v2.1/");
        for endpoint in ["http://h:9696", "http://h:9696/", "http://h:9696/v2.0", "http://h:9696/v2.0/"] {
            assert_eq!(resources(Service::Network, endpoint), "http://h:9696/v2.0/", "{endpoint}");
        }
        for endpoint in ["http://h/load-balancer", "http://h/load-balancer/v2.0"] {
            assert_eq!(resources(Service::LoadBalancer, endpoint), "http://h/load-balancer/v2.0/", "{endpoint}");
        }
        assert_eq!(resources(Service::KeyManager, "http://h/key-manager"), "http://h/key-manager/v1/");
        assert_eq!(resources(Service::BlockStorage, "http://h/volume/v3/p"), "http://h/volume/v3/p/");
    }

    #[test]
    fn the_root_of_a_service_is_before_its_version() {
        for (endpoint, expected) in [
            ("http://h:9876", "http://h:9876/"),
            ("http://h/load-balancer/v2.0", "http://h/load-balancer/"),
            ("http://h/volume/v3/project", "http://h/volume/"),
            ("http://h/voice", "http://h/voice/"),
        ] {
            assert_eq!(root(&endpoint.parse().unwrap()).as_str(), expected);
        }
        assert_eq!(major(&"http://h/v2.1/".parse().unwrap()).as_deref(), Some("2"));
        assert_eq!(major(&"http://h/vip/".parse().unwrap()), None);
    }
}
