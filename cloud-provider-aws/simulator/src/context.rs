//! What an action sees.

use cloud_provider_simulation::later;
use jiff::Timestamp;

use crate::{auth::Credential, knobs::Knobs, model::SecurityGroup, state::State};

pub(crate) struct Context<'a> {
    pub(crate) state: &'a mut State,
    pub(crate) knobs: &'a Knobs,
    pub(crate) now: Timestamp,
    /// The caller, if the action needs one.
    pub(crate) caller: Option<&'a Credential>,
    /// Credentials that the action makes.
    pub(crate) issued: Vec<Credential>,
}

impl Context<'_> {
    /// The time `milliseconds` from now.
    pub(crate) fn later(&self, milliseconds: u64) -> Timestamp {
        later(self.now, milliseconds)
    }

    /// Whether something that was made at `created` is shown by now.
    pub(crate) fn is_visible(&self, created: Option<Timestamp>, delay_ms: u64) -> bool {
        created.is_none_or(|created| later(created, delay_ms) <= self.now)
    }

    /// A security group that reads show by now.
    pub(crate) fn visible_group(&self, id: &str) -> Option<&SecurityGroup> {
        let group = self.state.security_groups.get(id)?;
        self.is_visible(group.created, self.knobs.delays.group_visible_ms).then_some(group)
    }
}

/// A time as AWS writes it: UTC with milliseconds.
pub(crate) fn time(at: Timestamp) -> String {
    format!("{at:.3}")
}
