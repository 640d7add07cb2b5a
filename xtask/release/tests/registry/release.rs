//! Releases of a small workspace, accepted by cosign.

#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::project::{KEY_PASSWORD, Project};
use crate::server::Server;
use crate::tools::{self, Tools};

const VERSION: &str = "--version=0.1.0";

#[test]
fn a_release_is_accepted_by_cosign_and_is_not_made_twice() {
    let server = Server::start().unwrap();
    let tools = Tools::new(&server).unwrap();
    let project = Project::new(&server).unwrap();
    let (key, other) = (key(&tools, &project, "team"), key(&tools, &project, "other"));

    let shown = project.release(&key, &[VERSION, "--dry-run"]).unwrap();
    let text = succeeded(&shown);
    for step in [
        "tree",
        "deny",
        "tests",
        "image",
        "chart",
        "signatures",
        "upload",
        "git-tag",
        "chart-tag",
        "image-tag",
        "summary",
    ] {
        assert!(text.lines().any(|line| line.split(' ').next() == Some(step)), "{step}: {text}");
    }
    assert!(text.ends_with("without --dry-run releases it.\n"), "{text}");
    assert!(!project.root().join("target").exists() && project.log().is_empty(), "a dry run does nothing");

    let summary: Value =
        serde_json::from_str(&succeeded(&project.release(&key, &[VERSION, "--json"]).unwrap())).unwrap();
    assert_eq!(project.log(), ["xtask test deny", "xtask test", "xtask image --cloud tape --json"]);
    let commit = project.git(&["rev-parse", "HEAD"]).unwrap();
    assert_eq!(summary["commit"], commit.trim());
    let tagged = project.git(&["ls-remote", "--tags", "origin"]).unwrap();
    let expected = format!("{}\trefs/tags/cloud-provider-tape/v0.1.0^{{}}", commit.trim());
    assert!(tagged.contains(&expected) && !tagged.contains("disk"), "{tagged}");

    let name = format!("{}:v0.1.0", project.repository());
    let digest = summary["image"]["digest"].as_str().unwrap();
    assert_eq!(tools.crane(&["digest", &name]).unwrap().trim(), digest);
    let files = PathBuf::from(summary["folder"].as_str().unwrap());
    verified(&tools, &project, &summary, &files.join("cosign.pub"));
    assert!(cosign(&tools, "verify", &other.with_extension("pub"), &[&name]).is_err(), "another key");
    summed(&tools, &files, &summary);
    charted(&tools, &project, &summary, &files);

    let again = project.release(&key, &[VERSION]).unwrap();
    let told = failed(&again);
    assert!(told.contains("v0.1.0 is released already") && told.contains("nothing is overwritten"), "{told}");
    // Also where nothing is known of the first run.
    fs::remove_dir_all(project.root().join("target")).unwrap();
    project.write("tape/src/main.rs", "fn main() { }\n").unwrap();
    project.commit("other").unwrap();
    let told = failed(&project.release(&key, &[VERSION]).unwrap());
    assert!(told.contains("names the commit") && told.contains("already"), "{told}");
    assert_eq!(tools.crane(&["digest", &name]).unwrap().trim(), digest);
}

/// The image by its name and by digests, and what is attested of each.
fn verified(tools: &Tools, project: &Project, summary: &Value, key: &Path) {
    let by = |digest: &str| format!("{}@{digest}", project.repository());
    let platforms = summary["image"]["platforms"].as_object().unwrap();
    assert_eq!(platforms.keys().collect::<Vec<_>>(), ["linux/amd64", "linux/arm64"]);
    let images = platforms.values().map(|digest| (by(digest.as_str().unwrap()), 1));
    let name = (summary["image"]["reference"].as_str().unwrap().to_owned(), 2);
    for (image, count) in images.chain([name]) {
        let signed = cosign(tools, "verify", key, &[&image]).unwrap();
        let signed: Value = serde_json::from_str(&signed).unwrap();
        assert_eq!(signed[0]["critical"]["identity"]["docker-reference"], project.repository().as_str());
        for (kind, uri) in
            [("cyclonedx", "https://cyclonedx.org/bom"), ("slsaprovenance1", "https://slsa.dev/provenance/v1")]
        {
            let attested = cosign(tools, "verify-attestation", key, &["--type", kind, &image]).unwrap();
            let statements: Vec<Value> = attested.lines().map(statement).collect();
            assert_eq!(statements.len(), count, "{kind} of {image}");
            assert!(statements.iter().all(|one| one["predicateType"] == uri), "{statements:?}");
            if kind == "slsaprovenance1" {
                let commit = &statements[0]["predicate"]["buildDefinition"]["resolvedDependencies"][0]["digest"];
                assert_eq!(commit["gitCommit"], summary["commit"]);
            } else {
                assert_eq!(statements[0]["predicate"]["metadata"]["component"]["name"], "tape-controller");
            }
        }
    }
}

fn statement(envelope: &str) -> Value {
    let envelope: Value = serde_json::from_str(envelope).unwrap();
    serde_json::from_slice(&STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap()).unwrap()
}

