//! The guard against a mass disappearance.
//!
//! Wrong credentials, a wrong region or a cloud that lost its index make many instances *gone* at once, with a positive
//! answer for each. When more than a share of the nodes seems gone at the same time, none of them is deleted. The guard
//! releases by itself when the share falls. A node that somebody said may go is let go all the same: an operator by
//! [`MAY_BE_DELETED`], the cluster autoscaler by its taint.

use std::{collections::HashMap, sync::Arc, time::Duration};

use prometheus::IntGauge;
use tokio::time::Instant;

use super::findings::Findings;
use crate::{
    cluster::{
        events::{Recorder, Severity},
        objects::{Node, Object},
    },
    controllers::{about_node, some_names},
    node::taints,
};

/// On a node, with the value `true`: its instance is gone indeed, and the node may be deleted although the guard holds.
pub const MAY_BE_DELETED: &str = "cloud-provider.rs/may-be-deleted";

/// How often a node that is held back and the log are told: events are kept for an hour by default.
const TELL_EVERY: Duration = Duration::from_secs(30 * 60);

/// When the guard holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Guard {
    /// The share of the nodes, from 0 to 1; it holds when more seem gone. 1 turns it off.
    pub threshold: f64,
    /// With fewer nodes than this it does not begin to hold.
    pub min_nodes: usize,
}

impl Default for Guard {
    fn default() -> Self {
        Self { threshold: 0.5, min_nodes: 10 }
    }
}

impl Guard {
    /// Whether it holds: `gone` of `population` nodes seem gone. Once `holding` it goes on while the share is too large,
    /// however few nodes are left.
    pub(super) fn holds(&self, gone: usize, population: usize, holding: bool) -> bool {
        let many = gone as f64 > self.threshold * population as f64;
        many && (holding || population >= self.min_nodes)
    }
}

/// Whether somebody said that the node may go.
pub(super) fn may_go(node: &Node) -> bool {
    node.annotation(MAY_BE_DELETED) == Some("true")
        || node.spec.taints.iter().any(|taint| taint.key == taints::TO_BE_DELETED)
}

/// What an operator reads about a node that is held back, with the way out.
pub(super) fn explanation(node: &Node, gone: usize, population: usize) -> String {
    let name = node.name();
    format!(
        "Not deleting node {name} although the cloud says that its instance does not exist: {gone} of {population} nodes \
         seem gone at once. Check the cloud's credentials, account and region. If the instance is gone indeed, run: \
         kubectl annotate node {name} {MAY_BE_DELETED}=true"
    )
}

/// The guard over time.
pub(super) struct Watch {
    guard: Guard,
    held: IntGauge,
    /// While it holds: when each node was told last, by UID.
    told: Option<HashMap<String, Instant>>,
    logged: Option<Instant>,
}

impl Watch {
    pub(super) fn new(guard: Guard, held: IntGauge) -> Self {
        Self { guard, held, told: None, logged: None }
    }

    /// Of the nodes that are due for deletion, those that may be deleted. Says about the others why not.
    pub(super) fn admit(&mut self, due: Vec<Arc<Node>>, findings: &Findings, recorder: &Recorder) -> Vec<Arc<Node>> {
        let (gone, population) = (findings.gone.len(), findings.population);
        if !self.guard.holds(gone, population, self.told.is_some()) {
            if self.told.take().is_some() {
                tracing::info!(gone, nodes = population, "the share of nodes that seem gone fell, deletions go on");
            }
            self.logged = None;
            self.held.set(0);
            return due;
        }
        let (admitted, held): (Vec<_>, Vec<_>) = due.into_iter().partition(|node| may_go(node));
        self.held.set(held.len().try_into().unwrap_or(i64::MAX));
        self.tell(&held, gone, population, recorder);
        admitted
    }

    fn tell(&mut self, held: &[Arc<Node>], gone: usize, population: usize, recorder: &Recorder) {
        let told = self.told.get_or_insert_default();
        told.retain(|uid, _| held.iter().any(|node| node.uid() == uid));
        let due = |last: Option<&Instant>| last.is_none_or(|last| last.elapsed() >= TELL_EVERY);
        for node in held.iter().filter(|node| due(told.get(node.uid()))).collect::<Vec<_>>() {
            told.insert(node.uid().to_owned(), Instant::now());
            let text = explanation(node, gone, population);
            recorder.event(&about_node(node), Severity::Warning, "NodeDeletionHeld", text);
        }
        if !held.is_empty() && due(self.logged.as_ref()) {
            self.logged = Some(Instant::now());
            tracing::error!(
                gone,
                nodes = population,
                held = %some_names(held),
                "nodes are not deleted: too many seem gone at once; check the cloud's credentials, account and region, or \
                 allow it with: kubectl annotate node NAME {MAY_BE_DELETED}=true"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_half_of_at_least_ten_nodes_holds_until_the_share_falls() {
        let guard = Guard::default();
        let rows = [
            // gone, population, holding before, holds
            (5, 10, false, false),
            (6, 10, false, true),
            (9, 9, false, false),
            (7, 9, true, true),
            (4, 9, true, false),
            (10, 10, false, true),
            (0, 0, true, false),
        ];
        for (gone, population, before, holds) in rows {
            assert_eq!(guard.holds(gone, population, before), holds, "{gone} of {population}, before: {before}");
        }
        assert!(!Guard { threshold: 1.0, min_nodes: 1 }.holds(100, 100, false), "1 turns it off");
        assert!(Guard { threshold: 0.0, min_nodes: 1 }.holds(1, 100, false));
    }

    #[test]
    fn an_annotation_or_the_autoscalers_taint_lets_a_node_go() {
        let mut node = Node::default();
        assert!(!may_go(&node));
        node.metadata.annotations = Some([(MAY_BE_DELETED.to_owned(), "false".to_owned())].into());
        assert!(!may_go(&node));
        node.metadata.annotations = Some([(MAY_BE_DELETED.to_owned(), "true".to_owned())].into());
        assert!(may_go(&node));
        node.metadata.annotations = None;
        node.spec.taints =
            vec![crate::cluster::objects::Taint { key: taints::TO_BE_DELETED.into(), ..Default::default() }];
        assert!(may_go(&node));
    }
}
