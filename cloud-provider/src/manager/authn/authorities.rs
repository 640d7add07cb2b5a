//! Whose certificates and whose headers are believed: from files, or as the cluster publishes it; followed as it changes.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::StreamExt as _;
use http::HeaderMap;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::watch_object;
use kube::{Api, Client};
use rustls::pki_types::CertificateDer;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::certificate::{Authority, Subject};
use super::headers::Rules;
use super::{Error, User};
use crate::cluster::refusal;
use crate::manager::options::{AuthenticationSettings, RequestHeaders};

/// Where the cluster publishes its settings.
const NAMESPACE: &str = "kube-system";
const CONFIG_MAP: &str = "extension-apiserver-authentication";
/// How often files are read again.
const READ_EVERY: Duration = Duration::from_secs(60);

/// What is believed now.
#[derive(Debug, Default)]
struct Trusted {
    clients: Option<Authority>,
    proxies: Option<Proxies>,
}

#[derive(Clone, Debug)]
struct Proxies {
    authority: Authority,
    /// Common names of the proxies; empty for any.
    names: Vec<String>,
    rules: Rules,
}

/// Where it comes from.
#[derive(Clone, Debug)]
struct Sources {
    client_ca: Option<PathBuf>,
    request_headers: Option<RequestHeaders>,
}

#[derive(Debug)]
pub(super) struct Authorities {
    sources: Sources,
    current: RwLock<Arc<Trusted>>,
    published: RwLock<BTreeMap<String, String>>,
}

