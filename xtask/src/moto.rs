//! Moto, a mock of AWS that we did not write, in a virtual environment of pinned Python packages.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::tool::{Background, Tool};
use crate::workspace;

/// The crate that is tested on it.
pub(crate) const FOLDER: &str = "cloud-provider-aws";
/// Its pinned Python packages.
const REQUIREMENTS: &str = "tests/moto/requirements.txt";
/// Starts the server, and ends it when its standard input closes.
const SERVE: &str = "tests/moto/serve.py";

const INSTALL_LIMIT: Duration = Duration::from_secs(15 * 60);
const START_LIMIT: Duration = Duration::from_secs(60);

/// Starts it, installed first where it is not; returns its URL too. It runs until the first is dropped. `run` runs a program
/// within a time.
pub(crate) fn start(
    root: &Path,
    run: impl Fn(Tool, Duration) -> anyhow::Result<()>,
) -> anyhow::Result<(Background, String)> {
    let folder = root.join(FOLDER);
    let python = environment(&folder.join(REQUIREMENTS), run)?;
    serve(&python, &folder.join(SERVE))
}

/// The Python of a virtual environment with exactly the pinned packages. There is one for each content of the file
/// and version of Python in the user's cache; a half-made one has another name.
fn environment(requirements: &Path, run: impl Fn(Tool, Duration) -> anyhow::Result<()>) -> anyhow::Result<PathBuf> {
    let text = std::fs::read_to_string(requirements).with_context(|| format!("read {}", requirements.display()))?;
    let version = Tool::new("python3").arg("--version").output().context("moto needs Python 3 with venv")?;
    let cache = workspace::cache("python")?;
    let ready = cache.join(format!("moto-{:016x}", key(&[&text, &version])));
    let python = ready.join("bin").join("python");
    if !python.is_file() {
        let half = cache.join(format!("half-{}", std::process::id()));
        run(Tool::new("python3").args(["-m", "venv", "--copies"]).arg(&half), INSTALL_LIMIT)?;
        let pip = Tool::new(half.join("bin").join("python")).args(["-m", "pip", "install", "--quiet"]);
        let pip = pip.args(["--disable-pip-version-check", "--no-input", "-r"]).arg(requirements);
        run(pip, INSTALL_LIMIT)?;
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

/// A server on a free port of loopback, and its URL.
fn serve(python: &Path, script: &Path) -> anyhow::Result<(Background, String)> {
    let address = free_address()?;
    let log = workspace::cache("python")?.join("moto.log");
    let tool = Tool::new(python).arg(script).arg(address.port().to_string());
    let mut moto = tool.log(&log)?.background()?;
    let deadline = Instant::now() + START_LIMIT;
    while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
        moto.check_running().with_context(|| std::fs::read_to_string(&log).unwrap_or_default())?;
        if Instant::now() > deadline {
            bail!("moto does not listen after {} s; see {}", START_LIMIT.as_secs(), log.display());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok((moto, format!("http://{address}")))
}

/// An address that was free a moment ago.
fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
    listener.local_addr().context("read the port")
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
