//! Finding the programs of a control plane, or making them.
//!
//! In this order: the folder that `KUBEBUILDER_ASSETS` names, the user's cache folder, the official
//! test binaries of the kubebuilder project, a build from Go modules. Each attempt is told with its time.
//! A source may have only some of the programs (the official archives hold no
//! kube-controller-manager); the next one is asked for the rest.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::version::{Minor, Release};
use super::{download, go_build};
use crate::process::Program as Run;
use crate::progress::Progress;

/// A program of the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Program {
    /// `etcd`
    Etcd,
    /// `kube-apiserver`
    ApiServer,
    /// `kube-controller-manager`
    ControllerManager,
    /// `kubectl`
    Kubectl,
}

impl Program {
    /// Its file name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Kubectl => "kubectl",
        }
    }
}

/// Where each program is.
#[derive(Debug, Clone, Default)]
pub struct Programs(BTreeMap<Program, PathBuf>);

impl Programs {
    /// The path of a program.
    ///
    /// # Errors
    /// When it was not asked for.
    pub fn path(&self, program: Program) -> anyhow::Result<&Path> {
        self.0.get(&program).map(PathBuf::as_path).with_context(|| format!("{} was not asked for", program.name()))
    }

    /// Takes what is in `folder` of `wanted`.
    fn take(&mut self, folder: &Path, wanted: &[Program]) -> Vec<&'static str> {
        let mut taken = Vec::new();
        for program in wanted {
            let path = folder.join(program.name());
            if !self.0.contains_key(program) && path.is_file() {
                self.0.insert(*program, path);
                taken.push(program.name());
            }
        }
        taken
    }

    fn missing(&self, wanted: &[Program]) -> Vec<Program> {
        wanted.iter().filter(|program| !self.0.contains_key(program)).copied().collect()
    }
}

/// Finds or makes programs.
#[derive(Debug)]
pub struct Finder {
    minor: Option<Minor>,
    assets: Option<PathBuf>,
    cache: PathBuf,
    progress: Progress,
}

impl Finder {
    /// A finder as the environment says: `KUBEBUILDER_ASSETS`, and the cache under `XDG_CACHE_HOME` or `~/.cache`.
    /// Without `minor` it is [`Minor::DEFAULT`], but `KUBEBUILDER_ASSETS` may then hold any version.
    ///
    /// # Errors
    /// When there is neither `XDG_CACHE_HOME` nor `HOME`.
    pub fn from_env(minor: Option<Minor>, progress: Progress) -> anyhow::Result<Self> {
        let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Ok(Self { minor, assets: folder("KUBEBUILDER_ASSETS"), cache: crate::cache("control-plane")?, progress })
    }

    /// Where all of `wanted` is. Blocks, the first time for ten minutes and more: not for an async context.
    ///
    /// # Errors
    /// When no source could provide all of it.
    pub fn find(&self, wanted: &[Program]) -> anyhow::Result<Programs> {
        let minor = self.minor.unwrap_or(Minor::DEFAULT);
        let mut found = Programs::default();
        self.look_into_assets(&mut found, wanted);
        self.look_into_cache(&mut found, wanted, minor);
        if found.missing(wanted).is_empty() {
            return Ok(found);
        }

        fs::create_dir_all(&self.cache).with_context(|| format!("create {}", self.cache.display()))?;
        let _lock = self.lock(minor)?;
        sweep(&self.cache, minor);
        // Another process may have made them while we waited.
        self.look_into_cache(&mut found, wanted, minor);
        // A failure has been told by its step; the next source may do.
        if !found.missing(wanted).is_empty()
            && let Ok(folder) = download::archive(&self.cache, minor, &found.missing(wanted), &self.progress)
        {
            found.take(&folder, wanted);
        }
        let missing = found.missing(wanted);
        if !missing.is_empty() {
            let folder = go_build::build(&self.cache, minor, &missing, &self.progress)
                .with_context(|| format!("find or make the programs of a Kubernetes {minor} control plane"))?;
            found.take(&folder, wanted);
        }
        match found.missing(wanted).first() {
            None => Ok(found),
            Some(program) => bail!("no source has {}", program.name()),
        }
    }

    fn look_into_assets(&self, found: &mut Programs, wanted: &[Program]) {
        let Some(folder) = &self.assets else { return };
        // The outcome has been told; other sources follow.
        let _ = self.progress.step(
            &format!("look into KUBEBUILDER_ASSETS ({})", folder.display()),
            |taken: &String| taken.clone(),
            || {
                let server = folder.join(Program::ApiServer.name());
                let text = Run::new(server).arg("--version").output(Duration::from_secs(30))?;
                let version = text.trim().trim_start_matches("Kubernetes ").to_owned();
                if let Some(minor) = self.minor
                    && version.parse::<Minor>()? != minor
                {
                    bail!("it holds {version}, wanted is {minor}");
                }
                Ok(describe(&found.take(folder, wanted), &version))
            },
        );
    }

