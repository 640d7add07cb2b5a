//! `cargo xtask image` and `cargo xtask push`: builds a cloud's controller as it goes into an image, and hands over to the
//! program that assembles and pushes.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use crate::cargo;
use crate::report::{Report, Task};
use crate::tool::Tool;
use crate::workspace::{self, Image};

/// The binary that assembles and pushes.
pub(crate) const ASSEMBLER: &str = "xtask-release";

const AFTER_HELP: &str = "\
The image is an OCI layout in target/image/CLOUD, for every architecture whose standard library is installed.
The release build with an SDK takes half an hour the first time. It fails when the image is larger than its crate allows.";

/// What to put into an image.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The cloud whose controller it is
    #[arg(long)]
    cloud: String,
    /// A program that was built elsewhere, linked statically; once for each architecture
    #[arg(long = "binary", value_name = "PATH")]
    binaries: Vec<PathBuf>,
    /// oci, or docker-archive for `docker load` beside it [default: oci]
    #[arg(long)]
    format: Option<String>,
    /// The name of the image in its layout [default: v and the version of the crate]
    #[arg(long)]
    tag: Option<String>,
    /// Who builds, a URI for the provenance [default: the repository]
    #[arg(long, value_name = "URI")]
    builder: Option<String>,
    /// {"cloud":…,"digest":…,"layout":…,"compressed_bytes":…,"binary_bytes":…} on standard output
    #[arg(long)]
    json: bool,
}

impl Args {
    /// What is the assembly's business.
    fn passed(&self) -> Vec<&str> {
        let values = [("--format", &self.format), ("--tag", &self.tag), ("--builder", &self.builder)];
        let set = values.iter().filter_map(|(flag, value)| Some([*flag, value.as_deref()?]));
        set.flatten().chain(self.json.then_some("--json")).collect()
    }
}

const PUSH_HELP: &str = "\
      --cloud CLOUD    The cloud whose image it is
      --to REFERENCE   Where it goes: registry and repository, and a tag if not that of the image
      --layout PATH    Another layout than that of `cargo xtask image`
      --plain-http     Speak to the registry without TLS; loopback is always spoken to so
      --json           {\"cloud\":…,\"reference\":…,\"digest\":…} on standard output

Credentials come from REGISTRY_USERNAME and REGISTRY_PASSWORD, from DOCKER_AUTH_CONFIG, or from the files and helpers of
Docker and podman. A tag that names another image already is not overwritten.";

/// What to push.
#[derive(Debug, clap::Args)]
#[command(after_help = PUSH_HELP, override_usage = "cargo xtask push --cloud CLOUD --to REFERENCE [FLAGS]...")]
pub(crate) struct PushArgs {
    /// Flags of the push
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    flags: Vec<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let root = workspace::root()?;
    let image = workspace::image(&args.cloud)?;
    let assembler = assembler(&root)?;
    let assemble = if args.binaries.is_empty() {
        let mut binaries = Vec::new();
        for target in targets()? {
            let report = Report::default();
            let task = report.task(&format!("build {} for {target}", image.binary));
            let built = build(&root, &image, &target, &task);
            task.end(if built.is_ok() { "done" } else { "failed" });
            binaries.push(built?);
        }
        assemble(&assembler, &root, &args.cloud, &binaries)?.arg("--built-here")
    } else {
        assemble(&assembler, &root, &args.cloud, &args.binaries)?
    };
    Err(assemble.args(args.passed()).exec())
}

/// Builds the image of a cloud for the first architecture that can be built for here, for tests.
pub(crate) fn make(root: &Path, cloud: &str, assembler: &Path, task: &Task<'_>) -> anyhow::Result<Tool> {
    let target = targets()?.into_iter().next().context("there is no target")?;
    let binary = build(root, &workspace::image(cloud)?, &target, task)?;
    assemble(assembler, root, cloud, &[binary])
}

fn assemble(assembler: &Path, root: &Path, cloud: &str, binaries: &[PathBuf]) -> anyhow::Result<Tool> {
    let mut assemble = Tool::new(assembler).dir(root).args(["image", "--cloud", cloud]);
    for binary in binaries {
        let binary = std::path::absolute(binary).with_context(|| format!("find {}", binary.display()))?;
        assemble = assemble.arg("--binary").arg(binary);
    }
    Ok(assemble)
}

pub(crate) fn push(args: PushArgs) -> anyhow::Result<ExitCode> {
    let root = workspace::root()?;
    Err(Tool::new(assembler(&root)?).dir(&root).arg("push").args(args.flags).exec())
}

/// Builds the program that assembles, pushes and releases.
pub(crate) fn assembler(root: &Path) -> anyhow::Result<PathBuf> {
    let report = Report::default();
    let task = report.task("build the assembly of images");
    // Always the whole workspace with one of its binaries: features, and so artifacts, stay the same.
    let built = cargo::build(root, &["build", "--workspace", "--bin", ASSEMBLER], &task);
    task.end(if built.is_ok() { "done" } else { "failed" });
    Ok(cargo::binary(&built?, ASSEMBLER)?.to_owned())
}

/// The targets of images whose standard library is here.
fn targets() -> anyhow::Result<Vec<String>> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let sysroot = Tool::new(rustc).args(["--print", "sysroot"]).output()?;
    let libraries = Path::new(sysroot.trim()).join("lib/rustlib");
    let all = ["x86_64", "aarch64"].map(|machine| format!("{machine}-unknown-linux-gnu"));
    let here: Vec<String> = all.into_iter().filter(|target| libraries.join(target).join("lib").is_dir()).collect();
    if here.is_empty() {
        bail!("{} has the standard library of no target that images are made for", libraries.display());
    }
    Ok(here)
}

