//! Waiting for Octavia. A load balancer that is waited for alone is read by itself; where several are, one listing of the project
//! answers for all of them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use cloud_provider::{
    Error, Kind,
    error::{Failure, Result},
    http::{Polling, Progress},
    snapshot::Snapshot,
};
use tokio::time::{Instant, sleep, sleep_until};

use super::Octavia;
use crate::client::{
    Client,
    load_balancer::{LoadBalancer, Provisioning},
};

/// How long after the one before a listing begins at least: a tenth of the time for which was waited already, within these.
const SHORTEST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(2);
/// A listing shows the whole project. It stands in for reads where at least one in so many load balancers is waited for.
const WORTH: usize = 50;
/// What a listing showed is of use to those who wait for it now.
const FORGET: Duration = Duration::from_secs(60);

/// What a listing shows of a load balancer: nothing where it is not there, or not ours.
type Seen = Result<Option<LoadBalancer>, Failure>;

/// The load balancers that are waited for.
pub(super) struct Lookout {
    state: Mutex<State>,
    seen: Snapshot<String, Seen>,
}

#[derive(Default)]
struct State {
    /// How many wait for a load balancer, by its ID.
    waiting: BTreeMap<String, usize>,
    /// When the last listing began.
    listed: Option<Instant>,
    /// How many load balancers it showed.
    size: usize,
}

/// One who waits for a load balancer, until this is dropped.
struct Watch<'a> {
    lookout: &'a Lookout,
    client: &'a Client,
    id: String,
    began: Instant,
}

impl Lookout {
    pub(super) fn new() -> Self {
        Self { state: Mutex::default(), seen: Snapshot::new(FORGET) }
    }

    fn watch<'a>(&'a self, client: &'a Client, id: &str) -> Watch<'a> {
        *self.state().waiting.entry(id.to_owned()).or_default() += 1;
        Watch { lookout: self, client, id: id.to_owned(), began: Instant::now() }
    }

    /// Whether a listing costs less than it saves.
    fn is_worth_listing(&self) -> bool {
        let state = self.state();
        let waiting = state.waiting.len();
        waiting > 1 && waiting.saturating_mul(WORTH) >= state.size
    }

    /// What a listing shows that begins from now on, and not sooner than `apart` after the one before.
    async fn listed(&self, client: &Client, id: &String, apart: Duration) -> Seen {
        let now = Instant::now();
        let next = self.state().listed.map_or(now, |listed| listed + apart);
        if next > now {
            sleep_until(next).await;
        }
        let _turn = self.seen.turn().await;
        match self.seen.get(id, now) {
            Some(seen) => seen,
            None => self.list(client, id).await,
        }
    }

    /// Reads all load balancers of the project, and keeps what is waited for.
    async fn list(&self, client: &Client, id: &String) -> Seen {
        let began = Instant::now();
        let waiting: Vec<String> = {
            let mut state = self.state();
            state.listed = Some(began);
            state.waiting.keys().cloned().collect()
        };
        let listing = client.load_balancers_of_project().await.map_err(|error| Failure::from(&error));
        let listing: Result<HashMap<String, LoadBalancer>, Failure> =
            listing.map(|all| all.into_iter().map(|it| (it.id.clone(), it)).collect());
        if let Ok(all) = &listing {
            self.state().size = all.len();
        }
        let seen = |id: &String| listing.as_ref().map(|all| all.get(id).cloned()).map_err(Clone::clone);
        self.seen.insert(began, waiting.into_iter().map(|id| (id.clone(), seen(&id))));
        seen(id)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch<'_> {
    /// The load balancer as it is now.
    async fn look(&self) -> Result<LoadBalancer> {
        if !self.lookout.is_worth_listing() {
            return self.client.load_balancer(&self.id).await;
        }
        let apart = (self.began.elapsed() / 10).clamp(SHORTEST, LONGEST);
        match self.lookout.listed(self.client, &self.id, apart).await {
            Ok(Some(seen)) => Ok(seen),
            // That a listing lacks it proves nothing.
            Ok(None) => self.client.load_balancer(&self.id).await,
            Err(failure) => Err(failure.to_error(format!("look for load balancer {}", self.id))),
        }
    }

    /// What goes on, for one who waits until nothing does.
    async fn progress(&self) -> Result<Progress<LoadBalancer>> {
        let it = self.look().await?;
        let id = &self.id;
        match it.provisioning() {
            Provisioning::Active => Ok(Progress::Done(it)),
            Provisioning::Pending => Ok(Progress::Pending),
            Provisioning::Error => Err(Error::new(Kind::Conflict, format!("load balancer {id} went to ERROR"))),
            Provisioning::Deleting | Provisioning::Deleted => {
                Err(Error::not_found(format!("load balancer {id} is being deleted")))
            }
        }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let mut state = self.lookout.state();
        if let Some(count) = state.waiting.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
                state.waiting.remove(&self.id);
            }
        }
    }
}

