//! What is wrong in a config file, and where.

use std::fmt;

use serde::de;

use crate::config::secret::is_secret;

/// In place of a message that may hold a secret.
const WITHHELD: &str = "the value does not fit; it may be a secret and is not shown";

/// A place in a config file, as much of it as is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) line: Option<usize>,
    pub(super) section: Option<String>,
    pub(super) subsection: Option<String>,
    pub(super) key: Option<String>,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if let Some(line) = self.line {
            write!(f, "line {line}")?;
            separator = ", ";
        }
        for (what, name) in [("section", &self.section), ("subsection", &self.subsection), ("key", &self.key)] {
            if let Some(name) = name {
                write!(f, "{separator}{what} {name:?}")?;
                separator = ", ";
            }
        }
        Ok(())
    }
}

/// A syntax error, or a value that does not fit its key: the message names the value, unless the key is that of a secret
/// ([`is_secret`]). Fatal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}{}{message}", if *.at == Location::default() { "" } else { ": " })]
pub struct Error {
    pub(super) message: String,
    pub(super) at: Location,
}

impl Error {
    pub(super) fn syntax(line: usize, message: impl Into<String>) -> Self {
        Self { message: message.into(), at: Location::default() }.at_line(line)
    }

    /// Adds what is not known of the place yet; what is known is nearer to the error. Once the key is known to be that of a
    /// secret, the message goes, since it may hold the value.
    pub(super) fn at(self, at: Location) -> Self {
        let known = self.at;
        let secret = known.key.is_none() && at.key.as_deref().is_some_and(is_secret);
        Self {
            message: if secret { WITHHELD.to_owned() } else { self.message },
            at: Location {
                line: known.line.or(at.line),
                section: known.section.or(at.section),
                subsection: known.subsection.or(at.subsection),
                key: known.key.or(at.key),
            },
        }
    }

    pub(super) fn at_line(self, line: usize) -> Self {
        self.at(Location { line: Some(line), ..Location::default() })
    }

    /// The line of the error, from 1, where it has one.
    pub fn line(&self) -> Option<usize> {
        self.at.line
    }

    /// The section of the error, as written, where it has one.
    pub fn section(&self) -> Option<&str> {
        self.at.section.as_deref()
    }

    /// The key of the error, as written, where it has one.
    pub fn key(&self) -> Option<&str> {
        self.at.key.as_deref()
    }
}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { message: message.to_string(), at: Location::default() }
    }
}

/// Something in the file that has no effect. The Go programs ignore it in silence.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// A section that this cloud does not know.
    UnknownSection {
        /// The line of its header.
        line: usize,
        /// Its name as written.
        section: String,
    },
    /// A subsection of a section that has none.
    UnexpectedSubsection {
        /// The line of its header.
        line: usize,
        /// The section as written.
        section: String,
        /// The subsection.
        subsection: String,
    },
    /// A key that its section does not know.
    UnknownKey {
        /// The line of the key.
        line: usize,
        /// The section as written.
        section: String,
        /// The subsection, if it stands in one.
        subsection: Option<String>,
        /// The key as written.
        key: String,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, section, subsection, key) = match self {
            Self::UnknownSection { line, section } => (line, section, None, None),
            Self::UnexpectedSubsection { line, section, subsection } => (line, section, Some(subsection), None),
            Self::UnknownKey { line, section, subsection, key } => (line, section, subsection.as_ref(), Some(key)),
        };
        let at = Location {
            line: Some(*line),
            section: Some(section.clone()),
            subsection: subsection.cloned(),
            key: key.cloned(),
        };
        write!(f, "{at}: not known, ignored")
    }
}
