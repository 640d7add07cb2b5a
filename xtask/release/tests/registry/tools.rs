//! Tools that we did not write.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use anyhow::{Context as _, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloud_provider_testing::progress::Progress;
use cloud_provider_testing::upstream::Upstream;
use tempfile::TempDir;

use crate::server::{PASSWORD, Server, USER};

/// crane, of Google's library for registries.
const CRANE: Upstream = Upstream {
    program: "crane",
    module: "github.com/google/go-containerregistry",
    version: "v0.22.1",
    package: "cmd/crane",
};

/// cosign, of the sigstore project.
const COSIGN: Upstream =
    Upstream { program: "cosign", module: "github.com/sigstore/cosign/v3", version: "v3.1.3", package: "cmd/cosign" };

/// Helm, for charts in a registry.
const HELM: Upstream = Upstream { program: "helm", module: "helm.sh/helm/v3", version: "v3.22.0", package: "cmd/helm" };

/// Tools with credentials for a registry.
pub(crate) struct Tools {
    crane: PathBuf,
    folder: TempDir,
}

impl Tools {
    /// Credentials are in a file as Docker writes it. Builds crane the first time.
    pub(crate) fn new(server: &Server) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let auth = STANDARD.encode(format!("{USER}:{PASSWORD}"));
        let config = serde_json::json!({ "auths": { server.host(): { "auth": auth } } });
        fs::write(folder.path().join("config.json"), config.to_string())?;
        Ok(Self { crane: CRANE.find_or_build(&Progress::stderr())?, folder })
    }

    pub(crate) fn crane(&self, args: &[&str]) -> anyhow::Result<String> {
        output(Command::new(&self.crane).args(args).env("DOCKER_CONFIG", self.folder.path()))
    }

    /// cosign with arguments, built the first time, which takes minutes. It writes below its home folder.
    pub(crate) fn cosign(&self, password: &str, args: &[&str]) -> anyhow::Result<String> {
        static PROGRAM: LazyLock<anyhow::Result<PathBuf>> = LazyLock::new(|| COSIGN.find_or_build(&Progress::stderr()));
        let program = PROGRAM.as_ref().map_err(|error| anyhow!("{error:#}"))?;
        let mut command = Command::new(program);
        command.env("DOCKER_CONFIG", self.folder.path()).env("HOME", self.folder.path());
        output(command.env("COSIGN_PASSWORD", password).args(args))
    }

    pub(crate) fn helm(&self, args: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(HELM.find_or_build(&Progress::stderr())?);
        let config = self.folder.path().join("config.json");
        output(command.env("HOME", self.folder.path()).env("HELM_REGISTRY_CONFIG", config).args(args))
    }

    pub(crate) fn skopeo_inspect(&self, reference: &str) -> anyhow::Result<String> {
        let reference = format!("docker://{reference}");
        let platform = ["--override-os=linux", "--override-arch=amd64"];
        self.skopeo(&[&platform[..], &["inspect", "--tls-verify=false", &reference]].concat())
    }

    /// Copies the image of an architecture with skopeo, unpacks it with umoci; returns the folder with `config.json` and
    /// `rootfs`.
    pub(crate) fn unpack(&self, reference: &str, architecture: &str) -> anyhow::Result<PathBuf> {
        let place = |kind: &str| self.folder.path().join(format!("{kind}-{architecture}"));
        let (layout, bundle) = (place("copy"), place("bundle"));
        let (from, to) = (format!("docker://{reference}"), format!("oci:{}:copy", layout.display()));
        let platform = ["--override-os=linux", &format!("--override-arch={architecture}")];
        self.skopeo(&[&platform[..], &["copy", "--src-tls-verify=false", &from, &to]].concat())?;
        let image = format!("{}:copy", layout.display());
        let mut umoci = Command::new("umoci");
        output(umoci.args(["unpack", "--rootless", "--image", &image]).arg(&bundle))?;
        Ok(bundle)
    }

    fn skopeo(&self, args: &[&str]) -> anyhow::Result<String> {
        output(Command::new("skopeo").args(args).env("REGISTRY_AUTH_FILE", self.folder.path().join("config.json")))
    }
}

pub(crate) fn skopeo(args: &[&str]) -> anyhow::Result<String> {
    output(Command::new("skopeo").args(args))
}

/// A small program for a machine, as Go names it, in a folder of its own beside `root`: static, since nothing of C is in it.
pub(crate) fn go_program(root: &Path, machine: &str) -> anyhow::Result<PathBuf> {
    let folder = root.with_file_name(format!("go-{machine}"));
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("go.mod"), "module program\n\ngo 1.26.0\n")?;
    fs::write(folder.join("main.go"), "package main\n\nfunc main() { println(\"hello\") }\n")?;
    let mut go = Command::new("go");
    go.args(["build", "-ldflags", "-s -w", "-o", "program", "."]).current_dir(&folder);
    output(go.envs([("GOOS", "linux"), ("GOARCH", machine), ("CGO_ENABLED", "0"), ("GOFLAGS", "")]))?;
    Ok(folder.join("program"))
}

/// All files below a folder, relative to it, with their modes.
pub(crate) fn files(folder: &Path) -> anyhow::Result<Vec<(String, u32)>> {
    let (mut found, mut pending) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(next) = pending.pop() {
        for entry in fs::read_dir(&next)? {
            let path = entry?.path();
            let metadata = fs::symlink_metadata(&path)?;
            if metadata.is_dir() {
                pending.push(path);
            } else {
                let relative = path.strip_prefix(folder)?.to_string_lossy().into_owned();
                found.push((relative, metadata.permissions().mode() & 0o7777));
            }
        }
    }
    Ok(found)
}

pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("start {command:?}; ci/setup.sh installs it"))?;
    if !output.status.success() {
        bail!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
