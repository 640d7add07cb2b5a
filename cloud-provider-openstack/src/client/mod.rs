//! The OpenStack API in our own plain types.
//!
//! Every call goes through the core's HTTP kit: it holds writes back when the gate is closed, brings the token, tries again
//! what may be tried again, and records the metrics. Where a service is reached stands in the catalog that comes with each
//! token.

mod block_storage;
pub mod catalog;
pub mod compute;
pub mod credential;
mod error;
pub mod floating_ip;
pub mod key_manager;
pub mod load_balancer;
pub mod network;
mod page;
pub mod security_group;
mod service;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use cloud_provider::{
    Error,
    cloud::Gate,
    cluster::token_bucket::TokenBucket,
    error::Result,
    http::{
        self, Authorization, HeaderValue, HttpRequest, Https, Identity, Method as Verb, Pem, Request, Response, Retry,
        StatusCode, TokenCache, Transport, Url,
    },
    metrics::Metrics,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

pub use catalog::Catalog;
pub use credential::{Domain, Keystone, Method, Named, Project, Scope, Session, User};
pub use error::OpenStack;
pub use service::Service;

use self::credential::TOKEN;
use crate::metrics::ApiMetrics;

/// The name of the program in `User-Agent`.
const PROGRAM: &str = concat!("openstack-cloud-controller-manager/", env!("CARGO_PKG_VERSION"));

/// What a [`Client`] is made from.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Keystone, with or without a version at the end.
    pub auth_url: Url,
    /// Who we are.
    pub method: Method,
    /// What for.
    pub scope: Scope,
    /// The region; empty takes the first endpoint of any region.
    pub region: String,
    /// Which endpoints of the catalog are used.
    pub interface: Interface,
    /// Certificate authorities in place of the system's.
    pub authorities: Option<Pem>,
    /// The client certificate.
    pub identity: Option<Identity>,
    /// Whether certificates of servers are not checked.
    pub insecure: bool,
    /// How long one attempt may take.
    pub time_limit: Duration,
    /// Endpoints that come before the catalog's.
    pub endpoints: BTreeMap<Service, Url>,
    /// Requests in a second, and at once.
    pub rate: Option<(f64, u32)>,
    /// What comes before the program's name in `User-Agent`: the values of `--user-agent`, in their order.
    pub user_agent: Vec<String>,
}

/// `os-endpoint-type`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Interface {
    /// `public`
    #[default]
    Public,
    /// `internal`
    Internal,
    /// `admin`
    Admin,
}

impl Interface {
    /// As the catalog spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Internal => "internal",
            Self::Admin => "admin",
        }
    }
}

/// OpenStack, in one region and project. Cheap to clone; clones share connections, token and pacing.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    http: http::Client,
    tokens: Arc<Tokens>,
    region: String,
    interface: Interface,
    endpoints: BTreeMap<Service, Url>,
    names: compute::FlavorNames,
    batch: network::BatchSize,
}

/// Brings the token into requests.
struct Tokens(TokenCache<Keystone>);

/// One entry of a service's list of versions.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Version {
    /// Such as `v2.26`.
    pub id: String,
    /// Such as `CURRENT`.
    #[serde(default)]
    pub status: String,
}

impl Client {
    /// Gets the first token, which brings the catalog.
    ///
    /// # Errors
    ///
    /// When the files of certificates are of no use, or Keystone gives no token.
    pub async fn connect(settings: Settings, gate: Gate, metrics: &Metrics) -> Result<Self> {
        let transport = Https::new(http::Settings {
            authorities: settings.authorities.clone(),
            identity: settings.identity.clone(),
            insecure: settings.insecure,
            user_agent: user_agent(&settings.user_agent),
            no_proxy: false,
        })?;
        let client = Self::new(settings, Arc::new(transport), gate, metrics);
        client.0.tokens.0.get().await.map_err(|error| error.context("log in to OpenStack"))?;
        Ok(client)
    }

