//! What the host of an image says about its registry.

use std::sync::LazyLock;

use regex::Regex;

use crate::client::{
    self,
    ecr::{Caller, Token},
};

/// The hosts of the public registry.
const PUBLIC_HOSTS: [&str; 2] = ["public.ecr.aws", "ecr-public.aws.com"];
/// The public registry's API is in one region only.
const PUBLIC_REGION: &str = "us-east-1";
/// The hosts of private registries in all partitions, with FIPS and dual-stack variants. Upstream's pattern.
const PRIVATE_HOSTS: &str = r"^([0-9]{12})\.dkr[\.\-]ecr(\-fips)?\.([a-zA-Z0-9][a-zA-Z0-9_-]*)\.(amazonaws\.(?:com(?:\.cn)?|eu)|on\.(?:aws|amazonwebservices\.com\.cn)|sc2s\.sgov\.gov|c2s\.ic\.gov|cloud\.adc-e\.uk|csp\.hci\.ic\.gov)$";

#[expect(clippy::expect_used, reason = "a literal that the tests of this file compile")]
static PRIVATE: LazyLock<Regex> = LazyLock::new(|| Regex::new(PRIVATE_HOSTS).expect("the literal is a pattern"));

/// Why an image has no host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("error parsing image reference {image}: {problem}")]
pub struct Error {
    image: String,
    problem: String,
}

/// A registry of Amazon's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Registry {
    /// The public one.
    Public,
    /// An account's, in the region that its host names; without one, in the default region.
    Private(Option<String>),
}

impl Registry {
    /// The registry behind a host.
    pub fn of(host: &str) -> Self {
        if PUBLIC_HOSTS.contains(&host) {
            return Self::Public;
        }
        let region = PRIVATE.captures(host).and_then(|parts| parts.get(3)).map(|region| region.as_str().to_owned());
        Self::Private(region)
    }

    /// The region that the host names.
    pub fn region(&self) -> Option<&str> {
        match self {
            Self::Public => None,
            Self::Private(region) => region.as_deref(),
        }
    }

    /// A token for the registry; `None` where the answer holds none.
    pub(super) async fn token(&self, caller: Caller) -> cloud_provider::error::Result<Option<Token>> {
        match self {
            Self::Public => client::ecr::public_token(PUBLIC_REGION, caller).await,
            Self::Private(region) => client::ecr::private_token(region.as_deref(), caller).await,
        }
    }
}

