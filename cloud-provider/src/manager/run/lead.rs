//! Which part of the process runs when: the main lease, and with leader migration a second one that another controller
//! manager shares.

use std::sync::{Arc, OnceLock};

use futures::future::select_all;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{End, MANAGER, Process, SHUTDOWN, Signals, ended, open};
use crate::{
    Error,
    cluster::{
        client::Clients,
        events::{Recorder, Sink},
    },
    config::leader_migration::{LeaderMigration, Owner},
    error::Result,
    manager::{
        Provider,
        leader::{self, Change, Election, Elector, Leadership},
        options::LeaderElectionSettings,
    },
};

/// The candidacies of this process, the main one first.
#[derive(Default)]
struct Elections {
    /// Not a child of the controllers' token: leases are kept until the controllers have ended.
    token: CancellationToken,
    running: Vec<Election>,
    /// Writes their events, the last of which come when the leases are given back.
    events: Option<(CancellationToken, JoinHandle<()>)>,
}

/// How the wait for a lease ended.
enum Wait {
    Acquired(Leadership),
    Ended(End),
}

impl<P: Provider> Process<P> {
    /// Takes part in the elections, runs the controllers while leading, and gives the leases back at the end.
    pub(super) async fn lead(&mut self, signals: &mut Signals) -> Result<End> {
        let mut elections = Elections::default();
        let end = match self.settings.leader_election.clone() {
            Some(settings) => self.campaign(&settings, &mut elections, signals).await,
            None => self.run_controllers(self.clients.clone(), &mut elections, signals).await,
        };
        // Who lost a lease leaves at once: somebody else works already.
        if !matches!(end, Ok(End::Lost)) {
            self.stop().await;
            elections.release().await;
        }
        end
    }

    async fn campaign(
        &mut self,
        settings: &LeaderElectionSettings,
        elections: &mut Elections,
        signals: &mut Signals,
    ) -> Result<End> {
        let events = Sink::new(open(&self.clients, "leader-election-events").await?);
        let recorder = events.recorder(MANAGER);
        elections.write(events);

        let main = match self.acquire(settings, &settings.name, recorder.clone(), elections, signals).await? {
            Wait::Acquired(leadership) => leadership,
            Wait::Ended(end) => return Ok(end),
        };
        let shared = Arc::new(OnceLock::<Leadership>::new());
        let held = {
            let (main, shared) = (main.clone(), shared.clone());
            Arc::new(move || main.held() && shared.get().is_none_or(Leadership::held))
        };
        self.gate.open_while(held.clone());
        let clients = self.clients.gated(main.gate());
        let Some(migration) = &settings.migration else {
            return self.run_controllers(clients, elections, signals).await;
        };
        if let Some(end) = self.start_unless_ended(clients, Owner::Main, elections, signals).await? {
            return Ok(end);
        }
        self.announce(migration);
        tracing::info!(lease = migration.leader_name, "waiting for the lease of controllers that migrate");
        match self.acquire(settings, &migration.leader_name, recorder, elections, signals).await? {
            // A process acquires the lease once.
            Wait::Acquired(leadership) => _ = shared.set(leadership),
            Wait::Ended(end) => return Ok(end),
        }
        if let Some(end) = self.start_unless_ended(self.clients.gated(held), Owner::Shared, elections, signals).await? {
            return Ok(end);
        }
        self.until_end(elections, signals).await
    }

    /// Without leader migration: starts all controllers, and waits for the end.
    async fn run_controllers(
        &mut self,
        clients: Clients,
        elections: &mut Elections,
        signals: &mut Signals,
    ) -> Result<End> {
        match self.start_unless_ended(clients, Owner::Main, elections, signals).await? {
            Some(end) => Ok(end),
            None => self.until_end(elections, signals).await,
        }
    }

