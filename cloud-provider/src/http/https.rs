//! The transport of production.

use std::{
    error::Error as _,
    fmt, fs,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::{Failure, Limits, Stage, Transport};
use crate::{Error, error::Result};

/// How often the files are looked at again.
const LOOK: Duration = Duration::from_secs(10);
/// How long a connection may take to come about, TLS included.
const CONNECT: Duration = Duration::from_secs(30);

/// What TLS trusts and shows.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Certificate authorities, in place of those of the system.
    pub authorities: Option<Pem>,
    /// Who we are, where servers ask for a certificate.
    pub identity: Option<Identity>,
    /// Whether the certificates of servers are not checked.
    pub insecure: bool,
    /// The header `User-Agent`.
    pub user_agent: String,
    /// Whether proxies of the environment are left alone.
    pub no_proxy: bool,
}

/// A client certificate and its key.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate, and those between it and the authority.
    pub certificate: Pem,
    /// The private key.
    pub key: Pem,
}

/// Something in PEM, with the name of the setting that it comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum Pem {
    /// A file, which is read again when it changes.
    File {
        /// The setting that names it, for errors.
        setting: &'static str,
        /// Where it is.
        path: PathBuf,
    },
    /// The text itself.
    Text {
        /// The setting that holds it, for errors.
        setting: &'static str,
        /// The text.
        text: String,
    },
}

/// HTTP over TLS, with the proxies of the environment (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`) and files of certificates that
/// are followed when they change. A file that went bad changes nothing.
pub struct Https {
    settings: Settings,
    current: Mutex<Current>,
}

struct Current {
    looked: Instant,
    pems: Pems,
    client: reqwest::Client,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Pems {
    authorities: Option<Vec<u8>>,
    /// Certificate and key in one.
    identity: Option<Vec<u8>>,
}

impl Https {
    /// A transport with these settings.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, or holds nothing of use.
    pub fn new(settings: Settings) -> Result<Self> {
        // reqwest asks for a provider of cryptography for the process; where there is one already it stays.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let pems = settings.read()?;
        let client = settings.client(&pems)?;
        Ok(Self { settings, current: Mutex::new(Current { looked: Instant::now(), pems, client }) })
    }

    fn client(&self) -> reqwest::Client {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.looked.elapsed() >= LOOK && self.settings.has_files() {
            current.looked = Instant::now();
            match self.reload(&current.pems) {
                Ok(None) => {}
                Ok(Some((pems, client))) => {
                    tracing::info!("read the changed files of certificates");
                    (current.pems, current.client) = (pems, client);
                }
                Err(error) => tracing::warn!(error = %error.chain(), "the certificates stay as they were"),
            }
        }
        current.client.clone()
    }

    fn reload(&self, known: &Pems) -> Result<Option<(Pems, reqwest::Client)>> {
        let pems = self.settings.read()?;
        if pems == *known {
            return Ok(None);
        }
        let client = self.settings.client(&pems)?;
        Ok(Some((pems, client)))
    }
}

impl Settings {
    fn has_files(&self) -> bool {
        let identity = self.identity.iter().flat_map(|identity| [&identity.certificate, &identity.key]);
        self.authorities.iter().chain(identity).any(|pem| matches!(pem, Pem::File { .. }))
    }

    fn read(&self) -> Result<Pems> {
        let authorities = self.authorities.as_ref().map(Pem::read).transpose()?;
        let identity = self.identity.as_ref().map(|Identity { certificate, key }| {
            let mut both = certificate.read()?;
            both.push(b'\n');
            both.extend(key.read()?);
            Ok::<_, Error>(both)
        });
        Ok(Pems { authorities, identity: identity.transpose()? })
    }

