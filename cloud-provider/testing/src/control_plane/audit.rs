//! What the API server accepted and refused, by its own audit log.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;

use anyhow::Context as _;
use serde::Deserialize;

/// The audit log of a control plane.
#[derive(Debug, Clone)]
pub struct Audit {
    path: PathBuf,
}

/// One answered request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `create`, `update`, `patch`, `delete`, `deletecollection`, and with reads also `get`, `list`, `watch`.
    pub verb: String,
    /// `nodes`, or `nodes/status` for a subresource.
    pub resource: String,
    /// Empty for what lives in no namespace.
    pub namespace: String,
    /// Empty for lists, and for a create whose name the server makes.
    pub name: String,
    /// Who asked.
    pub user: String,
    /// How the client names itself.
    pub user_agent: String,
    /// The HTTP status of the answer.
    pub code: u16,
    /// When it arrived, as the API server wrote it (RFC 3339 with microseconds; sorts as text).
    pub received: String,
}

impl Request {
    /// Whether it was answered with success.
    pub fn accepted(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// Whether it changes something.
    pub fn is_write(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch")
    }
}

/// What accepted requests are counted by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind {
    /// See [`Request::verb`].
    pub verb: String,
    /// See [`Request::resource`].
    pub resource: String,
    /// See [`Request::user`].
    pub user: String,
    /// See [`Request::user_agent`].
    pub user_agent: String,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} by {} ({})", self.verb, self.resource, self.user, self.user_agent)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    verb: String,
    user: User,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    object_ref: ObjectRef,
    #[serde(default)]
    response_status: ResponseStatus,
    request_received_timestamp: String,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ObjectRef {
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ResponseStatus {
    code: u16,
}

impl From<Line> for Request {
    fn from(line: Line) -> Self {
        let ObjectRef { resource, subresource, namespace, name } = line.object_ref;
        Self {
            verb: line.verb,
            resource: if subresource.is_empty() { resource } else { format!("{resource}/{subresource}") },
            namespace,
            name,
            user: line.user.username,
            user_agent: line.user_agent,
            code: line.response_status.code,
            received: line.request_received_timestamp,
        }
    }
}

impl Audit {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Hands every answered request to `visit`, oldest first, without holding the log in memory. Reads are among
    /// them when the control plane was started so.
    ///
    /// # Errors
    /// When the log cannot be read, or a line of it is of another form.
    pub fn visit(&self, mut visit: impl FnMut(Request)) -> anyhow::Result<()> {
        let file = File::open(&self.path).with_context(|| format!("open {}", self.path.display()))?;
        let mut reader = BufReader::new(file);
        let mut text = String::new();
        loop {
            text.clear();
            reader.read_line(&mut text).context("read the audit log")?;
            // A last line without its end is being written: its request is not answered yet.
            if !text.ends_with('\n') {
                return Ok(());
            }
            let line: Line = serde_json::from_str(&text).with_context(|| format!("read the audit line {text}"))?;
            visit(line.into());
        }
    }

    /// All answered requests that `wanted` chooses.
    ///
    /// # Errors
    /// See [`Audit::visit`].
    pub fn requests(&self, mut wanted: impl FnMut(&Request) -> bool) -> anyhow::Result<Vec<Request>> {
        let mut requests = Vec::new();
        self.visit(|request| {
            if wanted(&request) {
                requests.push(request);
            }
        })?;
        Ok(requests)
    }

    /// Accepted writes that `wanted` chooses, counted.
    ///
    /// # Errors
    /// See [`Audit::visit`].
    pub fn accepted_writes(&self, mut wanted: impl FnMut(&Request) -> bool) -> anyhow::Result<BTreeMap<Kind, usize>> {
        let mut counts = BTreeMap::new();
        self.visit(|request| {
            if request.is_write() && request.accepted() && wanted(&request) {
                let Request { verb, resource, user, user_agent, .. } = request;
                *counts.entry(Kind { verb, resource, user, user_agent }).or_default() += 1;
            }
        })?;
        Ok(counts)
    }

    /// Requests that RBAC refused (403), of those `wanted` chooses.
    ///
    /// # Errors
    /// See [`Audit::visit`].
    pub fn forbidden(&self, mut wanted: impl FnMut(&Request) -> bool) -> anyhow::Result<Vec<Request>> {
        self.requests(|request| request.code == 403 && wanted(request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(verb: &str, subresource: &str, code: u16) -> String {
        let object = serde_json::json!({
            "kind": "Event", "stage": "ResponseComplete", "verb": verb, "userAgent": "ccm/1.0",
            "user": {"username": "admin", "groups": ["system:masters"]},
            "objectRef": {"resource": "nodes", "subresource": subresource, "name": "n1", "apiVersion": "v1"},
            "responseStatus": {"code": code, "metadata": {}},
            "requestReceivedTimestamp": "2026-01-01T00:00:00.000000Z",
        });
        format!("{object}\n")
    }

    #[test]
    fn only_accepted_writes_are_counted_and_a_half_written_line_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let text = [
            line("patch", "status", 200),
            line("patch", "status", 200),
            line("patch", "", 409),
            line("delete", "", 403),
            line("get", "", 200),
        ]
        .concat();
        std::fs::write(&path, text + "{\"verb\":\"pat").unwrap();
        let audit = Audit::new(path);
        let counts = audit.accepted_writes(|_| true).unwrap();
        assert_eq!(counts.len(), 1);
        let (kind, count) = counts.first_key_value().unwrap();
        assert_eq!((kind.to_string().as_str(), *count), ("patch nodes/status by admin (ccm/1.0)", 2));
        assert_eq!(audit.forbidden(|_| true).unwrap()[0].verb, "delete");
    }
}
