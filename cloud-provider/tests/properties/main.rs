//! What holds for every input from outside: no text makes a parser panic, what is printed reads back, and the helpers keep
//! their promises whatever they are given. Bounded, so that it runs with every build; `PROPTEST_CASES` raises the bound.

mod config;
mod nodes;
mod services;
