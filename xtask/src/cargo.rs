//! Builds with cargo: how far they are, and which programs come out.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use crate::report::Task;
use crate::tool::{Stream, Tool};

/// A cold release build of everything takes half an hour on two cores.
pub(crate) const BUILD_LIMIT: Duration = Duration::from_secs(80 * 60);

/// A program that a build made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Executable {
    /// The folder of its crate.
    pub(crate) folder: PathBuf,
    /// The name of its target: a binary, a test or a library.
    pub(crate) target: String,
    pub(crate) kind: Kind,
    pub(crate) path: PathBuf,
}

/// What a program is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A binary as users run it.
    Binary,
    /// The unit tests of a library or a binary.
    UnitTests,
    /// A file of `tests/`.
    IntegrationTest,
}

/// Runs `cargo build`, `cargo test --no-run` or the like, and returns the programs it made.
pub(crate) fn build(root: &Path, args: &[&str], task: &Task<'_>) -> anyhow::Result<Vec<Executable>> {
    build_with(root, args, &[], task)
}

/// The same with variables set.
pub(crate) fn build_with(
    root: &Path,
    args: &[&str],
    environment: &[(String, String)],
    task: &Task<'_>,
) -> anyhow::Result<Vec<Executable>> {
    let mut executables = Vec::new();
    let mut diagnostics = String::new();
    let tool = Tool::cargo()
        .args(args)
        .arg("--message-format=json-render-diagnostics")
        .env("CARGO_TERM_PROGRESS_WHEN", "always")
        .env("CARGO_TERM_PROGRESS_WIDTH", "160")
        .dir(root);
    let tool = environment.iter().fold(tool, |tool, (name, value)| tool.env(name, value));
    let built = tool.lines(BUILD_LIMIT, |stream, line| match (stream, progress(line)) {
        (Stream::Out, _) => executables.extend(executable(line)),
        (Stream::Err, Some((done, of, what))) => {
            task.done(done, of);
            task.at(what);
        }
        (Stream::Err, None) => {
            diagnostics.push_str(line);
            diagnostics.push('\n');
        }
    });
    built.map_err(|error| anyhow::anyhow!("{diagnostics}{error:#}"))?;
    Ok(executables)
}

/// Finds the one binary of a name.
pub(crate) fn binary<'a>(executables: &'a [Executable], name: &str) -> anyhow::Result<&'a Path> {
    let found = executables.iter().find(|one| one.kind == Kind::Binary && one.target == name);
    found.map(|one| one.path.as_path()).with_context(|| format!("the build made no {name}"))
}

/// Reads `Building [===>   ] 12/345: one, another`.
fn progress(line: &str) -> Option<(u64, u64, &str)> {
    let (_, rest) = line.split_once("Building [")?.1.split_once("] ")?;
    let (numbers, what) = rest.split_once(": ").unwrap_or((rest, ""));
    let (done, of) = numbers.trim().split_once('/')?;
    Some((done.parse().ok()?, of.parse().ok()?, what))
}

fn executable(line: &str) -> Option<Executable> {
    let message: Value = serde_json::from_str(line).ok()?;
    let path = message["executable"].as_str()?.into();
    let target = &message["target"];
    let kind = match (message["profile"]["test"].as_bool()?, target["kind"][0].as_str()?) {
        (false, "bin") => Kind::Binary,
        (true, "test") => Kind::IntegrationTest,
        (true, _) => Kind::UnitTests,
        _ => return None,
    };
    let folder = Path::new(message["manifest_path"].as_str()?).parent()?.to_owned();
    Some(Executable { folder, target: target["name"].as_str()?.to_owned(), kind, path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_of_cargo_is_read() {
        let line = "    Building [=======>                 ] 12/345: tokio, aws-sdk-ec2                 ";
        let (done, of, what) = progress(line).unwrap();
        assert_eq!((done, of, what.trim()), (12, 345, "tokio, aws-sdk-ec2"));
        assert_eq!(progress("   Compiling tokio v1.54.1"), None);
    }

    #[test]
    fn programs_are_told_by_their_kind() {
        let message = |kind: &str, test: bool| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"/w/a/Cargo.toml","executable":"/w/target/x",
                "target":{{"name":"x","kind":["{kind}"]}},"profile":{{"test":{test}}}}}"#
            )
        };
        let kind = |kind, test| executable(&message(kind, test)).map(|one| one.kind);
        assert_eq!(kind("bin", false), Some(Kind::Binary));
        assert_eq!(kind("bin", true), Some(Kind::UnitTests));
        assert_eq!(kind("lib", true), Some(Kind::UnitTests));
        assert_eq!(kind("test", true), Some(Kind::IntegrationTest));
        assert_eq!(executable(r#"{"reason":"compiler-artifact","executable":null}"#), None);
        assert_eq!(executable(&message("bin", false)).unwrap().folder, Path::new("/w/a"));
    }
}
