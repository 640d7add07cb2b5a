//! What must hold before anything is built; all of it only reads.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, bail, ensure};

use super::{Release, Step, changelog as text};
use crate::project::output;

pub(super) fn tree(release: &Release) -> anyhow::Result<String> {
    let revision = &release.project.revision;
    ensure!(!revision.dirty, "files differ from the commit; `git status` tells which");
    Ok(revision.commit.clone())
}

/// Tells after which versions it comes too.
pub(super) fn version(release: &Release) -> anyhow::Result<String> {
    let manifest = release.controller.folder.join("Cargo.toml");
    let found = &release.controller.version;
    ensure!(*found == release.version, "{} has version {found}, not {}", manifest.display(), release.version);
    super::charts::check_version(release)?;
    let earlier = git(release, &["tag", "--list", &format!("{}/v*", release.controller.package)])?;
    let earlier: Vec<&str> = earlier.lines().filter(|tag| *tag != release.git_tag()).collect();
    Ok(if earlier.is_empty() { "the first one".to_owned() } else { format!("after {}", earlier.join(", ")) })
}

pub(super) fn changelog(release: &Release) -> anyhow::Result<String> {
    notes(release).map(|notes| format!("{} lines", notes.lines().count()))
}

/// What the changelog says about the version.
pub(super) fn notes(release: &Release) -> anyhow::Result<String> {
    let path = release.controller.folder.join("CHANGELOG.md");
    let changelog = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let section = text::section(&changelog, &release.version);
    Ok(section.with_context(|| format!("read {}", path.display()))?.to_owned())
}

/// Names that were given once are not given again, but for those that an unfinished run has put.
pub(super) async fn free(release: &mut Release) -> anyhow::Result<String> {
    let (tag, commit) = (release.git_tag(), release.project.revision.commit.clone());
    for (place, tagged) in [("here", tagged(release)?), ("in the remote", tagged_in_remote(release)?)] {
        if let Some(other) = tagged.filter(|other| *other != commit) {
            bail!("{tag} names the commit {other} {place} already");
        }
    }
    super::charts::check_free(release).await?;
    let there = release.registry.digest_of(release.to.tag()).await?;
    let is_ours = there == release.state.digest && !release.state.is_done(Step::Summary.name());
    match there {
        Some(digest) if !is_ours => bail!("{} is released already, as {digest}; nothing is overwritten", release.to),
        Some(_) => Ok("put by an earlier run that did not end".to_owned()),
        None => Ok("free".to_owned()),
    }
}

/// The commit that the tag of the release names here.
pub(super) fn tagged(release: &Release) -> anyhow::Result<Option<String>> {
    let reference = format!("refs/tags/{}", release.git_tag());
    let found = git(release, &["for-each-ref", "--format=%(objectname) %(*objectname)", &reference])?;
    // The second one is there for tags that are objects of their own.
    Ok(found.split_whitespace().last().map(str::to_owned))
}

/// The commit that it names in the remote.
pub(super) fn tagged_in_remote(release: &Release) -> anyhow::Result<Option<String>> {
    let Some(remote) = &release.git_remote else { return Ok(None) };
    let reference = format!("refs/tags/{}", release.git_tag());
    let found = git(release, &["ls-remote", remote, &reference, &format!("{reference}^{{}}")])?;
    let commits = found.lines().filter_map(|line| line.split_once('\t'));
    // The one with ^{} comes last: the commit behind a tag that is an object of its own.
    Ok(commits.map(|(commit, _)| commit.to_owned()).next_back())
}

pub(super) fn git(release: &Release, args: &[&str]) -> anyhow::Result<String> {
    output(Command::new("git").current_dir(&release.project.root).args(args))
}
