//! Pure helpers about volumes, for provider crates too: lists of zones and the choice among them, sizes.

pub mod size;
pub mod zones;
