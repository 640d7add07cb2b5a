//! Section "debugging".

use clap::{ArgAction, Args};

/// Profiling over HTTPS.
#[derive(Args, Clone, Debug)]
#[group(skip)]
#[command(next_help_heading = "Debugging flags")]
pub struct Debugging {
    /// Serve CPU profiles below /debug/pprof/ on the secure port
    #[arg(long, action = ArgAction::Set, default_value = "true")]
    pub profiling: bool,
    /// Also profile blocking, if profiling is on
    #[arg(long)]
    pub contention_profiling: bool,
}
