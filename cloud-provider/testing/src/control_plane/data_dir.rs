//! A folder that disappears with the process that made it, however that ends.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;

/// Set to anything, the folders with logs and data stay when a test fails (and those of
/// [`shared`](super::shared) always, which cannot know).
pub const KEEP: &str = "CLOUD_PROVIDER_TESTING_KEEP";

/// Waits for the end of standard input, gives programs that are killed at the same moment time to be gone, and
/// removes. A line instead means that it is done already.
const SWEEPER: &str = r#"read -r _ || { sleep 1; rm -rf -- "$1"; }"#;

/// The folder.
#[derive(Debug)]
pub(super) struct DataDir {
    path: PathBuf,
    keep: bool,
    failed: AtomicBool,
    sweeper: Option<(Child, ChildStdin)>,
}

impl DataDir {
    pub(super) fn new() -> anyhow::Result<Self> {
        let keep = std::env::var_os(KEEP).is_some_and(|value| !value.is_empty());
        let path = tempfile::Builder::new().prefix("control-plane-").tempdir().context("make a data folder")?.keep();
        let mut dir = Self { path, keep, failed: AtomicBool::new(false), sweeper: None };
        if !keep {
            let mut command = Command::new("sh");
            command.args(["-c", SWEEPER, "sh"]).arg(&dir.path).stdin(Stdio::piped()).stdout(Stdio::null());
            let mut child = command.stderr(Stdio::null()).process_group(0).spawn().context("start sh")?;
            dir.sweeper = child.stdin.take().map(|lifeline| (child, lifeline));
        }
        Ok(dir)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Notes that what used it failed, and returns whether the folder stays for that.
    pub(super) fn fail(&self) -> bool {
        self.failed.store(true, Ordering::Relaxed);
        self.keep
    }

    /// Whether the folder stays.
    fn kept(&self) -> bool {
        self.keep && (self.failed.load(Ordering::Relaxed) || std::thread::panicking())
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        if self.kept() {
            return;
        }
        // What cannot be removed stays in the system's folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.path);
        if let Some((mut child, lifeline)) = self.sweeper.take() {
            let _ = child.kill();
            drop(lifeline);
            let _ = child.wait();
        }
    }
}
