//! The client below: configuration, credentials, and their rotation.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderValue, header};
use jiff::{SignedDuration, Timestamp};
use kube::client::ClientBuilder;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::time::Instant;
use tracing::{info, warn};

use super::{Error, Settings};

/// How often the files are looked at, as kube and client-go do.
const CHECK_EVERY: Duration = Duration::from_secs(60);
/// The same after the server refused the credentials.
const CHECK_AFTER_REFUSAL: Duration = Duration::from_secs(5);
/// Credentials that end are replaced this long before.
const EXPIRY_MARGIN: SignedDuration = SignedDuration::from_secs(60);

/// A client that is made again when the files that it was made from change.
pub(super) struct Connection {
    settings: Arc<Settings>,
    agent: String,
    silence: Duration,
    /// Whether the credentials of the configuration are left out.
    anonymous: bool,
    host: String,
    state: Mutex<State>,
}

struct State {
    client: Client,
    /// Whether a plugin gives the credentials; without a time of their end they are used until they are refused.
    plugin: bool,
    files: Files,
    checked: Instant,
    /// Grows with each change of credentials.
    generation: u64,
}

/// The files behind a configuration, and a hash of what they held.
#[derive(Clone, Default, PartialEq)]
struct Files(Vec<(PathBuf, u64)>);

impl Files {
    fn read(paths: impl IntoIterator<Item = PathBuf>) -> Files {
        Files(paths.into_iter().map(|path| (path.clone(), fingerprint(&path))).collect())
    }

    fn changed(&self) -> bool {
        // A file that is gone for the moment is not a new credential.
        self.0.iter().any(|(path, before)| path.exists() && fingerprint(path) != *before)
    }
}

fn fingerprint(path: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    std::fs::read(path).ok().hash(&mut hasher);
    hasher.finish()
}

impl Connection {
    pub(super) async fn open(settings: Arc<Settings>, agent: String, silence: Duration) -> Result<Connection, Error> {
        Self::make(settings, agent, silence, false).await
    }

    /// The same without credentials, for those that bring their own with each request.
    pub(super) async fn anonymous(
        settings: Arc<Settings>,
        agent: String,
        silence: Duration,
    ) -> Result<Connection, Error> {
        Self::make(settings, agent, silence, true).await
    }

    async fn make(
        settings: Arc<Settings>,
        agent: String,
        silence: Duration,
        anonymous: bool,
    ) -> Result<Connection, Error> {
        let (config, files) = load(&settings, &agent, silence, anonymous).await?;
        let url = &config.cluster_url;
        let host = url.authority().map_or_else(|| url.to_string(), ToString::to_string);
        if config.accept_invalid_certs {
            warn!(host, "insecure-skip-tls-verify: the certificate of the API server is not verified");
        }
        let plugin = config.auth_info.exec.is_some();
        let state = State { client: build(config).await?, plugin, files, checked: Instant::now(), generation: 0 };
        Ok(Connection { settings, agent, silence, anonymous, host, state: Mutex::new(state) })
    }

    /// Host and port of the API server.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Where names without a namespace belong.
    pub(super) fn default_namespace(&self) -> String {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).client.default_namespace().to_owned()
    }

    /// The client, made again before if credentials changed, and a number that tells one set of credentials from the next.
    /// With `refused`, the files are looked at earlier than usual.
    pub(super) async fn current(&self, refused: bool) -> (Client, u64) {
        let every = if refused { CHECK_AFTER_REFUSAL } else { CHECK_EVERY };
        let (client, generation, files, plugin) = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.checked.elapsed() < every {
                return (state.client.clone(), state.generation);
            }
            // Others go on with what there is while this call looks.
            state.checked = Instant::now();
            (state.client.clone(), state.generation, state.files.clone(), state.plugin)
        };
        let expiring = client.valid_until().is_some_and(|end| end < Timestamp::now() + EXPIRY_MARGIN);
        let stale = expiring || refused && plugin;
        if !stale && !files.changed() {
            return (client, generation);
        }
        match self.rebuild().await {
            Ok(fresh) => fresh,
            Err(error) => {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "credentials changed but cannot be used, keeping the old ones"
                );
                (client, generation)
            }
        }
    }

    async fn rebuild(&self) -> Result<(Client, u64), Error> {
        let (config, files) = load(&self.settings, &self.agent, self.silence, self.anonymous).await?;
        let client = build(config).await?;
        info!(agent = self.agent, "credentials of the API server were read again");
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.client = client.clone();
        state.files = files;
        state.generation += 1;
        Ok((client, state.generation))
    }
}

