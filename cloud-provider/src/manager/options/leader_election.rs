//! Leader election in section "generic", and section "leader-migration".

use std::time::Duration;

use clap::{ArgAction, Args};

use super::{Errors, path};
use crate::config::{self, duration::GoDuration};

/// How much longer than its period an attempt to acquire the lease may wait, as client-go does.
const JITTER_FACTOR: f64 = 1.2;

/// Flags of leader migration.
#[derive(Args, Clone, Debug)]
#[group(skip)]
#[command(next_help_heading = "Leader-migration flags")]
pub struct LeaderMigration {
    /// Take controllers over from another controller manager, or hand them over, under a second lease. Needs
    /// --leader-elect
    #[arg(long)]
    pub enable_leader_migration: bool,
    /// File with a LeaderMigrationConfiguration; empty for the built-in default
    #[arg(long, default_value = "")]
    pub leader_migration_config: String,
}

/// Flags of leader election.
#[derive(Args, Clone, Debug)]
#[group(skip)]
#[command(next_help_heading = "Generic flags")]
pub struct LeaderElection {
    /// Act only while holding a lease, so that replicas can stand by
    #[arg(long, action = ArgAction::Set, default_value = "true")]
    pub leader_elect: bool,
    /// How long others wait after the last renewal they saw before they take the lease. More than the renew deadline
    #[arg(long, default_value = "15s")]
    pub leader_elect_lease_duration: GoDuration,
    /// How long the leader tries to renew before it gives up. More than 1.2 times the retry period
    #[arg(long, default_value = "10s")]
    pub leader_elect_renew_deadline: GoDuration,
    /// How long to wait between attempts to acquire or renew the lease
    #[arg(long, default_value = "2s")]
    pub leader_elect_retry_period: GoDuration,
    /// Kind of the lock; only 'leases'
    #[arg(long, default_value = "leases")]
    pub leader_elect_resource_lock: String,
    /// Name of the lease
    #[arg(long, default_value = "cloud-controller-manager")]
    pub leader_elect_resource_name: String,
    /// Namespace of the lease
    #[arg(long, default_value = "kube-system")]
    pub leader_elect_resource_namespace: String,
}

/// Validated settings of leader election.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderElectionSettings {
    /// How long others respect a lease that is not renewed.
    pub lease_duration: Duration,
    /// How long the leader tries to renew.
    pub renew_deadline: Duration,
    /// The time between attempts.
    pub retry_period: Duration,
    /// The name of the lease.
    pub name: String,
    /// The namespace of the lease.
    pub namespace: String,
    /// Set when some controllers run under a second lease.
    pub migration: Option<config::leader_migration::LeaderMigration>,
}

impl LeaderMigration {
    /// The configuration in the file, or the built-in one.
    fn read(&self, errors: &mut Errors) -> config::leader_migration::LeaderMigration {
        let Some(file) = path(&self.leader_migration_config) else { return Default::default() };
        let read = std::fs::read_to_string(&file).map_err(|error| error.to_string());
        let parsed =
            read.and_then(|text| text.parse().map_err(|error: config::leader_migration::Invalid| error.to_string()));
        parsed.unwrap_or_else(|error| {
            errors.add(format!("--leader-migration-config {}: {error}", file.display()));
            Default::default()
        })
    }
}

impl LeaderElection {
    /// Settings, or none if there is no election. What client-go checks only when the election starts, and then
    /// panics about, is an error here.
    pub(super) fn validate(&self, migration: &LeaderMigration, errors: &mut Errors) -> Option<LeaderElectionSettings> {
        if !self.leader_elect {
            if migration.enable_leader_migration {
                errors.add("--enable-leader-migration needs --leader-elect");
            }
            return None;
        }
        if self.leader_elect_resource_lock != "leases" {
            errors.add("resourceLock value must be \"leases\"");
        }
        let (lease, renew, retry) =
            (self.leader_elect_lease_duration, self.leader_elect_renew_deadline, self.leader_elect_retry_period);
        if lease <= renew {
            errors.add("leaseDuration must be greater than renewDeadline");
        }
        if renew.as_nanos() as f64 <= (JITTER_FACTOR * retry.as_nanos() as f64).trunc() {
            errors.add("renewDeadline must be greater than retryPeriod*JitterFactor");
        }
        for (name, duration) in [("leaseDuration", lease), ("renewDeadline", renew), ("retryPeriod", retry)] {
            if duration <= GoDuration::ZERO {
                errors.add(format!("{name} must be greater than zero"));
            }
        }
        // The API server refuses a lease of zero seconds, and a record says whole seconds.
        if lease > GoDuration::ZERO && lease < GoDuration::from_secs(1) {
            errors.add("leaseDuration must be at least one second");
        }
        Some(LeaderElectionSettings {
            lease_duration: lease.to_std(),
            renew_deadline: renew.to_std(),
            retry_period: retry.to_std(),
            name: self.leader_elect_resource_name.clone(),
            namespace: self.leader_elect_resource_namespace.clone(),
            migration: migration.enable_leader_migration.then(|| migration.read(errors)),
        })
    }
}
