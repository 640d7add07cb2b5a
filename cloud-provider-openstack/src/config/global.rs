//! `[Global]`: from its keys, and those of `clouds.yaml`, to how OpenStack is reached and who we are there.

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc, time::Duration};

use cloud_provider::{
    config::Notes,
    http::{Identity, Pem, Url},
};
use serde::{Deserialize, Deserializer, de};

use super::{
    clouds::{self, Auth, Entry},
    non_empty,
};
use crate::client::{self, Domain, Interface, Method, Named, Project, Scope, Service, User};

/// The section as it is written.
#[derive(Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct Section {
    auth_url: String,
    user_id: String,
    username: String,
    password: String,
    tenant_id: String,
    tenant_name: String,
    trust_id: String,
    trustee_id: String,
    trustee_password: String,
    domain_id: String,
    domain_name: String,
    tenant_domain_id: String,
    tenant_domain_name: String,
    user_domain_id: String,
    user_domain_name: String,
    region: String,
    #[serde(deserialize_with = "word")]
    os_endpoint_type: String,
    ca_file: String,
    cafilecontents: String,
    cert_file: String,
    key_file: String,
    tls_insecure: String,
    token: String,
    use_clouds: bool,
    clouds_file: String,
    cloud: String,
    application_credential_id: String,
    application_credential_name: String,
    application_credential_secret: String,
    compute_endpoint: String,
    network_endpoint: String,
    load_balancer_endpoint: String,
    key_manager_endpoint: String,
    block_storage_endpoint: String,
    requests_per_second: f64,
    requests_burst: u32,
}

/// Upstream reads this one key as a word: empty text and text with blanks are syntax errors.
fn word<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    match text.is_empty() || text.contains(char::is_whitespace) {
        true => Err(de::Error::custom(format_args!("{text:?} is none of public, internal, admin"))),
        false => Ok(text),
    }
}

impl fmt::Debug for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Global").field("auth_url", &self.auth_url).finish_non_exhaustive()
    }
}

/// Environment variables by name.
type Variables = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What the configuration reads beside its file: environment variables, and the folders of `clouds.yaml`.
#[derive(Clone)]
pub struct Surroundings {
    variable: Variables,
    directories: Vec<PathBuf>,
}

impl Surroundings {
    /// Those of this process.
    pub fn of_process() -> Self {
        let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config/openstack"));
        let directories = [Some(PathBuf::from(".")), home, Some(PathBuf::from("/etc/openstack"))];
        Self {
            variable: Arc::new(|name| std::env::var(name).ok()),
            directories: directories.into_iter().flatten().collect(),
        }
    }

    /// These and no others.
    pub fn new(variables: BTreeMap<String, String>, directories: Vec<PathBuf>) -> Self {
        Self { variable: Arc::new(move |name| variables.get(name).cloned()), directories }
    }

    pub(super) fn directories(&self) -> &[PathBuf] {
        &self.directories
    }

    /// The value of an environment variable that is set and not empty.
    pub fn variable(&self, name: &str) -> Option<String> {
        (self.variable)(name).filter(|value| !value.is_empty())
    }
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings").field("directories", &self.directories).finish_non_exhaustive()
    }
}

pub(super) fn validate(
    mut section: Section,
    time_limit: Duration,
    surroundings: &Surroundings,
    notes: &mut Notes,
) -> Option<client::Settings> {
    let mut verify = None;
    let mut overrides = BTreeMap::new();
    let mut is_whole = true;
    if section.use_clouds || !section.cloud.is_empty() {
        let file = if section.use_clouds { section.clouds_file.as_str() } else { "" };
        match notes.check(clouds::entry(&section.cloud, file, surroundings)) {
            Some(entry) => {
                verify = entry.verify;
                overrides = endpoint_overrides(&entry);
                section.complete(entry);
            }
            // What is missing here may stand there.
            None => is_whole = false,
        }
    }
    let auth_url = is_whole.then(|| notes.check(url("auth-url", &section.auth_url).and_then(not_v2))).flatten();
    let identity = is_whole.then(|| identity(&section, notes)).flatten();
    let interface = match section.os_endpoint_type.as_str() {
        "" | "public" => Some(Interface::Public),
        "internal" => Some(Interface::Internal),
        "admin" => Some(Interface::Admin),
        other => {
            notes.problems.push(format!("[Global] os-endpoint-type {other:?}: one of public, internal, admin"));
            None
        }
    };
    let endpoints = section.endpoints(overrides, notes);
    let rate = section.rate(notes);
    let insecure = match section.tls_insecure.as_str() {
        "true" => true,
        "" => verify == Some(false),
        other => {
            if other != "false" {
                notes
                    .warnings
                    .push(format!("[Global] tls-insecure {other:?} is not \"true\": certificates are checked"));
            }
            false
        }
    };
    let (method, scope) = identity?;
    Some(client::Settings {
        auth_url: auth_url?,
        method,
        scope,
        region: section.region.clone(),
        interface: interface?,
        authorities: section.authorities(),
        identity: section.certificate(notes),
        insecure,
        time_limit,
        endpoints,
        rate,
        user_agent: Vec::new(),
    })
}

