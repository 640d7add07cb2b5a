//! Who may see what on the secure port: delegated authentication and authorization, as upstream's generic server has it.
//!
//! A request is authenticated by the headers of a proxy that is trusted, by a client certificate or by a bearer token,
//! in this order; the first that succeeds counts. What was presented and did not succeed makes the request
//! unauthorized, never anonymous. Certificates are checked against the authorities that the cluster publishes in
//! `kube-system/extension-apiserver-authentication`, tokens and access by reviews of the API server.
//!
//! Where the process may not ask the API server it degrades as upstream does: without reviews of tokens these are
//! ignored, without reviews of access only the paths that are always allowed are served.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderMap};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use rustls::pki_types::CertificateDer;
use tokio::time::{sleep, timeout};
use tracing::{debug, info};

use super::options::{AuthenticationSettings, AuthorizationSettings};
use crate::cluster::client::{self, Clients, Policy};
use crate::error::warn_of;

mod authorities;
mod authorization;
mod cache;
mod certificate;
mod headers;
#[cfg(test)]
mod tests;

pub use authorities::Lookup;
pub use authorization::{Authorizer, Decision};

use authorities::Authorities;
use cache::Cache;

/// Time for one review with its retries.
const REVIEW_TIMEOUT: Duration = Duration::from_secs(10);
/// First pause between attempts of a review, and what it grows by.
const REVIEW_PAUSE: Duration = Duration::from_millis(500);
const REVIEW_GROWTH: f64 = 1.5;
const REVIEW_ATTEMPTS: u32 = 5;

/// The user behind a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct User {
    /// The name.
    pub name: String,
    /// The UID; may be empty.
    pub uid: String,
    /// The groups.
    pub groups: Vec<String>,
    /// More about the user, in order of the keys.
    pub extra: Vec<(String, Vec<String>)>,
}

impl User {
    fn anonymous() -> User {
        User { name: "system:anonymous".into(), groups: vec!["system:unauthenticated".into()], ..User::default() }
    }

    /// With the group of all that are known.
    fn authenticated(mut self) -> User {
        const GROUP: &str = "system:authenticated";
        if !self.groups.iter().any(|group| group == GROUP) {
            self.groups.push(GROUP.to_owned());
        }
        self
    }
}

/// The credentials of a request were refused: status 401.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Unauthorized")]
pub struct Unauthorized;

