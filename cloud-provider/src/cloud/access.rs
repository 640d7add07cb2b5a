//! Reading or writing, declared per call, and the gate that can hold writes back.

use std::{
    fmt,
    sync::{Arc, OnceLock},
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
#[derive(Clone)]
pub struct Gate(Arc<Inner>);

struct Inner {
    dry_run: bool,
    leading: OnceLock<Leading>,
}

type Leading = Arc<dyn Fn() -> bool + Send + Sync>;

impl Gate {
    /// A gate that lets everything through, unless [`open_while`](Self::open_while) narrows it.
    pub fn open() -> Self {
        Self(Arc::new(Inner { dry_run: false, leading: OnceLock::new() }))
    }

    /// A gate that refuses every write, for a dry run.
    pub fn dry_run() -> Self {
        Self(Arc::new(Inner { dry_run: true, leading: OnceLock::new() }))
    }

    /// From now on writes pass only while `leading` says so: after the leadership is lost another process may be
    /// writing. Only the first call counts; a process leads once.
    pub fn open_while(&self, leading: Leading) {
        let _ = self.0.leading.set(leading);
    }

    /// Whether this is a dry run.
    pub fn is_dry_run(&self) -> bool {
        self.0.dry_run
    }

    /// Lets a call through or refuses it with [`Kind::Refused`]. Clients ask right before they send.
    pub fn admit(&self, access: Access, operation: &str) -> Result<()> {
        let lost = || self.0.leading.get().is_some_and(|leading| !leading());
        let reason = match access {
            Access::Read => return Ok(()),
            Access::Write if self.0.dry_run => "this is a dry run",
            Access::Write if lost() => "leadership was lost",
            Access::Write => return Ok(()),
        };
        Err(Error::new(Kind::Refused, format!("{operation} held back: {reason}")))
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = self.admit(Access::Write, "").is_ok();
        f.debug_struct("Gate").field("dry_run", &self.0.dry_run).field("open", &open).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_dry_run_admits_reads_only() {
        let gate = Gate::dry_run();
        assert!(gate.admit(Access::Read, "DescribeInstances").is_ok());
        let refused = gate.admit(Access::Write, "CreateListener").unwrap_err();
        assert_eq!(refused.kind(), &Kind::Refused);
    }

    #[test]
    fn writes_stop_when_leadership_ends() {
        let gate = Gate::open();
        let clone = gate.clone();
        let leading = Arc::new(AtomicBool::new(true));
        let answer = leading.clone();
        gate.open_while(Arc::new(move || answer.load(Ordering::SeqCst)));
        assert!(clone.admit(Access::Write, "CreateListener").is_ok());
        leading.store(false, Ordering::SeqCst);
        assert!(clone.admit(Access::Write, "CreateListener").is_err());
        assert!(clone.admit(Access::Read, "DescribeInstances").is_ok());
    }
}
