//! Definitions of the keys of cloud config files, from which the reference pages are made.

/// Definition of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// The name; case does not count.
    pub name: &'static str,
    /// What values it takes.
    pub values: &'static str,
    /// What holds when it is absent or empty.
    pub default: &'static str,
    /// What it does.
    pub about: &'static str,
}

/// A definition.
pub const fn key(name: &'static str, values: &'static str, default: &'static str, about: &'static str) -> Key {
    Key { name, values, default, about }
}
