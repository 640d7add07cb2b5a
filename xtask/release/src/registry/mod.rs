//! A registry, by the OCI distribution specification.

mod body;
mod challenge;
pub mod credentials;

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use backon::{BackoffBuilder as _, ExponentialBuilder};
use bytes::Bytes;
use oci_spec::image::{Descriptor, ImageIndex, MediaType};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};

use crate::layer::digest;
use body::Counted;
use credentials::Credentials;

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// A layer of ten megabytes takes so long at 100 kbit/s.
const REQUEST_LIMIT: Duration = Duration::from_secs(15 * 60);
/// The longest wait that a registry may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What a manifest may be.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// A repository of a registry.
#[derive(Debug)]
pub struct Registry {
    client: Client,
    /// Ends with `/v2/<repository>/`.
    base: Url,
    credentials: Credentials,
    /// What requests carry, once the registry has asked for it.
    authorization: Option<String>,
    delays: ExponentialBuilder,
}

/// Why a request failed, and whether it may succeed when it is made again.
#[derive(Debug)]
struct Failure {
    error: anyhow::Error,
    is_transient: bool,
    /// The wait that the registry asked for.
    wait: Option<Duration>,
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self { error, is_transient: false, wait: None }
    }
}

impl Registry {
    /// A repository at `host`, a name with a port where needed. Loopback is spoken to without TLS, as all tools do.
    ///
    /// # Errors
    /// When the name is not valid.
    pub fn new(host: &str, repository: &str, plain_http: bool, credentials: Credentials) -> anyhow::Result<Self> {
        let scheme = if plain_http || is_loopback(host) { "http" } else { "https" };
        let base = format!("{scheme}://{host}/v2/{repository}/");
        let client = Client::builder().connect_timeout(CONNECT_LIMIT).timeout(REQUEST_LIMIT);
        Ok(Self {
            client: client.user_agent("cloud-provider-xtask").build().context("make an HTTP client")?,
            base: Url::parse(&base).with_context(|| format!("{base:?} is no address"))?,
            credentials,
            authorization: None,
            delays: ExponentialBuilder::default().with_jitter().with_max_times(5),
        })
    }

    /// The digest of a tag's manifest; none where there is no such tag.
    ///
    /// # Errors
    /// When the registry does not answer, or not that.
    pub async fn digest_of(&mut self, tag: &str) -> anyhow::Result<Option<String>> {
        let manifest = self.manifest(tag).await?;
        Ok(manifest.map(|bytes| digest(&bytes)))
    }

    /// The manifest of a tag or digest; none where there is none.
    ///
    /// # Errors
    /// When the registry does not answer, or not that.
    pub async fn manifest(&mut self, reference: &str) -> anyhow::Result<Option<Bytes>> {
        let url = self.url(&format!("manifests/{reference}"))?;
        self.retried(async |registry| {
            let request = |client: &Client| client.get(url.clone()).header(ACCEPT, MANIFESTS);
            let expected = [StatusCode::OK, StatusCode::NOT_FOUND];
            let answer = registry.once(&format!("read {reference}"), request, &expected).await?;
            if answer.status() == StatusCode::NOT_FOUND {
                return Ok(None);
            }
            Ok(Some(answer.bytes().await.map_err(|error| network(&format!("read {reference}"), error))?))
        })
        .await
    }

    /// Whether it has a blob.
    ///
    /// # Errors
    /// When the registry does not answer, or not that.
    pub async fn has_blob(&mut self, blob: &Descriptor) -> anyhow::Result<bool> {
        let url = self.url(&format!("blobs/{}", blob.digest()))?;
        self.retried(async |registry| {
            let expected = [StatusCode::OK, StatusCode::NOT_FOUND];
            let request = |client: &Client| client.head(url.clone());
            let answer = registry.once(&format!("look for {}", blob.digest()), request, &expected).await?;
            Ok(answer.status() == StatusCode::OK)
        })
        .await
    }

