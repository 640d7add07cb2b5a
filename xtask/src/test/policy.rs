//! What may be in the dependency tree: `deny.toml`, checked by cargo-deny.

use std::path::PathBuf;
use std::time::Duration;

use super::{Activity, Run};
use crate::cargo::BUILD_LIMIT;
use crate::tool::Tool;
use crate::workspace;

/// The release that CI uses; built into the user's cache when it is not there, unoptimised, which takes
/// a minute instead of three.
const CARGO_DENY: &str = "0.20.2";

pub(super) fn deny(run: &Run, at: &Activity<'_>) -> anyhow::Result<String> {
    // An exception that is not needed any more is an error too.
    let strict = ["-D", "unmatched-skip", "-D", "unnecessary-skip"];
    check(run, at, &[&strict, &["bans", "licenses", "sources"][..]].concat())?;
    Ok("bans, licences, sources".to_owned())
}

/// Needs the advisory database from the network.
pub(super) fn advisories(run: &Run, at: &Activity<'_>) -> anyhow::Result<String> {
    check(run, at, &["advisories"])?;
    Ok("none known".to_owned())
}

fn check(run: &Run, at: &Activity<'_>, what: &[&str]) -> anyhow::Result<()> {
    let tool = Tool::new(cargo_deny(at)?).args(["--workspace", "check"]).args(what);
    at.run(tool.dir(&run.workspace.root), Duration::from_secs(600))
}

fn cargo_deny(at: &Activity<'_>) -> anyhow::Result<PathBuf> {
    let folder = workspace::cache("tools")?.join(format!("cargo-deny-{CARGO_DENY}"));
    let program = folder.join("bin").join("cargo-deny");
    if !program.is_file() {
        let version = format!("cargo-deny@{CARGO_DENY}");
        // Our own target folder is for our own crates.
        let install = Tool::cargo().args(["install", "--locked", "--debug", &version, "--root"]).arg(&folder);
        let install = install.env("CARGO_PROFILE_DEV_DEBUG", "0").without_env("CARGO_TARGET_DIR");
        at.run(install, BUILD_LIMIT)?;
    }
    Ok(program)
}
