//! The account from inside the process.

use std::ops::Deref;

use cloud_provider_simulation::{self as simulation, later};
use jiff::Timestamp;

use crate::{
    auth::Credential,
    core::Core,
    model::{Instance, InstanceState, Route, RouteTarget, Volume},
};

/// Sets knobs, reads the call log and the account (as [`simulation::Handle`] does), and moves instances. Copies speak to
/// the same simulator.
#[derive(Clone)]
pub struct Handle {
    common: simulation::Handle<Core>,
}

impl Deref for Handle {
    type Target = simulation::Handle<Core>;

    fn deref(&self) -> &Self::Target {
        &self.common
    }
}

impl Handle {
    pub(crate) fn new(core: Core) -> Self {
        Self { common: simulation::Handle::new(core) }
    }

    /// Lets another access key in.
    pub fn add_credential(&self, credential: Credential) {
        self.lock().credentials.push(credential);
    }

    /// Refuses an access key from now on, also one that STS or the metadata service gave out.
    pub fn remove_credential(&self, access_key: &str) {
        self.lock().credentials.retain(|credential| credential.access_key != access_key);
    }

    /// Makes instances as the seed's template says, and returns their IDs.
    pub fn add_instances(&self, count: usize) -> Vec<String> {
        self.lock().frame.state.add_from_template(count, Some(Timestamp::now()))
    }

    /// Adds an instance, or replaces the one with its ID.
    pub fn add_instance(&self, instance: Instance) {
        self.lock().frame.state.instances.insert(instance.id.clone(), instance);
    }

    /// Adds an EBS volume, or replaces the one with its ID.
    pub fn add_volume(&self, volume: Volume) {
        self.lock().frame.state.volumes.insert(volume.id.clone(), volume);
    }

    /// An instance as it is.
    pub fn instance(&self, id: &str) -> Option<Instance> {
        self.lock().frame.state.instances.get(id).cloned()
    }

    /// IDs of all instances, in order.
    pub fn instance_ids(&self) -> Vec<String> {
        self.lock().frame.state.instances.keys().cloned().collect()
    }

    /// Changes an instance in place. False if there is none.
    pub fn change_instance(&self, id: &str, change: impl FnOnce(&mut Instance)) -> bool {
        self.lock().frame.state.instances.get_mut(id).map(change).is_some()
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
        let mut core = self.lock();
        let delay = core.frame.knobs.delays.instance_settles_ms;
        let settled = (delay > 0).then(|| later(Timestamp::now(), delay));
        core.frame.state.change_instance(id, state, settled)
    }

    /// Removes an instance, as EC2 does an hour after it was terminated: its ID becomes unknown.
    pub fn delete_instance(&self, id: &str) -> bool {
        self.lock().frame.state.delete_instance(id)
    }

    /// Adds a route to an instance, as someone at the console would. False if there is no such table.
    pub fn add_route(&self, table: &str, destination: &str, instance: &str) -> bool {
        let mut core = self.lock();
        let Some(table) = core.frame.state.route_tables.get_mut(table) else { return false };
        let target = RouteTarget::Instance(instance.to_owned());
        table.routes.push(Route { destination: destination.to_owned(), target });
        true
    }

    /// Lets listeners use a certificate.
    pub fn add_certificate(&self, arn: &str) {
        self.lock().frame.state.certificates.push(arn.to_owned());
    }

    /// Shows a Network Load Balancer in a state such as `failed` or `active_impaired`, or in its own again. False if
    /// there is none with the name.
    pub fn force_load_balancer_state(&self, name: &str, state: Option<&str>) -> bool {
        let mut core = self.lock();
        let mut all = core.frame.state.load_balancers.values_mut();
        let found = all.find(|balancer| balancer.name == name);
        found.map(|balancer| balancer.forced_state = state.map(str::to_owned)).is_some()
    }

    /// Removes a load balancer of either kind by name with everything that only it holds, as someone at the console
    /// would: target groups and security groups stay. False if there is none.
    pub fn remove_load_balancer(&self, name: &str) -> bool {
        let mut core = self.lock();
        let state = &mut core.frame.state;
        let classic = state.classic_load_balancers.remove(name).is_some();
        let arn = state.load_balancers.values().find(|balancer| balancer.name == name).map(|found| found.arn.clone());
        if let Some(arn) = &arn {
            state.load_balancers.remove(arn);
            state.listeners.retain(|_, listener| listener.load_balancer != *arn);
        }
        classic || arn.is_some()
    }
}