    /// A client that has no token yet, over any transport.
    pub fn new(settings: Settings, transport: Arc<dyn Transport>, gate: Gate, metrics: &Metrics) -> Self {
        let bucket = settings.rate.map(|(rate, burst)| Arc::new(TokenBucket::new(rate, burst)));
        let time = settings.time_limit;
        let builder = || {
            let builder =
                http::Client::builder(transport.clone(), gate.clone()).dialect(Arc::new(OpenStack)).time_limit(time);
            match &bucket {
                Some(bucket) => builder.rate(bucket.clone()),
                None => builder,
            }
        };
        let Settings { auth_url, method, scope, region, interface, endpoints, .. } = settings;
        let keystone = builder().secrets(method.secrets()).retry(Retry { attempts: 3, ..Retry::default() }).build();
        let secrets = method.secrets();
        let tokens = Arc::new(Tokens(TokenCache::new(Keystone::new(keystone, auth_url, method, scope))));
        let http = builder()
            .secrets(secrets)
            .authorization(tokens.clone())
            .observer(Arc::new(ApiMetrics::new(metrics)))
            .build();
        let (names, batch) = Default::default();
        Self(Arc::new(Inner { http, tokens, region, interface, endpoints, names, batch }))
    }

    /// The region of the configuration; may be empty.
    pub fn region(&self) -> &str {
        &self.0.region
    }

    /// Whether writes may leave.
    pub fn gate(&self) -> &Gate {
        self.0.http.gate()
    }

    /// What came with the token that is in use: catalog, project, user.
    ///
    /// # Errors
    ///
    /// When there is no token to be had.
    pub async fn session(&self) -> Result<Arc<Session>> {
        Ok(self.0.tokens.0.get().await?.value)
    }

    /// Whether the catalog has a service, without a call after the first token.
    ///
    /// # Errors
    ///
    /// When there is no token to be had.
    pub async fn has(&self, service: Service) -> Result<bool> {
        Ok(self.0.endpoints.contains_key(&service) || self.catalog_url(&*self.session().await?, service).is_ok())
    }

    /// Where the resources of a service are, with a `/` at the end.
    ///
    /// # Errors
    ///
    /// [`Kind::Unsupported`](cloud_provider::Kind::Unsupported) where the catalog has no endpoint of it for the region.
    pub async fn base(&self, service: Service) -> Result<Url> {
        Ok(service.resources(self.endpoint(service).await?))
    }

    async fn endpoint(&self, service: Service) -> Result<Url> {
        match self.0.endpoints.get(&service) {
            Some(url) => Ok(url.clone()),
            None => self.catalog_url(&*self.session().await?, service),
        }
    }

    fn catalog_url(&self, session: &Session, service: Service) -> Result<Url> {
        session.catalog.endpoint(service, self.0.interface, &self.0.region)
    }

    /// A request to a service: `path` are the segments below the place of its resources, `operation` its name in metrics, logs
    /// and errors. A `!` in front of it is no part of the name: such a request is not measured.
    ///
    /// # Errors
    ///
    /// As for [`base`](Self::base); and for a segment that is empty or names a folder: an ID that is none must not turn a
    /// request for one thing into one for all.
    pub async fn request(
        &self,
        service: Service,
        operation: &'static str,
        method: Verb,
        path: &[&str],
    ) -> Result<Request> {
        let url = below(self.base(service).await?, path)?;
        let json = HeaderValue::from_static("application/json");
        Ok(match operation.strip_prefix('!') {
            Some(operation) => Request::new(operation, method, url).unmeasured(),
            None => Request::new(operation, method, url),
        }
        .header(http::header::ACCEPT, json))
    }

    /// Sends a request.
    ///
    /// # Errors
    ///
    /// That of the last attempt.
    pub async fn send(&self, request: Request) -> Result<Response> {
        Ok(self.0.http.send(request).await?)
    }

    /// Reads one thing.
    ///
    /// # Errors
    ///
    /// When that fails.
    pub async fn get<T: DeserializeOwned>(
        &self,
        service: Service,
        operation: &'static str,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<T> {
        let request = self.request(service, operation, Verb::GET, path).await?.query(query.iter().copied());
        Ok(self.0.http.json(request).await?)
    }

    /// Reads all pages of a list that stands under `key`.
    ///
    /// # Errors
    ///
    /// When one of them fails: half a list proves nothing.
    pub async fn list<T: DeserializeOwned>(
        &self,
        service: Service,
        operation: &'static str,
        path: &[&str],
        key: &'static str,
        query: &[(&str, &str)],
    ) -> Result<Vec<T>> {
        let request = self.request(service, operation, Verb::GET, path).await?.query(query.iter().copied());
        self.all(request, key).await
    }

