//! Two builds of one commit, in two folders, give the same program.

use std::fs;

use anyhow::{Context as _, bail};

use super::{Activity, Run, suites};
use crate::image;
use crate::tool::Tool;
use crate::workspace;

/// The cloud in memory: quick to build, and built like every other.
const CLOUD: &str = "memory";

/// Where the two are below the folder of builds, at depths that differ: the clone, and the target folder of its build.
const PLACES: [(&str, &str); 2] = [("one", "one/target"), ("another/place", "another/build")];

pub(super) fn run(run: &Run, at: &Activity<'_>) -> anyhow::Result<String> {
    let work = workspace::target()?.join("reproducible");
    let _ = fs::remove_dir_all(&work);
    let commit = Tool::new("git").args(["rev-parse", "HEAD"]).dir(&run.workspace.root).output()?;
    let mut programs = Vec::new();
    for (clone, target) in PLACES {
        let (clone, target) = (work.join(clone), work.join(target));
        let git = Tool::new("git").args(["clone", "--quiet", "--no-hardlinks"]);
        at.run(git.arg(&run.workspace.root).arg(&clone), suites::TEST_LIMIT)?;
        at.run(Tool::new("git").args(["checkout", "--quiet", commit.trim()]).dir(&clone), suites::TEST_LIMIT)?;
        let program = image::build_elsewhere(&clone, &target, CLOUD, at.task)?;
        programs.push(fs::read(&program).with_context(|| format!("read {}", program.display()))?);
    }
    compare(&programs[0], &programs[1])?;
    let size = programs[0].len();
    fs::remove_dir_all(&work).with_context(|| format!("remove {}", work.display()))?;
    Ok(format!("{size} bytes, the same twice"))
}

/// Fails with the first place where two programs differ.
fn compare(one: &[u8], other: &[u8]) -> anyhow::Result<()> {
    let first = one.iter().zip(other).position(|(left, right)| left != right);
    match first {
        None if one.len() == other.len() => Ok(()),
        None => bail!("one has {} bytes, the other {}", one.len(), other.len()),
        Some(place) => {
            let differing = one.iter().zip(other).filter(|(left, right)| left != right).count();
            let excerpt = |bytes: &[u8]| {
                let around = &bytes[place.saturating_sub(32)..bytes.len().min(place + 32)];
                String::from_utf8_lossy(around).escape_debug().to_string()
            };
            bail!("{differing} bytes differ, the first at {place}:\n{}\n{}", excerpt(one), excerpt(other))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn what_differs_is_told_with_its_place() {
        assert!(compare(b"program", b"program").is_ok());
        let told = |one: &[u8], other: &[u8]| compare(one, other).unwrap_err().to_string();
        assert!(told(b"in /home/jane", b"in /home/john").starts_with("3 bytes differ, the first at 10:"));
        assert_eq!(told(b"long", b"longer"), "one has 4 bytes, the other 6");
    }

    #[test]
    fn the_two_builds_differ_in_every_path() {
        let [(one, built), (other, built_too)] = PLACES;
        assert_ne!(Path::new(one).components().count(), Path::new(other).components().count());
        assert!(built.starts_with(one) && !built_too.starts_with(other));
    }
}
