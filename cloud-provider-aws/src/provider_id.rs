//! Provider IDs in all the forms that were ever written, and node names that stand for instances.

use std::{fmt, net::IpAddr, sync::Arc};

/// The ID of an EC2 instance, such as `i-0123456789abcdef0`. Cheap to clone. What follows `i-` is not checked: the API
/// does that, and its rules have changed.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstanceId(Arc<str>);

impl InstanceId {
    /// An ID that an API or a user gave.
    pub fn new(id: &str) -> Self {
        Self(id.into())
    }

    /// The ID's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it looks like the IDs that EC2 makes: 8 or 17 hexadecimal digits.
    pub fn is_regular(&self) -> bool {
        let digits = self.0.strip_prefix("i-").unwrap_or_default();
        matches!(digits.len(), 8 | 17) && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a provider ID names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderId {
    /// An EC2 instance.
    Instance(InstanceId),
    /// A Fargate pod's virtual machine, by the text after the last `/`: `fargate-…`.
    Fargate(String),
    /// Something of another cloud.
    Foreign,
}

/// A provider ID that looks like ours and names nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Invalid format for AWS instance ({0})")]
pub struct InvalidProviderId(pub String);

const SCHEME: &str = "aws://";

impl ProviderId {
    /// Reads `aws:///<zone>/<id>`, with any host and without a zone too, and a bare instance ID. Any other scheme is
    /// foreign, where upstream fails.
    ///
    /// # Errors
    ///
    /// [`InvalidProviderId`] for our scheme, or none, without an instance at the end.
    pub fn parse(text: &str) -> Result<Self, InvalidProviderId> {
        let invalid = || InvalidProviderId(text.to_owned());
        let path = match text.strip_prefix(SCHEME) {
            // What stands before the first slash is a host.
            Some(rest) => rest.split_once('/').ok_or_else(invalid)?.1,
            None if text.contains("://") => return Ok(Self::Foreign),
            None => text,
        };
        if path.contains(['%', '?', '#']) || path.chars().any(|character| character.is_control() || character == ' ') {
            return Err(invalid());
        }
        let last = path.trim_matches('/').rsplit('/').next().unwrap_or_default();
        if last.starts_with("i-") {
            Ok(Self::Instance(InstanceId::new(last)))
        } else if last.starts_with(FARGATE) {
            Ok(Self::Fargate(last.to_owned()))
        } else {
            Err(invalid())
        }
    }

    /// The form that new nodes get.
    pub fn print(zone: &str, id: &InstanceId) -> String {
        format!("{SCHEME}/{zone}/{id}")
    }
}

const FARGATE: &str = "fargate-";

/// The private address in a Fargate ID: `fargate-192.168.164.88` or `fargate-ip-192-168-164-88.<domain>`.
pub fn fargate_address(id: &str) -> Option<IpAddr> {
    let rest = id.strip_prefix(FARGATE)?;
    if let Ok(address) = rest.parse() {
        return Some(address);
    }
    let name = rest.strip_prefix("ip-")?.split('.').next()?;
    name.replace('-', ".").parse().ok()
}

/// The instance that a node name stands for by itself: names that start with `i-` are instance IDs up to the first dot.
pub fn instance_in_name(node_name: &str) -> Option<InstanceId> {
    node_name.starts_with("i-").then(|| InstanceId::new(node_name.split('.').next().unwrap_or(node_name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// aws.md 12.2.
    #[test]
    fn forms_as_in_12_2() {
        for id in ["i-12345678", "i-12345678abcdef01"] {
            for text in [format!("aws:///us-east-1a/{id}"), format!("aws:////{id}"), id.to_owned()] {
                assert_eq!(ProviderId::parse(&text), Ok(ProviderId::Instance(InstanceId::new(id))), "{text}");
            }
        }
        assert_eq!(ProviderId::parse("aws://acc/us-east-1a/i-1"), Ok(ProviderId::Instance(InstanceId::new("i-1"))));
        for id in ["fargate-ip-192-168-164-88.internal", "fargate-192.168.164.88"] {
            let parsed = ProviderId::parse(&format!("aws:///us-west-2c/1abc-2def/{id}"));
            assert_eq!(parsed, Ok(ProviderId::Fargate(id.to_owned())));
            assert_eq!(fargate_address(id), Some("192.168.164.88".parse().unwrap()));
        }
        for text in [
            "vol-123456789",
            "aws:///us-east-1a/vol-12345678abcdef01",
            "aws://accountid/us-east-1a/vol-12345678abcdef01",
            "aws:///us-east-1a/vol-12345678abcdef01/suffix",
            "aws://i-12345678",
            "aws:///us-east-1a/i-1%20",
            "",
        ] {
            assert_eq!(ProviderId::parse(text), Err(InvalidProviderId(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn other_schemes_are_foreign() {
        for text in ["foo://com-2351", "gce://p/z/i-1", "eks-hybrid:///eu-west-1/c/mi-1", "azure:///x"] {
            assert_eq!(ProviderId::parse(text), Ok(ProviderId::Foreign), "{text}");
        }
    }

    #[test]
    fn names_with_an_instance_id_in_front() {
        assert_eq!(instance_in_name("i-0123.ec2.internal"), Some(InstanceId::new("i-0123")));
        assert_eq!(instance_in_name("i-0123"), Some(InstanceId::new("i-0123")));
        assert_eq!(instance_in_name("ip-10-0-0-1.ec2.internal"), None);
    }

    #[test]
    fn regular_ids() {
        assert!(InstanceId::new("i-12345678").is_regular() && InstanceId::new("i-0123456789abcdef0").is_regular());
        assert!(!InstanceId::new("i-self").is_regular() && !InstanceId::new("i-kwok-12").is_regular());
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics_and_printed_ids_read_back(text in ".{0,60}", zone in "[a-z0-9-]{0,12}", id in "i-[0-9a-f]{8,17}") {
            let _ = ProviderId::parse(&text);
            let _ = fargate_address(&text);
            let id = InstanceId::new(&id);
            proptest::prop_assert_eq!(
                ProviderId::parse(&ProviderId::print(&zone, &id)),
                Ok(ProviderId::Instance(id))
            );
        }
    }
}
