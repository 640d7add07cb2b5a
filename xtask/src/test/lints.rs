//! What needs no test to run: formatting, the tree, clippy, each member alone, documentation.

use anyhow::bail;

use super::{Activity, Run};
use crate::cargo::BUILD_LIMIT;
use crate::tidy;
use crate::tool::Tool;
use crate::workspace::Member;

fn cargo(run: &Run) -> Tool {
    Tool::cargo().dir(&run.workspace.root)
}

pub(super) fn fmt(run: &Run, at: &Activity<'_>) -> anyhow::Result<String> {
    at.run(cargo(run).args(["fmt", "--all", "--check"]), BUILD_LIMIT)?;
    Ok("formatted".to_owned())
}

pub(super) fn tidy(run: &Run, at: &Activity<'_>) -> anyhow::Result<String> {
    let findings = tidy::check(&run.workspace)?;
    findings.lines().iter().for_each(|line| at.note(line));
    if findings.errors() > 0 {
        bail!("{} findings", findings.errors());
    }
    Ok(findings.summary())
}

pub(super) fn clippy(run: &Run, at: &Activity<'_>) -> anyhow::Result<String> {
    at.run(cargo(run).args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]), BUILD_LIMIT)?;
    Ok("no warning".to_owned())
}

/// A dependency or a feature that a member forgot can hide behind a sibling that has it.
pub(super) fn alone(run: &Run, at: &Activity<'_>) -> anyhow::Result<String> {
    let builds = run.workspace.members.iter().flat_map(|member| {
        let build = |features| cargo(run).args(["check", "--package", &member.name]).args(features);
        feature_sets(member).into_iter().map(build)
    });
    Ok(format!("{} builds", all(at, builds)?))
}

/// Runs all, also after a failure; returns how many, or the first failure.
fn all(at: &Activity<'_>, tools: impl Iterator<Item = Tool>) -> anyhow::Result<usize> {
    let outcomes: Vec<anyhow::Result<()>> = tools.map(|tool| at.run(tool, BUILD_LIMIT)).collect();
    let count = outcomes.len();
    outcomes.into_iter().collect::<anyhow::Result<()>>().map(|()| count)
}

/// The default, and the bare crate where the two differ.
fn feature_sets(member: &Member) -> Vec<&'static [&'static str]> {
    let mut sets: Vec<&[&str]> = vec![&[]];
    if member.features.iter().any(|name| name == "default") {
        sets.push(&["--no-default-features"]);
    }
    sets
}

/// Member by member: what [`alone`] has checked serves again.
pub(super) fn doc(run: &Run, at: &Activity<'_>) -> anyhow::Result<String> {
    let libraries = run.workspace.members.iter().filter(|member| member.has_library);
    let tools = libraries.map(|member| {
        let tool = cargo(run).args(["doc", "--no-deps", "--lib", "--package", &member.name]);
        tool.env("RUSTDOCFLAGS", "-D warnings")
    });
    Ok(format!("{} crates", all(at, tools)?))
}
