//! The official test binaries: archives that the kubebuilder project publishes for each Kubernetes
//! release, with etcd, kube-apiserver and kubectl, and an index that carries their SHA-512 sums.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Deserialize;
use sha2::{Digest as _, Sha512};

use super::programs::{self, Program};
use super::version::{Minor, Release};
use crate::process::Program as Run;
use crate::progress::Progress;

const INDEX: &str = "https://raw.githubusercontent.com/kubernetes-sigs/controller-tools/HEAD/envtest-releases.yaml";

/// What the archives hold of what a control plane is made of.
const HELD: [Program; 3] = [Program::Etcd, Program::ApiServer, Program::Kubectl];

#[derive(Debug, Deserialize)]
struct Index {
    releases: BTreeMap<String, BTreeMap<String, Archive>>,
}

#[derive(Debug, Clone, Deserialize)]
struct Archive {
    hash: String,
    #[serde(rename = "selfLink")]
    url: String,
}

/// Downloads the newest patch release of `minor` into the cache and returns its folder.
pub(super) fn archive(cache: &Path, minor: Minor, wanted: &[Program], progress: &Progress) -> anyhow::Result<PathBuf> {
    if !wanted.iter().any(|program| HELD.contains(program)) {
        bail!("the official test binaries hold none of what is wanted");
    }
    let (release, archive) = progress.step(
        &format!("look for the official test binaries of Kubernetes {minor}"),
        |(release, _): &(Release, Archive)| format!("found {release}"),
        || {
            let index = fetch_text(INDEX)?;
            let index: Index = serde_saphyr::from_str(&index).context("read the index of the test binaries")?;
            newest(&index, minor, &programs::platform())
        },
    )?;
    progress.step(
        &format!("download the test binaries of Kubernetes {release}"),
        |folder: &PathBuf| format!("checksum verified, in {}", folder.display()),
        || {
            let folder = programs::folder(cache, release);
            let work = programs::work_dir(cache, minor)?;
            let file = work.path().join("archive.tar.gz");
            fetch_file(&archive.url, &file)?;
            verify(&file, &archive.hash)?;
            unpack(&file, work.path(), &folder)?;
            Ok(folder)
        },
    )
}

fn newest(index: &Index, minor: Minor, platform: &str) -> anyhow::Result<(Release, Archive)> {
    index
        .releases
        .iter()
        .filter_map(|(version, archives)| {
            let release: Release = version.parse().ok()?;
            let archive = archives.get(&format!("envtest-{version}-{platform}.tar.gz"))?;
            (release.minor == minor).then(|| (release, archive.clone()))
        })
        .max_by_key(|(release, _)| *release)
        .with_context(|| format!("there are none of Kubernetes {minor} for {platform}"))
}

/// Connecting is given up soon: behind a closed firewall it is tried in vain at each first run.
fn curl(url: &str) -> Run {
    Run::new("curl").args(["-fsSL", "--proto", "=https", "--connect-timeout", "5", url])
}

fn fetch_text(url: &str) -> anyhow::Result<String> {
    curl(url).args(["--max-time", "60"]).output(Duration::from_secs(70))
}

fn fetch_file(url: &str, to: &Path) -> anyhow::Result<()> {
    curl(url).args(["--max-time", "900", "--retry", "2", "-o"]).arg(to).output(Duration::from_secs(3000)).map(|_| ())
}

fn verify(file: &Path, sum: &str) -> anyhow::Result<()> {
    let mut hasher = Sha512::new();
    let mut reader = File::open(file).with_context(|| format!("open {}", file.display()))?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match io::Read::read(&mut reader, &mut buffer).context("read the archive")? {
            0 => break,
            n => hasher.update(&buffer[..n]),
        }
    }
    let actual = hex::encode(hasher.finalize());
    if !actual.eq_ignore_ascii_case(sum.trim()) {
        bail!("the archive has SHA-512 {actual}, the index says {sum}: not used");
    }
    Ok(())
}

/// Moves each program of the archive into the cache.
fn unpack(file: &Path, work: &Path, folder: &Path) -> anyhow::Result<()> {
    let unpacked = work.join("unpacked");
    fs::create_dir(&unpacked).context("make a folder")?;
    Run::new("tar").arg("-xzf").arg(file).arg("-C").arg(&unpacked).output(Duration::from_secs(300))?;
    for program in HELD {
        // The archives keep them in controller-tools/envtest/.
        let made = unpacked.join("controller-tools").join("envtest").join(program.name());
        programs::keep(program, &made, folder)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "
releases:
  v1.36.0:
    envtest-v1.36.0-linux-amd64.tar.gz: {hash: a0, selfLink: 'https://example.com/1.36.0'}
  v1.36.10:
    envtest-v1.36.10-linux-amd64.tar.gz:
      hash: a10
      selfLink: https://example.com/1.36.10
  v1.36.9:
    envtest-v1.36.9-linux-amd64.tar.gz: {hash: a9, selfLink: 'https://example.com/1.36.9'}
  v1.36.11-rc.0:
    envtest-v1.36.11-rc.0-linux-amd64.tar.gz: {hash: rc, selfLink: 'https://example.com/rc'}
  v1.36.12:
    envtest-v1.36.12-darwin-arm64.tar.gz: {hash: other, selfLink: 'https://example.com/other'}
";

    #[test]
    fn the_newest_release_of_the_platform_is_chosen() {
        let index: Index = serde_saphyr::from_str(SAMPLE).unwrap();
        let (release, archive) = newest(&index, Minor(36), "linux-amd64").unwrap();
        assert_eq!(release.to_string(), "1.36.10");
        assert_eq!(archive.hash, "a10");
        assert!(newest(&index, Minor(35), "linux-amd64").is_err());
    }

    #[test]
    fn an_archive_with_another_checksum_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("archive");
        fs::write(&file, "abc").unwrap();
        let sum = "DDAF35A193617ABACC417349AE20413112E6FA4E89A97EA20A9EEEE64B55D39A\
                   2192992A274FC1A836BA3C23A3FEEBBD454D4423643CE80E2A9AC94FA54CA49F";
        verify(&file, sum).unwrap();
        assert!(verify(&file, "00").unwrap_err().to_string().contains("not used"));
    }

    #[test]
    fn an_archive_in_the_official_form_is_unpacked_into_the_cache() {
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("controller-tools").join("envtest");
        fs::create_dir_all(&inside).unwrap();
        for program in HELD {
            fs::write(inside.join(program.name()), program.name()).unwrap();
        }
        let file = dir.path().join("archive.tar.gz");
        let tar = Run::new("tar").arg("-czf").arg(&file).arg("-C").arg(dir.path()).arg("controller-tools");
        tar.output(Duration::from_secs(10)).unwrap();

        let folder = dir.path().join("1.36.10-linux-amd64");
        unpack(&file, dir.path(), &folder).unwrap();
        assert_eq!(fs::read_to_string(folder.join("kube-apiserver")).unwrap(), "kube-apiserver");
    }
}
