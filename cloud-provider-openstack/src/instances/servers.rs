//! Servers by ID and by name, and what is known of them.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use cloud_provider::{
    Error, Kind,
    error::Failure,
    snapshot::{self, Named, Snapshot},
};
use futures::{StreamExt, stream};
use tokio::time::Instant;

use crate::client::{
    Client,
    compute::{PAGE, Server},
};

/// After this time an answer is forgotten.
const FORGET: Duration = Duration::from_secs(15 * 60);
/// Reads of single servers at the same time.
const IN_FLIGHT: usize = 10;
/// How many reads of single servers weigh as much as a page of a listing, beyond one for each so many of its entries.
const ENTRIES_PER_READ: usize = 50;

/// What is known of one ID.
#[derive(Debug, Clone)]
pub enum Known {
    /// The server.
    Found(Arc<Server>),
    /// Nova said that there is none.
    Gone,
}

/// The servers that have a name.
pub type NameAnswer = Named<String>;
/// What could not be found out, by ID and by name.
pub type Failures = snapshot::Failures<String>;

/// What is known of servers, shared by all who ask.
pub struct KnownServers {
    client: Client,
    ids: Snapshot<String, Known>,
    names: Snapshot<String, NameAnswer>,
    /// How many servers the last listing had.
    listed: AtomicUsize,
}

impl KnownServers {
    /// Nothing is known yet.
    pub fn new(client: Client) -> Self {
        Self { client, ids: Snapshot::new(FORGET), names: Snapshot::new(FORGET), listed: AtomicUsize::new(0) }
    }

    /// What is known of an ID from a read that began at `oldest` or later.
    pub fn server(&self, id: &str, oldest: Instant) -> Option<Known> {
        self.ids.get(&id.to_owned(), oldest)
    }

    /// What is known of a name from a read that began at `oldest` or later.
    pub fn name(&self, name: &str, oldest: Instant) -> Option<NameAnswer> {
        self.names.get(&name.to_owned(), oldest)
    }

    /// Makes sure that these IDs and names are known from reads that began at `oldest` or later, apart from the failures that
    /// it gives. Where it `may_list`, all servers of the project are listed if that costs less than to ask for each that is
    /// missing; what the listing lacks is then asked for all the same.
    pub async fn refresh(
        &self,
        ids: &HashSet<String>,
        names: &HashSet<String>,
        oldest: Instant,
        may_list: bool,
    ) -> Failures {
        if self.missing(ids, names, oldest) == (Vec::new(), Vec::new()) {
            return Failures::default();
        }
        let _turn = self.ids.turn().await;
        let (mut wanted_ids, mut wanted_names) = self.missing(ids, names, oldest);
        if may_list && self.listing_is_cheaper(wanted_ids.len() + wanted_names.len()) {
            match self.list().await {
                Ok(()) => (wanted_ids, wanted_names) = self.missing(ids, names, oldest),
                Err(failure) => return Failures::all(wanted_ids, wanted_names, &failure),
            }
        }
        Failures { ids: self.read_ids(wanted_ids).await, names: self.read_names(wanted_names).await }
    }

    fn missing(&self, ids: &HashSet<String>, names: &HashSet<String>, oldest: Instant) -> (Vec<String>, Vec<String>) {
        (self.ids.missing(ids, oldest), self.names.missing(names, oldest))
    }

    /// A page weighs as much as a read, and a bit for each of its entries.
    fn listing_is_cheaper(&self, missing: usize) -> bool {
        let expected = self.listed.load(Ordering::Relaxed).max(self.ids.len()).max(missing);
        expected / PAGE + 1 + expected / ENTRIES_PER_READ < missing
    }

    async fn list(&self) -> Result<(), Failure> {
        let began = Instant::now();
        let servers = self.client.servers().await.map_err(|error| Failure::from(&error.context("list the servers")))?;
        tracing::debug!(servers = servers.len(), "listed the servers");
        self.listed.store(servers.len(), Ordering::Relaxed);
        let mut names: HashMap<String, Vec<String>> = HashMap::new();
        for server in &servers {
            names.entry(server.name.clone()).or_default().push(server.id.clone());
        }
        self.names.insert(began, names.into_iter().map(|(name, ids)| (name, NameAnswer::of(ids))));
        self.insert(began, servers);
        Ok(())
    }

    fn insert(&self, began: Instant, servers: Vec<Server>) {
        self.ids.insert(began, servers.into_iter().map(|server| (server.id.clone(), Known::Found(Arc::new(server)))));
    }

    async fn read_ids(&self, ids: Vec<String>) -> HashMap<String, Failure> {
        let read = |id: String| async move {
            let began = Instant::now();
            match self.client.server(&id).await {
                Ok(server) => self.ids.insert(began, [(id, Known::Found(Arc::new(server)))]),
                Err(error) if error.is_not_found() => self.ids.insert(began, [(id, Known::Gone)]),
                Err(error) => return Err((id, error)),
            }
            Ok(())
        };
        each(ids, read).await
    }

    async fn read_names(&self, names: Vec<String>) -> HashMap<String, Failure> {
        let read = |name: String| async move {
            let began = Instant::now();
            match self.client.servers_named(&name).await {
                Ok(servers) => {
                    let ids = servers.iter().map(|server| server.id.clone()).collect();
                    self.names.insert(began, [(name, NameAnswer::of(ids))]);
                    self.insert(began, servers);
                    Ok(())
                }
                Err(error) => Err((name, error)),
            }
        };
        each(names, read).await
    }
}

/// Reads one after the other, some at the same time. After a failure that the next one would share, the rest is not asked for.
async fn each<F>(keys: Vec<String>, read: impl Fn(String) -> F) -> HashMap<String, Failure>
where
    F: Future<Output = Result<(), (String, Error)>>,
{
    let mut failed = HashMap::new();
    let mut keys = keys.into_iter();
    loop {
        let batch: Vec<String> = keys.by_ref().take(IN_FLIGHT).collect();
        if batch.is_empty() {
            return failed;
        }
        let results: Vec<_> = stream::iter(batch).map(&read).buffer_unordered(IN_FLIGHT).collect().await;
        let mut general = None;
        for (key, error) in results.into_iter().filter_map(Result::err) {
            let failure = Failure::from(&error);
            if failure.is_general() || *failure.kind() == Kind::Transient {
                general.get_or_insert_with(|| failure.clone());
            }
            failed.insert(key, failure);
        }
        if let Some(failure) = general {
            failed.extend(keys.map(|key| (key, failure.clone())));
            return failed;
        }
    }
}