    /// Uploads a blob; `sent` is called with how many bytes are on their way. An upload that fails begins again.
    ///
    /// # Errors
    /// When it fails for good.
    pub async fn put_blob(
        &mut self,
        blob: &Descriptor,
        bytes: &Bytes,
        sent: impl Fn(u64) + Clone + Send + Sync + Unpin + 'static,
    ) -> anyhow::Result<()> {
        let begin = self.url("blobs/uploads/")?;
        self.retried(async |registry| {
            let what = format!("upload {}", blob.digest());
            let request = |client: &Client| client.post(begin.clone()).header(CONTENT_LENGTH, 0);
            let answer = registry.once(&what, request, &[StatusCode::ACCEPTED]).await?;
            let mut url = registry.location(&answer).with_context(|| what.clone())?;
            url.query_pairs_mut().append_pair("digest", blob.digest().as_ref());
            let request = |client: &Client| {
                let put = client.put(url.clone()).header(CONTENT_TYPE, "application/octet-stream");
                put.header(CONTENT_LENGTH, blob.size()).body(Counted::body(bytes.clone(), sent.clone()))
            };
            registry.once(&what, request, &[StatusCode::CREATED]).await.map(|_| ())
        })
        .await
    }

    /// Stores a manifest under its digest or a tag. Says whether the registry has noticed what it refers to; if not,
    /// [`Registry::refer`] is the way to be found.
    ///
    /// # Errors
    /// When the registry refuses it.
    pub async fn put_manifest(&mut self, reference: &str, kind: &MediaType, bytes: &[u8]) -> anyhow::Result<bool> {
        let url = self.url(&format!("manifests/{reference}"))?;
        let bytes = Bytes::copy_from_slice(bytes);
        self.retried(async |registry| {
            let request =
                |client: &Client| client.put(url.clone()).header(CONTENT_TYPE, kind.to_string()).body(bytes.clone());
            let answer = registry.once(&format!("store {reference}"), request, &[StatusCode::CREATED]).await?;
            Ok(answer.headers().contains_key("oci-subject"))
        })
        .await
    }

    /// Adds `referrer` to the index that stands for the API of referrers in a registry without it: the tag made of the
    /// subject's digest.
    ///
    /// # Errors
    /// When the index cannot be read or stored.
    pub async fn refer(&mut self, subject: &Descriptor, referrer: &Descriptor) -> anyhow::Result<()> {
        let tag = subject.digest().to_string().replace(':', "-");
        let mut index: ImageIndex = match self.manifest(&tag).await? {
            Some(bytes) => serde_json::from_slice(&bytes).with_context(|| format!("read {tag}"))?,
            None => crate::assembly::index(Vec::new()).build().context("make an index")?,
        };
        if index.manifests().iter().any(|one| one.digest() == referrer.digest()) {
            return Ok(());
        }
        let mut manifests = index.manifests().clone();
        manifests.push(referrer.clone());
        index.set_manifests(manifests);
        let bytes = serde_json::to_vec(&index).context("write an index")?;
        self.put_manifest(&tag, &MediaType::ImageIndex, &bytes).await.map(|_| ())
    }

    fn url(&self, path: &str) -> anyhow::Result<Url> {
        self.base.join(path).with_context(|| format!("{path:?} is no path"))
    }

    fn location(&self, answer: &Response) -> anyhow::Result<Url> {
        let location = answer.headers().get(LOCATION).context("the registry names no place to upload to")?;
        let location = location.to_str().context("read the place to upload to")?;
        self.base.join(location).with_context(|| format!("{location:?} is no address"))
    }

