//! One write that is picked by its number: for tests that go through all writes of a run.

use crate::{core::Core, error::ApiError, knobs::Effect, state::State};

use jiff::Timestamp;

/// What happens at the write that is picked with [`Handle::at_write`](crate::Handle::at_write).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtWrite {
    /// It is carried out; neither it nor any later call is answered or looked at, until [`Handle::resume`](crate::Handle::resume).
    Silence,
    /// It is carried out, and the connection ends without an answer.
    LostAnswer,
    /// It is carried out, and answered with an error that SDKs do not try again.
    FalseError,
    /// It is not carried out, and answered with the same error.
    Refusal,
    /// It is carried out and answered, and for so many milliseconds reads see the account as it was before.
    StaleReads(u64),
}

/// The write that is waited for, and what became of it.
#[derive(Debug, Default)]
pub(crate) struct Picked {
    waiting: Option<(u64, AtWrite)>,
    pub(crate) struck: Option<String>,
    pub(crate) silent: bool,
    /// What takes the answer of the call away that is being worked on.
    pub(crate) effect: Option<Effect>,
}

impl Picked {
    pub(crate) fn at(nth: u64, what: AtWrite) -> Self {
        Self { waiting: Some((nth.max(1), what)), ..Self::default() }
    }

    /// Counts a write that is about to be carried out.
    fn count(&mut self, action: &str) -> Option<AtWrite> {
        let (left, what) = self.waiting.as_mut()?;
        *left -= 1;
        if *left > 0 {
            return None;
        }
        let what = *what;
        self.waiting = None;
        self.struck = Some(action.to_owned());
        Some(what)
    }
}

fn error() -> Effect {
    // With its usual status 500 the SDKs would send the call again, and the controller would not notice.
    Effect::Error { code: "InternalError".into(), message: String::new(), status: Some(400) }
}

impl Core {
    /// Makes `after` the account: the one place where a write takes effect.
    pub(crate) fn carry_out(&mut self, after: State, action: &str, now: Timestamp) -> Result<(), ApiError> {
        match self.picked.count(action) {
            None => {}
            Some(AtWrite::Silence) => {
                self.picked.silent = true;
                self.picked.effect = Some(Effect::Hang);
            }
            Some(AtWrite::LostAnswer) => self.picked.effect = Some(Effect::Disconnect),
            Some(AtWrite::FalseError) => self.picked.effect = Some(error()),
            Some(AtWrite::Refusal) => {
                return Err(ApiError::new("InternalError", "InternalError (injected)").with_status(400));
            }
            Some(AtWrite::StaleReads(milliseconds)) => self.freeze("*", milliseconds, now),
        }
        self.state = after;
        Ok(())
    }
}
