//! The one place where programs are started. A failure always says which command line it was.

use std::ffi::OsStr;
use std::fmt;
use std::io::Read;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// Where a line of a program came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// A command line to run.
#[derive(Debug)]
pub(crate) struct Tool(Command);

/// The command line as one would type it, with the variables that it sets.
impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in self.0.get_envs() {
            if let Some(value) = value {
                write!(f, "{}={} ", name.display(), quoted(value))?;
            }
        }
        write!(f, "{}", quoted(self.0.get_program()))?;
        self.0.get_args().try_for_each(|arg| write!(f, " {}", quoted(arg)))
    }
}

fn quoted(text: &OsStr) -> String {
    let text = text.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,+@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

impl Tool {
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        Self(Command::new(program))
    }

    /// The cargo that runs us.
    pub(crate) fn cargo() -> Self {
        Self::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.0.arg(arg);
        self
    }

    pub(crate) fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.0.args(args);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.env(name, value);
        self
    }

    pub(crate) fn without_env(mut self, name: &str) -> Self {
        self.0.env_remove(name);
        self
    }

    pub(crate) fn dir(mut self, dir: &Path) -> Self {
        self.0.current_dir(dir);
        self
    }

    /// What it prints on standard output; an error with its standard error if it fails.
    pub(crate) fn output(mut self) -> anyhow::Result<String> {
        let output = self.0.stdin(Stdio::null()).output().with_context(|| format!("start {self}"))?;
        if !output.status.success() {
            bail!("{self}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim_end());
        }
        String::from_utf8(output.stdout).with_context(|| format!("{self} printed something that is not UTF-8"))
    }

    /// Becomes it: terminal, signals and exit status are its own. Returns only when that fails.
    pub(crate) fn exec(mut self) -> anyhow::Error {
        anyhow::Error::new(self.0.exec()).context(format!("start {self}"))
    }

    /// Runs it with our own input and output, and ends as it does.
    pub(crate) fn status(mut self) -> anyhow::Result<ExitCode> {
        let status = self.0.status().with_context(|| format!("start {self}"))?;
        Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
    }

    /// Runs it and hands over each line as it comes; carriage returns end lines too. What still runs after `limit`
    /// is ended, with all that it started.
    pub(crate) fn lines(mut self, limit: Duration, mut each: impl FnMut(Stream, &str)) -> anyhow::Result<()> {
        self.0.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.0.spawn().with_context(|| format!("start {self}"))?;
        let (sender, lines) = mpsc::channel();
        if let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) {
            let other = sender.clone();
            std::thread::spawn(move || send_lines(out, Stream::Out, &other));
            std::thread::spawn(move || send_lines(err, Stream::Err, &sender));
        }
        let deadline = Instant::now() + limit;
        loop {
            match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok((stream, line)) => each(stream, &line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    end_tree(child.id())?;
                    child.wait().with_context(|| format!("wait for {self}"))?;
                    bail!("{self}: ended after {} minutes", limit.as_secs() / 60);
                }
            }
        }
        let status = child.wait().with_context(|| format!("wait for {self}"))?;
        if status.success() { Ok(()) } else { bail!("{self}: {status}") }
    }

    /// Starts it beside us. Its standard input is a pipe that closes when we end, however we end.
    pub(crate) fn background(mut self) -> anyhow::Result<Background> {
        self.0.stdin(Stdio::piped());
        let child = self.0.spawn().with_context(|| format!("start {self}"))?;
        Ok(Background { tool: self, child })
    }

    /// Where its standard output and standard error go, for [`Tool::background`].
    pub(crate) fn log(mut self, path: &Path) -> anyhow::Result<Self> {
        let file = std::fs::File::create(path).with_context(|| format!("create {}", path.display()))?;
        let other = file.try_clone().with_context(|| format!("open {} again", path.display()))?;
        self.0.stdout(file).stderr(other);
        Ok(self)
    }
}

/// A program that runs beside us, and ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Background {
    tool: Tool,
    child: Child,
}

impl Background {
    /// Fails if it has ended.
    pub(crate) fn check_running(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait().with_context(|| format!("look after {}", self.tool))? {
            None => Ok(()),
            Some(status) => bail!("{}: {status}", self.tool),
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn send_lines(mut from: impl Read, stream: Stream, to: &Sender<(Stream, String)>) {
    let mut pending = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        // An error is the end too: nothing more can be read.
        let count = from.read(&mut buffer).unwrap_or(0);
        pending.extend_from_slice(&buffer[..count]);
        while let Some(end) = pending.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let line: Vec<u8> = pending.drain(..=end).collect();
            send_line(&line[..end], stream, to);
        }
        if count == 0 {
            return send_line(&pending, stream, to);
        }
    }
}

fn send_line(line: &[u8], stream: Stream, to: &Sender<(Stream, String)>) {
    if !line.is_empty() {
        // Nobody listens any more after a time-out.
        let _ = to.send((stream, String::from_utf8_lossy(line).into_owned()));
    }
}

/// Kills a process and its descendants, by their IDs.
fn end_tree(root: u32) -> anyhow::Result<()> {
    let table = Tool::new("ps").args(["-A", "-o", "pid=,ppid="]).output()?;
    let pairs: Vec<(u32, u32)> = table
        .lines()
        .filter_map(|line| {
            let mut ids = line.split_whitespace().map(str::parse);
            Some((ids.next()?.ok()?, ids.next()?.ok()?))
        })
        .collect();
    let mut tree = vec![root];
    let mut next = 0;
    while let Some(&parent) = tree.get(next) {
        tree.extend(pairs.iter().filter(|(_, ppid)| *ppid == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    // One of them may have ended by itself.
    let _ = Tool::new("kill").arg("-KILL").args(tree.iter().map(u32::to_string)).output();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Tool {
        Tool::new("sh").args(["-c", script])
    }

    #[test]
    fn lines_end_with_newlines_and_carriage_returns() {
        let mut seen = Vec::new();
        sh(r"printf 'one\rtwo\nthree'; echo four >&2")
            .lines(Duration::from_secs(10), |stream, line| {
                seen.push((stream, line.to_owned()));
            })
            .unwrap();
        let out: Vec<&str> =
            seen.iter().filter(|(stream, _)| *stream == Stream::Out).map(|(_, line)| line.as_str()).collect();
        assert_eq!(out, ["one", "two", "three"]);
        assert!(seen.contains(&(Stream::Err, "four".to_owned())));
    }

    #[test]
    fn a_failure_says_which_command_line_it_was() {
        let error = sh("exit 3").env("WHERE", "a b").lines(Duration::from_secs(10), |_, _| ()).unwrap_err();
        assert_eq!(error.to_string(), "WHERE='a b' sh -c 'exit 3': exit status: 3");
        let error = Tool::new("no-such-program").output().unwrap_err();
        assert_eq!(error.to_string(), "start no-such-program");
    }

    #[test]
    fn what_runs_too_long_is_ended_with_what_it_started() {
        let begun = Instant::now();
        let error = sh("sleep 60 & sleep 60; true").lines(Duration::from_millis(300), |_, _| ()).unwrap_err();
        assert!(error.to_string().contains("ended after"), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_program_in_the_background_ends_when_dropped() {
        let mut cat = Tool::new("cat").background().unwrap();
        cat.check_running().unwrap();
        let id = cat.child.id();
        drop(cat);
        assert!(!Path::new(&format!("/proc/{id}")).exists());
    }
}
