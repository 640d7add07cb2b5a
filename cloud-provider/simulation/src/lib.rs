//! What the simulators of clouds share, whatever the cloud speaks.
//!
//! A simulator has a state: a plain struct in which everything of the cloud stands. A request is a function of its
//! parameters and that state; a write works on a copy, which replaces the state only if the whole request was good.
//! Around the state stands a [`Frame`]: knobs, faults, policy, the log of calls, stale reads. [`Handle`] is what tests in
//! the same process hold, [`control`] what other processes call, [`Server`] the socket.

pub mod at_write;
pub mod calls;
pub mod chance;
pub mod control;
pub mod faults;
pub mod form;
pub mod frame;
pub mod glob;
pub mod program;
pub mod running;
pub mod server;
pub mod shared;
pub mod time;

pub use crate::{
    at_write::AtWrite,
    calls::{Call, CallLog, Count, Counts},
    chance::{Chance, mix},
    faults::{Effect, Fault, Latency, RateLimit},
    frame::{Behaviour, Cloud, Core, Frame, Handle, Stale},
    server::Server,
    shared::Shared,
    time::later,
};
