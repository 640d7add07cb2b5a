//! Debian's docker-registry on loopback; it asks for a name and a password.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tempfile::TempDir;
use xtask_release::registry::Registry;
use xtask_release::registry::credentials::Credentials;

pub(crate) const USER: &str = "jane";
pub(crate) const PASSWORD: &str = "secret";

/// The password of `jane`, hashed with bcrypt.
const HTPASSWD: &str = "jane:$2y$05$nv/7.SrU9zW6Dk5SAmsMUuINCJQeixk6osiJ4DJiBw8Uv9uuJ3.OS\n";

const START_LIMIT: Duration = Duration::from_secs(30);

/// A registry that runs; it ends when dropped.
pub(crate) struct Server {
    process: Child,
    host: String,
    _folder: TempDir,
}

impl Server {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let (passwords, config, log) =
            (folder.path().join("htpasswd"), folder.path().join("config.yml"), folder.path().join("log"));
        fs::write(&passwords, HTPASSWD)?;
        let storage = folder.path().join("storage");
        fs::write(
            &config,
            format!(
                "version: 0.1\nlog: {{level: info}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\nhttp:\n  addr: 127.0.0.1:0\n\
                 auth:\n  htpasswd: {{realm: test, path: {}}}\n",
                storage.display(),
                passwords.display()
            ),
        )?;
        let output = fs::File::create(&log)?;
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let process = command.spawn().context("start docker-registry; ci/setup.sh installs it")?;
        let mut server = Self { process, host: String::new(), _folder: folder };
        let deadline = Instant::now() + START_LIMIT;
        while Instant::now() < deadline && server.process.try_wait()?.is_none() {
            let told = fs::read_to_string(&log)?;
            if let Some((_, rest)) = told.split_once("listening on ") {
                let end = rest.find(|c: char| c == '"' || c.is_whitespace());
                if let Some(end) = end {
                    server.host = rest[..end].to_owned();
                    return Ok(server);
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("docker-registry did not start:\n{}", fs::read_to_string(&log)?)
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn repository(&self, name: &str) -> anyhow::Result<Registry> {
        self.repository_as(name, USER, PASSWORD)
    }

    pub(crate) fn repository_as(&self, name: &str, user: &str, password: &str) -> anyhow::Result<Registry> {
        // Fails only when there is one already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Registry::new(&self.host, name, false, Credentials::Password(user.to_owned(), password.to_owned()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