    /// Starts the controllers of `owner`, which may take minutes, unless a signal or the loss of a lease comes first.
    async fn start_unless_ended(
        &mut self,
        clients: Clients,
        owner: Owner,
        elections: &mut Elections,
        signals: &mut Signals,
    ) -> Result<Option<End>> {
        tokio::select! {
            started = self.start_controllers(clients, owner) => started.map(|()| None),
            () = signals.next() => Ok(Some(End::Asked)),
            change = elections.next() => Ok(Some(lost(change.as_ref()))),
        }
    }

    /// Says what the configuration means here: a controller that nobody runs is found in this line.
    fn announce(&self, migration: &LeaderMigration) {
        let registry = P::program().registry().clone();
        let enabled = registry.controllers().iter().filter(|names| self.settings.controllers.is_enabled(names));
        for names in enabled.filter(|names| self.settings.owner(names) == Owner::Other) {
            tracing::info!(controller = names.name, "not started: the leader migration gives it to another component");
        }
        let known: Vec<_> =
            registry.controllers().iter().flat_map(|names| names.aliases.iter().copied().chain([names.name])).collect();
        for name in migration.unknown(&known) {
            tracing::warn!(
                controller = name,
                "the leader migration names a controller that this program does not have"
            );
        }
    }

    /// Competes for the lease `name` and waits until it is ours, or the process has to end.
    async fn acquire(
        &mut self,
        settings: &LeaderElectionSettings,
        name: &str,
        recorder: Recorder,
        elections: &mut Elections,
        signals: &mut Signals,
    ) -> Result<Wait> {
        let candidacy = leader::Settings {
            lease_duration: settings.lease_duration,
            renew_deadline: settings.renew_deadline,
            retry_period: settings.retry_period,
            ..leader::Settings::new(settings.namespace.clone(), name)
        };
        let elector = Elector::new(candidacy, self.clients.clone(), Some(recorder), &self.metrics)
            .map_err(|error| Error::invalid("--leader-elect", error.to_string()))?;
        let election = elector
            .run(elections.token.clone())
            .map_err(|error| Error::transient("start the leader election").with_source(error))?;
        elections.running.push(election);
        let checks: Vec<_> = elections.running.iter().map(Election::health).collect();
        self.checks.add("leaderElection", move || checks.iter().try_for_each(leader::Health::check));
        tokio::select! {
            change = elections.next() => match change {
                Some(Change::Acquired(leadership)) => Ok(Wait::Acquired(leadership)),
                change => Ok(Wait::Ended(lost(change.as_ref()))),
            },
            () = signals.next() => Ok(Wait::Ended(End::Asked)),
            failed = ended(&mut self.tasks) => Err(failed),
        }
    }

    /// Waits for a signal, the loss of a lease, or a task that ends by itself.
    async fn until_end(&mut self, elections: &mut Elections, signals: &mut Signals) -> Result<End> {
        tokio::select! {
            () = signals.next() => Ok(End::Asked),
            change = elections.next() => Ok(lost(change.as_ref())),
            failed = ended(&mut self.tasks) => Err(failed),
        }
    }
}

fn lost(change: Option<&Change>) -> End {
    tracing::error!(?change, "leaderelection lost");
    End::Lost
}

impl Elections {
    /// The next change in any of the elections; none ever where there is no election.
    async fn next(&mut self) -> Option<Change> {
        if self.running.is_empty() {
            return std::future::pending().await;
        }
        let changes = self.running.iter_mut().map(|election| Box::pin(election.next()));
        select_all(changes).await.0
    }

    fn write(&mut self, events: Sink) {
        let token = CancellationToken::new();
        self.events = Some((token.clone(), tokio::spawn(events.run(token))));
    }

    /// Gives all leases back, bounded by the elections themselves, which try once each, and writes what they tell of it.
    async fn release(&mut self) {
        self.token.cancel();
        for election in &mut self.running {
            // A lease may just have been acquired.
            let released = async { while let Some(Change::Acquired(_)) = election.next().await {} };
            let _ = tokio::time::timeout(SHUTDOWN, released).await;
        }
        if let Some((token, written)) = self.events.take() {
            token.cancel();
            let _ = tokio::time::timeout(SHUTDOWN, written).await;
        }
    }
}