    /// Runs a step again, later and later, as long as it fails for reasons that pass.
    async fn retried<T>(&mut self, mut step: impl AsyncFnMut(&mut Self) -> Result<T, Failure>) -> anyhow::Result<T> {
        let mut delays = self.delays.build();
        loop {
            let failure = match step(self).await {
                Ok(done) => return Ok(done),
                Err(failure) => failure,
            };
            let Some(delay) = delays.next().filter(|_| failure.is_transient) else { return Err(failure.error) };
            tokio::time::sleep(failure.wait.map_or(delay, |wait| wait.min(LONGEST_WAIT))).await;
        }
    }

    /// Makes a request, and makes it again with credentials when the registry asks for them.
    async fn once(
        &mut self,
        what: &str,
        request: impl Fn(&Client) -> RequestBuilder,
        expected: &[StatusCode],
    ) -> Result<Response, Failure> {
        let mut answer = self.attempt(what, &request).await?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            self.authenticate(&answer).await.map_err(|failure| failure.context(what))?;
            answer = self.attempt(what, &request).await?;
        }
        if expected.contains(&answer.status()) { Ok(answer) } else { Err(refused(what, answer).await) }
    }

    async fn attempt(&self, what: &str, request: &impl Fn(&Client) -> RequestBuilder) -> Result<Response, Failure> {
        let mut request = request(&self.client).build().with_context(|| what.to_owned())?;
        // Some registries hand uploads over to a storage elsewhere, which has no business with our credentials.
        let is_theirs = request.url().origin() == self.base.origin();
        if let Some(authorization) = self.authorization.as_ref().filter(|_| is_theirs) {
            let mut value = authorization.parse::<reqwest::header::HeaderValue>().context("read a token")?;
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        self.client.execute(request).await.map_err(|error| network(what, error))
    }

    async fn authenticate(&mut self, answer: &Response) -> Result<(), Failure> {
        let asked = answer.headers().get_all(WWW_AUTHENTICATE).iter();
        let asked: Vec<&str> = asked.filter_map(|value| value.to_str().ok()).collect();
        let challenge = challenge::Challenge::parse(&asked)?;
        self.authorization = Some(match challenge {
            challenge::Challenge::Basic => self.credentials.basic().context("the registry asks for a password")?,
            challenge::Challenge::Bearer(token) => {
                let (method, url, form) = token.request(&self.credentials)?;
                let mut request = self.client.request(method, url);
                if let Some(form) = form {
                    request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form);
                } else if let Some(basic) = self.credentials.basic() {
                    request = request.header(AUTHORIZATION, basic);
                }
                let answer = request.send().await.map_err(|error| network("get a token", error))?;
                if !answer.status().is_success() {
                    return Err(refused("get a token", answer).await);
                }
                let answer = answer.bytes().await.map_err(|error| network("get a token", error))?;
                format!("Bearer {}", challenge::token(&answer)?)
            }
        });
        Ok(())
    }
}

impl Failure {
    fn context(self, what: &str) -> Self {
        Self { error: self.error.context(what.to_owned()), ..self }
    }
}

/// No answer came, or not all of it.
fn network(what: &str, error: reqwest::Error) -> Failure {
    // Addresses of uploads may carry secrets.
    Failure { error: anyhow::Error::new(error.without_url()).context(what.to_owned()), is_transient: true, wait: None }
}

/// The registry said no.
async fn refused(what: &str, answer: Response) -> Failure {
    let status = answer.status();
    let passes = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
    let wait = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let body = answer.bytes().await.unwrap_or_default();
    Failure {
        error: anyhow!("{what}: {status}{}", told(&body)),
        is_transient: status.is_server_error() || passes.contains(&status),
        wait: wait.map(Duration::from_secs),
    }
}

/// What the registry says about an error.
fn told(body: &[u8]) -> String {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let errors = body["errors"].as_array().map_or(&[][..], Vec::as_slice);
    errors
        .iter()
        .filter_map(|error| Some(format!(": {} {}", error["code"].as_str()?, error["message"].as_str()?)))
        .collect()
}

fn is_loopback(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    matches!(name, "localhost" | "127.0.0.1" | "[::1]")
}
