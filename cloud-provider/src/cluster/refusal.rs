//! What the API server refuses because no role grants it, told once in a while.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long a permission is not told of again: it may have been granted meanwhile, and taken away.
const AGAIN: Duration = Duration::from_secs(30 * 60);

/// A permission that the roles of a user lack, as the API server's authorizer names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Lacking {
    /// Who asked.
    pub(crate) user: String,
    /// The verb and the resource: `delete nodes`, `get leases.coordination.k8s.io`.
    pub(crate) permission: String,
}

impl Lacking {
    /// Reads the message of a status 403; none where something else than a missing role forbids the request, such as an
    /// admission webhook.
    pub(crate) fn of(message: &str) -> Option<Self> {
        let (_, rest) = message.split_once("User \"")?;
        let (user, rest) = rest.split_once("\" cannot ")?;
        let (verb, rest) = rest.split_once(" resource \"")?;
        let (resource, rest) = rest.split_once('"')?;
        let group = rest.strip_prefix(" in API group \"").and_then(|rest| rest.split_once('"'));
        let group = group.map(|(group, _)| group).filter(|group| !group.is_empty());
        let permission = match group {
            Some(group) => format!("{verb} {resource}.{group}"),
            None => format!("{verb} {resource}"),
        };
        Some(Self { user: user.to_owned(), permission })
    }
}

/// Whether a missing role is behind an error of a watch. The client has told of it.
pub(crate) fn is_behind(error: &(dyn StdError + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(kube::Error::Api(status)) = error.downcast_ref() {
            return status.code == 403 && Lacking::of(&status.message).is_some();
        }
        cause = error.source();
    }
    false
}

/// What the clients of one process were refused, and when they told of it.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<HashMap<Lacking, Instant>>);

impl Refusals {
    /// Warns of a missing permission, unless that was told within the last half hour. Says whether it warned.
    pub(crate) fn tell(&self, lacking: Lacking) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.get(&lacking).is_some_and(|at| at.elapsed() < AGAIN) {
            return false;
        }
        let Lacking { user, permission } = &lacking;
        tracing::warn!(
            user,
            permission,
            "no role grants this program a permission: what needs it is not done, and goes on being tried"
        );
        told.insert(lacking, Instant::now());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_permission_is_told_of_once_in_half_an_hour() {
        let refusals = Refusals::default();
        let lacking = |permission: &str| Lacking { user: "u".into(), permission: permission.into() };
        assert!(refusals.tell(lacking("delete nodes")) && refusals.tell(lacking("get nodes")));
        tokio::time::advance(AGAIN - Duration::from_secs(1)).await;
        assert!(!refusals.tell(lacking("delete nodes")));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(refusals.tell(lacking("delete nodes")));
        assert!(!refusals.tell(lacking("delete nodes")));
    }

    #[test]
    fn a_missing_permission_is_named_without_object_and_namespace() {
        for (message, permission) in [
            (
                r#"nodes "a" is forbidden: User "u" cannot delete resource "nodes" in API group "" at the cluster scope"#,
                Some("delete nodes"),
            ),
            (
                r#"services "s" is forbidden: User "u" cannot patch resource "services/status" in API group "" in the namespace "x""#,
                Some("patch services/status"),
            ),
            (
                r#"leases.coordination.k8s.io "l" is forbidden: User "u" cannot get resource "leases" in API group "coordination.k8s.io" in the namespace "kube-system""#,
                Some("get leases.coordination.k8s.io"),
            ),
            (r#"admission webhook "w" denied the request: no"#, None),
            (r#"forbidden: User "u" cannot get path "/healthz""#, None),
        ] {
            let lacking = Lacking::of(message);
            assert_eq!(lacking.as_ref().map(|lacking| lacking.permission.as_str()), permission, "{message}");
            assert!(lacking.is_none_or(|lacking| lacking.user == "u"));
        }
    }
}
