//! Keystone: who we are, and the tokens that prove it.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use cloud_provider::{
    Error,
    cloud::Access,
    error::Result,
    http::{self, Fetch, HeaderName, HeaderValue, Method as Verb, Request, StatusCode, Token, Url},
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Catalog, service};

/// The header that carries a token.
pub(super) const TOKEN: HeaderName = HeaderName::from_static("x-auth-token");
/// The header that brings one.
const SUBJECT_TOKEN: &str = "x-subject-token";

/// Something that is named by its ID, or by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// The ID.
    Id(String),
    /// The name.
    Name(String),
}

/// A domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain(pub Named);

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum User {
    /// By ID.
    Id(String),
    /// By name, in a domain.
    Name(String, Domain),
}

/// A project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Project {
    /// By ID.
    Id(String),
    /// By name, in a domain.
    Name(String, Domain),
}

/// What a token is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// The user's default project, or that of the application credential.
    Unscoped,
    /// A project.
    Project(Project),
    /// A domain.
    Domain(Domain),
    /// What a trust grants, by its ID.
    Trust(String),
}

/// How we prove who we are.
#[derive(Clone, PartialEq, Eq)]
pub enum Method {
    /// `password`
    Password {
        /// Whose.
        user: User,
        /// The password.
        password: String,
    },
    /// `token`: one that was issued elsewhere.
    Token(String),
    /// `application_credential`, by ID.
    ApplicationCredential {
        /// The ID.
        id: String,
        /// The secret.
        secret: String,
    },
    /// `application_credential`, by name.
    NamedApplicationCredential {
        /// The name.
        name: String,
        /// Whose.
        user: User,
        /// The secret.
        secret: String,
    },
}

/// What comes with a token.
#[derive(Clone)]
pub struct Session {
    /// The token, marked as sensitive.
    pub token: HeaderValue,
    /// Where the services are.
    pub catalog: Catalog,
    /// The project's ID, where the token is for one.
    pub project: Option<String>,
    /// The names of our roles.
    pub roles: Vec<String>,
}

/// Fetches tokens.
pub struct Keystone {
    http: http::Client,
    auth_url: Url,
    method: Method,
    scope: Scope,
}

impl Method {
    /// What must never be shown.
    pub(super) fn secrets(&self) -> Vec<String> {
        match self {
            Self::Password { password: secret, .. }
            | Self::Token(secret)
            | Self::ApplicationCredential { secret, .. }
            | Self::NamedApplicationCredential { secret, .. } => vec![secret.clone()],
        }
    }

    fn body(&self) -> Value {
        match self {
            Self::Password { user, password } => {
                let mut user = user.body();
                user.insert("password".to_owned(), json!(password));
                json!({"methods": ["password"], "password": {"user": user}})
            }
            Self::Token(token) => json!({"methods": ["token"], "token": {"id": token}}),
            Self::ApplicationCredential { id, secret } => {
                json!({"methods": ["application_credential"], "application_credential": {"id": id, "secret": secret}})
            }
            Self::NamedApplicationCredential { name, user, secret } => json!({
                "methods": ["application_credential"],
                "application_credential": {"name": name, "user": user.body(), "secret": secret},
            }),
        }
    }
}

impl Domain {
    fn body(&self) -> Value {
        match &self.0 {
            Named::Id(id) => json!({"id": id}),
            Named::Name(name) => json!({"name": name}),
        }
    }
}

impl User {
    fn body(&self) -> Map<String, Value> {
        match self {
            Self::Id(id) => Map::from_iter([("id".to_owned(), json!(id))]),
            Self::Name(name, domain) => {
                Map::from_iter([("name".to_owned(), json!(name)), ("domain".to_owned(), domain.body())])
            }
        }
    }
}

impl Scope {
    fn body(&self) -> Option<Value> {
        Some(match self {
            Self::Unscoped => return None,
            Self::Project(Project::Id(id)) => json!({"project": {"id": id}}),
            Self::Project(Project::Name(name, domain)) => json!({"project": {"name": name, "domain": domain.body()}}),
            Self::Domain(domain) => json!({"domain": domain.body()}),
            Self::Trust(id) => json!({"OS-TRUST:trust": {"id": id}}),
        })
    }
}

/// The body of a request for a token.
fn token_request(method: &Method, scope: &Scope) -> Value {
    let mut auth = Map::from_iter([("identity".to_owned(), method.body())]);
    auth.extend(scope.body().map(|scope| ("scope".to_owned(), scope)));
    json!({"auth": auth})
}

#[derive(Deserialize)]
struct Answer {
    token: Described,
}

#[derive(Deserialize)]
struct Described {
    #[serde(default)]
    expires_at: Option<Timestamp>,
    #[serde(default)]
    issued_at: Option<Timestamp>,
    #[serde(default)]
    catalog: Option<Catalog>,
    #[serde(default)]
    project: Option<WithId>,
    #[serde(default)]
    roles: Vec<WithName>,
}