/// Builds the program of an image: linked statically, so that the image holds nothing else, and without a path of this
/// machine in it, so that the same commit gives the same program elsewhere.
fn build(root: &Path, image: &Image, target: &str, task: &Task<'_>) -> anyhow::Result<PathBuf> {
    build_in(root, &workspace::target()?, image, target, task)
}

/// The same in another clone of the workspace and into another folder, for the first architecture.
pub(crate) fn build_elsewhere(clone: &Path, builds: &Path, cloud: &str, task: &Task<'_>) -> anyhow::Result<PathBuf> {
    let target = targets()?.into_iter().next().context("there is no target")?;
    build_in(clone, builds, &workspace::image(cloud)?, &target, task)
}

fn build_in(root: &Path, builds: &Path, image: &Image, target: &str, task: &Task<'_>) -> anyhow::Result<PathBuf> {
    let command = ["build", "--release", "--locked", "--target", target];
    let which = ["--package", &image.package, "--bin", &image.binary];
    let elsewhere = elsewhere(root, builds)?;
    let environment = [
        ("CARGO_TARGET_DIR".to_owned(), builds.display().to_string()),
        ("CARGO_ENCODED_RUSTFLAGS".to_owned(), rust_flags(&elsewhere)),
        (format!("CFLAGS_{}", target.replace('-', "_")), c_flags(&elsewhere)),
    ];
    let built = cargo::build_with(root, &[&command[..], &which].concat(), &environment, task)?;
    Ok(cargo::binary(&built, &image.binary)?.to_owned())
}

/// Folders of this machine that the compilers would write into programs, and what they write instead.
fn elsewhere(root: &Path, builds: &Path) -> anyhow::Result<Vec<(PathBuf, &'static str)>> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let home = home.context("neither CARGO_HOME nor HOME is set")?;
    let outside = Some(builds.to_owned()).filter(|builds| *builds != root.join("target"));
    Ok([(root.to_owned(), "/build"), (home, "/cargo")]
        .into_iter()
        .chain(outside.map(|builds| (builds, "/build/target")))
        .collect())
}

/// Those of `.cargo/config.toml`, which these replace, and what an image needs.
fn rust_flags(elsewhere: &[(PathBuf, &str)]) -> String {
    let mut flags: Vec<String> =
        ["-C", "force-frame-pointers=yes", "-C", "target-feature=+crt-static"].map(str::to_owned).into();
    flags.extend(elsewhere.iter().map(|(here, there)| format!("--remap-path-prefix={}={there}", here.display())));
    flags.join("\x1f")
}

fn c_flags(elsewhere: &[(PathBuf, &str)]) -> String {
    let flags = elsewhere.iter().map(|(here, there)| format!("-ffile-prefix-map={}={there}", here.display()));
    flags.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_for_images_are_static_and_know_no_path_of_this_machine() {
        let elsewhere = [(PathBuf::from("/home/jane/ccm"), "/build"), (PathBuf::from("/home/jane/.cargo"), "/cargo")];
        let flags = rust_flags(&elsewhere);
        let flags: Vec<&str> = flags.split('\x1f').collect();
        assert!(flags.contains(&"target-feature=+crt-static"), "{flags:?}");
        assert!(flags.contains(&"--remap-path-prefix=/home/jane/ccm=/build"), "{flags:?}");
        assert!(c_flags(&elsewhere).contains("-ffile-prefix-map=/home/jane/.cargo=/cargo"));
    }

    #[test]
    fn the_flags_of_the_workspace_are_those_of_images_too() {
        let config = std::fs::read_to_string(workspace::root().unwrap().join(".cargo/config.toml")).unwrap();
        let line = config.lines().find(|line| line.starts_with("rustflags")).unwrap();
        let flags = line.split('"').skip(1).step_by(2).collect::<Vec<_>>().join("\x1f");
        assert!(rust_flags(&[]).starts_with(&flags), "{flags:?}");
    }

    #[test]
    fn this_machine_can_build_images() {
        assert!(!targets().unwrap().is_empty());
    }
}
