//! What identifies a set of backends, in sixteen bytes: with 500 services of 5,000 backends the sets themselves would be
//! most of what this process holds.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// The fingerprint of a set of backends. Equal for equal sets, whatever their order; two different sets have the same one
/// with a probability of 2⁻¹²⁸.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Backends(u64, u64);

impl Backends {
    /// The fingerprint of backends by their identities, each at most once.
    pub(super) fn of(identities: impl IntoIterator<Item = String>) -> Self {
        let hash = |salt: u8, identity: &str| {
            let mut hasher = DefaultHasher::new();
            (salt, identity).hash(&mut hasher);
            hasher.finish()
        };
        identities.into_iter().fold(Self::default(), |Self(one, other), identity| {
            Self(one.wrapping_add(hash(1, &identity)), other.wrapping_add(hash(2, &identity)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(identities: &[&str]) -> Backends {
        Backends::of(identities.iter().map(|identity| (*identity).to_owned()))
    }

    #[test]
    fn order_does_not_matter_and_everything_else_does() {
        assert_eq!(of(&["a", "b", "c"]), of(&["c", "a", "b"]));
        assert_eq!(of(&[]), Backends::default());
        assert_ne!(of(&["a"]), of(&[]));
        assert_ne!(of(&["a", "b"]), of(&["a", "c"]));
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
    }
}
