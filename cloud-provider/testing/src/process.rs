//! Running a program and being sure that it ends.
//!
//! Every program runs in a process group of its own, together with a watchdog: a shell that waits for
//! the end of a pipe whose other end this process holds. Whatever ends this process, also `SIGKILL`,
//! closes the pipe, and the watchdog kills the group. So nothing outlives a test, and a Ctrl-C at a
//! terminal reaches this process alone, which then ends the others in order.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
pub use rustix::process::Signal;

/// Becomes the program; leaves behind, in its group, a child that waits on standard input. A line means
/// "all is well, go"; the end of the pipe without one means that nobody is left to stop the program.
const WATCHDOG: &str = r#"exec 3<&0; { read -r _ <&3 || kill -KILL -$$; } >/dev/null 2>&1 & exec "$@" 3<&- </dev/null"#;

/// How often a waiting caller looks again.
const POLL: Duration = Duration::from_millis(20);

/// A program to run: its arguments, environment and where its output goes.
#[derive(Debug, Clone)]
pub struct Program {
    name: String,
    path: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    dir: Option<PathBuf>,
    log_dir: Option<PathBuf>,
}

impl Program {
    /// The program at `path`, named after its file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let name = path.file_name().map_or_else(|| "program".to_owned(), |name| name.to_string_lossy().into_owned());
        Self { name, path, args: Vec::new(), env: Vec::new(), dir: None, log_dir: None }
    }

    /// Another name for log files and errors; needed where one program runs twice with one log folder.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Puts an argument in front of all others.
    #[must_use]
    pub fn first_arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.insert(0, arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable; the rest of the environment is inherited.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// The variables that were set, in their order.
    pub fn variables(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.env.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }

    /// The folder it runs in.
    #[must_use]
    pub fn current_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// Puts standard error into `<dir>/<name>.log` and standard output into `<dir>/<name>.out`, both
    /// appended to. Without it they go to a temporary folder that disappears with the [`Process`].
    #[must_use]
    pub fn log_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.log_dir = Some(dir.into());
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// When the program does not exist or cannot be run, or the logs cannot be written.
    pub fn spawn(self) -> anyhow::Result<Process> {
        // The shell that becomes the program would report a missing file only in the log.
        if self.path.components().count() > 1 && !self.path.is_file() {
            bail!("there is no program at {}", self.path.display());
        }
        let (dir, temporary) = match self.log_dir {
            Some(dir) => (dir, None),
            None => {
                let dir = tempfile::Builder::new().prefix("process-").tempdir().context("make a folder for logs")?;
                (dir.path().to_owned(), Some(dir))
            }
        };
        let log = dir.join(format!("{}.log", self.name));
        let out = dir.join(format!("{}.out", self.name));
        let append = |path: &Path| {
            File::options().create(true).append(true).open(path).with_context(|| format!("open {}", path.display()))
        };

        let mut command = Command::new("sh");
        command.args(["-c", WATCHDOG, "sh"]).arg(&self.path).args(&self.args).envs(self.env);
        command.stdin(Stdio::piped()).stdout(append(&out)?).stderr(append(&log)?).process_group(0);
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        let mut child = command.spawn().with_context(|| format!("start {}", self.name))?;
        let lifeline = child.stdin.take();
        Ok(Process {
            name: self.name,
            pid: child.id(),
            state: Mutex::new(State { child, lifeline, exit: None }),
            log,
            out,
            _temporary: temporary,
        })
    }

    /// Runs it to its end and returns its standard output.
    ///
    /// # Errors
    /// When it cannot be started, does not succeed, or takes longer than `timeout`; the error carries the end of its
    /// log.
    pub fn output(self, timeout: Duration) -> anyhow::Result<String> {
        let process = self.spawn()?;
        let deadline = Instant::now() + timeout;
        loop {
            match process.exit_status() {
                Some(status) if status.success() => return Ok(process.out()),
                Some(status) => {
                    bail!("{} ended with {}: {}", process.name, describe(status), process.log_tail(15).trim())
                }
                None if Instant::now() > deadline => {
                    bail!("{} took longer than {} s", process.name, timeout.as_secs())
                }
                None => std::thread::sleep(POLL),
            }
        }
    }
}

