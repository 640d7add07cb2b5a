//! The cloud from inside the process.

use std::ops::Deref;

use cloud_provider_simulation as simulation;
use jiff::Timestamp;
use serde_json::Value;

use crate::{
    core::Core,
    document::{Document, Fields as _, object},
    state::Kind,
};

/// Sets knobs, reads the call log and the cloud (as [`simulation::Handle`] does), and changes resources as an operator would.
/// Copies speak to the same simulator.
///
/// Collections are named as the services name them: `servers`, `flavors`, `networks`, `subnets`, `ports`, `floatingips`,
/// `routers`, `security-groups`, `security-group-rules`, `trunks`, `loadbalancers`, `listeners`, `pools`, `members`,
/// `healthmonitors`, `lbaas-flavors`, `lbaas-availability-zones`, `secrets`, `containers`, `volumes`, `users`, `projects`,
/// `application_credentials`, `trusts`.
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

    /// The resources of a collection by ID, as they are stored; what is due by now has happened. Empty for an unknown
    /// collection.
    pub fn all(&self, collection: &str) -> Vec<Document> {
        let mut core = self.lock();
        core.frame.state.advance(Timestamp::now());
        let kind = Kind::of_name(collection);
        kind.map(|kind| core.frame.state.table(kind).values().cloned().collect()).unwrap_or_default()
    }

    /// A resource by ID.
    pub fn get(&self, collection: &str, id: &str) -> Option<Document> {
        let mut core = self.lock();
        core.frame.state.advance(Timestamp::now());
        core.frame.state.table(Kind::of_name(collection)?).get(id).cloned()
    }

    /// The ID of the first resource with a name, by ID.
    pub fn id(&self, collection: &str, name: &str) -> Option<String> {
        let core = self.lock();
        let found = core.frame.state.table(Kind::of_name(collection)?).with("name", name).next();
        found.map(|resource| resource.text("id").to_owned())
    }

    /// The IDs of a collection, in order.
    pub fn ids(&self, collection: &str) -> Vec<String> {
        self.all(collection).iter().map(|resource| resource.text("id").to_owned()).collect()
    }

    /// Adds a resource, which must have an `id`, or replaces the one with its ID. False for an unknown collection.
    pub fn insert(&self, collection: &str, resource: Value) -> bool {
        let kind = Kind::of_name(collection);
        kind.map(|kind| self.lock().frame.state.table_mut(kind).insert(object(resource))).is_some()
    }

    /// Changes a resource in place. False if there is none.
    pub fn change(&self, collection: &str, id: &str, change: impl FnOnce(&mut Document)) -> bool {
        let Some(kind) = Kind::of_name(collection) else { return false };
        self.lock().frame.state.table_mut(kind).get_mut(id).map(change).is_some()
    }

    /// Sets some attributes of a resource. False if there is none.
    pub fn set(&self, collection: &str, id: &str, attributes: &Value) -> bool {
        self.change(collection, id, |resource| resource.extend(attributes.as_object().cloned().unwrap_or_default()))
    }

    /// Removes a resource and nothing else, as a broken database would. False if there is none.
    pub fn remove(&self, collection: &str, id: &str) -> bool {
        let Some(kind) = Kind::of_name(collection) else { return false };
        self.lock().frame.state.table_mut(kind).remove(id).is_some()
    }

    /// Makes servers with ports as the seed's template says, and returns their IDs.
    pub fn add_servers(&self, count: usize) -> Vec<String> {
        self.lock().frame.state.add_from_template(count)
    }

    /// Deletes a server with its ports, as Nova does. False if there is none.
    pub fn delete_server(&self, id: &str) -> bool {
        self.lock().frame.state.delete_server(id)
    }

    /// Puts a server into a status, such as `SHUTOFF`. False if there is none.
    pub fn set_server_status(&self, id: &str, status: &str) -> bool {
        self.change("servers", id, |server| server.set("status", status))
    }

    /// Removes a load balancer with everything below it and its port, as its owner would. False if there is none.
    pub fn remove_load_balancer(&self, id: &str) -> bool {
        let mut core = self.lock();
        let found = core.frame.state.load_balancers.contains(id);
        core.frame.state.remove_load_balancer(id);
        found
    }

    /// Puts a load balancer into a provisioning status, such as `ERROR`, until something changes it. False if there is
    /// none.
    pub fn set_load_balancer_status(&self, id: &str, status: &str) -> bool {
        let mut core = self.lock();
        core.frame.state.jobs.retain(|job| job.load_balancer != id);
        let found = core.frame.state.load_balancers.get_mut(id);
        found.map(|balancer| balancer.set("provisioning_status", status)).is_some()
    }

    /// Refuses every token that was given out so far.
    pub fn revoke_tokens(&self) {
        self.lock().tokens.clear();
    }

    /// How many tokens are known.
    pub fn tokens(&self) -> usize {
        self.lock().tokens.len()
    }
}
