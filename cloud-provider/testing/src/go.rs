//! Building programs from Go modules. The Go proxy, its checksum database and caches are those of the user's Go
//! environment; the checksum database vouches for what is built.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use crate::process::Program as Run;
use crate::progress::Progress;

/// A cold kube-apiserver takes eight minutes on two cores.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(45 * 60);

/// `go`, in `module`, with the user's flags kept and module files writable. What it builds in is below the module, so that
/// a build that is killed leaves nothing elsewhere.
pub(crate) fn go(module: &Path) -> Run {
    let flags = std::env::var("GOFLAGS").unwrap_or_default();
    let run = Run::new("go").current_dir(module).env("GOTMPDIR", module);
    run.env("GOFLAGS", format!("{flags} -mod=mod")).env("CGO_ENABLED", "0")
}

/// Makes a module in the folder `module` of its go.mod and one source file, and resolves what it requires.
pub(crate) fn make_module(
    module: &Path,
    go_mod: &str,
    source: &str,
    step: &str,
    progress: &Progress,
) -> anyhow::Result<()> {
    fs::create_dir_all(module).context("make a module")?;
    fs::write(module.join("go.mod"), go_mod).context("write go.mod")?;
    fs::write(module.join("main.go"), source).context("write main.go")?;
    progress.step(
        step,
        |_| "done".to_owned(),
        || go(module).args(["mod", "tidy"]).output(TIMEOUT).context("go mod tidy").map(|_| ()),
    )
}

/// Builds the program of `package` into the file `made`.
pub(crate) fn build(module: &Path, package: &str, ldflags: &str, made: &Path) -> anyhow::Result<()> {
    let build = go(module).args(["build", "-ldflags", ldflags, "-o"]).arg(made).arg(package);
    build.output(TIMEOUT).with_context(|| format!("go build {package}")).map(|_| ())
}
