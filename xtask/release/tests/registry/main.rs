//! Images pushed to a real registry, and read back with tools that we did not write: skopeo, umoci, crane and
//! cosign.

mod image;
mod project;
mod release;
mod server;
mod tools;

use std::fs;
use std::path::PathBuf;

use oci_spec::image::{ImageIndex, ImageManifest};
use serde_json::Value;
use xtask_release::assembly::index_of;
use xtask_release::certificates;
use xtask_release::push::push;

use image::Made;
use server::Server;
use tools::Tools;

#[tokio::test]
async fn what_is_pushed_is_what_others_pull() {
    let server = Server::start().unwrap();
    let tools = Tools::new(&server).unwrap();
    let made = Made::new("one").unwrap();
    push(&made.layout, &mut server.repository("team/ccm").unwrap(), "v1.2.3").await.unwrap();

    let reference = format!("{}/team/ccm:v1.2.3", server.host());
    assert_eq!(tools.crane(&["digest", &reference]).unwrap().trim(), made.image.digest);
    let index: Value = serde_json::from_str(&tools.crane(&["manifest", &reference]).unwrap()).unwrap();
    let platforms: Vec<&str> = index["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["platform"]["architecture"].as_str().unwrap())
        .collect();
    assert_eq!(platforms, ["amd64", "arm64"]);
    // crane checks every digest and size of what it reads.
    tools.crane(&["validate", "--remote", &reference]).unwrap();

    let inspected: Value = serde_json::from_str(&tools.skopeo_inspect(&reference).unwrap()).unwrap();
    assert_eq!(inspected["Digest"], made.image.digest.as_str());
    assert_eq!(inspected["Architecture"], "amd64");
    assert_eq!(inspected["Labels"]["org.opencontainers.image.title"], image::BINARY);
    assert_eq!(inspected["Labels"]["org.opencontainers.image.revision"], image::COMMIT);

    let bundle = tools.unpack(&reference, "amd64").unwrap();
    let other = tools.unpack(&reference, "arm64").unwrap();
    for (bundle, machine) in [(&bundle, image::AMD64), (&other, image::ARM64)] {
        let program = fs::read(bundle.join("rootfs").join(image::PATH.trim_start_matches('/'))).unwrap();
        assert_eq!(program, image::program("one", machine));
    }
    assert_eq!(fs::read_to_string(bundle.join("rootfs").join(certificates::PATH)).unwrap(), certificates::bundle());
    let config: Value = serde_json::from_slice(&fs::read(bundle.join("config.json")).unwrap()).unwrap();
    assert_eq!(config["process"]["args"], serde_json::json!([image::PATH]));
    assert_eq!(config["process"]["user"]["uid"], 0);
    let mut files = tools::files(&bundle.join("rootfs")).unwrap();
    files.sort();
    let licences = format!("usr/share/licenses/{}", image::BINARY);
    let expected = [
        (image::PATH.trim_start_matches('/').to_owned(), 0o755),
        (certificates::PATH.to_owned(), 0o644),
        (format!("{licences}/LICENSE"), 0o644),
        (format!("{licences}/NOTICE"), 0o644),
        (format!("{licences}/THIRD-PARTY"), 0o644),
    ];
    assert_eq!(files, expected, "nothing else is in the image");
}

#[tokio::test]
async fn what_is_known_about_an_image_is_found_by_a_tag_where_the_registry_knows_no_referrers() {
    let server = Server::start().unwrap();
    let tools = Tools::new(&server).unwrap();
    let made = Made::new("one").unwrap();
    let mut registry = server.repository("team/ccm").unwrap();
    push(&made.layout, &mut registry, "v1").await.unwrap();
    // Once more: nothing is listed twice.
    push(&made.layout, &mut registry, "v1").await.unwrap();

    let repository = format!("{}/team/ccm", server.host());
    let (_, index) = index_of(&made.layout).unwrap();
    for image in index.manifests() {
        let tag = image.digest().to_string().replace(':', "-");
        let referrers = tools.crane(&["manifest", &format!("{repository}:{tag}")]).unwrap();
        let referrers: ImageIndex = serde_json::from_str(&referrers).unwrap();
        let kinds: Vec<String> =
            referrers.manifests().iter().map(|one| one.artifact_type().as_ref().unwrap().to_string()).collect();
        assert_eq!(kinds, ["application/vnd.cyclonedx+json", "application/vnd.in-toto+json"]);
        let mut contents = Vec::new();
        for referrer in referrers.manifests() {
            let manifest = tools.crane(&["manifest", &format!("{repository}@{}", referrer.digest())]).unwrap();
            let manifest: ImageManifest = serde_json::from_str(&manifest).unwrap();
            assert_eq!(manifest.subject().as_ref().unwrap().digest(), image.digest());
            let blob = format!("{repository}@{}", manifest.layers()[0].digest());
            contents.push(serde_json::from_str::<Value>(&tools.crane(&["blob", &blob]).unwrap()).unwrap());
        }
        assert_eq!(contents[0]["bomFormat"], "CycloneDX");
        let digests: Vec<&Value> =
            contents[1]["subject"].as_array().unwrap().iter().map(|one| &one["digest"]["sha256"]).collect();
        assert_eq!(digests[0], image.digest().digest());
        assert_eq!(
            contents[1]["predicate"]["buildDefinition"]["resolvedDependencies"][0]["digest"]["gitCommit"],
            image::COMMIT
        );
    }
}

#[tokio::test]
async fn a_tag_that_was_pushed_is_not_overwritten() {
    let server = Server::start().unwrap();
    let tools = Tools::new(&server).unwrap();
    let (one, other) = (Made::new("one").unwrap(), Made::new("other").unwrap());
    assert_ne!(one.image.digest, other.image.digest);
    let mut registry = server.repository("team/ccm").unwrap();
    push(&one.layout, &mut registry, "v1").await.unwrap();
    let error = push(&other.layout, &mut registry, "v1").await.unwrap_err().to_string();
    assert!(error.contains("not overwritten") && error.contains(&one.image.digest), "{error}");
    let reference = format!("{}/team/ccm:v1", server.host());
    assert_eq!(tools.crane(&["digest", &reference]).unwrap().trim(), one.image.digest);
    push(&other.layout, &mut registry, "v2").await.unwrap();
}

#[tokio::test]
async fn who_may_not_push_is_told_so() {
    let server = Server::start().unwrap();
    let made = Made::new("one").unwrap();
    let mut registry = server.repository_as("team/ccm", "jane", "wrong").unwrap();
    let error = format!("{:#}", push(&made.layout, &mut registry, "v1").await.unwrap_err());
    assert!(error.contains("401") && !error.contains("wrong"), "{error}");
}

#[test]
fn the_same_program_and_commit_give_the_same_digest() {
    let (one, other) = (Made::new("one").unwrap(), Made::new("one").unwrap());
    assert_eq!(one.image.digest, other.image.digest);
    let index = |made: &Made| fs::read(made.folder.path().join("layout/index.json")).unwrap();
    assert_eq!(index(&one), index(&other));
}

/// Programs that a compiler made, not our own headers.
#[test]
fn an_index_is_made_of_programs_that_another_compiler_made_for_two_machines() {
    let server = Server::start().unwrap();
    let project = project::Project::new(&server).unwrap();
    let programs = ["amd64", "arm64"].map(|machine| tools::go_program(&project.root(), machine).unwrap());
    // The order in which they are given does not matter.
    let made = project.image(programs.iter().rev()).unwrap();
    let layout = PathBuf::from(made["layout"].as_str().unwrap());
    let tag = format!("oci:{}:v0.1.0", layout.display());
    for (machine, program) in ["amd64", "arm64"].iter().zip(&programs) {
        let platform = ["--override-os=linux", &format!("--override-arch={machine}")];
        let config = tools::skopeo(&[&platform[..], &["inspect", "--config", &tag]].concat()).unwrap();
        let config: Value = serde_json::from_str(&config).unwrap();
        assert_eq!(config["architecture"], *machine);
        let other = project.root().with_file_name(machine.to_string() + "-again");
        fs::copy(program, &other).unwrap();
        let refused = project.image([&other, program].into_iter()).unwrap_err().to_string();
        assert!(refused.contains(&format!("two programs for {machine}")), "{refused}");
    }
}

#[test]
fn an_archive_for_docker_load_is_the_same_image() {
    let made = Made::new("one").unwrap();
    let (_, index) = index_of(&made.layout).unwrap();
    let archive = made.folder.path().join("amd64.tar");
    let bytes = xtask_release::docker_archive::write(&made.layout, &index.manifests()[0], "ccm:v1").unwrap();
    fs::write(&archive, bytes).unwrap();
    let config = tools::skopeo(&["inspect", "--config", &format!("docker-archive:{}", archive.display())]).unwrap();
    let config: Value = serde_json::from_str(&config).unwrap();
    let manifest: ImageManifest = made.layout.get_json(&index.manifests()[0]).unwrap();
    let ours: Value = made.layout.get_json(manifest.config()).unwrap();
    assert_eq!(config["rootfs"], ours["rootfs"]);
    assert_eq!(config["config"]["Cmd"], ours["config"]["Cmd"]);
}
