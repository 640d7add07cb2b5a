//! The route table: one entry for each destination, each change a call of its own that may take its time.

use std::sync::Arc;

use async_trait::async_trait;
use cloud_provider::cloud::Routes;
use cloud_provider::cloud::routes::{Change, Creation, Destination, Route, State, one_by_one};
use cloud_provider::cluster::objects::Node;
use cloud_provider::error::{Error, Kind, Result};
use serde::{Deserialize, Serialize};
use tokio::time::{Duration, Instant};

use super::calls::{Client, Operation, Request, Terms};
use super::instances::{Handle, handle};
use super::model::{Account, RouteEntry};

/// Calls in flight.
const IN_FLIGHT: usize = 20;

/// The route table, from a controller's side.
pub(super) struct Table {
    client: Client,
}

/// The whole table.
#[derive(Serialize, Deserialize)]
pub(super) struct DescribeRoutes;

/// An entry as the cloud describes it.
#[derive(Serialize, Deserialize)]
pub(super) struct Described {
    entry: RouteEntry,
    /// The name of the machine, where there is one.
    machine: Option<String>,
}

/// One change of one entry.
#[derive(Serialize, Deserialize)]
pub(super) struct ChangeRoute {
    destination: String,
    to: To,
}

#[derive(Serialize, Deserialize)]
enum To {
    /// A new entry to a machine.
    Machine(Handle),
    /// None: it goes, if it still leads to this target.
    Nothing(String),
}

impl Request for DescribeRoutes {
    const PATH: &'static str = "describe-routes";
    type Answer = Vec<Described>;

    fn operation(&self) -> Operation {
        Operation::DescribeRoutes
    }

    fn about(&self) -> String {
        "all routes".to_owned()
    }

    fn carry_out(&self, account: &mut Account, _: &Terms<'_>) -> Result<Self::Answer> {
        account.settle();
        let describe = |entry: &RouteEntry| Described {
            entry: entry.clone(),
            machine: account.machines.get(&entry.target).map(|machine| machine.name.clone()),
        };
        Ok(account.routes.values().map(describe).collect())
    }
}

impl Request for ChangeRoute {
    const PATH: &'static str = "change-route";
    /// How long the cloud is busy with it.
    type Answer = Duration;

    fn operation(&self) -> Operation {
        match self.to {
            To::Machine(_) => Operation::CreateRoute,
            To::Nothing(_) => Operation::DeleteRoute,
        }
    }

    fn about(&self) -> String {
        self.destination.clone()
    }

    fn carry_out(&self, account: &mut Account, terms: &Terms<'_>) -> Result<Duration> {
        account.settle();
        let about = || format!("{} {}", self.operation(), self.destination);
        let conflict = |why: &str| Error::new(Kind::Conflict, format!("{}: {why}", about()));
        let busy_until = Instant::now() + terms.settling;
        match &self.to {
            To::Machine(_) if account.routes.contains_key(&self.destination) => return Err(conflict("it exists")),
            To::Machine(handle) => {
                let machine = handle.machine(account);
                let target =
                    machine.ok_or_else(|| Error::not_found(format!("{}: no such machine", about())))?.id.clone();
                let destination = self.destination.clone();
                let entry = RouteEntry { destination, target, busy_until, deleting: false };
                account.routes.insert(self.destination.clone(), entry);
            }
            To::Nothing(target) => match account.routes.get_mut(&self.destination) {
                Some(entry) if entry.target != *target => return Err(Error::not_found(about())),
                None => return Err(Error::not_found(about())),
                Some(entry) if entry.is_pending() => return Err(conflict("it is busy")),
                Some(entry) => {
                    entry.deleting = true;
                    entry.busy_until = busy_until;
                    account.settle();
                }
            },
        }
        Ok(terms.settling)
    }
}

impl Table {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    async fn make(&self, change: &Change) -> Result<()> {
        let request = match change {
            Change::Delete(route) => {
                // The name is what `list` made of the entry: its destination and its target.
                let (destination, target) = route.name.split_once(" to ").unwrap_or_default();
                ChangeRoute { destination: destination.to_owned(), to: To::Nothing(target.to_owned()) }
            }
            Change::Create(creation) => {
                ChangeRoute { destination: creation.destination.to_string(), to: To::Machine(handle(&creation.node)) }
            }
        };
        match (self.client.send(&request).await, change) {
            (Ok(busy), _) if busy.is_zero() => Ok(()),
            (Ok(busy), _) => Err(Error::new(Kind::Pending { retry_after: busy }, change.to_string())),
            // Gone already, or the destination has another target by now.
            (Err(error), Change::Delete(_)) if error.is_not_found() => Ok(()),
            // Perhaps by an earlier call whose answer was lost.
            (Err(error), Change::Create(creation)) if *error.kind() == Kind::Conflict => {
                self.verify(creation, error).await
            }
            (Err(error), _) => Err(error),
        }
    }

    /// A creation that found its destination taken is done if it is taken by what was to be created.
    async fn verify(&self, creation: &Creation, refused: Error) -> Result<()> {
        let listed = self.client.send(&DescribeRoutes).await?;
        let same = |other: &Described| {
            let destination: Option<Destination> = other.entry.destination.parse().ok();
            destination.as_ref() == Some(&creation.destination)
                && other.machine.as_deref() == Some(creation.node.name())
        };
        match listed.into_iter().find(same) {
            Some(found) if found.entry.is_pending() => {
                let retry_after = found.entry.busy_until.saturating_duration_since(Instant::now());
                Err(Error::new(Kind::Pending { retry_after }, format!("route {}", creation.destination)))
            }
            Some(_) => Ok(()),
            None => Err(refused),
        }
    }
}

#[async_trait]
impl Routes for Table {
    async fn list(&self, _nodes: &[Arc<Node>]) -> Result<Vec<Route>> {
        let listed = self.client.send(&DescribeRoutes).await?;
        Ok(listed.into_iter().filter_map(route).collect())
    }

    async fn apply(&self, changes: &[Change]) -> Vec<Result<()>> {
        one_by_one(changes, IN_FLIGHT, |change| self.make(change)).await
    }
}

/// What a controller sees of an entry: only what leads to machines, or did until they were gone.
fn route(described: Described) -> Option<Route> {
    let Described { entry, machine } = described;
    let state = match &machine {
        _ if entry.is_pending() => State::Pending,
        Some(_) => State::Active,
        None if entry.target.starts_with("vm-") => State::Blackhole,
        None => return None,
    };
    Some(Route {
        name: format!("{} to {}", entry.destination, entry.target),
        node: machine,
        node_addresses: None,
        destination: entry.destination.parse().ok()?,
        state,
    })
}
