//! A workspace of two clouds' crates in git, as small as can be, and what releases one of them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::Context as _;
use serde_json::Value;
use tempfile::TempDir;

use crate::image;
use crate::server::{PASSWORD, Server, USER};
use crate::tools::output;

pub(crate) const KEY_PASSWORD: &str = "correct horse";

/// Stands for cargo. What the workspace checks and builds with itself is written down; the image is made of programs that
/// are here already; everything else is cargo's. A file `kill` ends who makes an image, once.
const CARGO: &str = r#"#!/bin/sh
case "$1 $2" in
"xtask test") echo "$*" >>@folder@/log ;;
"xtask image")
    echo "$*" >>@folder@/log
    if [ -e @folder@/kill ]; then rm @folder@/kill; kill -KILL $PPID; exit 1; fi
    exec @program@ image --cloud tape --binary @folder@/amd64 --binary @folder@/arm64 --built-here --json ;;
*) exec @cargo@ "$@" ;;
esac
"#;

const CHANGELOG: &str = "# Changelog\n\n## Unreleased\n\n## 0.1.0 - 2026-11-23\n\n- The first version.\n";

const POD: &str = "apiVersion: v1
kind: Pod
metadata:
  name: tape
spec:
  containers:
    - name: tape
      image: registry.example/tape:v0.1.0
";

/// The workspace, with a git remote.
pub(crate) struct Project {
    folder: TempDir,
    registry: String,
}

impl Project {
    pub(crate) fn new(server: &Server) -> anyhow::Result<Self> {
        let project = Self { folder: tempfile::tempdir()?, registry: server.host().to_owned() };
        let folder = project.folder.path();
        for (name, machine) in [("amd64", image::AMD64), ("arm64", image::ARM64)] {
            fs::write(folder.join(name), image::program("tape", machine))?;
        }
        let cargo = CARGO
            .replace("@folder@", &folder.display().to_string())
            .replace("@program@", env!("CARGO_BIN_EXE_xtask-release"))
            .replace("@cargo@", env!("CARGO"));
        fs::write(project.cargo(), cargo)?;
        fs::set_permissions(project.cargo(), fs::Permissions::from_mode(0o755))?;
        project.write_workspace()?;
        project.git(&["init", "--quiet", "--bare", &project.remote().display().to_string()])?;
        project.git(&["init", "--quiet", "--initial-branch=main"])?;
        project.git(&["remote", "add", "origin", &project.remote().display().to_string()])?;
        project.commit("first")?;
        Ok(project)
    }

    fn write_workspace(&self) -> anyhow::Result<()> {
        let mut lock = "version = 4\n".to_owned();
        self.write("Cargo.toml", "[workspace]\nresolver = \"3\"\nmembers = [\"disk\", \"tape\"]\n")?;
        for (cloud, version) in [("disk", "0.3.0"), ("tape", "0.1.0")] {
            self.write(&format!("{cloud}/Cargo.toml"), &manifest(cloud, version))?;
            self.write(&format!("{cloud}/src/main.rs"), "fn main() {}\n")?;
            lock.push_str(&format!("\n[[package]]\nname = \"cloud-provider-{cloud}\"\nversion = \"{version}\"\n"));
        }
        self.write("Cargo.lock", &lock)?;
        self.write("tape/CHANGELOG.md", CHANGELOG)?;
        self.write("tape/deploy/manifests.yaml", POD)?;
        self.write("tape/deploy/chart/Chart.yaml", "apiVersion: v2\nname: tape\nversion: 0.1.0\nappVersion: 0.1.0\n")?;
        self.write("tape/deploy/chart/values.yaml", "image:\n  repository: registry.example/tape\n  digest: \"\"\n")?;
        let template =
            POD.replace("registry.example/tape:v0.1.0", "{{ .Values.image.repository }}@{{ .Values.image.digest }}");
        self.write("tape/deploy/chart/templates/pod.yaml", &template)?;
        self.write("LICENSE", "the licence\n")?;
        self.write("NOTICE", "the notice\n")?;
        self.write(".gitignore", "/target\n")
    }

