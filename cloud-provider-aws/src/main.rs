//! The controller of AWS.
fn main() {}
