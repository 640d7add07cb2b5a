//! Who we are to a registry: from the environment, or from the files and helpers of Docker and podman.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// Who we are.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Nobody in particular.
    Anonymous,
    /// A name and a password.
    Password(String, String),
    /// A token to get tokens with.
    Token(String),
}

/// Without the secret.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Anonymous => f.write_str("Anonymous"),
            Self::Password(user, _) => write!(f, "Password({user:?})"),
            Self::Token(_) => f.write_str("Token"),
        }
    }
}

/// `config.json` of Docker, `auth.json` of podman.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Default, Deserialize)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entry")
    }
}

impl Credentials {
    /// Looks in `REGISTRY_USERNAME` and `REGISTRY_PASSWORD`, then in the JSON of `DOCKER_AUTH_CONFIG`, then in the files
    /// `REGISTRY_AUTH_FILE`, `$DOCKER_CONFIG/config.json`, `~/.docker/config.json` and podman's; the first that knows the
    /// registry wins.
    ///
    /// # Errors
    /// When a file is not valid, or a helper fails.
    pub fn find(registry: &str) -> anyhow::Result<Self> {
        let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        if let (Some(user), Some(password)) = (variable("REGISTRY_USERNAME"), variable("REGISTRY_PASSWORD")) {
            return Ok(Self::Password(user, password));
        }
        if let Some(text) = variable("DOCKER_AUTH_CONFIG") {
            let found = Config::parse(&text).context("read DOCKER_AUTH_CONFIG")?.look_up(registry)?;
            if let Some(credentials) = found {
                return Ok(credentials);
            }
        }
        for path in files() {
            let Ok(text) = fs::read_to_string(&path) else { continue };
            let config = Config::parse(&text).with_context(|| format!("read {}", path.display()))?;
            if let Some(credentials) = config.look_up(registry)? {
                return Ok(credentials);
            }
        }
        Ok(Self::Anonymous)
    }

    /// The header for name and password.
    pub(super) fn basic(&self) -> Option<String> {
        match self {
            Self::Password(user, password) => Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))),
            Self::Anonymous | Self::Token(_) => None,
        }
    }
}

fn files() -> Vec<PathBuf> {
    let folder = |name: &str, path: &str| Some(PathBuf::from(env::var_os(name)?).join(path));
    let docker = folder("DOCKER_CONFIG", "config.json").or_else(|| folder("HOME", ".docker/config.json"));
    let podman = folder("XDG_RUNTIME_DIR", "containers/auth.json");
    [folder("REGISTRY_AUTH_FILE", ""), docker, podman].into_iter().flatten().collect()
}

impl Config {
    fn parse(text: &str) -> anyhow::Result<Self> {
        // What stands in it is secret: no words of the file in an error.
        serde_json::from_str(text)
            .map_err(|error| anyhow::anyhow!("it is not valid at line {}, column {}", error.line(), error.column()))
    }

    fn look_up(&self, registry: &str) -> anyhow::Result<Option<Credentials>> {
        let names = names(registry);
        let find = |helpers: &BTreeMap<String, String>| names.iter().find_map(|name| helpers.get(name).cloned());
        if let Some(helper) = find(&self.cred_helpers) {
            return ask(&helper, registry);
        }
        let entry = self.auths.iter().find(|(key, _)| names.iter().any(|name| name == host(key)));
        if let Some(credentials) = entry.map(|(_, entry)| entry.credentials()).transpose()?.flatten() {
            return Ok(Some(credentials));
        }
        self.creds_store.as_deref().map_or(Ok(None), |helper| ask(helper, registry))
    }
}

impl Entry {
    fn credentials(&self) -> anyhow::Result<Option<Credentials>> {
        if let Some(token) = self.identitytoken.as_ref().filter(|token| !token.is_empty()) {
            return Ok(Some(Credentials::Token(token.clone())));
        }
        if let (Some(user), Some(password)) = (&self.username, &self.password) {
            return Ok(Some(Credentials::Password(user.clone(), password.clone())));
        }
        let Some(auth) = self.auth.as_ref().filter(|auth| !auth.is_empty()) else { return Ok(None) };
        let decoded = STANDARD.decode(auth).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = decoded.as_deref().and_then(|text| text.split_once(':'));
        let (user, password) = pair.context("a field auth is no name and password in base64")?;
        Ok(Some(Credentials::Password(user.to_owned(), password.to_owned())))
    }
}

/// Docker's own registry has many names.
fn names(registry: &str) -> Vec<String> {
    let hub = ["docker.io", "index.docker.io", "registry-1.docker.io"];
    let all: &[&str] = if hub.contains(&registry) { &hub } else { &[registry] };
    all.iter().map(|name| (*name).to_owned()).collect()
}

/// Keys may be addresses: `https://index.docker.io/v1/`.
fn host(key: &str) -> &str {
    let key = key.trim_start_matches("https://").trim_start_matches("http://");
    key.split('/').next().unwrap_or(key)
}

/// Asks a credential helper of Docker.
fn ask(helper: &str, registry: &str) -> anyhow::Result<Option<Credentials>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        username: String,
        secret: String,
    }
    let name = format!("docker-credential-{helper}");
    let mut command = Command::new(&name);
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("start {name}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(registry.as_bytes()).with_context(|| format!("ask {name}"))?;
    }
    let output = child.wait_with_output().with_context(|| format!("ask {name}"))?;
    if !output.status.success() {
        // By the protocol it says so on standard output.
        if String::from_utf8_lossy(&output.stdout).contains("credentials not found") {
            return Ok(None);
        }
        bail!("{name} get: {}", output.status);
    }
    let Ok(answer) = serde_json::from_slice::<Answer>(&output.stdout) else { bail!("{name} gave no valid answer") };
    Ok(Some(match answer.username.as_str() {
        "<token>" => Credentials::Token(answer.secret),
        _ => Credentials::Password(answer.username, answer.secret),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(user: &str, password: &str) -> Option<Credentials> {
        Some(Credentials::Password(user.to_owned(), password.to_owned()))
    }

    #[test]
    fn entries_are_found_by_host_whatever_their_key_looks_like() {
        let config = r#"{"auths": {
            "registry.example:5000": {"auth": "amFuZTpzZWNyZXQ6d2l0aDpjb2xvbnM="},
            "https://index.docker.io/v1/": {"username": "joe", "password": "x"},
            "tokens.example": {"auth": "", "identitytoken": "t"},
            "empty.example": {}}}"#;
        let config = Config::parse(config).unwrap();
        assert_eq!(config.look_up("registry.example:5000").unwrap(), password("jane", "secret:with:colons"));
        assert_eq!(config.look_up("docker.io").unwrap(), password("joe", "x"));
        assert_eq!(config.look_up("tokens.example").unwrap(), Some(Credentials::Token("t".to_owned())));
        assert_eq!(config.look_up("empty.example").unwrap(), None);
        assert_eq!(config.look_up("registry.example").unwrap(), None);
    }

    #[test]
    fn secrets_are_in_no_error_and_no_debug_output() {
        let error = Config::parse(r#"{"auths": {"a": {"auth": 12345}}}"#).unwrap_err();
        assert!(!format!("{error:#}").contains("12345"), "{error:#}");
        let credentials = Credentials::Password("jane".to_owned(), "secret".to_owned());
        assert_eq!(format!("{credentials:?}"), "Password(\"jane\")");
    }
}