#[derive(Debug)]
struct State {
    child: Child,
    /// Our end of the watchdog's pipe; gone once the program has ended.
    lifeline: Option<ChildStdin>,
    exit: Option<ExitStatus>,
}

impl State {
    fn poll(&mut self) -> Option<ExitStatus> {
        if self.exit.is_none() {
            self.exit = self.child.try_wait().ok().flatten();
            self.dismiss_watchdog();
        }
        self.exit
    }

    /// The watchdog must not kill by a process id that may be another's by now.
    fn dismiss_watchdog(&mut self) {
        if self.exit.is_some()
            && let Some(mut lifeline) = self.lifeline.take()
        {
            // Fails when the watchdog ended with its group, which is as good.
            let _ = lifeline.write_all(b"\n");
        }
    }
}

/// Memory of a process, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// The most it ever held resident (`VmHWM`).
    pub peak: u64,
    /// What it holds resident now (`VmRSS`).
    pub resident: u64,
}

/// A running or ended program. Dropping it kills it and everything in its process group.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: u32,
    state: Mutex<State>,
    log: PathBuf,
    out: PathBuf,
    _temporary: Option<tempfile::TempDir>,
}

impl Process {
    /// Its name in logs and errors.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The file that receives its standard error.
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// What it wrote to standard error so far.
    pub fn log(&self) -> String {
        read_lossy(&self.log, None)
    }

    /// What it wrote to standard output so far.
    pub fn out(&self) -> String {
        read_lossy(&self.out, None)
    }

    /// The last `lines` lines of its standard error.
    pub fn log_tail(&self, lines: usize) -> String {
        let text = read_lossy(&self.log, Some(64 * 1024));
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// How it ended, or `None` while it runs.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.lock().poll()
    }

