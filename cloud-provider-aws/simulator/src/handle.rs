//! The account from inside the process.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    at_write::{AtWrite, Picked},
    auth::Credential,
    calls::{Call, CallLog, Count, Counts},
    context::later,
    knobs::{Fault, Knobs},
    model::{Instance, InstanceState, Route, RouteTarget, Volume},
    policy::Policy,
    seed::Seed,
    server::{Shared, lock},
    state::State,
};

/// Sets knobs, reads the call log and the account, and moves instances. Copies speak to the same simulator.
#[derive(Clone)]
pub struct Handle {
    pub(crate) core: Shared,
}

impl Handle {
    /// Every call since the start or the last reset, in order; only the last 100,000 are kept in full.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.core).calls.calls()
    }

    /// How often each action was called, by `SERVICE.Action`.
    pub fn counts(&self) -> Counts {
        lock(&self.core).calls.counts().clone()
    }

    /// How often an action such as `EC2.DescribeInstances` was called.
    pub fn count(&self, action: &str) -> u64 {
        lock(&self.core).calls.counts().get(action).map_or(0, |Count { calls, .. }| *calls)
    }

    /// The IAM actions, such as `ec2:CreateTags`, that the calls since the start or the last reset needed, allowed or not.
    pub fn permissions(&self) -> BTreeSet<String> {
        lock(&self.core).needed.clone()
    }

    /// Forgets all calls.
    pub fn reset_calls(&self) {
        let mut core = lock(&self.core);
        core.calls = CallLog::default();
        core.needed.clear();
    }

    /// Every resource with every attribute and tag, as JSON: maps by ID, name or ARN.
    pub fn state(&self) -> Value {
        serde_json::to_value(&lock(&self.core).state).unwrap_or_default()
    }

    /// Replaces the account by one that [`state`](Self::state) told, changed or not; knobs, policy and calls stay, stale
    /// reads go.
    ///
    /// # Errors
    /// When a part of it is missing, unknown or of another form; then nothing is changed.
    pub fn set_state(&self, state: Value) -> Result<(), serde_json::Error> {
        let state: State = serde_json::from_value(state)?;
        let mut core = lock(&self.core);
        core.state = state;
        core.stale = None;
        Ok(())
    }

    /// Throws the account away and starts again from `seed`; knobs and policy stay, calls and stale reads go.
    pub fn reset(&self, seed: &Seed) {
        let state = State::new(seed);
        let mut core = lock(&self.core);
        core.state = state;
        core.stale = None;
        core.calls = CallLog::default();
        core.needed.clear();
    }

    /// The knobs as they are.
    pub fn knobs(&self) -> Knobs {
        lock(&self.core).knobs.clone()
    }

    /// Replaces all knobs.
    pub fn set_knobs(&self, knobs: Knobs) {
        lock(&self.core).set_knobs(knobs);
    }

    /// Changes some knobs.
    pub fn adjust(&self, change: impl FnOnce(&mut Knobs)) {
        let mut core = lock(&self.core);
        let mut knobs = core.knobs.clone();
        change(&mut knobs);
        core.set_knobs(knobs);
    }

    /// Adds a failure.
    pub fn fault(&self, fault: Fault) {
        lock(&self.core).knobs.faults.push(fault);
    }

    /// Removes all failures.
    pub fn clear_faults(&self) {
        lock(&self.core).knobs.faults.clear();
    }

    /// For so long, reads of `action` (a pattern as in [`Knobs`]) see the account as it is now.
    pub fn stale_reads(&self, action: &str, milliseconds: u64) {
        lock(&self.core).freeze(action, milliseconds, Timestamp::now());
    }

    /// Picks the `nth` write from now on that would succeed, counted from 1, and says what happens there. Only one is picked
    /// at a time.
    pub fn at_write(&self, nth: u64, what: AtWrite) {
        lock(&self.core).picked = Picked::at(nth, what);
    }

    /// The action of the write that was picked, such as `ELBv2.CreateListener`, once it has come.
    pub fn struck(&self) -> Option<String> {
        lock(&self.core).picked.struck.clone()
    }

    /// Ends what a picked write began: calls are answered again, and reads see the account as it is.
    pub fn resume(&self) {
        let mut core = lock(&self.core);
        core.picked = Picked::default();
        core.stale = None;
    }

    /// Replaces what callers may do.
    pub fn set_policy(&self, policy: Policy) {
        lock(&self.core).policy = policy;
    }

    /// Lets another access key in.
    pub fn add_credential(&self, credential: Credential) {
        lock(&self.core).credentials.push(credential);
    }

    /// Refuses an access key from now on, also one that STS or the metadata service gave out.
    pub fn remove_credential(&self, access_key: &str) {
        lock(&self.core).credentials.retain(|credential| credential.access_key != access_key);
    }

    /// Makes instances as the seed's template says, and returns their IDs.
    pub fn add_instances(&self, count: usize) -> Vec<String> {
        lock(&self.core).state.add_from_template(count, Some(Timestamp::now()))
    }

    /// Adds an instance, or replaces the one with its ID.
    pub fn add_instance(&self, instance: Instance) {
        lock(&self.core).state.instances.insert(instance.id.clone(), instance);
    }

    /// Adds an EBS volume, or replaces the one with its ID.
    pub fn add_volume(&self, volume: Volume) {
        lock(&self.core).state.volumes.insert(volume.id.clone(), volume);
    }

    /// An instance as it is.
    pub fn instance(&self, id: &str) -> Option<Instance> {
        lock(&self.core).state.instances.get(id).cloned()
    }

    /// IDs of all instances, in order.
    pub fn instance_ids(&self) -> Vec<String> {
        lock(&self.core).state.instances.keys().cloned().collect()
    }

    /// Changes an instance in place. False if there is none.
    pub fn change_instance(&self, id: &str, change: impl FnOnce(&mut Instance)) -> bool {
        lock(&self.core).state.instances.get_mut(id).map(change).is_some()
    }

    /// Starts an instance. False if there is none, or it is terminated.
    pub fn start(&self, id: &str) -> bool {
        self.move_instance(id, InstanceState::Running)
    }

    /// Stops an instance. False if there is none, or it is terminated.
    pub fn stop(&self, id: &str) -> bool {
        self.move_instance(id, InstanceState::Stopped)
    }

    /// Terminates an instance, which stays listed. False if there is none, or it is terminated.
    pub fn terminate(&self, id: &str) -> bool {
        self.move_instance(id, InstanceState::Terminated)
    }

    fn move_instance(&self, id: &str, state: InstanceState) -> bool {
        let mut core = lock(&self.core);
        let delay = core.knobs.delays.instance_settles_ms;
        let settled = (delay > 0).then(|| later(Timestamp::now(), delay));
        core.state.change_instance(id, state, settled)
    }

    /// Removes an instance, as EC2 does an hour after it was terminated: its ID becomes unknown.
    pub fn delete_instance(&self, id: &str) -> bool {
        lock(&self.core).state.delete_instance(id)
    }

    /// Adds a route to an instance, as someone at the console would. False if there is no such table.
    pub fn add_route(&self, table: &str, destination: &str, instance: &str) -> bool {
        let mut core = lock(&self.core);
        let Some(table) = core.state.route_tables.get_mut(table) else { return false };
        let target = RouteTarget::Instance(instance.to_owned());
        table.routes.push(Route { destination: destination.to_owned(), target });
        true
    }

    /// Lets listeners use a certificate.
    pub fn add_certificate(&self, arn: &str) {
        lock(&self.core).state.certificates.push(arn.to_owned());
    }

    /// Shows a Network Load Balancer in a state such as `failed` or `active_impaired`, or in its own again. False if
    /// there is none with the name.
    pub fn force_load_balancer_state(&self, name: &str, state: Option<&str>) -> bool {
        let mut core = lock(&self.core);
        let mut all = core.state.load_balancers.values_mut();
        let found = all.find(|balancer| balancer.name == name);
        found.map(|balancer| balancer.forced_state = state.map(str::to_owned)).is_some()
    }

    /// Removes a load balancer of either kind by name with everything that only it holds, as someone at the console
    /// would: target groups and security groups stay. False if there is none.
    pub fn remove_load_balancer(&self, name: &str) -> bool {
        let mut core = lock(&self.core);
        let state = &mut core.state;
        let classic = state.classic_load_balancers.remove(name).is_some();
        let arn = state.load_balancers.values().find(|balancer| balancer.name == name).map(|found| found.arn.clone());
        if let Some(arn) = &arn {
            state.load_balancers.remove(arn);
            state.listeners.retain(|_, listener| listener.load_balancer != *arn);
        }
        classic || arn.is_some()
    }
}