/// The host of an image, without port, read as Go reads URLs.
///
/// # Errors
///
/// When there are characters in it that no host has.
pub fn host(image: &str) -> Result<String, Error> {
    let url = if image.contains("://") { image.to_owned() } else { format!("https://{image}") };
    let problem = |problem: String| Error { problem: format!("parse {url:?}: {problem}"), image: url.clone() };
    if let Some(control) = url.chars().find(|character| character.is_ascii_control()) {
        return Err(problem(format!("invalid control character {control:?} in URL")));
    }
    let (_, rest) = url.split_once("://").unwrap_or(("", &url));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (host, port) = match authority.strip_prefix('[') {
        Some(literal) => literal.split_once(']').ok_or_else(|| problem("missing ']' in host".to_owned()))?,
        None => authority.split_at(authority.rfind(':').unwrap_or(authority.len())),
    };
    let is_port =
        |port: &str| port.strip_prefix(':').is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    if !port.is_empty() && !is_port(port) {
        return Err(problem(format!("invalid port {port:?} after host")));
    }
    let fits = |character: &char| {
        !character.is_ascii() || character.is_ascii_alphanumeric() || "-_.~!$&'()*+,;=:<>\"".contains(*character)
    };
    if let Some(odd) = host.chars().find(|character| !fits(character)) {
        return Err(problem(format!("invalid character \"{odd}\" in host name")));
    }
    Ok(host.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_private_registries_are_known_and_no_others() {
        let known = [
            ("123456789012.dkr.ecr.lala-land-1.amazonaws.com", "lala-land-1"),
            ("123456789012.dkr.ecr-fips.lala-land-1.amazonaws.com", "lala-land-1"),
            ("123456789012.dkr.ecr.lala-land-1.amazonaws.com.cn", "lala-land-1"),
            ("123456789012.dkr.ecr.eusc-de-east-1.amazonaws.eu", "eusc-de-east-1"),
            ("123456789012.dkr.ecr-fips.eusc-de-east-1.amazonaws.eu", "eusc-de-east-1"),
            ("123456789012.dkr.ecr.us-iso-east-1.c2s.ic.gov", "us-iso-east-1"),
            ("123456789012.dkr.ecr.us-isob-east-1.sc2s.sgov.gov", "us-isob-east-1"),
            ("123456789012.dkr.ecr.eu-isoe-west-1.cloud.adc-e.uk", "eu-isoe-west-1"),
            ("123456789012.dkr.ecr.us-isof-east-1.csp.hci.ic.gov", "us-isof-east-1"),
            ("123456789012.dkr-ecr.lala-land-1.on.aws", "lala-land-1"),
            ("123456789012.dkr-ecr-fips.lala-land-1.on.aws", "lala-land-1"),
            ("123456789012.dkr-ecr.lala-land-1.on.amazonwebservices.com.cn", "lala-land-1"),
            ("123456789123.dkr.ecr.us-west-2.amazonaws.com", "us-west-2"),
            ("123456789123.dkr.ecr.cn-north-1.amazonaws.com.cn", "cn-north-1"),
            ("123456789123.dkr.ecr.us-gov-east-1.amazonaws.com", "us-gov-east-1"),
            ("123456789123.dkr-ecr-fips.us-gov-east-1.on.aws", "us-gov-east-1"),
        ];
        for (host, region) in known {
            assert_eq!(Registry::of(host), Registry::Private(Some(region.to_owned())), "{host}");
        }
        for host in [
            "1234567890123.dkr.ecr.lala-land-1.amazonaws.com",
            "12345678901.dkr.ecr.lala-land-1.amazonaws.com",
            "12345678901A.dkr.ecr.lala-land-1.amazonaws.com",
            "123456789012.dkr.ecr.lala-land-1!.amazonaws.com",
            "123456789012.dkr.ecr.#lala-land-1.amazonaws.com",
            "123456789012.dkr.ecr.lala-land-1.amazonaws.hacker.com",
            "123456789012.dkr.ecr.lala-land-1.hacker.com",
            "123456789012.dkr.ecr.lala-land-1.amazonaws.lol",
            "123456789012.dog.ecr.lala-land-1.amazonaws.com",
            "123456789012.dkr.cat.lala-land-1.amazonaws.com",
            "123456789012.dkr.cat.lala-land-1.awsamazon.com",
            "123456789012.lala-land-1.amazonaws.com",
            "123456789012.dkr.ecr.us-iso-east-1.amazonaws.gov",
            "foobar",
            "registry.k8s.io",
        ] {
            assert_eq!(Registry::of(host), Registry::Private(None), "{host}");
        }
        for host in PUBLIC_HOSTS {
            assert_eq!(Registry::of(host), Registry::Public);
        }
    }

    #[test]
    fn an_image_has_the_host_that_go_would_find() {
        for (image, expected) in [
            (
                "123456789123.dkr.ecr.us-west-2.amazonaws.com/foo/bar:1.0",
                "123456789123.dkr.ecr.us-west-2.amazonaws.com",
            ),
            (
                "123456789123.dkr.ecr.us-west-2.amazonaws.com/public.ecr.aws/foo:latest",
                "123456789123.dkr.ecr.us-west-2.amazonaws.com",
            ),
            ("http://foobar", "foobar"),
            ("public.ecr.aws", "public.ecr.aws"),
            ("localhost:5000/image@sha256:abc", "localhost"),
            ("[fd00::1]:5000/image", "fd00::1"),
            ("user:password@host/image", "host"),
        ] {
            assert_eq!(host(image).unwrap(), expected, "{image}");
        }
        let error = host("foobar  ").unwrap_err();
        assert_eq!(
            error.to_string(),
            "error parsing image reference https://foobar  : parse \"https://foobar  \": invalid character \" \" in host name"
        );
        for image in ["host:port/image", "[fd00::1/image", "a\u{1}b"] {
            host(image).unwrap_err();
        }
    }
}