#[derive(Deserialize)]
struct WithId {
    id: String,
}

#[derive(Deserialize)]
struct WithName {
    name: String,
}

impl Described {
    /// By Keystone's clock alone where it says when it made the token, so that a wrong clock of ours does no harm.
    fn lifetime(&self) -> Option<Duration> {
        let from = self.issued_at.unwrap_or_else(Timestamp::now);
        Some(Duration::try_from(self.expires_at?.duration_since(from)).unwrap_or(Duration::ZERO))
    }
}

#[derive(Deserialize)]
struct Versions {
    versions: Values,
}

#[derive(Deserialize)]
struct Values {
    values: Vec<Version>,
}

#[derive(Debug, Deserialize)]
struct Version {
    #[serde(default)]
    id: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    links: Vec<Link>,
}

#[derive(Debug, Deserialize)]
struct Link {
    #[serde(default)]
    rel: String,
    #[serde(default)]
    href: String,
}

impl Keystone {
    /// Tokens from the Keystone at `auth_url`, asked for through `http`.
    pub fn new(http: http::Client, auth_url: Url, method: Method, scope: Scope) -> Self {
        Self { http, auth_url, method, scope }
    }

    /// Where the third version of the API is. A path that ends in a version is taken as it is; so is one for a trust, as
    /// upstream has it. Otherwise the service is asked.
    async fn base(&self) -> Result<Url> {
        let versioned = service::with_slash(self.auth_url.clone());
        if versioned.path().ends_with("/v3/") {
            return Ok(versioned);
        }
        let root = service::root(&self.auth_url);
        let below = || root.join("v3/").map_err(|error| Error::invalid("auth-url", error.to_string()));
        if matches!(self.scope, Scope::Trust(_)) {
            return below();
        }
        let request = Request::new("identity_versions", Verb::GET, root.clone()).tolerate(StatusCode::MULTIPLE_CHOICES);
        let versions = self.http.json::<Versions>(request).await.map_err(|error| {
            Error::from(error).context(format!("find the versions of the identity API at {}", http::redact::url(&root)))
        })?;
        match third(&versions.versions.values) {
            Some(link) => own_scheme(&root, link).map_or_else(below, Ok),
            None => Err(Error::invalid("auth-url", "this Keystone does not speak version 3 of the identity API")),
        }
    }
}

/// The link to the newest usable third version.
fn third(versions: &[Version]) -> Option<&str> {
    let usable = |version: &&Version| {
        version.id.starts_with("v3")
            && matches!(version.status.to_lowercase().as_str(), "current" | "supported" | "stable")
    };
    let number = |version: &&Version| -> Vec<u32> {
        version.id.trim_start_matches('v').split('.').map(|part| part.parse().unwrap_or_default()).collect()
    };
    let version = versions.iter().filter(usable).max_by_key(number)?;
    version.links.iter().find(|link| link.rel == "self").map(|link| link.href.as_str())
}

/// A link as it can be followed: a Keystone behind a proxy that ends TLS often believes that it is reached without, and no
/// password goes there.
fn own_scheme(root: &Url, link: &str) -> Option<Url> {
    let link = service::with_slash(root.join(link).ok()?);
    if link.scheme() == root.scheme() || link.scheme() == "https" {
        return Some(link);
    }
    let mut own = root.clone();
    own.set_path(link.path());
    Some(own)
}

#[async_trait]
impl Fetch for Keystone {
    type Value = Session;

    async fn fetch(&self) -> Result<Token<Session>> {
        let url = self.base().await?;
        let url = url.join("auth/tokens").map_err(|error| Error::invalid("auth-url", error.to_string()))?;
        // Asking twice makes two tokens, which does no harm, and changes nothing that a dry run would keep.
        let request = Request::new("token_create", Verb::POST, url)
            .access(Access::Read)
            .idempotent(true)
            .secret()
            .json(&token_request(&self.method, &self.scope))?;
        let response = self.http.send(request).await?;
        let token = response.headers().get(SUBJECT_TOKEN).filter(|token| !token.is_empty()).cloned();
        let mut token = token.ok_or_else(|| response.odd("Keystone's answer has no token"))?;
        token.set_sensitive(true);
        let described = response.json::<Answer>()?.token;
        let lifetime = described.lifetime();
        let session = Session {
            token,
            catalog: described.catalog.unwrap_or_default(),
            project: described.project.map(|project| project.id),
            roles: described.roles.into_iter().map(|role| role.name).collect(),
        };
        tracing::debug!(project = session.project, ?lifetime, "got a token");
        Ok(Token { value: session, lifetime })
    }
}

