//! What the kubelet and its credential plugins say to each other, `credentialprovider.kubelet.k8s.io`.

use std::{collections::BTreeMap, fmt};

use cloud_provider::config::duration::GoDuration;
use serde::{Deserialize, Deserializer, Serialize};

/// The API group.
const GROUP: &str = "credentialprovider.kubelet.k8s.io";
/// The versions that are answered, each in itself. Upstream knows the first one only; the others, of older kubelets, have
/// the same fields.
const VERSIONS: [&str; 3] = ["v1", "v1beta1", "v1alpha1"];
const REQUEST: &str = "CredentialProviderRequest";
const RESPONSE: &str = "CredentialProviderResponse";

/// Why a request is not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No JSON, or JSON of other types.
    #[error("couldn't get version/kind; json parse error: {0}")]
    Syntax(String),
    /// Another group, or another version of it.
    #[error("group version {0} is not supported")]
    Version(String),
    /// Another kind.
    #[error("kind was {0:?}, expected {REQUEST}")]
    Kind(String),
}

/// What the kubelet asks for.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Request {
    /// The group and version in which to answer.
    #[serde(rename = "apiVersion", deserialize_with = "or_default")]
    pub version: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) kind: String,
    /// The image to pull.
    #[serde(deserialize_with = "or_default")]
    pub image: String,
    /// A token of the pod's service account, where the kubelet is configured to send one.
    #[serde(deserialize_with = "or_default")]
    pub service_account_token: String,
    /// The annotations of the service account that the kubelet is configured to send.
    #[serde(deserialize_with = "or_default")]
    pub service_account_annotations: BTreeMap<String, String>,
}

// The token is a secret.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("version", &self.version).field("image", &self.image).finish_non_exhaustive()
    }
}

/// As in Go, `null` is the same as nothing.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(value: D) -> Result<T, D::Error> {
    Option::deserialize(value).map(Option::unwrap_or_default)
}

/// Credentials for one registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Response {
    cache_key_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_duration: Option<GoDuration>,
    auth: BTreeMap<String, Auth>,
}

impl Response {
    /// Credentials for `host`. Without a duration the kubelet caches them as long as it is configured to.
    pub fn new(cache_duration: Option<GoDuration>, host: String, auth: Auth) -> Self {
        Self { cache_key_type: "Registry", cache_duration, auth: BTreeMap::from([(host, auth)]) }
    }
}

/// A user and a password.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Auth {
    /// The user.
    pub username: String,
    /// The password.
    pub password: String,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth").field("username", &self.username).finish_non_exhaustive()
    }
}

/// Reads a request. Fields that are not known are passed over.
///
/// # Errors
///
/// When it is no JSON, or of another group, version or kind.
pub fn read(text: &[u8]) -> Result<Request, Error> {
    let request: Request = serde_json::from_slice(text).map_err(|error| Error::Syntax(error.to_string()))?;
    let is_known = |version: &str| VERSIONS.contains(&version);
    if !request.version.strip_prefix(GROUP).and_then(|rest| rest.strip_prefix('/')).is_some_and(is_known) {
        return Err(Error::Version(request.version));
    }
    if request.kind != REQUEST {
        return Err(Error::Kind(request.kind));
    }
    Ok(request)
}

/// Writes an answer in the version of its request, as one line.
pub fn write(version: &str, response: &Response) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Typed<'a> {
        kind: &'static str,
        api_version: &'a str,
        #[serde(flatten)]
        response: &'a Response,
    }
    let typed = Typed { kind: RESPONSE, api_version: version, response };
    // Keys are strings and all else is plain, so that nothing can fail.
    serde_json::to_string(&typed).unwrap_or_default() + "\n"
}
