//! Telling the user what is going on while something takes its time.

use std::fmt;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One thing to tell.
#[derive(Debug, Clone)]
pub enum Event<'a> {
    /// A step begins that can take from a second to some minutes.
    Begin(&'a str),
    /// The step that began last has ended.
    End {
        /// The step, as it was named when it began.
        step: &'a str,
        /// How it ended, in a few words.
        outcome: &'a str,
        /// How long it took.
        elapsed: Duration,
    },
    /// A remark between steps.
    Note(&'a str),
}

impl fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begin(step) => write!(f, "{step} ..."),
            Self::End { step, outcome, elapsed } => write!(f, "{step}: {outcome} ({:.1} s)", elapsed.as_secs_f64()),
            Self::Note(text) => f.write_str(text),
        }
    }
}

/// Where progress goes. Cheap to clone; called from any thread.
#[derive(Clone)]
pub struct Progress(Arc<dyn Fn(Event<'_>) + Send + Sync>);

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}

impl Default for Progress {
    /// [`Progress::stderr`].
    fn default() -> Self {
        Self::stderr()
    }
}

impl Progress {
    /// Hands every event to `tell`.
    pub fn new(tell: impl Fn(Event<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    /// Lines on standard error, also from within a test, whose output is captured otherwise: a first
    /// build of the control plane takes minutes, and silence would look like a test that hangs.
    pub fn stderr() -> Self {
        Self::new(|event| {
            // Nobody is left to tell when standard error is closed.
            let _ = writeln!(std::io::stderr(), "{event}");
        })
    }

    /// Tells nobody.
    pub fn silent() -> Self {
        Self::new(|_| ())
    }

    /// A remark.
    pub fn note(&self, text: &str) {
        (self.0)(Event::Note(text));
    }

    /// Runs `work` as a step. `outcome` words a success; a failure is told as its error.
    pub fn step<T>(
        &self,
        step: &str,
        outcome: impl FnOnce(&T) -> String,
        work: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let begun = Instant::now();
        (self.0)(Event::Begin(step));
        let result = work();
        let told = match &result {
            Ok(value) => outcome(value),
            Err(error) => format!("{error:#}"),
        };
        (self.0)(Event::End { step, outcome: &told, elapsed: begun.elapsed() });
        result
    }

    /// The same for work that waits.
    pub async fn step_async<T>(
        &self,
        step: &str,
        outcome: impl FnOnce(&T) -> String,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        let begun = Instant::now();
        (self.0)(Event::Begin(step));
        let result = work.await;
        let told = match &result {
            Ok(value) => outcome(value),
            Err(error) => format!("{error:#}"),
        };
        (self.0)(Event::End { step, outcome: &told, elapsed: begun.elapsed() });
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn a_step_tells_its_beginning_and_its_outcome() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let progress = Progress::new({
            let told = Arc::clone(&told);
            move |event| {
                let line = event.to_string();
                told.lock().unwrap().push(line.split(" (").next().unwrap().to_owned());
            }
        });
        progress.step("count", |n| format!("{n} counted"), || Ok(3)).unwrap();
        progress.step("fail", |()| String::new(), || anyhow::bail!("no such thing")).unwrap_err();
        assert_eq!(*told.lock().unwrap(), ["count ...", "count: 3 counted", "fail ...", "fail: no such thing"]);
    }
}
