//! Pure helpers about services: predicates, source ranges, eligible nodes.

pub mod nodes;
pub mod pause;
pub mod predicates;
pub mod source_ranges;
