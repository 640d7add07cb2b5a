//! The condition `NetworkUnavailable`, which keeps pods off nodes that have no route.

use jiff::Timestamp;
use serde_json::Value;

use crate::cluster::{objects::Node, patch};

/// The condition's type.
pub(super) const NETWORK_UNAVAILABLE: &str = "NetworkUnavailable";

/// What the condition says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Network {
    /// All routes of the node are there.
    Routed,
    /// At least one is not.
    Unrouted,
}

impl Network {
    pub(super) fn status(self) -> &'static str {
        match self {
            Self::Routed => "False",
            Self::Unrouted => "True",
        }
    }

    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Routed => "RouteCreated",
            Self::Unrouted => "NoRouteCreated",
        }
    }

    fn message(self) -> &'static str {
        match self {
            Self::Routed => "RouteController created a route",
            Self::Unrouted => "RouteController failed to create a route",
        }
    }

    /// Whether the node says so already, by status and reason: another writer's reason is overwritten, as upstream does.
    pub(super) fn is_on(self, node: &Node) -> bool {
        let condition = node.status.conditions.iter().find(|condition| condition.kind == NETWORK_UNAVAILABLE);
        condition.is_some_and(|condition| condition.status == self.status() && condition.reason == self.reason())
    }

    /// For `nodes/status`, as a strategic merge patch: upstream's fields, both times set to now.
    pub(super) fn patch(self) -> Value {
        patch::node_condition(NETWORK_UNAVAILABLE, self.status(), self.reason(), self.message(), Timestamp::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::objects::NodeCondition;

    #[test]
    fn section_12_8_condition() {
        for (before, network, written) in [
            (None, Network::Routed, true),
            (None, Network::Unrouted, true),
            (Some(("False", "RouteCreated")), Network::Routed, false),
            (Some(("False", "CalicoIsUp")), Network::Routed, true),
            (Some(("False", "ExternalCNI")), Network::Routed, true),
            (Some(("True", "SomeOtherReason")), Network::Unrouted, true),
            (Some(("False", "RouteCreated")), Network::Unrouted, true),
            (Some(("True", "NoRouteCreated")), Network::Unrouted, false),
        ] {
            let mut node = Node::default();
            node.status.conditions = before
                .map(|(status, reason)| NodeCondition {
                    kind: NETWORK_UNAVAILABLE.into(),
                    status: status.into(),
                    reason: reason.into(),
                })
                .into_iter()
                .collect();
            assert_eq!(!network.is_on(&node), written, "{before:?} {network:?}");
        }
    }

    #[test]
    fn the_patch_has_upstreams_fields() {
        let patch = Network::Unrouted.patch();
        let condition = patch["status"]["conditions"][0].as_object().unwrap();
        let times = ["lastHeartbeatTime", "lastTransitionTime"].map(|field| condition[field].as_str().unwrap());
        assert_eq!(times[0], times[1]);
        assert!(times[0].len() == "2026-01-02T03:04:05Z".len() && times[0].ends_with('Z'), "{}", times[0]);
        let rest: Vec<_> = condition.iter().filter(|(key, _)| !key.ends_with("Time")).collect();
        let text = format!("{rest:?}");
        for part in ["NetworkUnavailable", "True", "NoRouteCreated", "RouteController failed to create a route"] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(rest.len(), 4);
    }
}