    /// Reads all pages from a request on.
    ///
    /// # Errors
    ///
    /// As for [`list`](Self::list).
    pub async fn all<T: DeserializeOwned>(&self, request: Request, key: &'static str) -> Result<Vec<T>> {
        let first = request.url().clone();
        Ok(http::pages(&self.0.http, request, |response| page::read(response, key, &first)).await?)
    }

    /// Makes one thing. Not repeated where it may have been made already.
    ///
    /// # Errors
    ///
    /// When that fails.
    pub async fn post<T: DeserializeOwned>(
        &self,
        service: Service,
        operation: &'static str,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<T> {
        let request = self.request(service, operation, Verb::POST, path).await?.json(body)?;
        answer(&self.send(request).await?)
    }

    /// Changes one thing.
    ///
    /// # Errors
    ///
    /// When that fails.
    pub async fn put<T: DeserializeOwned>(
        &self,
        service: Service,
        operation: &'static str,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<T> {
        let request = self.request(service, operation, Verb::PUT, path).await?.json(body)?;
        answer(&self.send(request).await?)
    }

    /// Deletes one thing; `false` where it was gone already.
    ///
    /// # Errors
    ///
    /// When that fails.
    pub async fn delete(
        &self,
        service: Service,
        operation: &'static str,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<bool> {
        let request = self.request(service, operation, Verb::DELETE, path).await?.query(query.iter().copied());
        let response = self.send(request.tolerate(StatusCode::NOT_FOUND)).await?;
        Ok(response.status() != StatusCode::NOT_FOUND)
    }

    /// The versions of its API that a service names at its root, in its order.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    pub async fn versions(&self, service: Service) -> Result<Vec<Version>> {
        #[derive(Deserialize)]
        struct Versions {
            versions: Vec<Version>,
        }
        let root = service::root(&self.endpoint(service).await?);
        let request = Request::new("version_list", Verb::GET, root).tolerate(StatusCode::MULTIPLE_CHOICES);
        Ok(self.0.http.json::<Versions>(request).await?.versions)
    }
}

/// An answer without a body is read as `null`.
fn answer<T: DeserializeOwned>(response: &Response) -> Result<T> {
    if response.body().is_empty() {
        let nothing = serde_json::from_value(Value::Null);
        return nothing.map_err(|_| response.odd("the answer has no body").into());
    }
    Ok(response.json()?)
}

fn below(mut url: Url, path: &[&str]) -> Result<Url> {
    if let Some(bad) = path.iter().find(|segment| matches!(**segment, "" | "." | "..")) {
        return Err(Error::invalid("id", format!("{bad:?} in {} is no ID", path.join("/"))));
    }
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    Ok(url)
}

/// The values of `--user-agent`, the last first, then the program.
fn user_agent(more: &[String]) -> String {
    let more = more.iter().rev().map(String::as_str);
    let text = more.chain([PROGRAM]).collect::<Vec<_>>().join(" ");
    text.chars().map(|c| if c.is_ascii() && !c.is_control() { c } else { '?' }).collect()
}

#[async_trait]
impl Authorization for Tokens {
    async fn authorize(&self, request: &mut HttpRequest<Bytes>) -> Result<u64> {
        let lease = self.0.get().await?;
        request.headers_mut().insert(TOKEN, lease.value.token.clone());
        Ok(lease.number)
    }

    fn refused(&self, proof: u64) {
        self.0.refuse(proof);
    }

    fn secrets(&self) -> Vec<String> {
        let token = self.0.current();
        token.iter().filter_map(|lease| lease.value.token.to_str().ok().map(str::to_owned)).collect()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("region", &self.0.region).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_is_none_never_becomes_a_request_for_a_list() {
        let base: Url = "http://nova/v2.1/".parse().unwrap();
        assert_eq!(
            below(base.clone(), &["servers", "a b/../c"]).unwrap().as_str(),
            "http://nova/v2.1/servers/a%20b%2F..%2Fc"
        );
        for bad in ["", ".", ".."] {
            assert!(below(base.clone(), &["servers", bad]).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn section_3_user_agents_come_last_first() {
        let both = user_agent(&["a/b".to_owned(), "c/d".to_owned()]);
        assert_eq!(both, format!("c/d a/b {PROGRAM}"));
        assert_eq!(user_agent(&["a b".to_owned()]), format!("a b {PROGRAM}"));
        assert_eq!(user_agent(&[]), PROGRAM);
    }
}