/// Why there is no authentication.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of certificate authorities cannot be used.
    #[error("unable to load {what} file {path:?}: {problem}")]
    File {
        /// Whose authorities.
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The cluster's settings cannot be read, and that is not tolerated.
    #[error("unable to load configmap based request-header-client-ca-file")]
    Lookup(#[source] kube::Error),
    /// There is no client for reviews, though a kubeconfig was given.
    #[error("make a client for delegated authentication and authorization")]
    Client(#[from] client::Error),
}

/// Finds out who sends a request.
pub struct Authenticator {
    authorities: Arc<Authorities>,
    tokens: Option<Client>,
    reviewed: Cache<Option<User>>,
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator").finish_non_exhaustive()
    }
}

impl Authenticator {
    /// With `client`, tokens are reviewed and the cluster's own settings are looked up, as `settings` say. The [`Lookup`] follows
    /// changes of files and of the cluster; run it beside the server.
    ///
    /// # Errors
    /// Files that cannot be used, and a lookup that fails unless `settings` tolerate that.
    pub async fn new(
        settings: &AuthenticationSettings,
        client: Option<Client>,
    ) -> Result<(Authenticator, Lookup), Error> {
        let (authorities, lookup) = authorities::load(settings, client.clone()).await?;
        let reviewed = Cache::new(settings.token_cache_ttl, settings.token_cache_ttl);
        Ok((Authenticator { authorities, tokens: client, reviewed }, lookup))
    }

    /// The user of a request with these headers over a connection with these client certificates, the client's own first.
    ///
    /// # Errors
    /// When credentials were presented and none of them was good.
    pub async fn authenticate(&self, headers: &HeaderMap, chain: &[CertificateDer<'_>]) -> Result<User, Unauthorized> {
        let mut refused = false;
        for found in [self.authorities.by_headers(headers, chain), self.authorities.by_certificate(chain)] {
            match found {
                Ok(Some(user)) => return Ok(user.authenticated()),
                Ok(None) => {}
                Err(problem) => {
                    debug!(problem, "client certificate refused");
                    refused = true;
                }
            }
        }
        match self.by_token(headers).await {
            Ok(Some(user)) => Ok(user.authenticated()),
            Ok(None) if !refused => Ok(User::anonymous()),
            _ => Err(Unauthorized),
        }
    }

    /// The user of a bearer token; none if there is no token or no one to ask.
    async fn by_token(&self, headers: &HeaderMap) -> Result<Option<User>, Unauthorized> {
        let (Some(client), Some(token)) = (&self.tokens, bearer(headers)) else { return Ok(None) };
        let reviewed = self.reviewed.get(&token, Option::is_some, || review_token(client.clone(), token.to_owned()));
        match reviewed.await {
            Ok(Some(user)) => Ok(Some(user)),
            Ok(None) => Err(Unauthorized),
            Err(error) => {
                let error = crate::Error::from(error);
                warn_of!(
                    error,
                    error = %error.chain(),
                    "bearer tokens cannot be reviewed (create tokenreviews.authentication.k8s.io)"
                );
                Err(Unauthorized)
            }
        }
    }
}

/// The token of an `Authorization: Bearer` header.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    let token = token.trim_start();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// Asks the API server about a token. None if it is not valid.
async fn review_token(client: Client, token: String) -> Result<Option<User>, kube::Error> {
    let spec = TokenReviewSpec { token, audiences: None };
    let review = TokenReview { spec, ..TokenReview::default() };
    let api: Api<TokenReview> = Api::all(client);
    let status =
        retried(|| async { api.create(&PostParams::default(), &review).await }).await?.status.unwrap_or_default();
    if status.authenticated != Some(true) {
        debug!(error = status.error, "bearer token refused");
        return Ok(None);
    }
    let user = status.user.unwrap_or_default();
    Ok(Some(User {
        name: user.username.unwrap_or_default(),
        uid: user.uid.unwrap_or_default(),
        groups: user.groups.unwrap_or_default(),
        extra: user.extra.unwrap_or_default().into_iter().collect(),
    }))
}

/// Repeats a review that failed for a moment, as upstream: 5 attempts, 500 ms apart and growing, 10 s in all.
async fn retried<T, F>(mut review: impl FnMut() -> F) -> Result<T, kube::Error>
where
    F: Future<Output = Result<T, kube::Error>>,
{
    let attempts = async {
        let mut pause = REVIEW_PAUSE;
        for _ in 1..REVIEW_ATTEMPTS {
            match review().await {
                Err(kube::Error::Api(status)) if status.code == 429 || status.code >= 500 => {}
                Err(kube::Error::HyperError(_) | kube::Error::Service(_)) => {}
                result => return result,
            }
            sleep(pause.mul_f64(1.0 + 0.2 * rand::random::<f64>())).await;
            pause = pause.mul_f64(REVIEW_GROWTH);
        }
        review().await
    };
    timeout(REVIEW_TIMEOUT, attempts).await.unwrap_or_else(|elapsed| Err(kube::Error::Service(elapsed.into())))
}

/// Who a request is from and what it may: the secure port has both.
#[derive(Debug)]
pub struct Access {
    /// Who it is.
    pub authenticator: Authenticator,
    /// What it may.
    pub authorizer: Authorizer,
}

impl Access {
    /// See [`Authenticator::new`] and [`Authorizer::new`]; each with its client, if there is one.
    ///
    /// # Errors
    /// Those of [`Authenticator::new`].
    pub async fn new(
        authentication: &AuthenticationSettings,
        tokens: Option<Client>,
        authorization: &AuthorizationSettings,
        reviews: Option<Client>,
    ) -> Result<(Access, Lookup), Error> {
        let (authenticator, lookup) = Authenticator::new(authentication, tokens).await?;
        Ok((Access { authenticator, authorizer: Authorizer::new(authorization, reviews) }, lookup))
    }

    /// The same with clients as the flags say: from `--authentication-kubeconfig` and `--authorization-kubeconfig`, else of the
    /// cluster that the process runs in, else none. `clients` are the others of this process.
    ///
    /// # Errors
    /// A kubeconfig that cannot be used, and those of [`Authenticator::new`].
    pub async fn delegated(
        authentication: &AuthenticationSettings,
        authorization: &AuthorizationSettings,
        user_agent: &str,
        clients: &Clients,
    ) -> Result<(Access, Lookup), Error> {
        let tokens = delegated(authentication.kubeconfig.clone(), user_agent, clients).await?;
        let reviews = delegated(authorization.kubeconfig.clone(), user_agent, clients).await?;
        Access::new(authentication, tokens, authorization, reviews).await
    }
}

async fn delegated(
    kubeconfig: Option<PathBuf>,
    user_agent: &str,
    clients: &Clients,
) -> Result<Option<Client>, client::Error> {
    let settings = client::Settings { kubeconfig, user_agent: user_agent.to_owned(), ..client::Settings::default() };
    match clients.beside(settings).client("delegated-auth", Policy::REVIEW).await {
        Ok(client) => Ok(Some(client)),
        Err(client::Error::InCluster(error)) => {
            info!(%error, "not in a cluster and no kubeconfig: nobody reviews tokens and access");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