    fn client(&self, pems: &Pems) -> Result<reqwest::Client> {
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT)
            .user_agent(&self.user_agent)
            .tls_danger_accept_invalid_certs(self.insecure);
        if self.no_proxy {
            builder = builder.no_proxy();
        }
        if let (Some(pem), Some(text)) = (&self.authorities, &pems.authorities) {
            let certificates = reqwest::Certificate::from_pem_bundle(text).map_err(|error| pem.useless(&error))?;
            if certificates.is_empty() {
                return Err(pem.error("there is no certificate in it"));
            }
            builder = builder.tls_certs_only(certificates);
        }
        if let (Some(identity), Some(text)) = (&self.identity, &pems.identity) {
            let read = reqwest::Identity::from_pem(text).map_err(|error| identity.certificate.useless(&error))?;
            builder = builder.identity(read);
        }
        builder.build().map_err(|error| {
            let setting = self.authorities.as_ref().map_or("TLS", Pem::setting);
            Error::invalid(setting, "prepare TLS").with_source(chain(error))
        })
    }
}

impl Pem {
    fn read(&self) -> Result<Vec<u8>> {
        match self {
            Self::Text { text, .. } => Ok(text.clone().into_bytes()),
            Self::File { setting, path } => fs::read(path)
                .map_err(|error| Error::invalid(*setting, format!("read {}", path.display())).with_source(error)),
        }
    }

    fn setting(&self) -> &'static str {
        match self {
            Self::File { setting, .. } | Self::Text { setting, .. } => setting,
        }
    }

    fn error(&self, problem: &str) -> Error {
        let what = match self {
            Self::File { setting, path } => format!("{setting} {}", path.display()),
            Self::Text { setting, .. } => (*setting).to_owned(),
        };
        Error::invalid(self.setting(), format!("{what}: {problem}; it must be PEM"))
    }

    /// The cause is left out: it may repeat what it read.
    fn useless(&self, _: &reqwest::Error) -> Error {
        self.error("it cannot be read")
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { setting, path } => f.debug_tuple(setting).field(path).finish(),
            Self::Text { setting, .. } => f.debug_tuple(setting).finish_non_exhaustive(),
        }
    }
}

#[async_trait]
impl Transport for Https {
    async fn send(
        &self,
        request: ::http::Request<Bytes>,
        limits: Limits,
    ) -> std::result::Result<::http::Response<Bytes>, Failure> {
        let mut request = reqwest::Request::try_from(request).map_err(|error| failure(error, Stage::Unusable))?;
        *request.timeout_mut() = Some(limits.time);
        let answer = self.client().execute(request).await.map_err(|error| {
            let stage = match () {
                () if error.is_connect() => Stage::Connect,
                () if error.is_timeout() => Stage::TimedOut,
                () if error.is_builder() => Stage::Unusable,
                () => Stage::Broken,
            };
            failure(error, stage)
        })?;
        let mut response = ::http::Response::new(Bytes::new());
        *response.status_mut() = answer.status();
        *response.headers_mut() = answer.headers().clone();
        *response.body_mut() = body(answer, limits.body).await?;
        Ok(response)
    }
}

/// The whole body, read no further than its limit.
async fn body(mut answer: reqwest::Response, limit: usize) -> std::result::Result<Bytes, Failure> {
    let too_large = || Failure::new(Stage::TooLarge, format!("the answer is larger than {limit} bytes"));
    let length = answer.content_length().and_then(|length| usize::try_from(length).ok());
    if length.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let mut body = BytesMut::with_capacity(length.unwrap_or_default());
    loop {
        let chunk = answer.chunk().await.map_err(|error| {
            let stage = if error.is_timeout() { Stage::TimedOut } else { Stage::Broken };
            failure(error, stage)
        })?;
        let Some(chunk) = chunk else { return Ok(body.freeze()) };
        if body.len() + chunk.len() > limit {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
}

fn failure(error: reqwest::Error, stage: Stage) -> Failure {
    Failure::new(stage, chain(error))
}

/// All causes in one line, without the URL: it may hold secrets, and stands in the error anyway.
fn chain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

impl fmt::Debug for Https {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Https").field("settings", &self.settings).finish_non_exhaustive()
    }
}
