//! All that is wrong with a config file, told together.

use std::fmt;

use serde::de::DeserializeOwned;

use super::gcfg;

/// All that is wrong with a cloud config file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems {
    /// What ends the start.
    pub problems: Vec<String>,
    /// What would have had no effect, or not the one that may be expected: a key that is spelt wrong is often why another
    /// one is missing.
    pub warnings: Vec<String>,
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problems.join("; "))?;
        if self.warnings.is_empty() { Ok(()) } else { write!(f, "; warnings: {}", self.warnings.join("; ")) }
    }
}

impl std::error::Error for Problems {}

impl From<Problems> for crate::Error {
    fn from(problems: Problems) -> Self {
        Self::invalid("--cloud-config", "read the cloud config file").with_source(problems)
    }
}

/// What comes up while a file is validated.
#[derive(Debug, Default)]
pub struct Notes {
    /// What ends the start.
    pub problems: Vec<String>,
    /// What has no effect, or not the one that may be expected.
    pub warnings: Vec<String>,
}

impl Notes {
    /// Reads a file as it is written, with a warning for each section and key that `T` does not have.
    ///
    /// # Errors
    ///
    /// The first syntax or type error.
    pub fn read<T: DeserializeOwned>(text: &str) -> Result<(T, Self), Problems> {
        match gcfg::from_str(text) {
            Ok((file, unknown)) => {
                let warnings = unknown.iter().map(ToString::to_string).collect();
                Ok((file, Self { problems: Vec::new(), warnings }))
            }
            Err(error) => Err(Problems { problems: vec![error.to_string()], warnings: Vec::new() }),
        }
    }

    /// The value, or nothing after its problem was noted.
    pub fn check<T, E: fmt::Display>(&mut self, result: Result<T, E>) -> Option<T> {
        result.map_err(|problem| self.problems.push(problem.to_string())).ok()
    }

    /// The settings that a file was found to hold, and the warnings.
    ///
    /// # Errors
    ///
    /// Where there are no settings or a problem was noted: everything that was noted.
    pub fn conclude<T>(self, settings: Option<T>) -> Result<(T, Vec<String>), Problems> {
        let Self { problems, warnings } = self;
        match settings {
            Some(settings) if problems.is_empty() => Ok((settings, warnings)),
            _ => Err(Problems { problems, warnings }),
        }
    }
}
