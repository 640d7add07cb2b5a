//! What the controller would do now.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    NodeController,
    decide::{Schedulable, Verdict, changed_addresses, refreshed_labels, stale_labels, verdict},
    initialize::FRESH,
};
use crate::{
    cloud::{Freshness, Instance, Want},
    cluster::objects::{Node, NodeAddress},
    controllers::plan::{self, Plan},
    error::Result,
    node::taints,
};

impl NodeController {
    /// What the controller would do now: initialise the nodes that wait, and bring the others up to date as the next pass
    /// over all addresses would.
    pub(super) async fn planned(&self) -> Plan {
        let mut plan = Plan::default();
        let nodes = self.managed_nodes();
        let answers = self.instances.look_up(&nodes, Want::Metadata, Freshness::Within(FRESH)).await;
        for (node, answer) in nodes.iter().zip(answers) {
            let planned = if taints::is_uninitialized(node) {
                initialization(&mut plan, node, answer)
            } else {
                self.plan_refresh(&mut plan, node, answer)
            };
            if let Err(error) = planned {
                plan.error(plan::node(node), error);
            }
        }
        plan
    }

    fn plan_refresh(&self, plan: &mut Plan, node: &Arc<Node>, answer: Result<Instance>) -> Result<()> {
        let mut labels = stale_labels(node);
        let metadata = match answer {
            Ok(Instance::Present { metadata, .. }) => metadata,
            Ok(Instance::Gone | Instance::Foreign) => None,
            Err(error) => {
                set_labels(plan, node, &labels);
                return Err(error.context("look up the instance"));
            }
        };
        if let Some(metadata) = &metadata {
            labels.extend(refreshed_labels(node, metadata, &self.settings));
        }
        set_labels(plan, node, &labels);
        if let Some(metadata) = metadata.filter(|metadata| !metadata.addresses.is_empty()) {
            set_addresses(plan, node, changed_addresses(node, &metadata)?);
        }
        Ok(())
    }
}

fn initialization(plan: &mut Plan, node: &Arc<Node>, answer: Result<Instance>) -> Result<()> {
    let metadata = match verdict(node, answer).map_err(|error| error.context("initialize the node"))? {
        Verdict::Initialize(metadata) => metadata,
        Verdict::LeaveAlone(reason) => {
            plan.note(plan::node(node), reason);
            return Ok(());
        }
    };
    set_addresses(plan, node, changed_addresses(node, &metadata)?);
    let change = Schedulable::of(node, &metadata);
    if let Some(id) = &change.provider_id {
        plan.cluster(plan::node(node), format!("set provider ID {id}"));
    }
    set_labels(plan, node, &change.labels);
    plan.cluster(plan::node(node), format!("remove taint {}", taints::UNINITIALIZED));
    Ok(())
}

fn set_addresses(plan: &mut Plan, node: &Node, addresses: Option<Vec<NodeAddress>>) {
    let Some(addresses) = addresses else { return };
    let list: Vec<String> =
        addresses.iter().map(|address| format!("{} {}", address.kind.as_str(), address.address)).collect();
    plan.cluster(plan::node(node), format!("set addresses {}", list.join(", ")));
}

fn set_labels(plan: &mut Plan, node: &Node, labels: &BTreeMap<String, String>) {
    for (key, value) in labels {
        plan.cluster(plan::node(node), format!("set label {key}={value}"));
    }
}
