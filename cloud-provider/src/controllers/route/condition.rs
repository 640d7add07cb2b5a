//! The condition `NetworkUnavailable`, which keeps pods off nodes that have no route.

use jiff::Timestamp;
use serde_json::Value;

use crate::cluster::{
    objects::{NETWORK_UNAVAILABLE, Node},
    patch,
};

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
        let says = node.condition(NETWORK_UNAVAILABLE);
        says.is_some_and(|condition| condition.status == self.status() && condition.reason == self.reason())
    }

    /// For `nodes/status`.
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
}