impl Octavia {
    /// Waits until nothing is going on with a load balancer, after a change of it.
    pub(super) async fn ready(&self, id: &str) -> Result<LoadBalancer> {
        self.through(id, self.waits.change).await
    }

    /// The same after it was failed over, which takes as long as making it.
    pub(super) async fn back(&self, id: &str) -> Result<LoadBalancer> {
        self.through(id, self.waits.creation).await
    }

    async fn through(&self, id: &str, polling: Polling) -> Result<LoadBalancer> {
        let watch = self.lookout.watch(&self.client, id);
        sleep(polling.first).await;
        polling.until(format!("a change of load balancer {id}"), || watch.progress()).await
    }

    /// Waits until a load balancer that was just made is ready, for a while. Reads may lag behind: it need not be seen yet.
    pub(super) async fn made(&self, id: &str) -> Result<LoadBalancer> {
        let (polling, watch) = (self.waits.creation, self.lookout.watch(&self.client, id));
        sleep(polling.first).await;
        let look = || async {
            match watch.progress().await {
                Err(error) if error.is_not_found() => Ok(Progress::Pending),
                seen => seen,
            }
        };
        polling.until(format!("creation of load balancer {id}"), look).await
    }

    /// Waits until a load balancer that is being deleted is gone.
    pub(super) async fn gone(&self, id: &str) -> Result<()> {
        let watch = self.lookout.watch(&self.client, id);
        let look = || async {
            match watch.look().await {
                Err(error) if error.is_not_found() => Ok(Progress::Done(())),
                Ok(it) if it.provisioning() == Provisioning::Deleted => Ok(Progress::Done(())),
                Ok(it) if it.provisioning() == Provisioning::Error => {
                    Err(Error::new(Kind::Conflict, format!("load balancer {id} failed to be deleted")))
                }
                other => other.map(|_| Progress::Pending),
            }
        };
        self.waits.deletion.until(format!("deletion of load balancer {id}"), look).await
    }
}

/// How long to wait for Octavia.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waits {
    creation: Polling,
    change: Polling,
    deletion: Polling,
}

impl Waits {
    /// Waits as long as upstream with that many looks, each pause 1.2 times the one before, and looks at shorter intervals.
    pub(super) fn new(steps: u32) -> Self {
        let total = |steps: u32| {
            (1..steps.min(200)).map(|step| 1.2_f64.powi(i32::try_from(step).unwrap_or(i32::MAX) - 1)).sum::<f64>()
        };
        let total = |steps| Duration::try_from_secs_f64(total(steps)).unwrap_or(Duration::from_secs(24 * 3600));
        let polling = |first, total| Polling {
            first: Duration::from_millis(first),
            factor: 1.5,
            longest: Duration::from_secs(10),
            total,
        };
        Self {
            creation: polling(1000, total(steps)),
            change: polling(300, total(steps)),
            deletion: polling(1000, total(steps.saturating_add(1))),
        }
    }
}
