//! What one look at the nodes and their instances says: a pure function, which runs and plans share.

use std::{collections::HashSet, sync::Arc};

use crate::{
    Error,
    cloud::{Instance, Power},
    cluster::objects::Node,
    error::Result,
    node::taints,
};

/// What is to be done, before grace periods and the guard.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Ready nodes that still carry the shutdown taint.
    pub(super) back: Vec<Arc<Node>>,
    /// Nodes of stopped instances, without the taint.
    pub(super) stopped: Vec<Arc<Node>>,
    /// Nodes whose instance seems gone.
    pub(super) gone: Vec<Arc<Node>>,
    /// Nodes about which there is no answer; they are kept.
    pub(super) unknown: Vec<(Arc<Node>, Error)>,
    /// All nodes of the cloud, those that are Ready included: what `gone` is a share of.
    pub(super) population: usize,
}

impl Findings {
    /// Sorts out nodes that are Ready, and nodes that are not with one answer each.
    pub(super) fn sort(ready: Vec<Arc<Node>>, unready: Vec<(Arc<Node>, Result<Instance>)>) -> Self {
        let mut findings = Self::default();
        let mut others = Vec::new();
        for (node, answer) in unready {
            match answer {
                Ok(Instance::Gone) => findings.gone.push(node),
                Ok(Instance::Foreign) => {}
                Ok(Instance::Present { power, .. }) => {
                    let tainted = taints::has(&node.spec.taints, &taints::shutdown());
                    if power == Power::Stopped && !tainted {
                        findings.stopped.push(node.clone());
                    }
                    others.push(node);
                }
                Err(error) => {
                    others.push(node.clone());
                    findings.unknown.push((node, error));
                }
            }
        }
        // Ready nodes are not looked up, so their provider IDs tell which cloud they belong to.
        let schemes: HashSet<_> = findings.gone.iter().map(|node| scheme(node)).collect();
        let of_this_cloud = |node: &&Arc<Node>| {
            schemes.contains(&None) || scheme(node).is_none_or(|scheme| schemes.contains(&Some(scheme)))
        };
        findings.population = findings.gone.len() + ready.iter().chain(&others).filter(of_this_cloud).count();
        findings.back = ready.into_iter().filter(|node| taints::has(&node.spec.taints, &taints::shutdown())).collect();
        findings
    }
}

/// What stands before `://` in the provider ID.
fn scheme(node: &Node) -> Option<&str> {
    node.provider_id().map(|id| id.split_once("://").map_or(id, |(scheme, _)| scheme))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(name: &str, id: &str, tainted: bool) -> Arc<Node> {
        let shutdown = json!([{"key": taints::SHUTDOWN, "effect": "NoSchedule"}]);
        let taints = if tainted { shutdown } else { json!([]) };
        Arc::new(
            serde_json::from_value(
                json!({"metadata": {"name": name, "uid": name}, "spec": {"providerID": id, "taints": taints}}),
            )
            .unwrap(),
        )
    }

    #[test]
    fn only_a_positive_answer_is_gone_and_nodes_of_other_clouds_do_not_count() {
        let present = |power| Ok(Instance::Present { power, metadata: None });
        let ready = vec![node("r1", "a://1", true), node("r2", "a://2", false), node("edge", "b://1", false)];
        let unready = vec![
            (node("gone", "a://3", false), Ok(Instance::Gone)),
            (node("error", "a://4", false), Err(Error::transient("down"))),
            (node("foreign", "a://5", false), Ok(Instance::Foreign)),
            (node("stopped", "a://6", false), present(Power::Stopped)),
            (node("known", "a://7", true), present(Power::Stopped)),
            (node("runs", "a://8", false), present(Power::Running)),
        ];
        let findings = Findings::sort(ready, unready);
        let names = |nodes: &[Arc<Node>]| nodes.iter().map(|node| node.name().to_owned()).collect::<Vec<_>>();
        assert_eq!(names(&findings.back), ["r1"]);
        assert_eq!(names(&findings.stopped), ["stopped"]);
        assert_eq!(names(&findings.gone), ["gone"]);
        assert_eq!(findings.unknown.len(), 1);
        assert_eq!(findings.population, 7, "r1, r2, gone, error, stopped, known, runs");
    }
}
