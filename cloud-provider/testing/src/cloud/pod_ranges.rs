//! Ranges of pods' addresses, which every machine has from its start on unless a test says otherwise.

use std::sync::Arc;

use async_trait::async_trait;
use cloud_provider::cloud::{Assignment, Freshness, PodRanges};
use cloud_provider::cluster::objects::Node;
use cloud_provider::error::{Error, Result};

use super::instances::{Answer, ByPage};
use super::model::VirtualMachine;

#[async_trait]
impl PodRanges for ByPage {
    async fn assigned(&self, nodes: &[Arc<Node>], _freshness: Freshness) -> Vec<Result<Assignment>> {
        let assignment = |answer| match answer {
            Answer::Machine(machine) => of_machine(&machine),
            Answer::Gone => Ok(Assignment::Unknown),
            Answer::Foreign => Ok(Assignment::Foreign),
        };
        self.machines(nodes).await.into_iter().map(|answer| answer.and_then(assignment)).collect()
    }
}

fn of_machine(machine: &VirtualMachine) -> Result<Assignment> {
    let Some(texts) = &machine.pod_ranges else { return Ok(Assignment::Pending) };
    if texts.is_empty() {
        return Ok(Assignment::None);
    }
    let ranges = texts.iter().map(|text| {
        text.parse()
            .map_err(|_| Error::invalid("pod_ranges", format!("{text:?} of machine {} is no range", machine.id)))
    });
    Ok(Assignment::Ranges(ranges.collect::<Result<_>>()?))
}
