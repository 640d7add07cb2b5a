//! A crate that `cargo xtask new-provider` makes compiles without a warning, and of its tests those fail that need what is not
//! written yet, and say so.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};

use super::{Activity, Run, suites};
use crate::cargo::{self, Kind};
use crate::tool::Tool;
use crate::workspace;

const NAME: &str = "tape";

/// What stays out of the copy: other clouds, and what serves the workspace itself.
const LEFT_OUT: [&str; 3] = ["cloud-provider-aws", "cloud-provider-openstack", "xtask"];

/// The tests that fail until the crate is written, and nothing but them.
const UNWRITTEN: [&str; 6] = [
    "instances::a_machine_is_gone_when_the_cloud_says_so_and_its_neighbour_is_not",
    "instances::a_machine_that_is_stopped_still_exists",
    "instances::a_machine_that_runs_is_present_with_its_metadata",
    "load_balancers::a_service_gets_a_load_balancer_and_loses_it",
    "routes::a_route_is_made_listed_and_removed",
    "the_controller_conforms_on_the_simulator",
];

pub(super) fn run(run: &Run, at: &Activity<'_>) -> anyhow::Result<String> {
    let work = workspace::target()?.join("new-provider");
    let (copy, builds) = (work.join("workspace"), work.join("build"));
    let _ = fs::remove_dir_all(&copy);
    copy_workspace(&run.workspace.root, &copy)?;
    let ours = std::env::current_exe().context("find this program")?;
    let make = Tool::new(ours).args(["new-provider", NAME]).env("CARGO_MANIFEST_DIR", copy.join("xtask"));
    at.run(make.env("CARGO_TARGET_DIR", &builds).dir(&copy), suites::TEST_LIMIT)?;
    let (package, simulator) = (format!("cloud-provider-{NAME}"), format!("cloud-provider-{NAME}-simulator"));
    let command = ["test", "--no-run", "--package", &package, "--package", &simulator];
    let environment = [
        ("CARGO_TARGET_DIR".to_owned(), builds.display().to_string()),
        ("RUSTFLAGS".to_owned(), "-D warnings".to_owned()),
    ];
    let built = cargo::build_with(&copy, &command, &environment, at.task)?;
    let (mut passed, mut failed) = (0, BTreeSet::new());
    for program in built.iter().filter(|one| one.kind != Kind::Binary) {
        let mut text = String::new();
        // It fails, as it should.
        let _ = at.run_lines(suites::test(run, program), suites::TEST_LIMIT, |line| {
            match line.strip_prefix("test ").and_then(|line| line.rsplit_once(" ... ")) {
                Some((_, "ok")) => passed += 1,
                Some((name, "FAILED")) => {
                    failed.insert(name.to_owned());
                }
                _ => {}
            }
            text.push_str(line);
            text.push('\n');
        });
        explained(&text)?;
    }
    let expected: BTreeSet<String> = UNWRITTEN.map(str::to_owned).into();
    ensure!(failed == expected, "failed are {failed:?}, and not {expected:?}");
    ensure!(passed > 0, "no test passed");
    Ok(format!("{passed} tests pass, {} wait for what is to be written", failed.len()))
}

/// Each failure says what to write, and where an example stands.
fn explained(text: &str) -> anyhow::Result<()> {
    for part in text.split("\n---- ").skip(1) {
        let part = part.split("\nfailures:").next().unwrap_or(part);
        if !part.contains("not written yet: ") || !part.contains(" is an example") {
            bail!("a failure does not say what to write:\n{part}");
        }
    }
    Ok(())
}

/// Copies what git knows and what is new, but for what is left out.
fn copy_workspace(root: &Path, copy: &Path) -> anyhow::Result<()> {
    let list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"];
    let list = Tool::new("git").args(list).dir(root).output()?;
    let first = |path: &str| path.split('/').next().unwrap_or_default().to_owned();
    for path in list.split('\0').filter(|path| !path.is_empty() && !LEFT_OUT.contains(&first(path).as_str())) {
        let (from, to) = (root.join(path), copy.join(path));
        if !from.is_file() {
            continue;
        }
        let folder = to.parent().context("a file without a folder")?;
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        fs::copy(&from, &to).with_context(|| format!("copy {path}"))?;
    }
    let manifest = copy.join("Cargo.toml");
    let text = fs::read_to_string(&manifest).context("read the manifest of the workspace")?;
    fs::write(&manifest, pruned(&text)).context("write the manifest of the workspace")
}

/// The manifest without the members that are left out, and without settings for crates that only those have.
fn pruned(manifest: &str) -> String {
    let mut text = String::new();
    let mut skipping = false;
    for line in manifest.lines() {
        skipping = if line.starts_with('[') { line.starts_with("[profile.release.package.") } else { skipping };
        let member = line.trim().trim_matches(['"', ',']).split('/').next().unwrap_or_default();
        let is_left_out = line.starts_with("    \"") && LEFT_OUT.contains(&member);
        if skipping || is_left_out {
            continue;
        }
        text.push_str(line);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_has_no_other_cloud() {
        let manifest = "members = [\n    \"cloud-provider\",\n    \"cloud-provider-aws\",\n    \"cloud-provider-aws/simulator\",\n    \
                        \"xtask\",\n]\n[profile.release]\nlto = \"thin\"\n\n[profile.release.package.aws-sdk-ec2]\ncodegen-units = 64\n";
        assert_eq!(pruned(manifest), "members = [\n    \"cloud-provider\",\n]\n[profile.release]\nlto = \"thin\"\n\n");
    }

    #[test]
    fn a_failure_without_advice_is_told() {
        let failure = |why: &str| format!("\nfailures:\n\n---- a::b stdout ----\n{why}\n\nfailures:\n    a::b\n");
        assert!(explained(&failure("Unsupported: A::b: not written yet: do it; c.rs is an example")).is_ok());
        assert!(explained(&failure("assertion failed")).is_err());
        assert!(explained("test a ... ok\n").is_ok());
    }
}