    pub(crate) fn write(&self, path: &str, text: &str) -> anyhow::Result<()> {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().context("a file without a folder")?)?;
        Ok(fs::write(path, text)?)
    }

    pub(crate) fn commit(&self, message: &str) -> anyhow::Result<()> {
        self.git(&["add", "--all"])?;
        self.git(&["commit", "--quiet", "--message", message]).map(|_| ())
    }

    /// Releases 0.1.0 of the crate for tapes; `more` are further arguments.
    pub(crate) fn release(&self, key: &Path, more: &[&str]) -> anyhow::Result<Output> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask-release"));
        command.current_dir(self.root()).envs(GIT).env("CARGO", self.cargo());
        // The project has its own, wherever this workspace is built.
        command.env_remove("CARGO_TARGET_DIR");
        command.env("REGISTRY_USERNAME", USER).env("REGISTRY_PASSWORD", PASSWORD).env("COSIGN_PASSWORD", KEY_PASSWORD);
        command.args(["release", "--cloud=tape", "--git-remote=origin", "--to", &self.repository(), "--key"]).arg(key);
        command.args(more).output().context("start xtask-release")
    }

    /// Assembles an image of these programs; what it prints.
    pub(crate) fn image<'a>(&self, programs: impl Iterator<Item = &'a PathBuf>) -> anyhow::Result<Value> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask-release"));
        command.current_dir(self.root()).envs(GIT).env_remove("CARGO_TARGET_DIR").args(["image", "--cloud=tape"]);
        for program in programs {
            command.arg("--binary").arg(program);
        }
        serde_json::from_str(&output(command.arg("--json"))?).context("read what it printed")
    }

    pub(crate) fn repository(&self) -> String {
        format!("{}/team/tape", self.registry)
    }

    pub(crate) fn git(&self, args: &[&str]) -> anyhow::Result<String> {
        output(Command::new("git").current_dir(self.root()).envs(GIT).args(args))
    }

    /// The commands of the workspace's own that were run.
    pub(crate) fn log(&self) -> Vec<String> {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    /// Who makes the next image is killed.
    pub(crate) fn kill_next(&self) -> anyhow::Result<()> {
        Ok(fs::write(self.folder.path().join("kill"), "")?)
    }

    /// The remote takes nothing any more, or again.
    pub(crate) fn lock_remote(&self, locked: bool) -> anyhow::Result<()> {
        let hook = self.remote().join("hooks/pre-receive");
        fs::create_dir_all(self.remote().join("hooks"))?;
        fs::write(&hook, format!("#!/bin/sh\nexit {}\n", u8::from(locked)))?;
        Ok(fs::set_permissions(&hook, fs::Permissions::from_mode(0o755))?)
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    fn remote(&self) -> PathBuf {
        self.folder.path().join("remote.git")
    }

    fn cargo(&self) -> PathBuf {
        self.folder.path().join("cargo")
    }
}

/// Nobody's own settings.
const GIT: [(&str, &str); 6] = [
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_AUTHOR_NAME", "Jane"),
    ("GIT_AUTHOR_EMAIL", "jane@source.example"),
    ("GIT_COMMITTER_NAME", "Jane"),
    ("GIT_COMMITTER_EMAIL", "jane@source.example"),
];

fn manifest(cloud: &str, version: &str) -> String {
    format!(
        "[package]\nname = \"cloud-provider-{cloud}\"\nversion = \"{version}\"\nedition = \"2024\"\n\
         description = \"A controller\"\nlicense = \"Apache-2.0\"\nrepository = \"https://source.example/ccm\"\n\n\
         [package.metadata.image]\ncloud = \"{cloud}\"\nbinary = \"{cloud}-controller\"\n\
         path = \"/bin/{cloud}-controller\"\nform = \"cmd\"\nuser = \"0\"\nmax-compressed-bytes = 1_000_000\n"
    )
}
