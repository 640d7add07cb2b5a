//! All that is wrong with a config file, told together.

use std::fmt;

/// All that is wrong with a cloud config file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<String>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
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
    /// The value, or nothing after its problem was noted.
    pub fn check<T, E: fmt::Display>(&mut self, result: Result<T, E>) -> Option<T> {
        result.map_err(|problem| self.problems.push(problem.to_string())).ok()
    }
}
