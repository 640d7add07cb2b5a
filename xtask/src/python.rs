//! Virtual environments of Python with exactly the packages that a requirements file pins.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use crate::tool::Tool;
use crate::workspace;

/// How long one command that installs may take.
const INSTALL_LIMIT: Duration = Duration::from_secs(15 * 60);

/// The Python of an environment. There is one for each content of the file and version of Python in the user's cache; a
/// half-made one has another name. `pip` has more arguments for pip, `run` runs a command of the installation.
pub(crate) fn environment(
    name: &str,
    requirements: &Path,
    pip: &[&str],
    run: impl Fn(Tool, Duration) -> anyhow::Result<()>,
) -> anyhow::Result<PathBuf> {
    let text = std::fs::read_to_string(requirements).with_context(|| format!("read {}", requirements.display()))?;
    let version = Tool::new("python3").arg("--version").output().context("Python 3 with venv is needed")?;
    let cache = workspace::cache("python")?;
    let ready = cache.join(format!("{name}-{:016x}", key(&[&text, &version])));
    let python = ready.join("bin").join("python");
    if !python.is_file() {
        let half = cache.join(format!("half-{}", std::process::id()));
        run(Tool::new("python3").args(["-m", "venv", "--copies"]).arg(&half), INSTALL_LIMIT)?;
        let install = Tool::new(half.join("bin").join("python")).args(["-m", "pip", "install", "--quiet"]);
        let install = install.args(["--disable-pip-version-check", "--no-input"]).args(pip);
        run(install.arg("-r").arg(requirements), INSTALL_LIMIT)?;
        // Only scripts know the name of their environment, and none of them is used.
        std::fs::rename(&half, &ready).with_context(|| format!("move {} to {}", half.display(), ready.display()))?;
    }
    Ok(python)
}

fn key(parts: &[&str]) -> u64 {
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_requirements_are_another_environment() {
        assert_eq!(key(&["moto==1", "3.11"]), key(&["moto==1", "3.11"]));
        assert_ne!(key(&["moto==1", "3.11"]), key(&["moto==2", "3.11"]));
        assert_ne!(key(&["moto==1", "3.11"]), key(&["moto==1", "3.12"]));
    }
}
