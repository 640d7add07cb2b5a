//! AWS on loopback, as a program.
fn main() {}
