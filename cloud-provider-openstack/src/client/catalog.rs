//! The catalog: where the services are.

use cloud_provider::{Error, Kind, error::Result, http::Url};
use serde::Deserialize;

use super::{Interface, Service, service};

/// The services of a region, as Keystone names them with each token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Catalog(pub Vec<Entry>);

/// One service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Entry {
    /// Such as `compute`.
    #[serde(rename = "type", default)]
    pub service: String,
    /// Where it is.
    #[serde(default)]
    pub endpoints: Vec<Endpoint>,
}

/// One place of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Endpoint {
    /// `public`, `internal` or `admin`.
    #[serde(default)]
    pub interface: String,
    /// The region's name.
    #[serde(default)]
    pub region: Option<String>,
    /// The region's ID.
    #[serde(default)]
    pub region_id: Option<String>,
    /// Where.
    #[serde(default)]
    pub url: String,
}

impl Catalog {
    /// The first endpoint of a service that has this interface, is in this region (any, where it is empty), and does not name
    /// another major version than the one that is spoken.
    ///
    /// # Errors
    ///
    /// [`Kind::Unsupported`] where there is none.
    pub fn endpoint(&self, service: Service, interface: Interface, region: &str) -> Result<Url> {
        let here = |endpoint: &&Endpoint| {
            let named = |name: &Option<String>| name.as_deref() == Some(region);
            endpoint.interface == interface.as_str()
                && (region.is_empty() || named(&endpoint.region) || named(&endpoint.region_id))
        };
        // The order of the names counts, so that Cinder's third version comes before an older one.
        let entries = service.names().iter().flat_map(|name| self.0.iter().filter(move |entry| entry.service == *name));
        let urls = entries
            .flat_map(|entry| entry.endpoints.iter().filter(here))
            .filter_map(|endpoint| endpoint.url.parse::<Url>().ok());
        let spoken = |url: &Url| service::major(url).is_none_or(|major| major == service.major());
        urls.into_iter().find(spoken).ok_or_else(|| self.missing(service, interface, region))
    }

    fn missing(&self, service: Service, interface: Interface, region: &str) -> Error {
        let name = service.names()[0];
        let mut regions: Vec<&str> = self
            .0
            .iter()
            .flat_map(|entry| &entry.endpoints)
            .filter_map(|endpoint| endpoint.region.as_deref())
            .collect();
        regions.sort_unstable();
        regions.dedup();
        let place = match region {
            "" => String::new(),
            region => format!(" in region {region:?} (there are {})", regions.join(", ")),
        };
        Error::new(Kind::Unsupported, format!("the catalog has no {} endpoint of {name}{place}", interface.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog() -> Catalog {
        let endpoint = |interface: &str, region: &str, url: &str| Endpoint {
            interface: interface.into(),
            region: Some(region.into()),
            region_id: Some(format!("{region}-id")),
            url: url.into(),
        };
        Catalog(vec![
            Entry { service: "volume".into(), endpoints: vec![endpoint("public", "R1", "http://c/v1/p")] },
            Entry {
                service: "compute".into(),
                endpoints: vec![
                    endpoint("internal", "R1", "http://i/v2.1"),
                    endpoint("public", "R1", "http://old/v3"),
                    endpoint("public", "R1", "http://p/v2.1"),
                    endpoint("public", "R2", "http://q/v2.1"),
                ],
            },
            Entry { service: "volumev3".into(), endpoints: vec![endpoint("public", "R1", "http://c/v3/p")] },
        ])
    }

    #[test]
    fn the_first_endpoint_of_interface_region_and_version_is_taken() {
        let url =
            |service, interface, region: &str| catalog().endpoint(service, interface, region).map(String::from).ok();
        assert_eq!(url(Service::Compute, Interface::Public, "").as_deref(), Some("http://p/v2.1"));
        assert_eq!(url(Service::Compute, Interface::Public, "R2").as_deref(), Some("http://q/v2.1"));
        assert_eq!(url(Service::Compute, Interface::Public, "R2-id").as_deref(), Some("http://q/v2.1"));
        assert_eq!(url(Service::Compute, Interface::Internal, "R1").as_deref(), Some("http://i/v2.1"));
        assert_eq!(url(Service::Compute, Interface::Admin, "R1"), None);
        assert_eq!(url(Service::BlockStorage, Interface::Public, "R1").as_deref(), Some("http://c/v3/p"));
    }

    #[test]
    fn a_missing_endpoint_is_told_with_the_regions_that_there_are() {
        let error = catalog().endpoint(Service::Compute, Interface::Public, "R3").unwrap_err();
        assert_eq!(error.kind(), &Kind::Unsupported);
        assert_eq!(
            error.to_string(),
            "the catalog has no public endpoint of compute in region \"R3\" (there are R1, R2)"
        );
    }
}