fn url(key: &str, text: &str) -> Result<Url, String> {
    if text.is_empty() {
        return Err(format!("[Global] {key} is missing"));
    }
    // The text may hold a password.
    let url = text.parse::<Url>().map_err(|error| format!("[Global] {key} is not a URL: {error}"))?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        scheme => Err(format!("[Global] {key}: the scheme is {scheme:?}, it must be http or https")),
    }
}

/// The second version of the identity API is in no release since 2018.
fn not_v2(url: Url) -> Result<Url, String> {
    match url.path().trim_end_matches('/').ends_with("/v2.0") {
        true => Err("[Global] auth-url ends in /v2.0, an API that is no more: end it in /v3, or leave the version out"
            .to_owned()),
        false => Ok(url),
    }
}

fn endpoint_overrides(entry: &Entry) -> BTreeMap<Service, String> {
    let of = |service: Service| {
        let text = service
            .names()
            .iter()
            .find_map(|name| entry.rest.get(&format!("{}_endpoint_override", name.replace('-', "_")))?.as_str())?;
        Some((service, text.to_owned()))
    };
    Service::ALL.into_iter().filter_map(of).collect()
}

impl Section {
    /// Fills in what is empty from the entry of `clouds.yaml`. Where `cloud` names the entry, all of who we are comes from
    /// there, as upstream has it.
    fn complete(&mut self, entry: Entry) {
        let Entry { auth, region_name, endpoint_type, interface, cacert, cert, key, verify: _, rest: _ } = entry;
        let auth = auth.unwrap_or_default();
        let whole = !self.cloud.is_empty();
        let fill = |own: &mut String, other: String| {
            if own.is_empty() {
                *own = other;
            }
        };
        fill(&mut self.auth_url, auth.auth_url.clone());
        fill(&mut self.region, region_name);
        fill(&mut self.os_endpoint_type, if endpoint_type.is_empty() { interface } else { endpoint_type });
        // One of the two alone would not be the operator's own pair.
        if self.ca_file.is_empty() && self.cafilecontents.is_empty() {
            self.ca_file = cacert;
        }
        if self.cert_file.is_empty() && self.key_file.is_empty() {
            (self.cert_file, self.key_file) = (cert, key);
        }
        for (own, other) in self.who_we_are(auth) {
            if whole || own.is_empty() {
                *own = other;
            }
        }
    }

    fn who_we_are(&mut self, auth: Auth) -> [(&mut String, String); 15] {
        [
            (&mut self.user_id, auth.user_id),
            (&mut self.username, auth.username),
            (&mut self.password, auth.password),
            (&mut self.tenant_id, auth.project_id),
            (&mut self.tenant_name, auth.project_name),
            (&mut self.domain_id, auth.domain_id),
            (&mut self.domain_name, auth.domain_name),
            (&mut self.tenant_domain_id, auth.project_domain_id),
            (&mut self.tenant_domain_name, auth.project_domain_name),
            (&mut self.user_domain_id, auth.user_domain_id),
            (&mut self.user_domain_name, auth.user_domain_name),
            (&mut self.token, auth.token),
            (&mut self.application_credential_id, auth.application_credential_id),
            (&mut self.application_credential_name, auth.application_credential_name),
            (&mut self.application_credential_secret, auth.application_credential_secret),
        ]
    }

