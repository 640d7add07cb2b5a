//! What the tests of every cloud use.
