//! A Kubernetes control plane on loopback: a real etcd and a real kube-apiserver.
//!
//! [`shared`] gives the one that all tests of a process use; [`ControlPlane::start`] gives one's own, for
//! tests that restart it, count its writes, or run controllers that act on every node. No program
//! outlives the process that started it, whatever ends that.

mod audit;
mod certificates;
mod data_dir;
mod download;
mod go_build;
mod kubeconfig;
mod programs;
mod settings;
mod version;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use http::Method;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use kube::api::{Api, ObjectMeta, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;

pub use audit::{Audit, Kind, Request};
pub use certificates::{Authority, Identity};
pub use data_dir::KEEP;
pub use programs::{Finder, Program, Programs};
pub use version::{Minor, Release};

use crate::http::Endpoint;
use crate::process::{Process, Program as Run};
use crate::progress::Progress;
use data_dir::DataDir;
use kubeconfig::Credential;
use settings::Settings;

/// Ready in seconds on an idle machine; compilers may have most of this one.
const READY: Duration = Duration::from_secs(180);

/// How a control plane is started.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The Kubernetes minor release; `None` is [`Minor::DEFAULT`], or what `KUBEBUILDER_ASSETS` holds.
    pub kubernetes: Option<Minor>,
    /// Programs to find or make beside etcd and kube-apiserver.
    pub programs: Vec<Program>,
    /// Whether the audit log holds reads too.
    pub audit_reads: bool,
    /// Further arguments of kube-apiserver; they win over ours.
    pub api_server_args: Vec<String>,
    /// Where it is told what happens.
    pub progress: Progress,
}

/// A running control plane. Dropping it ends its programs and removes its data.
#[derive(Debug)]
pub struct ControlPlane {
    // Ended in this order, the data last.
    api_server: Mutex<Arc<Process>>,
    etcd: Process,
    programs: Programs,
    settings: Settings,
    ports: Ports,
    extra_args: Vec<String>,
    dir: DataDir,
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    etcd: u16,
    peer: u16,
    api_server: u16,
}

impl Ports {
    /// Ports that were free a moment ago, all held at once so that they differ.
    fn free() -> anyhow::Result<Self> {
        let listen = || TcpListener::bind("127.0.0.1:0").context("find a free port");
        let (a, b, c) = (listen()?, listen()?, listen()?);
        Ok(Self { etcd: a.local_addr()?.port(), peer: b.local_addr()?.port(), api_server: c.local_addr()?.port() })
    }
}

