//! Building the programs from their Go modules, for networks that reach a Go proxy and nothing else.
//!
//! `k8s.io/kubernetes` names its staging modules (`k8s.io/api` and so on) v0.0.0 and replaces them by folders
//! of its repository, which a module download does not have. Each is pointed at the published release of
//! the same number instead. The Go proxy, its checksum database and caches are those of the user's Go
//! environment; the checksum database vouches for what is built.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Deserialize;

use super::programs::{self, Program};
use super::version::{Buildable, Minor, Release};
use crate::go;
use crate::process::Program as Run;
use crate::progress::Progress;

/// `main.go` of an etcd whose module is a dependency, since its own main package is outside any module that can be
/// required.
const ETCD_MAIN: &str = "package main

import (
\t\"os\"

\t\"go.etcd.io/etcd/server/v3/etcdmain\"
)

func main() { etcdmain.Main(os.Args) }
";

/// Builds `wanted` into the cache and returns their folder.
pub(super) fn build(cache: &Path, minor: Minor, wanted: &[Program], progress: &Progress) -> anyhow::Result<PathBuf> {
    let pair = Buildable::of(minor)?;
    let release = pair.kubernetes;
    let go = progress.step("look for Go", String::clone, || {
        Run::new("go").arg("version").output(Duration::from_secs(30)).map(|text| text.trim().to_owned()).context(
            "building the control plane needs Go; or set KUBEBUILDER_ASSETS to a folder with etcd and kube-apiserver",
        )
    });
    go?;

    let folder = programs::folder(cache, release);
    let work = programs::work_dir(cache, minor)?;
    if wanted.contains(&Program::Etcd) {
        let module = work.path().join("etcd-module");
        go::make_module(
            &module,
            &format!("module etcd\n\ngo 1.26.0\n\nrequire go.etcd.io/etcd/server/v3 {}\n", pair.etcd),
            ETCD_MAIN,
            &format!("resolve the Go modules of etcd {}", pair.etcd),
            progress,
        )?;
        compile(&module, Program::Etcd, ".", "-s -w", &folder, progress)?;
    }
    let of_kubernetes: Vec<Program> = wanted.iter().filter(|program| **program != Program::Etcd).copied().collect();
    if !of_kubernetes.is_empty() {
        let module = work.path().join("kubernetes-module");
        fs::create_dir(&module).context("make a module")?;
        let go_mod = kubernetes_go_mod(&upstream_go_mod(&module, release)?, release)?;
        let imports = kubernetes_imports(&of_kubernetes);
        go::make_module(
            &module,
            &go_mod,
            &imports,
            &format!("resolve the Go modules of Kubernetes {release}"),
            progress,
        )?;
        for program in of_kubernetes {
            let package = format!("k8s.io/kubernetes/cmd/{}", program.name());
            compile(&module, program, &package, &kubernetes_ldflags(release), &folder, progress)?;
        }
    }
    Ok(folder)
}

fn compile(
    module: &Path,
    program: Program,
    package: &str,
    ldflags: &str,
    folder: &Path,
    progress: &Progress,
) -> anyhow::Result<()> {
    let made = module.join(program.name());
    progress.step(
        &format!("build {}", program.name()),
        |()| format!("in {}", folder.display()),
        || {
            go::build(module, package, ldflags, &made)?;
            programs::keep(program, &made, folder)
        },
    )
}

#[derive(Deserialize)]
struct Downloaded {
    #[serde(rename = "GoMod")]
    go_mod: Option<PathBuf>,
    #[serde(rename = "Error")]
    error: Option<String>,
}

/// The text of the go.mod of `k8s.io/kubernetes`.
fn upstream_go_mod(dir: &Path, release: Release) -> anyhow::Result<String> {
    let module = format!("k8s.io/kubernetes@v{release}");
    let text = go::go(dir)
        .args(["mod", "download", "-json", &module])
        .output(go::TIMEOUT)
        .with_context(|| format!("download {module}"))?;
    let downloaded: Downloaded = serde_json::from_str(&text).context("read the answer of go mod download")?;
    let Some(path) = downloaded.go_mod else {
        bail!("download {module}: {}", downloaded.error.unwrap_or_else(|| "no go.mod".to_owned()));
    };
    fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

/// A go.mod that requires Kubernetes with its staging modules at the published releases of the same number.
fn kubernetes_go_mod(upstream: &str, release: Release) -> anyhow::Result<String> {
    let go = upstream.lines().find_map(|line| line.strip_prefix("go ")).context("the go.mod names no Go version")?;
    let staging = format!("v0.{}.{}", release.minor.0, release.patch);
    let replaced: String = upstream
        .lines()
        .filter_map(|line| {
            let (module, to) = line.trim().trim_start_matches("replace ").split_once(" => ")?;
            to.starts_with("./staging/").then(|| format!("\t{module} => {module} {staging}\n"))
        })
        .collect();
    if replaced.is_empty() {
        bail!("the go.mod of Kubernetes {release} replaces no staging module");
    }
    Ok(format!("module control-plane\n\ngo {go}\n\nrequire k8s.io/kubernetes v{release}\n\nreplace (\n{replaced})\n"))
}

/// A source file that makes `go mod tidy` keep what the programs need. Main packages cannot be imported, which only
/// a build would notice: the build tag keeps the file out of every build.
fn kubernetes_imports(programs: &[Program]) -> String {
    let imports: String =
        programs.iter().map(|program| format!("\t_ \"k8s.io/kubernetes/cmd/{}\"\n", program.name())).collect();
    format!("//go:build tools\n\npackage controlplane\n\nimport (\n{imports})\n")
}

/// The version is stamped by the linker; unstamped, the API server calls itself v0.0.0.
fn kubernetes_ldflags(release: Release) -> String {
    let stamp = "k8s.io/component-base/version";
    let minor = release.minor.0;
    format!("-s -w -X {stamp}.gitVersion=v{release} -X {stamp}.gitMajor=1 -X {stamp}.gitMinor={minor}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPSTREAM: &str = "module k8s.io/kubernetes

go 1.26.0

require (
\tgithub.com/spf13/cobra v1.10.2
\tk8s.io/api v0.0.0
\tk8s.io/klog/v2 v2.140.0
)

replace (
\tk8s.io/api => ./staging/src/k8s.io/api
\tk8s.io/apimachinery => ./staging/src/k8s.io/apimachinery
)
";

    #[test]
    fn staging_modules_become_the_published_ones() {
        let go_mod = kubernetes_go_mod(UPSTREAM, "1.37.2".parse().unwrap()).unwrap();
        assert_eq!(
            go_mod,
            "module control-plane

go 1.26.0

require k8s.io/kubernetes v1.37.2

replace (
\tk8s.io/api => k8s.io/api v0.37.2
\tk8s.io/apimachinery => k8s.io/apimachinery v0.37.2
)
"
        );
        assert!(kubernetes_go_mod("module x\n\ngo 1.26.0\n", "1.37.2".parse().unwrap()).is_err());
    }

    #[test]
    fn only_what_is_wanted_is_required() {
        let text = kubernetes_imports(&[Program::ApiServer]);
        assert!(text.contains("cmd/kube-apiserver") && !text.contains("kubectl"));
    }
}