    fn endpoints(&self, mut overrides: BTreeMap<Service, String>, notes: &mut Notes) -> BTreeMap<Service, Url> {
        let own = [
            (Service::Compute, &self.compute_endpoint),
            (Service::Network, &self.network_endpoint),
            (Service::LoadBalancer, &self.load_balancer_endpoint),
            (Service::KeyManager, &self.key_manager_endpoint),
            (Service::BlockStorage, &self.block_storage_endpoint),
        ];
        let own = own.into_iter().filter(|(_, text)| !text.is_empty());
        overrides.extend(own.map(|(service, text)| (service, text.clone())));
        let url = |(service, text): (Service, String)| {
            let key = format!("{}-endpoint", service.names()[0]);
            notes.check(url(&key, &text)).map(|url| (service, url))
        };
        overrides.into_iter().filter_map(url).collect()
    }

    fn rate(&self, notes: &mut Notes) -> Option<(f64, u32)> {
        match self.requests_per_second {
            0.0 => None,
            rate if rate > 0.0 && rate.is_finite() => {
                // A second's worth, at least one.
                let burst = if self.requests_burst == 0 { rate.ceil() as u32 } else { self.requests_burst };
                Some((rate, burst.max(1)))
            }
            rate => {
                notes
                    .problems
                    .push(format!("[Global] requests-per-second {rate}: a number above 0, or 0 for no limit"));
                None
            }
        }
    }

    fn authorities(&self) -> Option<Pem> {
        let file = non_empty(self.ca_file.clone()).map(|path| Pem::File { setting: "ca-file", path: path.into() });
        let text = || non_empty(self.cafilecontents.clone()).map(|text| Pem::Text { setting: "cafilecontents", text });
        file.or_else(text)
    }

    fn certificate(&self, notes: &mut Notes) -> Option<Identity> {
        match (self.cert_file.as_str(), self.key_file.as_str()) {
            ("", "") => None,
            ("", _) | (_, "") => {
                notes.warnings.push("[Global] cert-file and key-file only count together; one is missing".to_owned());
                None
            }
            (certificate, key) => Some(Identity {
                certificate: Pem::File { setting: "cert-file", path: certificate.into() },
                key: Pem::File { setting: "key-file", path: key.into() },
            }),
        }
    }

    fn has_application_credential(&self) -> bool {
        [&self.application_credential_id, &self.application_credential_name, &self.application_credential_secret]
            .iter()
            .any(|text| !text.is_empty())
    }

    fn has_project(&self) -> bool {
        !self.tenant_id.is_empty() || !self.tenant_name.is_empty()
    }
}

/// Who we are and in what scope, by upstream's rules (of its client library and its own). The problems name the keys.
fn identity(section: &Section, notes: &mut Notes) -> Option<(Method, Scope)> {
    let mut section = Keys::of(section);
    section.inherit_domain();
    let scope = notes.check(section.scope());
    let method = notes.check(section.method(scope.as_ref()));
    Some((method?, scope?))
}

/// What is wrong with the credentials.
#[derive(Debug)]
struct Complaint(String);

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[Global] {}", self.0)
    }
}

fn complaint<T>(text: impl Into<String>) -> Result<T, Complaint> {
    Err(Complaint(text.into()))
}

/// The keys of [`Section`] that say who we are, while the rules are applied to them.
struct Keys<'a> {
    section: &'a Section,
    user_id: &'a str,
    username: &'a str,
    password: &'a str,
    domain: Both<'a>,
    user_domain: Both<'a>,
    project_domain: Both<'a>,
}

/// ID and name of a domain; either may be empty.
#[derive(Debug, Clone, Copy, Default)]
struct Both<'a> {
    id: &'a str,
    name: &'a str,
}

impl<'a> Both<'a> {
    fn is_empty(self) -> bool {
        self.id.is_empty() && self.name.is_empty()
    }

    /// The ID comes before the name.
    fn domain(self) -> Option<Domain> {
        match (self.id, self.name) {
            ("", "") => None,
            ("", name) => Some(Domain(Named::Name(name.to_owned()))),
            (id, _) => Some(Domain(Named::Id(id.to_owned()))),
        }
    }

    fn or(self, other: Self) -> Self {
        let or = |own: &'a str, other: &'a str| if own.is_empty() { other } else { own };
        Self { id: or(self.id, other.id), name: or(self.name, other.name) }
    }
}

