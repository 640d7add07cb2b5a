//! What a user may do: a group that may do everything, paths that everyone may read, and reviews of access.

use std::fmt;
use std::sync::Mutex;

use k8s_openapi::api::authorization::v1::{NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use std::sync::PoisonError;
use tracing::warn;

use super::cache::Cache;
use super::{User, retried};
use crate::error::warn_of;
use crate::manager::options::AuthorizationSettings;

/// May do everything.
const PRIVILEGED: &str = "system:masters";

/// What came of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Go on.
    Allowed,
    /// Status 403, with the reason that the API server gave, if any.
    Forbidden(String),
    /// Nobody could say: status 500.
    Unknown(String),
}

/// Decides about requests.
pub struct Authorizer {
    always_allowed: Vec<String>,
    reviews: Option<Client>,
    reviewed: Cache<(bool, String)>,
    told: Mutex<String>,
}

impl fmt::Debug for Authorizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorizer").field("always_allowed", &self.always_allowed).finish_non_exhaustive()
    }
}

impl Authorizer {
    /// Without `client`, only what is always allowed is, and the group `system:masters`.
    pub fn new(settings: &AuthorizationSettings, client: Option<Client>) -> Authorizer {
        if client.is_none() {
            warn!("no client for reviews of access: only the paths that are always allowed are served");
        }
        Authorizer {
            always_allowed: settings.always_allow_paths.clone(),
            reviews: client,
            reviewed: Cache::new(settings.allow_cache_ttl, settings.deny_cache_ttl),
            told: Mutex::default(),
        }
    }

    /// Whether the user may do `verb` (the HTTP method in lower case) at `path`.
    pub async fn authorize(&self, user: &User, verb: &str, path: &str) -> Decision {
        if user.groups.iter().any(|group| group == PRIVILEGED) || self.is_always_allowed(path) {
            return Decision::Allowed;
        }
        let Some(client) = &self.reviews else { return Decision::Forbidden(String::new()) };
        let asked = (user, verb, path);
        let reviewed = self.reviewed.get(&asked, |(allowed, _)| *allowed, || review(client.clone(), user, verb, path));
        match reviewed.await {
            Ok((true, _)) => Decision::Allowed,
            Ok((false, reason)) => Decision::Forbidden(reason),
            Err(error) => {
                let text = error.to_string();
                let error = crate::Error::from(error);
                let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
                if *told != text {
                    warn_of!(error, error = %error.chain(), "access cannot be reviewed (create subjectaccessreviews.authorization.k8s.io)");
                    told.clone_from(&text);
                }
                Decision::Unknown(text)
            }
        }
    }

    fn is_always_allowed(&self, path: &str) -> bool {
        let path = path.trim_start_matches('/');
        self.always_allowed.iter().map(|allowed| allowed.trim_start_matches('/')).any(|allowed| {
            match allowed.strip_suffix('*') {
                Some(prefix) => path.starts_with(prefix),
                None => path == allowed,
            }
        })
    }
}

async fn review(client: Client, user: &User, verb: &str, path: &str) -> Result<(bool, String), kube::Error> {
    let attributes = NonResourceAttributes { path: Some(path.to_owned()), verb: Some(verb.to_owned()) };
    let spec = SubjectAccessReviewSpec {
        user: Some(user.name.clone()),
        uid: Some(user.uid.clone()).filter(|uid| !uid.is_empty()),
        groups: Some(user.groups.clone()),
        extra: Some(user.extra.iter().cloned().collect()),
        non_resource_attributes: Some(attributes),
        resource_attributes: None,
    };
    let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
    let api: Api<SubjectAccessReview> = Api::all(client);
    let status =
        retried(|| async { api.create(&PostParams::default(), &review).await }).await?.status.unwrap_or_default();
    Ok((status.allowed, status.reason.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn authorizer(paths: &[&str]) -> Authorizer {
        let settings = AuthorizationSettings {
            kubeconfig: None,
            allow_cache_ttl: Duration::from_secs(10),
            deny_cache_ttl: Duration::from_secs(10),
            always_allow_paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        };
        Authorizer::new(&settings, None)
    }

    #[tokio::test]
    async fn paths_are_allowed_exactly_or_by_prefix() {
        let user = User::anonymous();
        let defaults = authorizer(&["/healthz", "/readyz", "livez", "/debug/*"]);
        for (path, allowed) in [
            ("/healthz", true),
            ("/healthz/ping", false),
            ("/readyz", true),
            ("/livez", true),
            ("/metrics", false),
            ("/debug/", true),
            ("/debug/pprof", true),
            ("/debug", false),
        ] {
            assert_eq!(defaults.authorize(&user, "get", path).await == Decision::Allowed, allowed, "{path}");
        }
        assert_ne!(
            authorizer(&[]).authorize(&user, "get", "/healthz").await,
            Decision::Allowed,
            "the list may be empty"
        );
    }

    #[tokio::test]
    async fn masters_may_do_everything() {
        let user = User { groups: vec![PRIVILEGED.into()], ..User::default() };
        assert_eq!(authorizer(&[]).authorize(&user, "delete", "/metrics/slis").await, Decision::Allowed);
    }
}
