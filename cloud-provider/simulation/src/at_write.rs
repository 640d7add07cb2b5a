//! One write that is picked by its number: for tests that go through all writes of a run.

use jiff::Timestamp;

use crate::{
    faults::Effect,
    frame::{Cloud, Frame},
};

/// What happens at the write that is picked with [`Handle::at_write`](crate::Handle::at_write).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtWrite {
    /// It is carried out; neither it nor any later call is answered or looked at, until [`Handle::resume`](crate::Handle::resume).
    Silence,
    /// It is carried out, and the connection ends without an answer.
    LostAnswer,
    /// It is carried out, and answered with an error that clients do not try again.
    FalseError,
    /// It is not carried out, and answered with the same error.
    Refusal,
    /// It is carried out and answered, and for so many milliseconds reads see the cloud as it was before.
    StaleReads(u64),
}

/// The write that is waited for, and what became of it.
#[derive(Debug, Default)]
pub struct Picked {
    waiting: Option<(u64, AtWrite)>,
    struck: Option<String>,
    silent: bool,
    /// What takes the answer of the call away that is being worked on.
    effect: Option<Effect>,
}

impl Picked {
    /// The `nth` write from now on, counted from 1.
    pub fn at(nth: u64, what: AtWrite) -> Self {
        Self { waiting: Some((nth.max(1), what)), ..Self::default() }
    }

    /// The action of the write that was picked, once it has come.
    pub fn struck(&self) -> Option<&str> {
        self.struck.as_deref()
    }

    /// Whether calls are neither answered nor looked at any more.
    pub fn is_silent(&self) -> bool {
        self.silent
    }

    /// What the answer of the call that was just worked on becomes instead, if it was the picked write.
    pub fn take_effect(&mut self) -> Option<Effect> {
        self.effect.take()
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

/// With a usual status of 500 clients would send the call again, and the controller would not notice.
fn error() -> Effect {
    Effect::Error { code: "InternalError".into(), message: String::new(), status: Some(400) }
}

impl<C: Cloud> Frame<C> {
    /// Makes `after` the cloud: the one place where a write of a client takes effect. `action` is `SERVICE.Action`.
    ///
    /// # Errors
    /// With the error to answer instead, when this is the picked write and is refused; then nothing is changed.
    pub fn carry_out(&mut self, after: C::State, action: &str, now: Timestamp) -> Result<(), Effect> {
        match self.picked.count(action) {
            None => {}
            Some(AtWrite::Silence) => {
                self.picked.silent = true;
                self.picked.effect = Some(Effect::Hang);
            }
            Some(AtWrite::LostAnswer) => self.picked.effect = Some(Effect::Disconnect),
            Some(AtWrite::FalseError) => self.picked.effect = Some(error()),
            Some(AtWrite::Refusal) => return Err(error()),
            Some(AtWrite::StaleReads(milliseconds)) => self.freeze("*", milliseconds, now),
        }
        self.state = after;
        Ok(())
    }
}
