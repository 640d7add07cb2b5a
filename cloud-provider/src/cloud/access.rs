//! Reading or writing, declared per call, and the gate that can hold writes back.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use crate::{Error, Kind, error::Result};

/// What a call does to the cloud. Declared per operation, since HTTP methods do not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Changes nothing.
    Read,
    /// May change something, also where it usually does not.
    Write,
}

/// Decides whether writes may leave this process. One gate is shared by all clients of a process.
///
/// It is closed for good in a dry run, and when leadership is lost: from then on another process may be writing.
#[derive(Clone)]
pub struct Gate(Arc<AtomicU8>);

const OPEN: u8 = 0;
const DRY_RUN: u8 = 1;
const LOST: u8 = 2;

impl Gate {
    /// A gate that lets everything through.
    pub fn open() -> Self {
        Self(Arc::new(AtomicU8::new(OPEN)))
    }

    /// A gate that refuses every write, for a dry run.
    pub fn dry_run() -> Self {
        Self(Arc::new(AtomicU8::new(DRY_RUN)))
    }

    /// Refuses every write from now on, because leadership was lost.
    pub fn close(&self) {
        self.0.store(LOST, Ordering::SeqCst);
    }

    /// Whether this is a dry run.
    pub fn is_dry_run(&self) -> bool {
        self.0.load(Ordering::SeqCst) == DRY_RUN
    }

    /// Lets a call through or refuses it with [`Kind::Refused`]. Clients ask right before they send.
    pub fn admit(&self, access: Access, operation: &str) -> Result<()> {
        let reason = match (access, self.0.load(Ordering::SeqCst)) {
            (Access::Read, _) | (Access::Write, OPEN) => return Ok(()),
            (Access::Write, DRY_RUN) => "this is a dry run",
            (Access::Write, _) => "leadership was lost",
        };
        Err(Error::new(Kind::Refused, format!("{operation} held back: {reason}")))
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.0.load(Ordering::SeqCst) {
            OPEN => "open",
            DRY_RUN => "dry run",
            _ => "leadership lost",
        };
        write!(f, "Gate({state})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dry_run_admits_reads_only() {
        let gate = Gate::dry_run();
        assert!(gate.admit(Access::Read, "DescribeInstances").is_ok());
        let refused = gate.admit(Access::Write, "CreateListener").unwrap_err();
        assert_eq!(refused.kind(), &Kind::Refused);
    }

    #[test]
    fn a_clone_is_closed_with_its_original() {
        let gate = Gate::open();
        let clone = gate.clone();
        gate.close();
        assert!(clone.admit(Access::Write, "CreateListener").is_err());
    }
}