    /// The newest patch release that has something.
    fn look_into_cache(&self, found: &mut Programs, wanted: &[Program], minor: Minor) {
        for (release, folder) in cached(&self.cache, minor) {
            let taken = found.take(&folder, wanted);
            if !taken.is_empty() {
                self.progress.note(&format!("cache {}: {}", folder.display(), describe(&taken, &release.to_string())));
            }
        }
    }

    /// One process at a time downloads or builds for a minor release. Released when dropped, and when the process ends.
    fn lock(&self, minor: Minor) -> anyhow::Result<File> {
        let path = self.cache.join(format!("{minor}.lock"));
        let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                self.progress.step(
                    "wait for another process that makes the control plane",
                    |()| "it has ended".to_owned(),
                    || file.lock().context("wait for the lock"),
                )?;
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(|| format!("lock {}", path.display())),
        }
        Ok(file)
    }
}

fn describe(taken: &[&str], version: &str) -> String {
    if taken.is_empty() { "nothing of what is wanted".to_owned() } else { format!("{} {version}", taken.join(", ")) }
}

/// `linux-amd64` and so on, as Go names platforms.
pub(super) fn platform() -> String {
    let os = match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    };
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        other => other,
    };
    format!("{os}-{arch}")
}

/// The folder of a release in the cache.
pub(super) fn folder(cache: &Path, release: Release) -> PathBuf {
    cache.join(format!("{release}-{}", platform()))
}

/// The cached releases of a minor release for this platform, newest first.
fn cached(cache: &Path, minor: Minor) -> Vec<(Release, PathBuf)> {
    let suffix = format!("-{}", platform());
    let mut releases: Vec<(Release, PathBuf)> = fs::read_dir(cache)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let release: Release = entry.file_name().to_str()?.strip_suffix(&suffix)?.parse().ok()?;
            (release.minor == minor).then(|| (release, entry.path()))
        })
        .collect();
    releases.sort_by_key(|(release, _)| Reverse(*release));
    releases
}

/// A folder to work in, on the same file system as the cache.
pub(super) fn work_dir(cache: &Path, minor: Minor) -> anyhow::Result<tempfile::TempDir> {
    let prefix = work_prefix(minor);
    tempfile::Builder::new().prefix(&prefix).tempdir_in(cache).context("make a folder to work in")
}

fn work_prefix(minor: Minor) -> String {
    format!("work-{minor}-")
}

/// Removes what a killed process left behind; with the lock held, nobody works there.
fn sweep(cache: &Path, minor: Minor) {
    for entry in fs::read_dir(cache).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&work_prefix(minor)) {
            // Left again, then.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Moves a finished program into the cache, in one step, so that nobody ever sees half of it.
pub(super) fn keep(program: Program, made: &Path, folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    let kept = folder.join(program.name());
    fs::rename(made, &kept).with_context(|| format!("move {} to {}", made.display(), kept.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn finder(assets: Option<&Path>, cache: &Path, minor: Option<Minor>) -> Finder {
        Finder { minor, assets: assets.map(Path::to_owned), cache: cache.to_owned(), progress: Progress::silent() }
    }

    fn script(folder: &Path, name: &str, text: &str) {
        fs::create_dir_all(folder).unwrap();
        let path = folder.join(name);
        fs::write(&path, format!("#!/bin/sh\necho {text}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn kubebuilder_assets_come_before_the_cache() {
        let dir = tempfile::tempdir().unwrap();
        let assets = dir.path().join("assets");
        script(&assets, "kube-apiserver", "Kubernetes v1.36.2");
        script(&assets, "etcd", "etcd");
        let cached = dir.path().join(format!("1.37.2-{}", platform()));
        script(&cached, "etcd", "etcd");
        script(&cached, "kubectl", "kubectl");

        let wanted = [Program::Etcd, Program::ApiServer, Program::Kubectl];
        let found = finder(Some(&assets), dir.path(), None).find(&wanted).unwrap();
        assert_eq!(found.path(Program::Etcd).unwrap(), assets.join("etcd"));
        assert_eq!(found.path(Program::Kubectl).unwrap(), cached.join("kubectl"));
        assert!(found.path(Program::ControllerManager).is_err());
    }

    #[test]
    fn assets_of_another_minor_release_are_left_alone_when_one_is_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let assets = dir.path().join("assets");
        script(&assets, "kube-apiserver", "Kubernetes v1.36.2");
        let cached = dir.path().join(format!("1.34.1-{}", platform()));
        script(&cached, "kube-apiserver", "Kubernetes v1.34.1");

        let found = finder(Some(&assets), dir.path(), Some(Minor(34))).find(&[Program::ApiServer]).unwrap();
        assert_eq!(found.path(Program::ApiServer).unwrap(), cached.join("kube-apiserver"));
    }

    #[test]
    fn the_newest_patch_release_of_the_cache_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        for version in ["1.37.2", "1.37.10", "1.36.11"] {
            script(&dir.path().join(format!("{version}-{}", platform())), "etcd", "etcd");
        }
        script(&dir.path().join("1.37.12-plan9-mips"), "etcd", "etcd");
        let found = finder(None, dir.path(), None).find(&[Program::Etcd]).unwrap();
        assert!(found.path(Program::Etcd).unwrap().starts_with(dir.path().join(format!("1.37.10-{}", platform()))));
    }
}