    /// Fails, with the end of the log, if the program has ended.
    ///
    /// # Errors
    /// When it no longer runs.
    pub fn check_running(&self) -> anyhow::Result<()> {
        match self.exit_status() {
            None => Ok(()),
            Some(status) => {
                bail!("{} ended with {}; its last words:\n{}", self.name, describe(status), self.log_tail(30))
            }
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it still runs after `timeout`.
    pub async fn wait(&self, timeout: Duration) -> anyhow::Result<ExitStatus> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.exit_status() {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("{} still runs after {:.1} s", self.name, timeout.as_secs_f64());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits for the first line of its standard output: how servers here tell their address.
    ///
    /// # Errors
    /// When the program ends first, or after `timeout`.
    pub async fn first_line(&self, timeout: Duration) -> anyhow::Result<String> {
        let deadline = Instant::now() + timeout;
        loop {
            let ended = self.check_running();
            if let Some((line, _)) = self.out().split_once('\n') {
                return Ok(line.to_owned());
            }
            ended?;
            if Instant::now() > deadline {
                bail!("{} wrote no line to standard output within {:.1} s", self.name, timeout.as_secs_f64());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Sends a signal to the program (not to its group).
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let mut state = self.lock();
        if let Some(status) = state.poll() {
            bail!("{} has ended with {}", self.name, describe(status));
        }
        // Not reaped yet, so the id is still this program's.
        rustix::process::kill_process(self.rustix_pid()?, signal).with_context(|| format!("signal {}", self.name))
    }

    /// Asks it to end with `SIGTERM`, waits up to `grace`, then kills it. Returns how it ended.
    ///
    /// # Errors
    /// When waiting for it fails.
    pub async fn terminate(&self, grace: Duration) -> anyhow::Result<ExitStatus> {
        if self.signal(Signal::TERM).is_err() {
            return self.kill();
        }
        match self.wait(grace).await {
            Ok(status) => Ok(status),
            Err(_) => self.kill(),
        }
    }

    /// Kills it and its process group with `SIGKILL` and waits for its end. Does nothing when it has ended already.
    ///
    /// # Errors
    /// When waiting for it fails.
    pub fn kill(&self) -> anyhow::Result<ExitStatus> {
        let mut state = self.lock();
        if let Some(status) = state.poll() {
            return Ok(status);
        }
        let grouped = self.rustix_pid().and_then(|pid| {
            rustix::process::kill_process_group(pid, Signal::KILL).with_context(|| format!("kill {}", self.name))
        });
        if grouped.is_err() {
            state.child.kill().with_context(|| format!("kill {}", self.name))?;
        }
        let status = state.child.wait().with_context(|| format!("wait for {}", self.name))?;
        state.exit = Some(status);
        state.dismiss_watchdog();
        Ok(status)
    }

    /// Its memory. Readable only while it runs.
    ///
    /// # Errors
    /// When it has ended, or where there is no `/proc`.
    pub fn memory(&self) -> anyhow::Result<Memory> {
        let path = format!("/proc/{}/status", self.pid);
        let status = std::fs::read_to_string(&path).with_context(|| format!("read the memory of {}", self.name))?;
        let field = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name)?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
                .map(|kib| kib * 1024)
                .with_context(|| format!("{} has no {name} any more", self.name))
        };
        Ok(Memory { peak: field("VmHWM:")?, resident: field("VmRSS:")? })
    }

    fn rustix_pid(&self) -> anyhow::Result<rustix::process::Pid> {
        i32::try_from(self.pid).ok().and_then(rustix::process::Pid::from_raw).context("no process id")
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing can be done about a failure here, and the watchdog is still there.
        let _ = self.kill();
    }
}

/// `code 1` or `signal 9`.
pub fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// The text of a file, or its last `limit` bytes; empty when there is none.
fn read_lossy(path: &Path, limit: Option<u64>) -> String {
    let Ok(mut file) = File::open(path) else { return String::new() };
    if let (Some(limit), Ok(metadata)) = (limit, file.metadata()) {
        let _ = file.seek(SeekFrom::Start(metadata.len().saturating_sub(limit)));
    }
    let mut bytes = Vec::new();
    let _ = file.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Program {
        Program::new("sh").args(["-c", script])
    }

    fn runs(pid: u32) -> bool {
        // A zombie has ended.
        std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
    }

    #[tokio::test]
    async fn output_log_and_exit_code_are_kept() {
        let process = shell("echo hello; echo oops >&2; exit 3").spawn().unwrap();
        assert_eq!(process.first_line(Duration::from_secs(5)).await.unwrap(), "hello");
        let status = process.wait(Duration::from_secs(5)).await.unwrap();
        assert_eq!(describe(status), "code 3");
        assert_eq!(process.log(), "oops\n");
        assert!(process.check_running().unwrap_err().to_string().contains("oops"));
    }

    #[tokio::test]
    async fn signals_reach_the_program_itself() {
        let process = shell("trap 'exit 7' TERM; echo up; while :; do sleep 0.05; done").spawn().unwrap();
        process.first_line(Duration::from_secs(5)).await.unwrap();
        let memory = process.memory().unwrap();
        assert!(memory.peak >= memory.resident && memory.resident > 0);
        let status = process.terminate(Duration::from_secs(5)).await.unwrap();
        assert_eq!(describe(status), "code 7");
    }

    #[tokio::test]
    async fn dropping_kills_the_program_and_what_it_started() {
        let process = shell("sleep 60 & echo $!; wait").spawn().unwrap();
        let grandchild = process.first_line(Duration::from_secs(5)).await.unwrap().parse().unwrap();
        assert!(runs(grandchild));
        drop(process);
        std::thread::sleep(Duration::from_millis(100));
        assert!(!runs(grandchild));
    }

    #[tokio::test]
    async fn the_watchdog_kills_when_nobody_holds_the_pipe_any_more() {
        let process = shell("echo up; sleep 60").spawn().unwrap();
        process.first_line(Duration::from_secs(5)).await.unwrap();
        // What the kernel does when this process dies.
        drop(process.lock().lifeline.take());
        let status = process.wait(Duration::from_secs(5)).await.unwrap();
        assert_eq!(describe(status), "signal 9");
    }

    #[test]
    fn a_missing_program_is_an_error_at_once() {
        let error = Program::new("/nonexistent/program").spawn().unwrap_err();
        assert!(error.to_string().contains("/nonexistent/program"));
    }
}
