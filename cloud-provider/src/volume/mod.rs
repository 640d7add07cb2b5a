//! Pure helpers about volumes: lists of zones and the choice among them, sizes.

pub mod size;
pub mod zones;