impl ControlPlane {
    /// Finds or makes the programs, starts them and waits until the API server is ready for controllers: all its
    /// own checks pass, `kube-system` exists, and `extension-apiserver-authentication` is complete.
    ///
    /// # Errors
    /// When a program is not to be had, ends, or is not ready in time; with the end of its log.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        let programs = find(&options).await?;
        let told = |_: &Self| "ready".to_owned();
        options.progress.step_async("start the control plane", told, Self::launch(&options, programs)).await
    }

    async fn launch(options: &Options, programs: Programs) -> anyhow::Result<Self> {
        let mut attempt = 1;
        loop {
            let started = Self::try_launch(options, programs.clone()).await;
            // Another process may have taken a port in the moment it was free.
            match started {
                Err(error) if attempt < 3 && format!("{error:#}").contains("address already in use") => attempt += 1,
                other => return other,
            }
        }
    }

    async fn try_launch(options: &Options, programs: Programs) -> anyhow::Result<Self> {
        let dir = DataDir::new()?;
        let settings = Settings::write(dir.path(), options.audit_reads)?;
        let ports = Ports::free()?;
        let etcd = Run::new(programs.path(Program::Etcd)?).log_dir(dir.path());
        let etcd = etcd.args(settings.etcd_args(ports.etcd, ports.peer)).spawn()?;
        let extra_args = options.api_server_args.clone();
        let api_server = spawn_api_server(&programs, &settings, ports, &extra_args, dir.path())?;
        let control_plane =
            Self { api_server: Mutex::new(Arc::new(api_server)), etcd, programs, settings, ports, extra_args, dir };
        control_plane.wait_ready().await?;
        Ok(control_plane)
    }

    /// The folder with its logs; tests may put theirs there. Removed with the control plane, unless [`KEEP`] says
    /// otherwise.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Notes that what used it failed without a panic. Returns whether the logs stay, as [`KEEP`] asks.
    pub fn fail(&self) -> bool {
        self.dir.fail()
    }

    /// The path of one of its programs, or of those that were asked for beside them.
    ///
    /// # Errors
    /// When it was not asked for.
    pub fn program(&self, program: Program) -> anyhow::Result<&Path> {
        self.programs.path(program)
    }

    /// The URL of the API server.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.ports.api_server)
    }

    /// The authority that signed the API server's certificate and signs those of its clients.
    pub fn authority(&self) -> &Authority {
        &self.settings.authority
    }

    /// A bearer token of the group `system:masters`.
    pub fn admin_token(&self) -> &str {
        &self.settings.admin_token
    }

    /// What the API server accepted and refused so far.
    pub fn audit(&self) -> Audit {
        Audit::new(self.settings.audit_log())
    }

    /// The text of the admin's kubeconfig.
    pub fn kubeconfig(&self) -> String {
        self.kubeconfig_with("admin", &Credential::Token(self.settings.admin_token.clone()))
    }

    /// The text of a kubeconfig for a user, who need not exist anywhere, in at most two groups.
    ///
    /// # Errors
    /// When there are more groups.
    pub fn kubeconfig_for_user(&self, user: &str, groups: &[&str]) -> anyhow::Result<String> {
        let identity = self.settings.authority.client(user, groups)?;
        Ok(self.kubeconfig_with(user, &Credential::Certificate(identity)))
    }

    /// The text of a kubeconfig for a service account, which is made if there is none. Its token lasts a day.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn kubeconfig_for_service_account(&self, namespace: &str, name: &str) -> anyhow::Result<String> {
        let api: Api<ServiceAccount> = Api::namespaced(self.client().await?, namespace);
        let account = ServiceAccount {
            metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
            ..ServiceAccount::default()
        };
        match api.create(&PostParams::default(), &account).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(error).with_context(|| format!("create service account {namespace}/{name}")),
        }
        let spec = TokenRequestSpec { expiration_seconds: Some(24 * 3600), ..TokenRequestSpec::default() };
        let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
        let answer = api.create_token_request(name, &PostParams::default(), &request).await;
        let answer = answer.with_context(|| format!("get a token of service account {namespace}/{name}"))?;
        let token = answer.status.and_then(|status| status.token).context("the answer holds no token")?;
        Ok(self.kubeconfig_with(name, &Credential::Token(token)))
    }

    /// Writes a kubeconfig into the data folder and returns its path.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_kubeconfig(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.dir.path().join(format!("{name}.kubeconfig"));
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }

    fn kubeconfig_with(&self, user: &str, credential: &Credential) -> String {
        kubeconfig::text(&self.url(), self.settings.authority.pem(), user, credential)
    }

    /// A client with the admin's rights. It belongs to the runtime that it is made in: make one per test.
    ///
    /// # Errors
    /// When its TLS cannot be set up.
    pub async fn client(&self) -> anyhow::Result<Client> {
        client(&self.kubeconfig()).await
    }

    /// Fails, with the end of a log, if etcd or the API server has ended.
    ///
    /// # Errors
    /// When one no longer runs.
    pub fn check_running(&self) -> anyhow::Result<()> {
        self.etcd.check_running()?;
        self.api_server().check_running()
    }

    /// The process of the API server, for its log, its memory and signals.
    pub fn api_server(&self) -> Arc<Process> {
        Arc::clone(&self.api_server.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Kills the API server: connections break, watches end, nothing answers at its address.
    ///
    /// # Errors
    /// When waiting for its end fails.
    pub fn stop_api_server(&self) -> anyhow::Result<()> {
        self.api_server().kill().map(|_| ())
    }

    /// Starts the API server again at the same address, with the same data, and waits until it is ready.
    ///
    /// # Errors
    /// When it is not ready in time.
    pub async fn start_api_server(&self) -> anyhow::Result<()> {
        self.stop_api_server()?;
        let args = &self.extra_args;
        let process = spawn_api_server(&self.programs, &self.settings, self.ports, args, self.dir.path())?;
        *self.api_server.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(process);
        self.wait_ready().await
    }

    /// Kills the API server and starts it again.
    ///
    /// # Errors
    /// When it is not ready in time.
    pub async fn restart_api_server(&self) -> anyhow::Result<()> {
        self.start_api_server().await
    }

    /// Makes etcd forget every revision but the present one: whoever resumes a watch from before gets `410 Gone`, as soon as
    /// the API server's own memory of events has gone with a restart.
    ///
    /// # Errors
    /// When etcd does not answer.
    pub async fn compact_etcd(&self) -> anyhow::Result<()> {
        let etcd = Endpoint::new(&format!("http://127.0.0.1:{}", self.ports.etcd))?;
        // The key is one zero byte: any will do, the header tells the revision.
        let range = etcd.send_json(Method::POST, "/v3/kv/range", &json!({ "key": "AA==" })).await?;
        let revision = range["header"]["revision"].as_str().context("etcd tells no revision")?;
        let compaction = json!({ "revision": revision, "physical": true });
        etcd.send_json(Method::POST, "/v3/kv/compaction", &compaction).await.map(|_| ())
    }

    /// Puts an object into etcd as JSON, past the API server, which then finds and serves it like any other: for fields that
    /// it does not let clients choose, such as UIDs.
    ///
    /// # Errors
    /// When etcd does not answer.
    pub async fn put_into_etcd(&self, key: &str, object: &str) -> anyhow::Result<()> {
        let etcd = Endpoint::new(&format!("http://127.0.0.1:{}", self.ports.etcd))?;
        let put = json!({ "key": base64(key.as_bytes()), "value": base64(object.as_bytes()) });
        etcd.send_json(Method::POST, "/v3/kv/put", &put).await.map(|_| ())
    }

    /// Ends everything and removes the data, as dropping does.
    pub fn stop(self) {
        drop(self);
    }

    async fn wait_ready(&self) -> anyhow::Result<()> {
        let client = self.client().await?;
        let deadline = Instant::now() + READY;
        loop {
            self.check_running()?;
            match tokio::time::timeout(Duration::from_secs(5), ready(&client)).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) if Instant::now() > deadline => {
                    let log = self.api_server().log_tail(30);
                    return Err(error).context(format!("the API server is not ready; its last words:\n{log}"));
                }
                Err(_) if Instant::now() > deadline => {
                    bail!("the API server does not answer; its last words:\n{}", self.api_server().log_tail(30))
                }
                _ => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let number = chunk.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let value = number >> (18 - 6 * digit) & 63;
            text.push(if digit > chunk.len() { '=' } else { char::from(DIGITS[value as usize]) });
        }
    }
    text
}

