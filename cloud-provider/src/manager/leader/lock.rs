//! The Lease on the server: get, create, update.

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};

use super::decide::Record;

pub(super) struct Lock {
    api: Api<Lease>,
    name: String,
    /// As the server gave it last; updates are made from it, with its resource version.
    lease: Option<Lease>,
}

impl Lock {
    pub(super) fn new(client: Client, namespace: &str, name: &str) -> Lock {
        Lock { api: Api::namespaced(client, namespace), name: name.to_owned(), lease: None }
    }

    /// Reads the lease; none if there is none.
    pub(super) async fn get(&mut self) -> kube::Result<Option<Record>> {
        self.lease = self.api.get_opt(&self.name).await?;
        Ok(self.lease.as_ref().map(record))
    }

    /// Fails if the lease exists.
    pub(super) async fn create(&mut self, record: &Record) -> kube::Result<()> {
        let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
        let lease = Lease { metadata, spec: Some(spec(record, LeaseSpec::default())) };
        self.lease = Some(self.api.create(&PostParams::default(), &lease).await?);
        Ok(())
    }

    /// Fails if the lease changed since we saw it.
    pub(super) async fn update(&mut self, record: &Record) -> kube::Result<()> {
        let mut lease = self.lease.clone().unwrap_or_default();
        lease.spec = Some(spec(record, lease.spec.unwrap_or_default()));
        self.lease = Some(self.api.replace(&self.name, &PostParams::default(), &lease).await?);
        Ok(())
    }

    pub(super) fn uid(&self) -> String {
        self.lease.as_ref().and_then(|lease| lease.metadata.uid.clone()).unwrap_or_default()
    }
}

fn record(lease: &Lease) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    Record {
        holder: spec.holder_identity.unwrap_or_default(),
        duration: spec.lease_duration_seconds.unwrap_or_default(),
        acquired: spec.acquire_time.map(|time| time.0),
        renewed: spec.renew_time.map(|time| time.0),
        transitions: spec.lease_transitions.unwrap_or_default(),
    }
}

/// The record over what else the spec holds.
fn spec(record: &Record, rest: LeaseSpec) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(record.holder.clone()),
        lease_duration_seconds: Some(record.duration),
        acquire_time: record.acquired.map(MicroTime),
        renew_time: record.renewed.map(MicroTime),
        lease_transitions: Some(record.transitions),
        ..rest
    }
}
