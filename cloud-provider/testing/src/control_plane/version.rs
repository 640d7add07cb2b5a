//! Kubernetes versions, and which of them can be built here.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, bail};

/// A Kubernetes minor release such as 1.37.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Minor(pub u32);

impl Minor {
    /// What is used where nothing else is asked for.
    pub const DEFAULT: Self = Self(37);
}

impl fmt::Display for Minor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1.{}", self.0)
    }
}

impl FromStr for Minor {
    type Err = anyhow::Error;

    /// `1.37`, `v1.37` or a full version, whose patch is ignored.
    fn from_str(text: &str) -> anyhow::Result<Self> {
        let mut parts = text.trim().trim_start_matches('v').split('.');
        match (parts.next(), parts.next().and_then(|minor| minor.parse().ok())) {
            (Some("1"), Some(minor)) => Ok(Self(minor)),
            _ => bail!("{text:?} is no Kubernetes version; wanted something like 1.37"),
        }
    }
}

/// A full release such as 1.37.2. Pre-releases do not parse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release {
    /// The minor release it belongs to.
    pub minor: Minor,
    /// The patch number.
    pub patch: u32,
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.minor, self.patch)
    }
}

impl FromStr for Release {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let patch = text.trim().rsplit('.').next().and_then(|patch| patch.parse().ok());
        let release =
            Self { minor: text.parse()?, patch: patch.with_context(|| format!("{text:?} has no patch number"))? };
        if release.to_string() != text.trim().trim_start_matches('v') {
            bail!("{text:?} is no Kubernetes release");
        }
        Ok(release)
    }
}

/// A pair of releases that is known to build from Go modules and to work together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Buildable {
    pub(super) kubernetes: Release,
    pub(super) etcd: &'static str,
}

const fn buildable(minor: u32, patch: u32, etcd: &'static str) -> Buildable {
    Buildable { kubernetes: Release { minor: Minor(minor), patch }, etcd }
}

/// etcd is of the series that the Kubernetes release itself was built with.
const BUILDABLE: [Buildable; 4] =
    [buildable(37, 2, "v3.7.3"), buildable(36, 3, "v3.6.16"), buildable(35, 4, "v3.6.16"), buildable(34, 4, "v3.6.16")];

impl Buildable {
    /// What to build for a minor release.
    pub(super) fn of(minor: Minor) -> anyhow::Result<Self> {
        BUILDABLE.into_iter().find(|pair| pair.kubernetes.minor == minor).with_context(|| {
            let known: Vec<String> = BUILDABLE.iter().map(|pair| pair.kubernetes.minor.to_string()).collect();
            format!("building Kubernetes {minor} is not known here, only {}", known.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_parse_with_and_without_a_v() {
        assert_eq!("1.34".parse::<Minor>().unwrap(), Minor(34));
        assert_eq!("v1.36.2".parse::<Minor>().unwrap(), Minor(36));
        assert_eq!("v1.36.2".parse::<Release>().unwrap(), Release { minor: Minor(36), patch: 2 });
        assert_eq!("1.36.2".parse::<Release>().unwrap().to_string(), "1.36.2");
    }

    #[test]
    fn pre_releases_and_other_things_are_refused() {
        for text in ["v1.35.0-alpha.3", "1.35", "2.1.0", "1.35.0+k3s1", ""] {
            assert!(text.parse::<Release>().is_err(), "{text}");
        }
        assert!("latest".parse::<Minor>().is_err());
    }

    #[test]
    fn the_default_can_be_built() {
        assert!(Buildable::of(Minor::DEFAULT).is_ok());
        assert!(Buildable::of(Minor(12)).unwrap_err().to_string().contains("1.37, 1.36"));
    }
}