/// The chart and the manifests, which have the image by its digest.
fn charted(tools: &Tools, project: &Project, summary: &Value, files: &Path) {
    let chart = project.repository().replace("/team/tape", "/team/charts/tape");
    assert_eq!(summary["chart"]["reference"], format!("{chart}:0.1.0"));
    let digest = summary["chart"]["digest"].as_str().unwrap();
    assert_eq!(tools.crane(&["digest", &format!("{chart}:0.1.0")]).unwrap().trim(), digest);
    let rendered =
        tools.helm(&["template", "tape", &format!("oci://{chart}"), "--version=0.1.0", "--plain-http"]).unwrap();
    let image = format!("image: {}@{}", project.repository(), summary["image"]["digest"].as_str().unwrap());
    assert!(rendered.lines().any(|line| line.trim() == image), "{rendered}");
    let manifests = fs::read_to_string(files.join("tape-controller.yaml")).unwrap();
    assert!(manifests.lines().any(|line| line.trim() == image), "{manifests}");
    let archive = files.join("tape-0.1.0.tgz").display().to_string();
    assert!(tools.helm(&["show", "values", &archive]).unwrap().contains(summary["image"]["digest"].as_str().unwrap()));
    cosign(tools, "verify", &files.join("cosign.pub"), &[&format!("{chart}@{digest}")]).unwrap();
}

/// The files beside the image, by their checksums.
fn summed(tools: &Tools, files: &Path, summary: &Value) {
    let file = |name: &str| files.join(name).display().to_string();
    let args = ["--signature", &file("SHA256SUMS.sig"), &file("SHA256SUMS")];
    cosign(tools, "verify-blob", &files.join("cosign.pub"), &args).unwrap();
    tools::output(Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(files)).unwrap();
    let listed = fs::read_to_string(files.join("SHA256SUMS")).unwrap();
    let mut names: Vec<&str> = listed.lines().map(|line| line.split_once("  ").unwrap().1).collect();
    names.extend(["SHA256SUMS", "SHA256SUMS.sig"]);
    names.sort_unstable();
    let mut told: Vec<&str> = summary["files"].as_object().unwrap().keys().map(String::as_str).collect();
    told.sort_unstable();
    assert_eq!(names, told);
    let notes = fs::read_to_string(files.join("notes.md")).unwrap();
    assert!(notes.starts_with("# cloud-provider-tape 0.1.0\n\n- The first version.\n"), "{notes}");
    assert!(notes.contains(summary["image"]["digest"].as_str().unwrap()), "{notes}");
}

#[test]
fn a_release_that_was_killed_or_refused_goes_on_and_was_found_by_no_name() {
    let server = Server::start().unwrap();
    let tools = Tools::new(&server).unwrap();
    let project = Project::new(&server).unwrap();
    let key = key(&tools, &project, "team");
    project.kill_next().unwrap();
    project.lock_remote(true).unwrap();
    assert_eq!(project.release(&key, &[VERSION]).unwrap().status.code(), None, "it was killed");
    let told = failed(&project.release(&key, &[VERSION]).unwrap());
    assert!(told.contains("step git-tag"), "{told}");
    let charts = tools.crane(&["ls", &project.repository().replace("/team/tape", "/team/charts/tape")]).unwrap();
    let names = tools.crane(&["ls", &project.repository()]).unwrap() + &charts;
    assert!(names.lines().all(|name| name.starts_with("sha256-")), "{names}");
    assert_eq!(project.git(&["ls-remote", "--tags", "origin"]).unwrap(), "");

    project.lock_remote(false).unwrap();
    let summary: Value =
        serde_json::from_str(&succeeded(&project.release(&key, &[VERSION, "--json"]).unwrap())).unwrap();
    let expected =
        ["xtask test deny", "xtask test", "xtask image --cloud tape --json", "xtask image --cloud tape --json"];
    assert_eq!(project.log(), expected, "what was done is not done again");
    let key = PathBuf::from(summary["folder"].as_str().unwrap()).join("cosign.pub");
    verified(&tools, &project, &summary, &key);
}

#[test]
fn what_is_not_ready_is_told_before_anything_is_built() {
    let server = Server::start().unwrap();
    let tools = Tools::new(&server).unwrap();
    let project = Project::new(&server).unwrap();
    let key = key(&tools, &project, "team");
    project.write("forgotten", "").unwrap();
    let shown = project.release(&key, &["--version=0.2.0", "--dry-run"]).unwrap();
    assert!(!shown.status.success());
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    let summary = String::from_utf8_lossy(&shown.stderr).into_owned();
    assert!(summary.contains("not ready: tree, version, changelog"), "{summary}");
    for problem in ["files differ from the commit", "has version 0.1.0, not 0.2.0", "no section \"## 0.2.0\""] {
        assert!(text.lines().any(|line| line.contains(" FAILED  ") && line.contains(problem)), "{problem}: {text}");
    }
    for version in ["--version=0.1.0", "--version=0.2.0"] {
        let told = failed(&project.release(&key, &[version]).unwrap());
        assert!(told.contains("step tree"), "{told}");
    }
    let public = key.with_extension("pub");
    fs::remove_file(project.root().join("forgotten")).unwrap();
    let told = failed(&project.release(&public, &[VERSION]).unwrap());
    assert!(told.contains("step key") && told.contains("no key that cosign encrypted"), "{told}");
    assert!(project.log().is_empty());
}

/// A pair of keys outside of the workspace; the public one is beside it.
fn key(tools: &Tools, project: &Project, name: &str) -> PathBuf {
    let prefix = project.root().with_file_name(name);
    let prefix_text = prefix.display().to_string();
    tools.cosign(KEY_PASSWORD, &["generate-key-pair", "--output-key-prefix", &prefix_text]).unwrap();
    prefix.with_extension("key")
}

/// Verifies with what was signed by a key, which is in no transparency log.
fn cosign(tools: &Tools, command: &str, key: &Path, args: &[&str]) -> anyhow::Result<String> {
    let key = key.display().to_string();
    tools.cosign("", &[&[command, "--insecure-ignore-tlog=true", "--key", &key], args].concat())
}

fn succeeded(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    out.into_owned()
}

fn failed(output: &Output) -> String {
    assert!(!output.status.success() && output.status.code().is_some(), "{:?}", output.status);
    String::from_utf8_lossy(&output.stderr).into_owned()
}
