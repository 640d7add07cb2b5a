//! Changes that failed, and when they are tried again.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use ipnet::IpNet;
use tokio::time::Instant;

use crate::{
    Error,
    cloud::routes::Change,
    cluster::{objects::Object, token_bucket::TokenBucket, workqueue::Backoff},
};

/// Of one change: the first retry is where upstream has its one of each pass, then they become rarer.
pub(super) const BACKOFF: Backoff =
    Backoff { base: Duration::from_secs(10), max: Duration::from_secs(60), bucket: None };
/// Retries of all changes together, per second: a cloud that refuses everything is not asked for everything again.
const RETRIES_PER_SECOND: f64 = 5.0;
/// Retries at once: what comes together in a pass of 10 seconds.
const RETRIES_AT_ONCE: u32 = 50;
/// A change that is due so soon is due now: a pass that the timer starts would come just too early, each time.
const SLACK: Duration = Duration::from_secs(1);

/// The memory of failures. Only of changes that are still wanted; rebuilt in every pass.
#[derive(Debug)]
pub(super) struct Retries {
    failed: HashMap<Id, Failure>,
    budget: TokenBucket,
}

/// What makes a change the same one in the next pass.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Id {
    /// The name of the route that is to go, or the UID of the node that is to get one.
    subject: String,
    deletion: bool,
    destination: IpNet,
}

#[derive(Debug, Clone, Copy)]
struct Failure {
    times: u32,
    due: Instant,
}

/// What became of a change in a pass.
#[derive(Debug)]
pub(super) enum Attempt {
    /// It is done.
    Done,
    /// The cloud goes on by itself, or this process must not write.
    Waiting(Option<Duration>),
    /// It failed.
    Failed(Error),
    /// It was not its time.
    Held,
}

impl Retries {
    pub(super) fn new() -> Self {
        Self { failed: HashMap::new(), budget: TokenBucket::new(RETRIES_PER_SECOND, RETRIES_AT_ONCE) }
    }

    /// Which of the changes are to be tried now: new ones at once, failed ones when it is their time. A creation waits
    /// for the deletion in its place.
    pub(super) fn due(&self, changes: &[Change]) -> Vec<bool> {
        let soon = Instant::now() + SLACK;
        let mut blocked = HashSet::new();
        let mut due = Vec::with_capacity(changes.len());
        for change in changes {
            let network = change.destination().network();
            let is_deletion = matches!(change, Change::Delete(_));
            let in_time =
                self.failed.get(&id(change)).is_none_or(|failure| failure.due <= soon && self.budget.try_take());
            let go = in_time && (is_deletion || !blocked.contains(&network));
            if is_deletion && !go {
                blocked.insert(network);
            }
            due.push(go);
        }
        due
    }

    /// Takes in what became of the changes, and says after which time to look again, if at all.
    pub(super) fn record(&mut self, changes: &[Change], attempts: &[Attempt]) -> Option<Duration> {
        let now = Instant::now();
        let before = std::mem::take(&mut self.failed);
        let mut next: Option<Instant> = None;
        for (change, attempt) in changes.iter().zip(attempts) {
            let id = id(change);
            let known = before.get(&id);
            let due = match attempt {
                Attempt::Done => continue,
                Attempt::Waiting(after) => now + after.unwrap_or(BACKOFF.base),
                Attempt::Held => {
                    let due = known.map_or(now, |failure| failure.due);
                    if let Some(failure) = known {
                        self.failed.insert(id, *failure);
                    }
                    // What was due was held for lack of budget, or with another change.
                    if due <= now + SLACK { now + BACKOFF.base } else { due }
                }
                Attempt::Failed(error) => {
                    let times = known.map_or(0, |failure| failure.times);
                    let asked = error.retry_after().unwrap_or_default();
                    let due = now + BACKOFF.delay(times).max(asked);
                    self.failed.insert(id, Failure { times: times.saturating_add(1), due });
                    due
                }
            };
            next = Some(next.map_or(due, |earlier| earlier.min(due)));
        }
        next.map(|at| at.saturating_duration_since(now))
    }
}