impl<'a> Keys<'a> {
    fn of(section: &'a Section) -> Self {
        let mut keys = Self {
            section,
            user_id: &section.user_id,
            username: &section.username,
            password: &section.password,
            domain: Both { id: &section.domain_id, name: &section.domain_name },
            user_domain: Both { id: &section.user_domain_id, name: &section.user_domain_name },
            project_domain: Both { id: &section.tenant_domain_id, name: &section.tenant_domain_name },
        };
        if !section.trust_id.is_empty() {
            if !section.trustee_id.is_empty() {
                keys.user_id = &section.trustee_id;
                keys.username = "";
            }
            if !section.trustee_password.is_empty() {
                keys.password = &section.trustee_password;
            }
        }
        keys
    }

    /// With a project or an application credential, the default domain stands in for the missing ones and is no scope.
    fn inherit_domain(&mut self) {
        if self.section.has_project() || self.section.has_application_credential() {
            self.user_domain = self.user_domain.or(self.domain);
            self.project_domain = self.project_domain.or(self.domain);
            self.domain = Both::default();
        }
    }

    fn scope(&self) -> Result<Scope, Complaint> {
        let section = self.section;
        if !section.trust_id.is_empty() {
            return Ok(Scope::Trust(section.trust_id.clone()));
        }
        if section.has_application_credential() {
            return Ok(Scope::Unscoped);
        }
        if !section.tenant_id.is_empty() {
            return Ok(Scope::Project(Project::Id(section.tenant_id.clone())));
        }
        if !section.tenant_name.is_empty() {
            let Some(domain) = self.project_domain.domain() else {
                return complaint("tenant-name needs tenant-domain-id, tenant-domain-name, domain-id or domain-name");
            };
            return Ok(Scope::Project(Project::Name(section.tenant_name.clone(), domain)));
        }
        Ok(self.domain.domain().map_or(Scope::Unscoped, Scope::Domain))
    }

    /// Without a scope where that is incomplete.
    fn method(&self, scope: Option<&Scope>) -> Result<Method, Complaint> {
        let section = self.section;
        let trust = matches!(scope, Some(Scope::Trust(_)));
        if !section.token.is_empty() {
            if trust {
                return complaint("token and trust-id: a trust needs trustee-id and trustee-password, and no token");
            }
            if section.has_application_credential() {
                return complaint("token and application-credential-*: only one of them can be used");
            }
            if scope == Some(&Scope::Unscoped) {
                return complaint("token needs tenant-id, tenant-name or domain-id, for the token to be renewed");
            }
            return Ok(Method::Token(section.token.clone()));
        }
        if !self.password.is_empty() {
            return Ok(Method::Password { user: self.user()?, password: self.password.to_owned() });
        }
        if trust {
            return complaint("trust-id needs trustee-password or password");
        }
        if !section.has_application_credential() {
            return complaint("there are no credentials: password, token or application-credential-secret is needed");
        }
        if section.application_credential_secret.is_empty() {
            return complaint("application-credential-secret is missing");
        }
        let secret = section.application_credential_secret.clone();
        if !section.application_credential_id.is_empty() {
            return Ok(Method::ApplicationCredential { id: section.application_credential_id.clone(), secret });
        }
        if section.application_credential_name.is_empty() {
            return complaint("application-credential-id or application-credential-name is missing");
        }
        let (name, user) = (section.application_credential_name.clone(), self.user()?);
        Ok(Method::NamedApplicationCredential { name, user, secret })
    }

    fn user(&self) -> Result<User, Complaint> {
        let domain = self.user_domain;
        match (self.user_id, self.username) {
            ("", "") => complaint("user-id or username is missing"),
            ("", _) if !domain.id.is_empty() && !domain.name.is_empty() => complaint(
                "the domain of the user is given by ID and by name (one may come from domain-id or domain-name): only one can be used",
            ),
            ("", name) => match domain.domain() {
                Some(domain) => Ok(User::Name(name.to_owned(), domain)),
                None => complaint(format!(
                    "username {name:?} needs user-domain-id or user-domain-name, or domain-id or domain-name together with a project"
                )),
            },
            (_, name) if !name.is_empty() => complaint("user-id and username are both set: only one can be used"),
            (_, _) if !domain.is_empty() => complaint(
                "user-id needs no domain of the user: leave out user-domain-id, user-domain-name, and domain-id or domain-name, which stand in for them",
            ),
            (id, _) => Ok(User::Id(id.to_owned())),
        }
    }
}