/// A kubeconfig's exec plugin runs in here, hence the thread.
async fn build(config: Config) -> Result<Client, Error> {
    let runtime = tokio::runtime::Handle::current();
    let build = move || {
        let _runtime = runtime.enter();
        ClientBuilder::try_from(config).map(ClientBuilder::build)
    };
    tokio::task::spawn_blocking(build).await?.map_err(Error::Setup)
}

/// The configuration, and the files that it comes from.
async fn load(settings: &Settings, agent: &str, silence: Duration, anonymous: bool) -> Result<(Config, Files), Error> {
    let mut paths = Vec::new();
    let mut config = match (&settings.kubeconfig, &settings.master) {
        (Some(path), master) => {
            let failed = |source| Error::Kubeconfig { path: path.clone(), source };
            paths.push(path.clone());
            let mut kubeconfig = Kubeconfig::read_from(path).map_err(failed)?;
            for cluster in kubeconfig.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
                if let Some(master) = master {
                    cluster.server = Some(with_scheme(master));
                }
                paths.extend(cluster.certificate_authority.iter().map(PathBuf::from));
            }
            let proxy = explicit_proxy(&kubeconfig);
            let options = KubeConfigOptions::default();
            let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(failed)?;
            if !proxy {
                config.proxy_url = None;
            }
            config
        }
        (None, Some(master)) => {
            let parsed = with_scheme(master).parse();
            Config::new(parsed.map_err(|source| Error::Master { url: master.clone(), source })?)
        }
        (None, None) => Config::incluster().map_err(Error::InCluster)?,
    };
    if anonymous {
        config.auth_info = AuthInfo::default();
    }
    paths.extend(config.root_cert_file.iter().cloned());
    paths.extend(credential_files(&config.auth_info));
    // Before reading the token: a change in between is then seen as one.
    let files = Files::read(paths);
    read_token(&mut config.auth_info)?;
    config.headers.push((header::USER_AGENT, HeaderValue::try_from(agent).map_err(Error::UserAgent)?));
    config.default_retry = false;
    config.read_timeout = Some(silence);
    config.reset_reader_on_write = true;
    Ok((config, files))
}

/// Whether the cluster of the current context names a proxy, rather than the environment.
fn explicit_proxy(kubeconfig: &Kubeconfig) -> bool {
    let context = kubeconfig.contexts.iter().find(|context| Some(&context.name) == kubeconfig.current_context.as_ref());
    let cluster = context.and_then(|named| named.context.as_ref()).map(|context| &context.cluster);
    let cluster = kubeconfig.clusters.iter().find(|named| Some(&named.name) == cluster);
    cluster.and_then(|named| named.cluster.as_ref()).is_some_and(|cluster| cluster.proxy_url.is_some())
}

fn credential_files(auth: &AuthInfo) -> Vec<PathBuf> {
    [&auth.token_file, &auth.client_certificate, &auth.client_key].into_iter().flatten().map(PathBuf::from).collect()
}

/// Takes the token from its file: as in client-go it wins over one that stands in the kubeconfig, and white space around it
/// does not count. (kube prefers the latter and sends the white space.)
fn read_token(auth: &mut AuthInfo) -> Result<(), Error> {
    if let Some(path) = auth.token_file.take() {
        let token = std::fs::read_to_string(&path).map_err(|source| Error::File { path: path.into(), source })?;
        auth.token = Some(token.trim().to_owned().into());
    }
    Ok(())
}

fn with_scheme(url: &str) -> String {
    if url.contains("://") { url.to_owned() } else { format!("http://{url}") }
}
