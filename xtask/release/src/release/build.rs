//! Steps that are commands of the front door.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use super::{Release, replace};
use crate::assembly::{document_about, index_of};
use crate::layout::Layout;
use crate::provenance;

/// Bans, licences and sources of dependencies: of all checks the quickest.
pub(super) const DENY: [&str; 4] = ["cargo", "xtask", "test", "deny"];
/// All that a change must pass.
pub(super) const TESTS: [&str; 3] = ["cargo", "xtask", "test"];

/// The command that makes the image.
pub(super) fn image(release: &Release) -> [&str; 6] {
    ["cargo", "xtask", "image", "--cloud", &release.controller.settings.cloud, "--json"]
}

/// Runs a command; all that it prints goes to standard error.
pub(super) fn run(release: &Release, words: &[&str]) -> anyhow::Result<String> {
    let status = command(release, words).stdout(std::io::stderr()).status();
    let status = status.with_context(|| format!("start {}", words.join(" ")))?;
    ensure!(status.success(), "{}: {status}", words.join(" "));
    Ok("passed".to_owned())
}

fn command(release: &Release, words: &[&str]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(&words[1..]).current_dir(&release.project.root).stdin(Stdio::null());
    command
}

/// Builds the image, and keeps it: what the command has made may be made anew by others.
pub(super) fn make(release: &mut Release) -> anyhow::Result<String> {
    let words = image(release);
    let made = command(release, &words).stderr(Stdio::inherit()).output();
    let made = made.with_context(|| format!("start {}", words.join(" ")))?;
    ensure!(made.status.success(), "{}: {}", words.join(" "), made.status);
    let made: Value = serde_json::from_slice(&made.stdout).context("read what it printed")?;
    let field = |name: &str| made[name].as_str().with_context(|| format!("it printed no {name}"));
    let (digest, layout) = (field("digest")?.to_owned(), field("layout")?);
    replace(&release.layout(), |new| copy(Path::new(layout), new))?;
    let layout = Layout::open(&release.layout())?;
    let (named, index) = index_of(&layout)?;
    ensure!(named.digest().to_string() == digest, "the image in {} is not {digest}", release.layout().display());
    for image in index.manifests() {
        if document_about(&layout, image, provenance::MEDIA_TYPE)?.is_none() {
            bail!("the image has no provenance: it was not built from a commit without changes");
        }
    }
    release.state.digest = Some(digest.clone());
    Ok(digest)
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let entry = entry.with_context(|| format!("read {}", from.display()))?;
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir(&to).with_context(|| format!("create {}", to.display()))?;
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), &to).with_context(|| format!("copy {}", entry.path().display()))?;
        }
    }
    Ok(())
}
