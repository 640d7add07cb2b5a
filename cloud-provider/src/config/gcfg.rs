//! Cloud config files in the git-config dialect of Go's `gcfg` v1.
//!
//! ```text
//! [Global]                      ; section and key names: a letter, then letters, digits and `-`, in any case
//! region = eu-central-1         # comments run to the end of the line
//! password = "a # b\n"          # inside quotes: \\ \" \n \t
//! regional                      # no `=`: true for a boolean; empties a list so far
//! node-tags = one               # a list repeats its key
//! node-tags = two
//! [ServiceOverride "1"]         # subsection names keep their case
//! ```
//!
//! [`from_str`] reads a file into a type with serde: the fields of the outer struct are sections, the fields of an
//! inner struct are keys, `BTreeMap<String, S>` holds the subsections of a section (a section without one has the
//! key `""`), `Vec<T>` collects repeated keys, and any other value takes the last one. Names are compared without
//! regard to case, so `#[serde(rename_all = "PascalCase", default)]` suits the Go structs of most clouds.
//! `#[serde(flatten)]` is not supported. Sections and keys that the type does not have come back as [`Warning`]s,
//! as the Go programs carry on with them; syntax and type errors are fatal. They say where they are, and which value
//! does not fit, unless the name of its key is that of a secret.

mod de;
mod error;
mod scan;

#[cfg(test)]
mod tests;

use std::fmt;

pub use error::{Error, Warning};
use serde::de::DeserializeOwned;

/// Reads a config file into `T`, with a warning for each section and key that `T` does not have.
pub fn from_str<T: DeserializeOwned>(text: &str) -> Result<(T, Vec<Warning>), Error> {
    Document::parse(text)?.deserialize()
}

/// A config file as it is written: sections in their order, repeated ones apart. Prints as a file that reads back equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// The sections in the order of their headers.
    pub sections: Vec<Section>,
}

/// A header and the keys below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// The name as written.
    pub name: String,
    /// The quoted part of the header; never empty.
    pub subsection: Option<String>,
    /// The keys in order.
    pub entries: Vec<Entry>,
    /// The line of the header, from 1.
    pub line: usize,
}

/// A key with its value. The value may be a secret, so the debug form leaves it out.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name as written.
    pub key: String,
    /// The value without quotes and escapes; none for a key without `=`.
    pub value: Option<String>,
    /// The line of the key, from 1.
    pub line: usize,
}

impl Document {
    /// Reads the structure of a file. Fails on the first syntax error.
    pub fn parse(text: &str) -> Result<Self, Error> {
        scan::document(text)
    }

    /// Fills a value from the document; see [`from_str`].
    pub fn deserialize<T: DeserializeOwned>(&self) -> Result<(T, Vec<Warning>), Error> {
        de::document(self)
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("key", &self.key).field("line", &self.line).finish_non_exhaustive()
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for section in &self.sections {
            match &section.subsection {
                None => writeln!(f, "[{}]", section.name)?,
                Some(subsection) => {
                    let escaped = subsection.replace('\\', r"\\").replace('"', "\\\"");
                    writeln!(f, "[{} \"{escaped}\"]", section.name)?;
                }
            }
            for entry in &section.entries {
                match &entry.value {
                    None => writeln!(f, "{}", entry.key)?,
                    Some(value) => {
                        let value = value.replace('\\', r"\\").replace('"', "\\\"");
                        let value = value.replace('\n', r"\n").replace('\t', r"\t");
                        writeln!(f, "{} = \"{value}\"", entry.key)?;
                    }
                }
            }
        }
        Ok(())
    }
}
