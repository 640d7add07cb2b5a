//! What stands around the state of a cloud, and how tests in the same process reach it.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    at_write::{AtWrite, Picked},
    calls::{Call, CallLog, Count, Counts},
    chance::Chance,
    faults::{Effect, Fault, Latency, RateLimit},
    time::later,
};

/// The types of a simulated cloud.
pub trait Cloud: 'static {
    /// Everything in the cloud. It is cloned before each write, so its large tables belong into [`Shared`](crate::Shared).
    type State: Clone + Serialize + DeserializeOwned + Send;
    /// Where a cloud starts from.
    type Seed: Clone + DeserializeOwned + Send;
    /// What can be set while the simulator runs.
    type Knobs: Behaviour + Clone + Default + Serialize + DeserializeOwned + Send;
    /// Who may do what.
    type Policy: Clone + DeserializeOwned + Send;

    /// The state that a cloud starts with.
    fn state(seed: &Self::Seed) -> Self::State;
}

/// The part of the knobs that every cloud has.
pub trait Behaviour {
    /// Time before answers.
    fn latency(&self) -> &[Latency];
    /// Token buckets.
    fn rate_limits(&self) -> &[RateLimit];
    /// Failures.
    fn faults(&mut self) -> &mut Vec<Fault>;
}

/// What decides requests: a frame, and what else its cloud keeps.
pub trait Core: Send + 'static {
    /// The cloud.
    type Cloud: Cloud;

    /// State, knobs and calls.
    fn frame(&mut self) -> &mut Frame<Self::Cloud>;
}

/// The state of a cloud and everything around it.
pub struct Frame<C: Cloud> {
    /// Everything in the cloud.
    pub state: C::State,
    /// Where it started from.
    pub seed: C::Seed,
    /// How it behaves; [`set_knobs`](Self::set_knobs) changes them.
    pub knobs: C::Knobs,
    /// Who may do what.
    pub policy: C::Policy,
    /// Every call.
    pub calls: CallLog,
    /// The permissions that calls needed since the call log began.
    pub needed: BTreeSet<String>,
    /// What some reads see instead of the state.
    pub stale: Option<Stale<C::State>>,
    /// The write that something happens at.
    pub picked: Picked,
    /// Dice and buckets.
    pub chance: Chance,
}

/// Reads are answered from this until its end.
pub struct Stale<S> {
    /// A pattern of actions.
    pub action: String,
    /// Its end.
    pub until: Timestamp,
    /// The time at which reads see the cloud.
    pub taken: Timestamp,
    /// The cloud at that time.
    pub state: Box<S>,
}

impl<C: Cloud> Frame<C> {
    /// A cloud that starts from `seed`.
    pub fn new(seed: C::Seed, knobs: C::Knobs, policy: C::Policy) -> Self {
        let mut frame = Self {
            state: C::state(&seed),
            seed,
            knobs: C::Knobs::default(),
            policy,
            calls: CallLog::default(),
            needed: BTreeSet::new(),
            stale: None,
            picked: Picked::default(),
            chance: Chance::default(),
        };
        frame.set_knobs(knobs);
        frame
    }

    /// Takes new knobs; rate limits that differ start with full buckets.
    pub fn set_knobs(&mut self, knobs: C::Knobs) {
        self.chance.refill(self.knobs.rate_limits(), knobs.rate_limits(), Timestamp::now());
        self.knobs = knobs;
    }

    /// How long a call waits before it is looked at, in milliseconds.
    pub fn latency(&mut self, service: &str, action: &str) -> u64 {
        self.chance.latency(self.knobs.latency(), service, action)
    }

    /// The effect of the first fault that strikes this call.
    pub fn strike(&mut self, service: &str, action: &str, after: bool) -> Option<Effect> {
        self.chance.strike(self.knobs.faults(), service, action, after)
    }

    /// Freezes what reads of `action` see for `milliseconds`.
    pub fn freeze(&mut self, action: &str, milliseconds: u64, now: Timestamp) {
        let state = Box::new(self.state.clone());
        self.stale = Some(Stale { action: action.into(), until: later(now, milliseconds), taken: now, state });
    }

    /// Forgets all calls, and what they needed.
    pub fn reset_calls(&mut self) {
        self.calls = CallLog::default();
        self.needed.clear();
    }
}

/// Sets knobs, reads the call log and the state. Copies speak to the same simulator.
pub struct Handle<T> {
    core: Arc<Mutex<T>>,
}

impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        Self { core: Arc::clone(&self.core) }
    }
}

impl<T> Handle<T> {
    /// What decides requests from now on.
    pub fn new(core: T) -> Self {
        Self { core: Arc::new(Mutex::new(core)) }
    }

    /// What decides requests. A panic of another holder cannot leave the state half changed: writes replace it as a whole.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Core> Handle<T> {
    /// Every call since the start or the last reset, in order; only the last 100,000 are kept in full.
    pub fn calls(&self) -> Vec<Call> {
        self.lock().frame().calls.calls()
    }

    /// How often each action was called, by `SERVICE.Action`.
    pub fn counts(&self) -> Counts {
        self.lock().frame().calls.counts().clone()
    }

    /// How often an action such as `EC2.DescribeInstances` was called.
    pub fn count(&self, action: &str) -> u64 {
        self.lock().frame().calls.counts().get(action).map_or(0, |Count { calls, .. }| *calls)
    }

    /// The permissions that the calls since the start or the last reset needed, allowed or not, as the cloud names them.
    pub fn permissions(&self) -> BTreeSet<String> {
        self.lock().frame().needed.clone()
    }

    /// Forgets all calls.
    pub fn reset_calls(&self) {
        self.lock().frame().reset_calls();
    }

    /// Every resource with every attribute and tag, as JSON.
    pub fn state(&self) -> Value {
        serde_json::to_value(&self.lock().frame().state).unwrap_or_default()
    }

    /// Replaces the cloud by one that [`state`](Self::state) told, changed or not; knobs, policy and calls stay, stale
    /// reads go.
    ///
    /// # Errors
    /// When a part of it is missing, unknown or of another form; then nothing is changed.
    pub fn set_state(&self, state: Value) -> Result<(), serde_json::Error> {
        let state = serde_json::from_value(state)?;
        let mut core = self.lock();
        let frame = core.frame();
        frame.state = state;
        frame.stale = None;
        Ok(())
    }

    /// Throws the cloud away and starts again from `seed`; knobs and policy stay, calls and stale reads go.
    pub fn reset(&self, seed: &<T::Cloud as Cloud>::Seed) {
        let state = <T::Cloud as Cloud>::state(seed);
        let mut core = self.lock();
        let frame = core.frame();
        frame.state = state;
        frame.stale = None;
        frame.reset_calls();
    }

    /// The knobs as they are.
    pub fn knobs(&self) -> <T::Cloud as Cloud>::Knobs {
        self.lock().frame().knobs.clone()
    }

    /// Replaces all knobs.
    pub fn set_knobs(&self, knobs: <T::Cloud as Cloud>::Knobs) {
        self.lock().frame().set_knobs(knobs);
    }

    /// Changes some knobs.
    pub fn adjust(&self, change: impl FnOnce(&mut <T::Cloud as Cloud>::Knobs)) {
        let mut core = self.lock();
        let frame = core.frame();
        let mut knobs = frame.knobs.clone();
        change(&mut knobs);
        frame.set_knobs(knobs);
    }

    /// Adds a failure.
    pub fn fault(&self, fault: Fault) {
        self.lock().frame().knobs.faults().push(fault);
    }

    /// Removes all failures.
    pub fn clear_faults(&self) {
        self.lock().frame().knobs.faults().clear();
    }

    /// For so long, reads of `action` (a pattern as in [`faults`](crate::faults)) see the cloud as it is now.
    pub fn stale_reads(&self, action: &str, milliseconds: u64) {
        self.lock().frame().freeze(action, milliseconds, Timestamp::now());
    }

    /// Picks the `nth` write from now on that would succeed, counted from 1, and says what happens there. Only one is picked
    /// at a time.
    pub fn at_write(&self, nth: u64, what: AtWrite) {
        self.lock().frame().picked = Picked::at(nth, what);
    }

    /// The action of the write that was picked, such as `ELBv2.CreateListener`, once it has come.
    pub fn struck(&self) -> Option<String> {
        self.lock().frame().picked.struck().map(str::to_owned)
    }

    /// Ends what a picked write began: calls are answered again, and reads see the cloud as it is.
    pub fn resume(&self) {
        let mut core = self.lock();
        let frame = core.frame();
        frame.picked = Picked::default();
        frame.stale = None;
    }

    /// Replaces what callers may do.
    pub fn set_policy(&self, policy: <T::Cloud as Cloud>::Policy) {
        self.lock().frame().policy = policy;
    }
}
