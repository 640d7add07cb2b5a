//! Times as the services write them.

use jiff::Timestamp;

/// `2026-01-31T10:20:30Z`: Nova and Neutron.
pub(crate) fn seconds(at: Timestamp) -> String {
    format!("{at:.0}")
}

/// `2026-01-31T10:20:30`: Octavia and Barbican.
pub(crate) fn plain(at: Timestamp) -> String {
    seconds(at).trim_end_matches('Z').to_owned()
}

/// `2026-01-31T10:20:30.123456Z`: Keystone.
pub(crate) fn micros(at: Timestamp) -> String {
    format!("{at:.6}")
}
