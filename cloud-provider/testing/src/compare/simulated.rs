//! Accounts on simulators of this process, as far as all simulators are alike.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use async_trait::async_trait;
use cloud_provider_simulation::{AtWrite, Core, Handle};
use serde_json::{Value, json};

use super::cloud::{Activity, Cloud, Clouds, State};
use super::document::{merge, renamed};
use super::scenario::Scenario;
use super::sweep::{Disturbance, STALE};

/// What only a cloud knows of its simulator's state and actions.
#[derive(Debug, Clone, Copy)]
pub struct Traits {
    /// The parts of the state that are no resources of the account.
    pub no_resources: &'static [&'static str],
    /// Whether an action, `SERVICE.Action`, changes something in the account.
    pub is_write: fn(&str) -> bool,
}

/// An account on a simulator of this process; its [`State`] follows from that.
#[async_trait]
pub trait OnSimulator: Cloud + Sized + 'static {
    /// What decides the simulator's requests.
    type Core: Core;

    /// A fresh one, as the scenario wants it, with nothing of its machines in it.
    ///
    /// # Errors
    /// When it cannot be made.
    async fn start(scenario: &Scenario) -> anyhow::Result<Self>;

    /// What it holds.
    fn simulated(&self) -> &Simulated<Self::Core>;

    /// What calls name as the controller with this name.
    fn caller(who: &str) -> String;

    /// The name that the cloud gives the load balancer of the service `name`, whose UID is found by `uid`.
    fn balancer(&self, name: &str, uid: &(dyn for<'a> Fn(&'a str) -> String + Send + Sync)) -> String;

    /// Whether a resource, by its comparable ID, changes with nodes and not with services.
    fn is_of_nodes(kind: &str, id: &str) -> bool;

    /// Lets happen what is due by now, in simulators where that takes a call.
    fn catch_up(&self) {}
}

/// Makes such accounts.
#[derive(Debug, Clone, Copy)]
pub struct Simulations<A>(PhantomData<fn() -> A>);

impl<A> Default for Simulations<A> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

#[async_trait]
impl<A: OnSimulator> Clouds for Simulations<A> {
    async fn cloud(&self, scenario: &Scenario) -> anyhow::Result<Arc<dyn Cloud>> {
        Ok(Arc::new(A::start(scenario).await?))
    }
}

#[async_trait]
impl<A: OnSimulator> State for A {
    async fn change(
        &self,
        change: &Value,
        uid: &(dyn for<'a> Fn(&'a str) -> String + Send + Sync),
    ) -> anyhow::Result<()> {
        let mut captured = self.capture().await?;
        let generated = self.normalise(&mut captured);
        self.simulated().change(change, generated, |service| self.balancer(service, uid))
    }

    async fn activity(&self) -> anyhow::Result<Activity> {
        Ok(self.simulated().activity())
    }

    async fn changes_by(&self, who: &str) -> anyhow::Result<Vec<String>> {
        Ok(self.simulated().changes_by(&A::caller(who)))
    }

    async fn capture(&self) -> anyhow::Result<Value> {
        self.catch_up();
        self.simulated().capture()
    }

    async fn restore(&self, captured: &Value) -> anyhow::Result<()> {
        self.simulated().restore(captured)
    }
}

/// An account, and what it held at the start.
pub struct Simulated<C> {
    handle: Handle<C>,
    traits: Traits,
    fresh: Value,
    restored: AtomicU64,
}

impl<C: Core> Simulated<C> {
    /// The account as it is now, changed by a merge patch, is the fresh one.
    ///
    /// # Errors
    /// When the simulator does not understand the change.
    pub fn new(handle: Handle<C>, change: &Value, traits: Traits) -> anyhow::Result<Self> {
        let mut fresh = handle.state();
        if !change.is_null() {
            merge(&mut fresh, change);
        }
        handle.set_state(fresh.clone()).context("change the fresh account as the scenario says")?;
        Ok(Self { handle, traits, fresh, restored: AtomicU64::default() })
    }

    /// Whether a resource of this kind was there at the start.
    pub fn is_fresh(&self, kind: &str, id: &str) -> bool {
        self.fresh[kind].get(id).is_some()
    }

    /// See [`State::activity`].
    pub(super) fn activity(&self) -> Activity {
        let mut activity = Activity::default();
        for (action, count) in self.handle.counts() {
            activity.calls += count.calls;
            if (self.traits.is_write)(&action) {
                activity.writes += count.calls - count.failures.values().sum::<u64>();
            }
        }
        activity
    }