impl Authorities {
    fn current(&self) -> Arc<Trusted> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The user that a trusted proxy names. None where no proxy is trusted or nothing was presented.
    pub(super) fn by_headers(&self, headers: &HeaderMap, chain: &[CertificateDer<'_>]) -> Result<Option<User>, String> {
        let trusted = self.current();
        let Some(proxies) = trusted.proxies.as_ref().filter(|_| !chain.is_empty()) else { return Ok(None) };
        let Subject { common_name, .. } = proxies.authority.verify(chain)?;
        if !proxies.names.is_empty() && !proxies.names.contains(&common_name) {
            return Err(format!("subject with cn={common_name} is not in the allowed list"));
        }
        Ok(proxies.rules.user(headers))
    }

    /// The user of a client certificate. None where no authority is known or nothing was presented.
    pub(super) fn by_certificate(&self, chain: &[CertificateDer<'_>]) -> Result<Option<User>, String> {
        let trusted = self.current();
        let Some(clients) = trusted.clients.as_ref().filter(|_| !chain.is_empty()) else { return Ok(None) };
        let Subject { common_name, organizations } = clients.verify(chain)?;
        let user = User { name: common_name, groups: organizations, ..User::default() };
        Ok(Some(user).filter(|user| !user.name.is_empty()))
    }

    /// Puts files and what is published together. What cannot be used stays as it was; the first such problem is the error.
    fn refresh(&self) -> Result<(), Error> {
        let published = self.published.read().unwrap_or_else(PoisonError::into_inner).clone();
        let before = self.current();
        let mut problem = None;
        let mut keep = |error: Error| {
            problem.get_or_insert(error);
        };
        let clients = match (&self.sources.client_ca, published.get("client-ca-file")) {
            (Some(path), _) => file("client CA", path).map(Some),
            (None, Some(pem)) => parse("client CA", pem).map(Some),
            (None, None) => Ok(None),
        };
        let proxies = match &self.sources.request_headers {
            Some(flags) => from_flags(flags),
            None => from_published(&published),
        };
        let trusted = Trusted {
            clients: clients.unwrap_or_else(|error| {
                keep(error);
                before.clients.clone()
            }),
            proxies: proxies.unwrap_or_else(|error| {
                keep(error);
                before.proxies.clone()
            }),
        };
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(trusted);
        problem.map_or(Ok(()), Err)
    }

    fn publish(&self, config_map: Option<ConfigMap>) {
        let data = config_map.and_then(|config_map| config_map.data).unwrap_or_default();
        *self.published.write().unwrap_or_else(PoisonError::into_inner) = data;
    }
}

fn file(what: &'static str, path: &Path) -> Result<Authority, Error> {
    let failed = |problem| Error::File { what, path: path.to_owned(), problem };
    let pem = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    Authority::from_pem(&pem).map_err(failed)
}

fn parse(what: &'static str, pem: &str) -> Result<Authority, Error> {
    let failed = |problem| Error::File { what, path: format!("{NAMESPACE}/{CONFIG_MAP}").into(), problem };
    Authority::from_pem(pem.as_bytes()).map_err(failed)
}

fn from_flags(flags: &RequestHeaders) -> Result<Option<Proxies>, Error> {
    let Some(path) = &flags.client_ca_file else { return Ok(None) };
    let rules = Rules {
        username: flags.username.clone(),
        uid: flags.uid.clone(),
        group: flags.group.clone(),
        extra_prefix: flags.extra_prefix.clone(),
    };
    Ok(Some(Proxies { authority: file("request header CA", path)?, names: flags.allowed_names.clone(), rules }))
}

/// Lists are published as JSON.
fn from_published(data: &BTreeMap<String, String>) -> Result<Option<Proxies>, Error> {
    let Some(pem) = data.get("requestheader-client-ca-file") else { return Ok(None) };
    let list = |key: &str| -> Result<Vec<String>, Error> {
        let Some(text) = data.get(key) else { return Ok(Vec::new()) };
        let path = format!("{NAMESPACE}/{CONFIG_MAP}:{key}").into();
        serde_json::from_str(text).map_err(|error| Error::File {
            what: "request header",
            path,
            problem: error.to_string(),
        })
    };
    let rules = Rules {
        username: list("requestheader-username-headers")?,
        uid: list("requestheader-uid-headers")?,
        group: list("requestheader-group-headers")?,
        extra_prefix: list("requestheader-extra-headers-prefix")?,
    };
    let names = list("requestheader-allowed-names")?;
    Ok(Some(Proxies { authority: parse("request header CA", pem)?, names, rules }))
}

/// Reads everything once.
pub(super) async fn load(
    settings: &AuthenticationSettings,
    client: Option<Client>,
) -> Result<(Arc<Authorities>, Lookup), Error> {
    let by_flags = settings.request_headers.client_ca_file.is_some();
    let wanted = settings.lookup && !(by_flags && settings.client_ca_file.is_some());
    if client.is_none() && settings.client_ca_file.is_none() {
        warn!("no client to look up client-ca-file in {NAMESPACE}/{CONFIG_MAP}: client certificates are not accepted");
    }
    let client = client.filter(|_| wanted);
    let sources = Sources {
        client_ca: settings.client_ca_file.clone(),
        request_headers: by_flags.then(|| settings.request_headers.clone()),
    };
    let authorities = Authorities { sources, current: RwLock::default(), published: RwLock::default() };
    if let Some(client) = &client {
        let api: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
        match api.get_opt(CONFIG_MAP).await {
            Ok(config_map) => authorities.publish(config_map),
            Err(error) => {
                let denied = matches!(&error, kube::Error::Api(status) if status.code == 403);
                if denied {
                    info!(
                        "cannot get configmap {NAMESPACE}/{CONFIG_MAP}; usually fixed by a role binding in {NAMESPACE} to the role \
                         extension-apiserver-authentication-reader"
                    );
                }
                if !settings.tolerate_lookup_failure && !by_flags {
                    return Err(Error::Lookup(error));
                }
                let going_on = "going on without the authentication settings of the cluster, requests may be anonymous";
                // The missing permission is told of already.
                if denied { info!(%error, going_on) } else { warn!(%error, going_on) }
            }
        }
    }
    authorities.refresh()?;
    let authorities = Arc::new(authorities);
    Ok((Arc::clone(&authorities), Lookup { authorities, client }))
}

/// Follows the files and what the cluster publishes.
pub struct Lookup {
    authorities: Arc<Authorities>,
    client: Option<Client>,
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookup").field("cluster", &self.client.is_some()).finish_non_exhaustive()
    }
}

impl Lookup {
    /// Runs until `token` is cancelled. What becomes unusable is told, and the last good settings stay.
    pub async fn run(self, token: CancellationToken) {
        let published = match self.client {
            Some(client) => {
                watch_object(Api::<ConfigMap>::namespaced(client, NAMESPACE), CONFIG_MAP).default_backoff().boxed()
            }
            None => futures::stream::pending().boxed(),
        };
        let mut published = std::pin::pin!(published);
        let mut files = interval(READ_EVERY);
        files.set_missed_tick_behavior(MissedTickBehavior::Delay);
        files.reset();
        let mut told = String::new();
        loop {
            let problem = tokio::select! {
                () = token.cancelled() => return,
                changed = published.next() => match changed {
                    Some(Ok(config_map)) => {
                        self.authorities.publish(config_map);
                        info!("authentication settings of the cluster read");
                        self.authorities.refresh().err().map(|error| error.to_string())
                    }
                    Some(Err(error)) if refusal::is_behind(&error) => {
                        debug!(%error, "cannot watch {NAMESPACE}/{CONFIG_MAP}");
                        continue;
                    }
                    Some(Err(error)) => Some(format!("cannot watch {NAMESPACE}/{CONFIG_MAP}: {error}")),
                    // Never: the watch has no end.
                    None => return,
                },
                _ = files.tick() => self.authorities.refresh().err().map(|error| error.to_string()),
            };
            match problem {
                Some(problem) if problem != told => {
                    warn!(problem, "authentication settings stay as they were");
                    told = problem;
                }
                Some(_) => {}
                None => told.clear(),
            }
        }
    }
}