fn spawn_api_server(
    programs: &Programs,
    settings: &Settings,
    ports: Ports,
    extra: &[String],
    dir: &Path,
) -> anyhow::Result<Process> {
    let args = settings.api_server_args(ports.api_server, ports.etcd);
    Run::new(programs.path(Program::ApiServer)?).args(args).args(extra).log_dir(dir).spawn()
}

async fn ready(client: &Client) -> anyhow::Result<()> {
    let request = http::Request::get("/readyz").body(Vec::new()).context("ask for /readyz")?;
    client.request_text(request).await.context("GET /readyz")?;
    // Made by loops that /readyz does not wait for, and needed from the first second: leases, authentication.
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), "kube-system");
    let published = api.get("extension-apiserver-authentication").await.context("read the authentication settings")?;
    let data = published.data.unwrap_or_default();
    for key in ["client-ca-file", "requestheader-client-ca-file"] {
        if !data.contains_key(key) {
            bail!("extension-apiserver-authentication has no {key} yet");
        }
    }
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.get("default").await.context("read the namespace default").map(|_| ())
}

async fn find(options: &Options) -> anyhow::Result<Programs> {
    let mut wanted = vec![Program::Etcd, Program::ApiServer];
    wanted.extend(options.programs.iter().copied());
    let finder = Finder::from_env(options.kubernetes, options.progress.clone())?;
    let found = tokio::task::spawn_blocking(move || finder.find(&wanted)).await;
    found.context("find the programs of the control plane")?
}

/// A client as a kubeconfig says. It belongs to the runtime that it is made in.
///
/// # Errors
/// When the kubeconfig is not valid, or TLS cannot be set up.
pub async fn client(kubeconfig: &str) -> anyhow::Result<Client> {
    // Fails when there is one already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let parsed = Kubeconfig::from_yaml(kubeconfig).context("read the kubeconfig")?;
    let config = Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default()).await;
    Client::try_from(config.context("use the kubeconfig")?).context("make a client")
}

/// The control plane that all tests of this process use. It is started by whoever asks first, and ends with the
/// process.
///
/// # Errors
/// When it cannot be started.
pub async fn shared() -> anyhow::Result<&'static ControlPlane> {
    // The one piece of global state: tests have nothing else in common.
    static SHARED: tokio::sync::OnceCell<ControlPlane> = tokio::sync::OnceCell::const_new();
    SHARED.get_or_try_init(|| ControlPlane::start(Options::default())).await
}

/// A name that nothing else on a shared control plane has: `prefix` and a number.
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{prefix}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Makes a namespace with a [`unique`] name.
///
/// # Errors
/// When the API server refuses.
pub async fn namespace(client: &Client, prefix: &str) -> anyhow::Result<String> {
    let name = unique(prefix);
    let metadata = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
    let namespace = Namespace { metadata, ..Namespace::default() };
    let api: Api<Namespace> = Api::all(client.clone());
    api.create(&PostParams::default(), &namespace).await.with_context(|| format!("create namespace {name}"))?;
    Ok(name)
}
