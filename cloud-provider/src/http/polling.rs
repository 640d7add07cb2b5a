//! Operations of the cloud that take their time.

use std::{fmt, future::Future, time::Duration};

use tokio::time::{Instant, sleep};

use crate::{Error, Kind, error::Result};

/// How often and how long to look whether an operation has ended. Every wait is bounded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Polling {
    /// The pause after the first look.
    pub first: Duration,
    /// By how much each pause is longer than the one before.
    pub factor: f64,
    /// The longest pause.
    pub longest: Duration,
    /// When the wait ends with [`Kind::Pending`].
    pub total: Duration,
}

/// What a look found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress<T> {
    /// It has ended.
    Done(T),
    /// It goes on.
    Pending,
}

impl Default for Polling {
    /// Every second at first, every ten seconds later, five minutes in all.
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            factor: 1.2,
            longest: Duration::from_secs(10),
            total: Duration::from_secs(300),
        }
    }
}

impl Polling {
    /// Looks at once and then again and again, until the operation has ended. A look that fails for an outage of the cloud
    /// counts as one that found nothing; any other failure ends the wait.
    ///
    /// # Errors
    ///
    /// A failure of `look`; after the total time its last outage, or [`Kind::Pending`] with the pause after which to look again.
    pub async fn until<T, F>(&self, what: impl fmt::Display, mut look: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<Progress<T>>>,
    {
        let end = Instant::now() + self.total;
        let mut pause = self.first;
        loop {
            let outage = match look().await {
                Ok(Progress::Done(value)) => return Ok(value),
                Ok(Progress::Pending) => None,
                Err(error) if error.is_outage() => Some(error),
                Err(error) => return Err(error),
            };
            let asked = outage.as_ref().and_then(Error::retry_after).unwrap_or_default();
            let wait = pause.max(asked);
            if Instant::now() + wait > end {
                let late = || {
                    let kind = Kind::Pending { retry_after: self.longest };
                    Error::new(kind, format!("{what} has not ended after {:?}", self.total))
                };
                return Err(outage.map_or_else(late, |error| error.context(&what)));
            }
            sleep(wait).await;
            pause = Duration::try_from_secs_f64(pause.as_secs_f64() * self.factor.max(1.0))
                .unwrap_or(self.longest)
                .min(self.longest);
        }
    }
}
