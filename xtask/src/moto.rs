//! Moto, a mock of AWS that we did not write, in a virtual environment of pinned Python packages.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::python;
use crate::tool::{Background, Tool};
use crate::workspace;

/// The crate that is tested on it.
pub(crate) const FOLDER: &str = "cloud-provider-aws";
/// Its pinned Python packages.
const REQUIREMENTS: &str = "tests/moto/requirements.txt";
/// Starts the server, and ends it when its standard input closes.
const SERVE: &str = "tests/moto/serve.py";

const START_LIMIT: Duration = Duration::from_secs(60);

/// Starts it, installed first where it is not; returns its URL too. It runs until the first is dropped. `run` runs a program
/// within a time.
pub(crate) fn start(
    root: &Path,
    run: impl Fn(Tool, Duration) -> anyhow::Result<()>,
) -> anyhow::Result<(Background, String)> {
    let folder = root.join(FOLDER);
    let python = python::environment("moto", &folder.join(REQUIREMENTS), &[], run)?;
    serve(&python, &folder.join(SERVE))
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