impl fmt::Debug for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { user, .. } => f.debug_struct("Password").field("user", user).finish_non_exhaustive(),
            Self::Token(_) => f.debug_struct("Token").finish_non_exhaustive(),
            Self::ApplicationCredential { id, .. } => {
                f.debug_struct("ApplicationCredential").field("id", id).finish_non_exhaustive()
            }
            Self::NamedApplicationCredential { name, user, .. } => {
                let mut debug = f.debug_struct("ApplicationCredential");
                debug.field("name", name).field("user", user).finish_non_exhaustive()
            }
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("project", &self.project).finish_non_exhaustive()
    }
}

impl fmt::Debug for Keystone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keystone").field("method", &self.method).field("scope", &self.scope).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_for_tokens_in_every_form() {
        let domain = || Domain(Named::Name("local".into()));
        let user = || User::Name("u".into(), Domain(Named::Id("d".into())));
        for (method, scope, expected) in [
            (
                Method::Password { user: User::Id("1".into()), password: "p".into() },
                Scope::Project(Project::Id("x".into())),
                json!({"identity": {"methods": ["password"], "password": {"user": {"id": "1", "password": "p"}}},
                       "scope": {"project": {"id": "x"}}}),
            ),
            (
                Method::Password { user: user(), password: "p".into() },
                Scope::Project(Project::Name("demo".into(), domain())),
                json!({"identity": {"methods": ["password"], "password": {"user": {"name": "u", "domain": {"id": "d"}, "password": "p"}}},
                       "scope": {"project": {"name": "demo", "domain": {"name": "local"}}}}),
            ),
            (
                Method::Password { user: user(), password: "p".into() },
                Scope::Trust("t".into()),
                json!({"identity": {"methods": ["password"], "password": {"user": {"name": "u", "domain": {"id": "d"}, "password": "p"}}},
                       "scope": {"OS-TRUST:trust": {"id": "t"}}}),
            ),
            (
                Method::Token("t".into()),
                Scope::Domain(domain()),
                json!({"identity": {"methods": ["token"], "token": {"id": "t"}}, "scope": {"domain": {"name": "local"}}}),
            ),
            (
                Method::ApplicationCredential { id: "i".into(), secret: "s".into() },
                Scope::Unscoped,
                json!({"identity": {"methods": ["application_credential"], "application_credential": {"id": "i", "secret": "s"}}}),
            ),
            (
                Method::NamedApplicationCredential { name: "n".into(), user: user(), secret: "s".into() },
                Scope::Unscoped,
                json!({"identity": {"methods": ["application_credential"],
                       "application_credential": {"name": "n", "user": {"name": "u", "domain": {"id": "d"}}, "secret": "s"}}}),
            ),
        ] {
            assert_eq!(token_request(&method, &scope), json!({ "auth": expected }));
        }
    }

    #[test]
    fn secrets_are_in_no_debug_text() {
        let user = User::Id("1".into());
        for method in [
            Method::Password { user: user.clone(), password: "hidden".into() },
            Method::Token("hidden".into()),
            Method::ApplicationCredential { id: "i".into(), secret: "hidden".into() },
            Method::NamedApplicationCredential { name: "n".into(), user, secret: "hidden".into() },
        ] {
            assert!(!format!("{method:?}").contains("hidden"));
            assert_eq!(method.secrets(), ["hidden"]);
        }
    }

    #[test]
    fn the_newest_third_version_is_taken_and_no_password_leaves_tls() {
        let version = |id: &str, status: &str, href: &str| Version {
            id: id.into(),
            status: status.into(),
            links: vec![Link { rel: "self".into(), href: href.into() }],
        };
        let versions = [
            version("v2.0", "stable", "http://k/v2.0/"),
            version("v3.8", "supported", "http://k/v3/old"),
            version("v3.14", "deprecated", "http://k/v3/gone"),
            version("v3.9", "stable", "http://k/v3/"),
        ];
        assert_eq!(third(&versions), Some("http://k/v3/"));
        assert_eq!(third(&versions[..1]), None);
        let root = "https://k:5000/identity/".parse().unwrap();
        let followed = |link| own_scheme(&root, link).map(String::from);
        assert_eq!(followed("http://k/identity/v3").as_deref(), Some("https://k:5000/identity/v3/"));
        assert_eq!(followed("https://other/v3/").as_deref(), Some("https://other/v3/"));
        assert_eq!(followed("v3/").as_deref(), Some("https://k:5000/identity/v3/"));
    }

    #[test]
    fn the_lifetime_of_a_token_does_not_depend_on_our_clock() {
        let described = |text: &str| serde_json::from_str::<Described>(text).unwrap().lifetime();
        let both = r#"{"issued_at": "2015-11-07T01:58:43.578887Z", "expires_at": "2015-11-07T02:58:43.578887Z"}"#;
        assert_eq!(described(both), Some(Duration::from_secs(3600)));
        assert_eq!(described(r#"{"expires_at": "2015-11-07T02:58:43Z"}"#), Some(Duration::ZERO));
        assert_eq!(described("{}"), None);
    }
}
