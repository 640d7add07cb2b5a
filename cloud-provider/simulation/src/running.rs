//! A simulator that runs as a program of its own, for tests of the program.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::control::PREFIX;

/// The program; it ends when this is dropped.
pub struct Running {
    child: Child,
    /// What it printed when it was ready.
    pub ready: Value,
}

impl Running {
    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// When it cannot be started, or prints something else than a line of JSON.
    pub fn start(executable: &str, arguments: &[&str]) -> anyhow::Result<Self> {
        let mut child = Command::new(executable)
            .args(arguments)
            .arg("--exit-with-parent")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {executable}"))?;
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut line).context("read what it prints")?;
        }
        let mut running = Self { child, ready: Value::Null };
        running.ready = serde_json::from_str(&line).with_context(|| format!("parse {line:?}"))?;
        Ok(running)
    }

    /// Closes its standard input, as the end of its parent does, and tells whether it ended well within 10 seconds.
    ///
    /// # Errors
    /// When its status cannot be read.
    pub fn ends_with_parent(&mut self) -> anyhow::Result<bool> {
        drop(self.child.stdin.take());
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.success());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(false)
    }

    /// Status and body of an answer; status 0 when the connection ended without one. `request` is method and path, `headers`
    /// whole lines.
    ///
    /// # Errors
    /// When it cannot be connected to.
    pub fn http(&self, request: &str, headers: &str, body: &str) -> anyhow::Result<(u16, String)> {
        let url = self.ready["url"].as_str().and_then(|url| url.strip_prefix("http://"));
        let address = url.context("it printed no URL")?;
        let mut stream = TcpStream::connect(address)?;
        let length = body.len();
        let text = format!(
            "{request} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
        );
        stream.write_all(text.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        Ok((head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0), body.to_owned()))
    }

    /// What the control endpoint answers to a request such as `GET state`.
    ///
    /// # Errors
    /// When it refuses.
    pub fn control(&self, request: &str, body: &Value) -> anyhow::Result<Value> {
        let (method, path) = request.split_once(' ').context("method and path")?;
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (status, answer) = self.http(&format!("{method} {PREFIX}{path}"), "", &body)?;
        if status != 200 {
            bail!("{request}: {status} {answer}");
        }
        serde_json::from_str(&answer).with_context(|| format!("parse {answer:?}"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
