//! Upstream's own controllers, built from their Go modules: what ours are measured against and hand over to.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;

use crate::go;
use crate::progress::Progress;

/// A controller manager of upstream at a pinned version.
#[derive(Debug, Clone, Copy)]
pub struct Upstream {
    /// The name of the program.
    pub program: &'static str,
    /// Its Go module.
    pub module: &'static str,
    /// The version of the module, with its `v`.
    pub version: &'static str,
    /// The path of its main package below the module.
    pub package: &'static str,
}

/// That of AWS.
pub const AWS: Upstream = Upstream {
    program: "aws-cloud-controller-manager",
    module: "k8s.io/cloud-provider-aws",
    version: "v1.37.0",
    package: "cmd/aws-cloud-controller-manager",
};

/// That of OpenStack.
pub const OPENSTACK: Upstream = Upstream {
    program: "openstack-cloud-controller-manager",
    module: "k8s.io/cloud-provider-openstack",
    version: "v1.36.0",
    package: "cmd/openstack-cloud-controller-manager",
};

impl Upstream {
    /// The program in the user's cache, built first where it is not there. Blocks, the first time for minutes: not for an
    /// async context.
    ///
    /// # Errors
    /// Without Go, without a Go proxy, or when it does not build.
    pub fn find_or_build(&self, progress: &Progress) -> anyhow::Result<PathBuf> {
        let cache = crate::cache("upstream")?;
        let name = format!("{}-{}-{}-{}", self.program, self.version, std::env::consts::OS, std::env::consts::ARCH);
        let folder = cache.join(name);
        let program = folder.join(self.program);
        if program.is_file() {
            return Ok(program);
        }
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        let work = tempfile::Builder::new().prefix("work-").tempdir_in(&cache).context("make a folder to work in")?;
        let package = format!("{}/{}", self.module, self.package);
        let go_mod = format!("module upstream\n\ngo 1.26.0\n\nrequire {} {}\n", self.module, self.version);
        // Main packages cannot be imported, which only a build would notice; the tag keeps the file out of every build.
        let source = format!("//go:build tools\n\npackage upstream\n\nimport _ \"{package}\"\n");
        let step = format!("resolve the Go modules of {} {}", self.program, self.version);
        go::make_module(work.path(), &go_mod, &source, &step, progress)?;
        let made = work.path().join(self.program);
        let told = |_: &()| format!("in {}", folder.display());
        progress.step(&format!("build {}", self.program), told, || go::build(work.path(), &package, "-s -w", &made))?;
        // In one step, so that nobody ever sees half of it; two that build at the same time make the same.
        fs::rename(&made, &program).with_context(|| format!("move {} to {}", made.display(), program.display()))?;
        Ok(program)
    }
}
