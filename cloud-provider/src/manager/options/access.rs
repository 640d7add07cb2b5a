//! Sections "authentication" and "authorization": who may see what on the secure port.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::{
    Errors, path,
    values::{Strings, flatten},
};
use crate::config::{
    duration::GoDuration,
    feature_gates::{FeatureGates, REMOTE_REQUEST_HEADER_UID},
};

/// Section "authentication".
#[derive(Args, Clone, Debug)]
#[group(skip)]
#[command(next_help_heading = "Authentication flags")]
pub struct Authentication {
    /// kubeconfig of the API server that reviews bearer tokens; empty for the cluster that the process runs in, and
    /// where there is none, all requests are anonymous
    #[arg(long, default_value = "")]
    pub authentication_kubeconfig: String,
    /// How long reviews of bearer tokens are remembered
    #[arg(long, default_value = "10s")]
    pub authentication_token_webhook_cache_ttl: GoDuration,
    /// Certificate authorities of clients; empty to look them up in the cluster
    #[arg(long, default_value = "")]
    pub client_ca_file: String,
    /// Request headers with the user name
    #[arg(long, default_value = "x-remote-user")]
    pub requestheader_username_headers: Vec<Strings>,
    /// Request headers with the user's UID
    #[arg(long)]
    pub requestheader_uid_headers: Vec<Strings>,
    /// Request headers with the user's groups
    #[arg(long, default_value = "x-remote-group")]
    pub requestheader_group_headers: Vec<Strings>,
    /// Prefixes of request headers with more about the user
    #[arg(long, default_value = "x-remote-extra-")]
    pub requestheader_extra_headers_prefix: Vec<Strings>,
    /// Certificate authorities of the proxies whose request headers are believed; empty to look them up in the cluster
    #[arg(long, default_value = "")]
    pub requestheader_client_ca_file: String,
    /// Common names of those proxies; empty for any
    #[arg(long)]
    pub requestheader_allowed_names: Vec<Strings>,
    /// Look nothing up in the cluster
    #[arg(long)]
    pub authentication_skip_lookup: bool,
    /// Carry on when the lookup fails; requests may then be anonymous
    #[arg(long)]
    pub authentication_tolerate_lookup_failure: bool,
}

/// Section "authorization".
#[derive(Args, Clone, Debug)]
#[group(skip)]
#[command(next_help_heading = "Authorization flags")]
pub struct Authorization {
    /// kubeconfig of the API server that reviews access; empty for the cluster that the process runs in, and where
    /// there is none, only the paths that are always allowed are
    #[arg(long, default_value = "")]
    pub authorization_kubeconfig: String,
    /// How long granted access is remembered
    #[arg(long, default_value = "10s")]
    pub authorization_webhook_cache_authorized_ttl: GoDuration,
    /// How long refused access is remembered
    #[arg(long, default_value = "10s")]
    pub authorization_webhook_cache_unauthorized_ttl: GoDuration,
    /// Paths that anyone may read; one that ends in * is a prefix
    #[arg(long, default_value = "/healthz,/readyz,/livez")]
    pub authorization_always_allow_paths: Vec<Strings>,
}

/// Validated settings of authentication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthenticationSettings {
    /// The kubeconfig for reviews; none for the cluster of the process.
    pub kubeconfig: Option<PathBuf>,
    /// How long reviews are remembered.
    pub token_cache_ttl: Duration,
    /// Certificate authorities of clients.
    pub client_ca_file: Option<PathBuf>,
    /// What is believed of proxies.
    pub request_headers: RequestHeaders,
    /// Whether the cluster's own settings are looked up where flags say nothing.
    pub lookup: bool,
    /// Whether a failed lookup is no reason to stop.
    pub tolerate_lookup_failure: bool,
}

/// Request headers of an authenticating proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeaders {
    /// Headers with the user name.
    pub username: Vec<String>,
    /// Headers with the UID.
    pub uid: Vec<String>,
    /// Headers with groups.
    pub group: Vec<String>,
    /// Prefixes of headers with more.
    pub extra_prefix: Vec<String>,
    /// Certificate authorities of proxies.
    pub client_ca_file: Option<PathBuf>,
    /// Common names of proxies; empty for any.
    pub allowed_names: Vec<String>,
}

/// Validated settings of authorization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizationSettings {
    /// The kubeconfig for reviews; none for the cluster of the process.
    pub kubeconfig: Option<PathBuf>,
    /// How long granted access is remembered.
    pub allow_cache_ttl: Duration,
    /// How long refused access is remembered.
    pub deny_cache_ttl: Duration,
    /// Paths that anyone may read, exact or a prefix with `*` at its end.
    pub always_allow_paths: Vec<String>,
}

impl Authentication {
    pub(super) fn validate(&self, gates: &FeatureGates, errors: &mut Errors) -> AuthenticationSettings {
        let headers = RequestHeaders {
            username: flatten(&self.requestheader_username_headers),
            uid: flatten(&self.requestheader_uid_headers),
            group: flatten(&self.requestheader_group_headers),
            extra_prefix: flatten(&self.requestheader_extra_headers_prefix),
            client_ca_file: path(&self.requestheader_client_ca_file),
            allowed_names: flatten(&self.requestheader_allowed_names),
        };
        for (flag, values) in [
            ("requestheader-username-headers", &headers.username),
            ("requestheader-group-headers", &headers.group),
            ("requestheader-extra-headers-prefix", &headers.extra_prefix),
            ("requestheader-allowed-names", &headers.allowed_names),
            ("requestheader-uid-headers", &headers.uid),
        ] {
            if values.iter().any(|value| value.trim().is_empty()) {
                errors.add(format!("empty value in {flag:?}"));
            }
        }
        if !headers.uid.is_empty() && !gates.enabled(REMOTE_REQUEST_HEADER_UID) {
            let gate = REMOTE_REQUEST_HEADER_UID.name;
            errors.add(format!("--requestheader-uid-headers requires the {gate:?} feature to be enabled"));
        }
        AuthenticationSettings {
            kubeconfig: path(&self.authentication_kubeconfig),
            token_cache_ttl: self.authentication_token_webhook_cache_ttl.to_std(),
            client_ca_file: path(&self.client_ca_file),
            request_headers: headers,
            lookup: !self.authentication_skip_lookup,
            tolerate_lookup_failure: self.authentication_tolerate_lookup_failure,
        }
    }
}

impl Authorization {
    pub(super) fn settings(&self) -> AuthorizationSettings {
        AuthorizationSettings {
            kubeconfig: path(&self.authorization_kubeconfig),
            allow_cache_ttl: self.authorization_webhook_cache_authorized_ttl.to_std(),
            deny_cache_ttl: self.authorization_webhook_cache_unauthorized_ttl.to_std(),
            always_allow_paths: flatten(&self.authorization_always_allow_paths),
        }
    }
}
