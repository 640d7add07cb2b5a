//! Provider IDs in all the forms that were ever written.

use std::fmt;

/// What a provider ID names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderId {
    /// A server of this region.
    Server(String),
    /// A server of another region, by its name.
    OtherRegion(String),
    /// Something of another cloud.
    Foreign,
}

/// A provider ID that looks like ours and names nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("ProviderID \"{0}\" didn't match expected format \"openstack://region/InstanceID\"")]
pub struct InvalidProviderId(pub String);

/// The name of the provider.
pub const NAME: &str = "openstack";
const SCHEME: &str = "openstack://";

impl ProviderId {
    /// Reads `openstack:///<id>`, `openstack://<region>/<id>` and both without the scheme. Where `region` is set, the IDs of
    /// another one are not ours. Any other scheme is foreign, where upstream fails.
    ///
    /// # Errors
    ///
    /// [`InvalidProviderId`] for our scheme, or none, without region and ID.
    pub fn parse(text: &str, region: &str) -> Result<Self, InvalidProviderId> {
        let invalid = || InvalidProviderId(text.to_owned());
        let rest = match text.strip_prefix(SCHEME) {
            Some(rest) => rest,
            None if text.contains("://") => return Ok(Self::Foreign),
            None => text,
        };
        let (named, id) = rest.split_once('/').ok_or_else(invalid)?;
        if id.is_empty() || id.contains('/') {
            return Err(invalid());
        }
        match named {
            "" => Ok(Self::Server(id.to_owned())),
            named if named == region => Ok(Self::Server(id.to_owned())),
            named => Ok(Self::OtherRegion(named.to_owned())),
        }
    }

    /// The form that new nodes get, with the region only where it is wanted.
    pub fn print(region: Option<&str>, id: impl fmt::Display) -> String {
        format!("{SCHEME}{}/{id}", region.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "7b9cf879-7146-417c-abfd-cb4272f0c935";

    fn server() -> Result<ProviderId, InvalidProviderId> {
        Ok(ProviderId::Server(ID.to_owned()))
    }

    #[test]
    fn section_12_2_forms() {
        for (text, region) in [
            (format!("openstack:///{ID}"), ""),
            (format!("openstack:///{ID}"), "RegionOne"),
            (format!("openstack://RegionOne/{ID}"), "RegionOne"),
            (format!("/{ID}"), "RegionOne"),
            (format!("us-east-1/{ID}"), "us-east-1"),
        ] {
            assert_eq!(ProviderId::parse(&text, region), server(), "{text}");
        }
        for text in [format!("openstack://{ID}"), format!("openstack://us-east-1-{ID}"), ID.to_owned(), String::new()] {
            let error = ProviderId::parse(&text, "").unwrap_err();
            assert!(error.to_string().contains("didn't match expected format"), "{error}");
        }
        assert!(ProviderId::parse(&format!("openstack://a/b/{ID}"), "").is_err());
        assert!(ProviderId::parse("openstack:///", "").is_err());
    }

    #[test]
    fn other_schemes_and_regions_are_told_apart() {
        for text in [&format!("other-provider:///{ID}"), "aws:///a/i-1", "kind://x/y/z"] {
            assert_eq!(ProviderId::parse(text, ""), Ok(ProviderId::Foreign));
        }
        let other = Ok(ProviderId::OtherRegion("R2".to_owned()));
        assert_eq!(ProviderId::parse(&format!("openstack://R2/{ID}"), "R1"), other);
        assert_eq!(ProviderId::parse(&format!("R2/{ID}"), "R1"), other);
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics_and_printed_ids_read_back(text in ".{0,60}", region in "[A-Za-z0-9_-]{0,12}", id in "[0-9a-f-]{1,36}") {
            let _ = ProviderId::parse(&text, &region);
            for named in [None, Some(region.as_str())] {
                let printed = ProviderId::print(named, &id);
                proptest::prop_assert_eq!(ProviderId::parse(&printed, &region), Ok(ProviderId::Server(id.clone())));
            }
        }
    }
}