    /// See [`State::changes_by`]; `caller` is what calls name.
    pub(super) fn changes_by(&self, caller: &str) -> Vec<String> {
        let mut calls = self.handle.calls();
        calls.retain(|call| {
            let action = format!("{}.{}", call.service, call.action);
            call.access_key.as_deref() == Some(caller) && (self.traits.is_write)(&action)
        });
        let words = |call: &cloud_provider_simulation::Call| {
            format!("{}.{} {:?}: {}", call.service, call.action, call.parameters, call.outcome)
        };
        calls.iter().map(words).collect()
    }

    /// See [`State::capture`].
    ///
    /// # Errors
    /// When the state is no object.
    pub(super) fn capture(&self) -> anyhow::Result<Value> {
        let state = self.handle.state();
        let mut captured = json!({});
        for (kind, now) in state.as_object().context("the simulator tells no object")? {
            let (Some(now), Some(then)) = (now.as_object(), self.fresh[kind].as_object()) else { continue };
            if self.traits.no_resources.contains(&kind.as_str()) {
                continue;
            }
            for id in now.keys().chain(then.keys()) {
                if now.get(id) != then.get(id) {
                    captured[kind][id] = now.get(id).cloned().unwrap_or_default();
                }
            }
        }
        Ok(captured)
    }

    /// See [`State::restore`].
    ///
    /// # Errors
    /// When it is not understood.
    pub(super) fn restore(&self, captured: &Value) -> anyhow::Result<()> {
        let mut state = self.fresh.clone();
        for (kind, resources) in captured.as_object().context("no captured account")? {
            for (id, resource) in resources.as_object().context("no resources by their IDs")? {
                // Not merged: a resource is replaced as a whole.
                let table = state[kind].as_object_mut().context("an unknown kind")?;
                match resource {
                    Value::Null => table.remove(id),
                    resource => table.insert(id.clone(), resource.clone()),
                };
            }
        }
        // What is made from now on has other IDs than what is there, and than what was there before.
        let restored = self.restored.fetch_add(1, Ordering::Relaxed) + 1;
        state["made"] = json!(1_000_000 * restored);
        self.handle.set_state(state).context("load a captured account")
    }

    /// See [`State::change`]. `generated` is what [`Cloud::normalise`](super::Cloud::normalise) told of the
    /// account; `balancer` names the load balancer of a service.
    ///
    /// # Errors
    /// When the change is not understood.
    pub(super) fn change(
        &self,
        change: &Value,
        generated: Vec<(String, String)>,
        balancer: impl Fn(&str) -> String,
    ) -> anyhow::Result<()> {
        let text = change.to_string();
        let services = text.split('{').skip(1).filter_map(|part| Some(part.split_once('}')?.0));
        let is_name = |name: &&str| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        };
        let mut names: Vec<_> = services.filter(is_name).map(|name| (format!("{{{name}}}"), balancer(name))).collect();
        names.extend(generated.into_iter().map(|(generated, name)| (name, generated)));
        let change = names.iter().fold(change.clone(), |change, name| renamed(change, std::slice::from_ref(name)));
        let mut state = self.handle.state();
        merge(&mut state, &change);
        self.handle.set_state(state).context("change the account by hand")
    }

    /// See [`Subject::at_write`](super::sweep::Subject::at_write).
    pub(super) fn at_write(&self, nth: u64, disturbance: Disturbance) {
        let what = match disturbance {
            Disturbance::Crash => AtWrite::Silence,
            Disturbance::LostAnswer => AtWrite::LostAnswer,
            Disturbance::FalseError => AtWrite::FalseError,
            Disturbance::Failure => AtWrite::Refusal,
            Disturbance::StaleReads => AtWrite::StaleReads(STALE.as_millis().try_into().unwrap_or(u64::MAX)),
        };
        self.handle.at_write(nth, what);
    }

    /// See [`Subject::struck`](super::sweep::Subject::struck).
    pub(super) fn struck(&self) -> Option<String> {
        self.handle.struck()
    }

    /// See [`Subject::resume`](super::sweep::Subject::resume).
    pub(super) fn resume(&self) {
        self.handle.resume();
    }
}

/// Puts a word in the place of each resource of the fresh account that is gone.
pub fn mark_removed(captured: &mut Value) {
    let kinds = captured.as_object_mut().into_iter().flat_map(|kinds| kinds.values_mut());
    for resource in kinds.filter_map(Value::as_object_mut).flat_map(|resources| resources.values_mut()) {
        if resource.is_null() {
            *resource = json!("removed");
        }
    }
}
