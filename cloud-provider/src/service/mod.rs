//! Pure helpers about services: predicates, source ranges, eligible nodes.

pub mod nodes;
pub mod predicates;
pub mod source_ranges;
