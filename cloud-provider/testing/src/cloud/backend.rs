//! The cloud's side: what exists, what goes wrong, what was called.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::NAME;
use super::calls::{Call, Operation, Rule};
use super::model::{Account, LoadBalancer, Power, RouteEntry, VirtualMachine};

/// The region, of which all zones are part.
pub const REGION: &str = "memory-1";

/// The zones, unless others are asked for.
const ZONES: [&str; 3] = ["memory-1a", "memory-1b", "memory-1c"];

/// The cloud itself.
#[derive(Debug, Default)]
pub struct Backend {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) account: Account,
    /// Reads are answered from this until then.
    pub(super) stale: Option<(Instant, Account)>,
    pub(super) rules: Vec<Rule>,
    pub(super) calls: Vec<Call>,
    /// How long every call takes.
    pub(super) latency: Duration,
    /// How long a load balancer is busy with a change.
    pub(super) settling: Duration,
    /// Zones of machines, in turn; empty for [`ZONES`].
    zones: Vec<String>,
    /// Machines that answers leave out without a word.
    pub(super) hidden: BTreeSet<String>,
}

impl Backend {
    /// An empty, healthy and fast cloud.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.account.settle();
        inner
    }

    /// Starts a virtual machine for the node `name` and returns its ID.
    pub fn start_machine(&self, name: impl Into<String>) -> String {
        let mut inner = self.lock();
        let number = inner.account.next();
        let id = format!("vm-{number}");
        let name = name.into();
        let nth = number as usize;
        let zone = match inner.zones.as_slice() {
            [] => ZONES[nth % ZONES.len()].to_owned(),
            zones => zones[nth % zones.len()].clone(),
        };
        let machine = VirtualMachine {
            id: id.clone(),
            name: name.clone(),
            power: Power::Running,
            address: address(10, number),
            zone,
        };
        inner.account.named.insert(name, id.clone());
        inner.account.machines.insert(id.clone(), machine);
        id
    }

    /// Makes a disk in these zones and returns its name.
    pub fn make_disk(&self, zones: BTreeSet<String>) -> String {
        let mut inner = self.lock();
        let name = format!("disk-{}", inner.account.next());
        inner.account.disks.insert(name.clone(), zones);
        name
    }

    /// The machine of a node.
    pub fn machine_of(&self, name: &str) -> Option<VirtualMachine> {
        let inner = self.lock();
        inner.account.named.get(name).and_then(|id| inner.account.machines.get(id)).cloned()
    }

    /// All machines.
    pub fn machines(&self) -> Vec<VirtualMachine> {
        self.lock().account.machines.values().cloned().collect()
    }

    /// A machine by its ID.
    pub fn machine(&self, id: &str) -> Option<VirtualMachine> {
        self.lock().account.machines.get(id).cloned()
    }

    /// Stops or starts the machine of a node.
    pub fn set_power(&self, name: &str, power: Power) {
        for machine in self.lock().account.machines.values_mut().filter(|machine| machine.name == name) {
            machine.power = power;
        }
    }

    /// Terminates the machine of a node; load balancers forget it, and its routes become black holes, as clouds do.
    pub fn terminate(&self, name: &str) {
        let mut inner = self.lock();
        let gone: Vec<String> =
            inner.account.machines.values().filter(|machine| machine.name == name).map(|m| m.id.clone()).collect();
        for id in gone {
            if let Some(machine) = inner.account.machines.remove(&id) {
                inner.account.named.remove(&machine.name);
            }
            for balancer in inner.account.load_balancers.values_mut() {
                balancer.backends.remove(&id);
            }
        }
    }

    /// All load balancers, those on their way out included.
    pub fn load_balancers(&self) -> Vec<LoadBalancer> {
        self.lock().account.load_balancers.values().cloned().collect()
    }

    /// How many load balancers have so many backends.
    pub fn balanced(&self, backends: usize) -> usize {
        self.lock().account.load_balancers.values().filter(|balancer| balancer.backends.len() == backends).count()
    }

    /// Removes a load balancer as somebody with a web console would, and leaves its firewall behind.
    pub fn remove_load_balancer(&self, name: &str) -> bool {
        self.lock().account.load_balancers.remove(name).is_some()
    }

    /// Names of everything that controllers have made and that is still there.
    pub fn made_by_controllers(&self) -> BTreeSet<String> {
        let inner = self.lock();
        let balancers = inner.account.load_balancers.keys().map(|name| format!("load balancer {name}"));
        let firewalls = inner.account.firewalls.keys().map(|name| format!("firewall {name}"));
        balancers.chain(firewalls).collect()
    }

    /// The route table, entries on their way out included.
    pub fn routes(&self) -> Vec<RouteEntry> {
        self.lock().account.routes.values().cloned().collect()
    }

    /// Adds or replaces a route as somebody else would; `target` is the ID of a machine, or anything else.
    pub fn put_route(&self, destination: impl Into<String>, target: impl Into<String>) {
        let (destination, target) = (destination.into(), target.into());
        let entry =
            RouteEntry { destination: destination.clone(), target, busy_until: Instant::now(), deleting: false };
        self.lock().account.routes.insert(destination, entry);
    }

    /// Removes a route as somebody else would.
    pub fn remove_route(&self, destination: &str) -> bool {
        self.lock().account.routes.remove(destination).is_some()
    }

    /// New machines stand in these zones in turn.
    pub fn set_zones(&self, zones: Vec<String>) {
        self.lock().zones = zones;
    }

    /// From now on every call takes so long.
    pub fn set_latency(&self, time: Duration) {
        self.lock().latency = time;
    }

    /// From now on a load balancer or a route is busy for so long with each change, its creation and deletion included.
    pub fn set_settling(&self, time: Duration) {
        self.lock().settling = time;
    }

    /// Adds a rule about what goes wrong. Of several that match, the first counts.
    pub fn inject(&self, rule: Rule) {
        self.lock().rules.push(rule);
    }

    /// Answers reads from what is there now, whatever changes, for a time.
    pub fn freeze_reads(&self, time: Duration) {
        let mut inner = self.lock();
        let taken = inner.account.clone();
        inner.stale = Some((Instant::now() + time, taken));
    }

    /// Leaves the machine of a node out of all answers without a word, as a partial result does.
    pub fn hide(&self, name: &str) {
        if let Some(machine) = self.machine_of(name) {
            self.lock().hidden.insert(machine.id);
        }
    }

    /// Ends all that goes wrong: rules, stale reads, hidden machines.
    pub fn heal(&self) {
        let mut inner = self.lock();
        inner.rules.clear();
        inner.stale = None;
        inner.hidden.clear();
    }

    /// Every call so far, oldest first.
    pub fn calls(&self) -> Vec<Call> {
        self.lock().calls.clone()
    }

    /// Forgets the calls so far.
    pub fn forget_calls(&self) {
        self.lock().calls.clear();
    }

    /// How often each operation was called.
    pub fn counts(&self) -> BTreeMap<Operation, u64> {
        let mut counts = BTreeMap::new();
        for call in &self.lock().calls {
            *counts.entry(call.operation).or_default() += 1;
        }
        counts
    }

    /// How often an operation was called.
    pub fn count(&self, operation: Operation) -> u64 {
        self.counts().get(&operation).copied().unwrap_or_default()
    }
}

/// The provider ID of a machine.
pub(super) fn provider_id(machine: &VirtualMachine) -> String {
    format!("{NAME}://{}/{}", machine.zone, machine.id)
}

/// A distinct address per number under one first octet.
pub(super) fn address(first: u8, number: u32) -> String {
    let [_, b, c, d] = number.to_be_bytes();
    format!("{first}.{b}.{c}.{d}")
}
