//! Instances, a page at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use cloud_provider::cloud::{Freshness, Instance, Instances, Metadata, Power, Want};
use cloud_provider::cluster::objects::{AddressKind, Node, NodeAddress};
use cloud_provider::error::{Error, Result};
use serde::{Deserialize, Serialize};

use super::NAME;
use super::backend::{REGION, provider_id};
use super::calls::{Client, Operation, Request, Terms};
use super::model::{self, Account, VirtualMachine};

/// How many machines one call names at most.
const PAGE: usize = 100;

/// Looks up instances by provider ID, and by name where a node has none.
pub(super) struct ByPage {
    client: Client,
}

/// How a node names its machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Handle {
    Id(String),
    Name(String),
    Foreign,
    Malformed(String),
}

impl Handle {
    pub(super) fn machine<'a>(&self, account: &'a Account) -> Option<&'a VirtualMachine> {
        match self {
            Self::Id(id) => account.machines.get(id),
            Self::Name(name) => account.named.get(name).and_then(|id| account.machines.get(id)),
            Self::Foreign | Self::Malformed(_) => None,
        }
    }
}

/// What the cloud says about one of the machines it was asked for.
#[derive(Serialize, Deserialize)]
pub(super) enum Found {
    Machine(VirtualMachine),
    /// It says that there is none.
    None,
}

/// Machines by ID or by name, up to [`PAGE`] of them.
#[derive(Serialize, Deserialize)]
pub(super) struct DescribeMachines(Vec<Handle>);

impl Request for DescribeMachines {
    const PATH: &'static str = "describe-machines";
    /// A machine that the answer does not mention is neither there nor not there.
    type Answer = Vec<Option<Found>>;

    fn operation(&self) -> Operation {
        Operation::DescribeMachines
    }

    fn about(&self) -> String {
        format!("{} machines", self.0.len())
    }

    fn carry_out(&self, account: &mut Account, terms: &Terms<'_>) -> Result<Self::Answer> {
        let answer = |handle: &Handle| match handle.machine(account) {
            Some(machine) if terms.hidden.contains(&machine.id) => None,
            Some(machine) => Some(Found::Machine(machine.clone())),
            None => Some(Found::None),
        };
        Ok(self.0.iter().map(answer).collect())
    }
}

impl ByPage {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }
}

#[async_trait]
impl Instances for ByPage {
    async fn look_up(&self, nodes: &[Arc<Node>], want: Want, _freshness: Freshness) -> Vec<Result<Instance>> {
        let handles: Vec<Handle> = nodes.iter().map(|node| handle(node)).collect();
        let asked: Vec<usize> =
            (0..nodes.len()).filter(|&n| matches!(handles[n], Handle::Id(_) | Handle::Name(_))).collect();
        let mut answers: BTreeMap<usize, Result<Option<Found>>> = BTreeMap::new();
        let mut failed: Option<Error> = None;
        for page in asked.chunks(PAGE) {
            // A cloud that fails is not asked for the other pages.
            if let Some(error) = failed.as_ref().filter(|error| error.is_outage()) {
                answers.extend(page.iter().map(|&n| (n, Err(again(error)))));
                continue;
            }
            let of_page: Vec<Handle> = page.iter().map(|&n| handles[n].clone()).collect();
            match self.client.send(&DescribeMachines(of_page)).await {
                Ok(found) => answers.extend(page.iter().copied().zip(found.into_iter().map(Ok))),
                Err(error) => {
                    answers.extend(page.iter().map(|&n| (n, Err(again(&error)))));
                    failed = Some(error);
                }
            }
        }
        let conclude = |(n, handle): (usize, &Handle)| match handle {
            Handle::Foreign => Ok(Instance::Foreign),
            Handle::Malformed(id) => Err(Error::invalid("spec.providerID", format!("{id:?} names no machine"))),
            Handle::Id(id) | Handle::Name(id) => match (answers.remove(&n), handle) {
                (Some(Ok(Some(Found::Machine(machine)))), _) => Ok(present(&machine, want)),
                (Some(Ok(Some(Found::None))), Handle::Id(_)) => Ok(Instance::Gone),
                (Some(Ok(Some(Found::None))), _) => Err(Error::not_found(format!("there is no machine named {id}"))),
                (Some(Err(error)), _) => Err(error),
                (Some(Ok(None)) | None, _) => Err(Error::transient(format!("the answer does not mention {id}"))),
            },
        };
        handles.iter().enumerate().map(conclude).collect()
    }
}

/// How `node` names its machine.
pub(super) fn handle(node: &Node) -> Handle {
    let Some(id) = node.provider_id() else { return Handle::Name(node.name().to_owned()) };
    match id.split_once("://") {
        Some((NAME, rest)) => match rest.rsplit_once('/') {
            Some((_, machine)) if !machine.is_empty() => Handle::Id(machine.to_owned()),
            _ => Handle::Malformed(id.to_owned()),
        },
        Some(_) => Handle::Foreign,
        None => Handle::Malformed(id.to_owned()),
    }
}

fn present(machine: &VirtualMachine, want: Want) -> Instance {
    let power = match machine.power {
        model::Power::Running => Power::Running,
        model::Power::Stopped => Power::Stopped,
    };
    let metadata = || Metadata {
        provider_id: provider_id(machine),
        instance_type: "memory.large".to_owned(),
        addresses: vec![
            NodeAddress::new(AddressKind::InternalIp, &machine.address),
            NodeAddress::new(AddressKind::Hostname, &machine.name),
        ],
        zone: machine.zone.clone(),
        region: REGION.to_owned(),
        additional_labels: BTreeMap::new(),
    };
    Instance::Present { power, metadata: (want == Want::Metadata).then(|| Box::new(metadata())) }
}

/// The same failure for each node of a page.
pub(super) fn again(error: &Error) -> Error {
    Error::new(error.kind().clone(), error.chain())
}