fn id(change: &Change) -> Id {
    let (subject, deletion) = match change {
        Change::Delete(route) => (route.name.clone(), true),
        Change::Create(creation) => (creation.node.uid().to_owned(), false),
    };
    Id { subject, deletion, destination: change.destination().network() }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        Kind,
        cloud::routes::{Creation, Route, State},
        cluster::objects::Node,
    };

    fn creation(uid: &str, destination: &str) -> Change {
        let mut node = Node::default();
        node.metadata.uid = Some(uid.into());
        Change::Create(Creation { node: Arc::new(node), destination: destination.parse().unwrap() })
    }

    fn deletion(destination: &str) -> Change {
        let destination = destination.parse().unwrap();
        Change::Delete(Route {
            name: "old".into(),
            node: None,
            node_addresses: None,
            destination,
            state: State::Active,
        })
    }

    fn failed() -> Attempt {
        Attempt::Failed(Error::transient("no"))
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_that_fails_is_tried_again_ever_more_rarely() {
        let (changes, mut retries) = ([creation("a", "10.0.0.0/24")], Retries::new());
        let mut waits = Vec::new();
        for _ in 0..5 {
            assert_eq!(retries.due(&changes), [true]);
            let wait = retries.record(&changes, &[failed()]).unwrap();
            waits.push(wait.as_secs());
            assert_eq!(retries.due(&changes), [false]);
            tokio::time::advance(wait).await;
        }
        assert_eq!(waits, [10, 20, 40, 60, 60]);
        assert_eq!(retries.record(&changes, &[Attempt::Done]), None);
        assert_eq!(retries.record(&changes, &[failed()]).unwrap().as_secs(), 10, "a success ends the series");
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_that_the_cloud_names_counts_where_it_is_longer() {
        let (changes, mut retries) = ([creation("a", "10.0.0.0/24")], Retries::new());
        let asked = |seconds| {
            let retry_after = Some(Duration::from_secs(seconds));
            Attempt::Failed(Error::new(Kind::Throttled { retry_after }, "slow down"))
        };
        assert_eq!(retries.record(&changes, &[asked(90)]).unwrap().as_secs(), 90);
        assert_eq!(retries.record(&changes, &[asked(1)]).unwrap().as_secs(), 20);
        let pending = [Attempt::Waiting(Some(Duration::from_secs(3)))];
        assert_eq!(retries.record(&changes, &pending).unwrap().as_secs(), 3);
        assert_eq!(retries.due(&changes), [true], "what is pending has not failed");
    }

    #[tokio::test(start_paused = true)]
    async fn a_creation_waits_with_the_deletion_in_its_place() {
        let (changes, mut retries) =
            ([deletion("10.0.0.0/24"), creation("a", "10.0.0.0/24"), creation("b", "10.0.1.0/24")], Retries::new());
        retries.record(&changes, &[failed(), Attempt::Waiting(None), Attempt::Waiting(None)]);
        assert_eq!(retries.due(&changes), [false, false, true]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cloud_that_refuses_everything_is_retried_five_times_a_second_at_most() {
        let changes: Vec<Change> = (0..1000).map(|n| creation(&n.to_string(), "10.0.0.0/24")).collect();
        let mut retries = Retries::new();
        let tries = |due: &[bool]| due.iter().filter(|due| **due).count();
        assert_eq!(tries(&retries.due(&changes)), 1000, "first tries are not limited");
        let mut total = 0;
        let mut attempts: Vec<Attempt> = changes.iter().map(|_| failed()).collect();
        for _ in 0..30 {
            retries.record(&changes, &attempts);
            tokio::time::advance(Duration::from_secs(10)).await;
            let due = retries.due(&changes);
            total += tries(&due);
            attempts = due.iter().map(|due| if *due { failed() } else { Attempt::Held }).collect();
        }
        assert!(total <= 5 * 300 && total > 4 * 300, "{total} retries in 300 s");
    }
}
