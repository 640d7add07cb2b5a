//! Whether a service can be served from what there is.

use std::{collections::BTreeSet, time::Duration};

use cloud_provider::{Error, Kind, cloud::Mode, error::Result};

use super::{
    PENDING, annotations,
    desired::{Desired, Wanted, transport},
    names,
    observed::{Mend, Observed},
    tree::Tree,
};
use crate::client::load_balancer::{Listener, LoadBalancer, Provisioning};

/// Whether the service can be served from what there is.
pub(super) fn check(desired: &Desired, wanted: &Wanted, observed: &Observed, mode: Mode) -> Result<()> {
    if !wanted.has_nodes && mode != Mode::Backends {
        let problem = format!("there are no available nodes for LoadBalancer service {}", desired.key);
        return Err(Error::not_found(problem));
    }
    let Some(tree) = observed.tree.as_ref().filter(|_| observed.repair != Some(Mend::Recreate)) else {
        return match mode {
            Mode::Backends => {
                Err(Error::not_found(format!("load balancer {} is not there", desired.names.load_balancer)))
            }
            _ if !wanted.placed => Err(Error::not_found(format!(
                "no subnet-id found for service {}: no member is on a known subnet",
                desired.key
            ))),
            _ => Ok(()),
        };
    };
    let names = &desired.names;
    let LoadBalancer { id, name, .. } = &tree.load_balancer;
    match tree.load_balancer.provisioning() {
        Provisioning::Active => {}
        Provisioning::Error if observed.repair.is_some() && mode != Mode::Backends => return Ok(()),
        Provisioning::Error => {
            return Err(Error::new(Kind::Conflict, format!("load balancer {id} ({name}) is not ACTIVE: ERROR")));
        }
        Provisioning::Pending | Provisioning::Deleting | Provisioning::Deleted => {
            return Err(pending(&tree.load_balancer, PENDING));
        }
    }
    if mode != Mode::Backends && !tree.is_own(names) {
        check_sharing(desired, wanted, tree, observed)?;
    }
    let taken = wanted.ports.iter().find(|port| {
        let (number, protocol) = (port.listener.protocol_port, transport(&port.listener.protocol));
        let competes = |it: &&Listener| it.protocol_port == number && transport(&it.protocol) == protocol;
        tree.listeners.iter().filter(competes).any(|listener| !tree.is_owned(listener, names))
    });
    match taken {
        Some(port) => {
            let number = port.listener.protocol_port;
            Err(Error::new(Kind::Conflict, format!("the listener port {number} already exists on load balancer {id}")))
        }
        None => Ok(()),
    }
}

/// Whether a service may be served from a load balancer that was not made for it.
fn check_sharing(desired: &Desired, wanted: &Wanted, tree: &Tree, observed: &Observed) -> Result<()> {
    let id = &tree.load_balancer.id;
    if !wanted.features.tags {
        let problem = format!("sharing load balancer {id} needs tags, which Octavia has from version 2.5 of its API");
        return Err(Error::new(Kind::Unsupported, problem));
    }
    check_limit(id, &tree.load_balancer.tags, &desired.names.load_balancer, wanted.max_shared)?;
    if wanted.internal && (!wanted.share_internal || !observed.floating_ips.is_empty()) {
        let problem = if wanted.share_internal {
            format!("load balancer {id} has a floating IP, an internal service would be reached from outside")
        } else {
            "an internal service cannot share a load balancer".to_owned()
        };
        return Err(Error::invalid(annotations::LOAD_BALANCER_ID.key, problem));
    }
    let ipv6 = tree.load_balancer.vip_address.contains(':');
    if !wanted.internal && !ipv6 && observed.floating_ips.is_empty() {
        let problem =
            format!("load balancer {id} has no floating IP; only the service that it was made for may attach one");
        return Err(Error::invalid(annotations::LOAD_BALANCER_ID.key, problem));
    }
    Ok(())
}

/// Whether a service may come to share the load balancer with these tags.
pub(super) fn check_limit(id: &str, tags: &[String], own: &String, limit: i64) -> Result<()> {
    let others: BTreeSet<&String> = tags.iter().filter(|tag| tag.starts_with(names::PREFIX) && *tag != own).collect();
    let count = i64::try_from(others.len()).unwrap_or(i64::MAX);
    if tags.contains(own) || count < limit {
        return Ok(());
    }
    let problem = format!("load balancer {id} is already shared with {count} services; max-shared-lb is {limit}");
    Err(Error::new(Kind::Quota, problem))
}

/// Octavia is at work on a load balancer; not a failure.
pub(super) fn pending(load_balancer: &LoadBalancer, retry_after: Duration) -> Error {
    let LoadBalancer { id, name, provisioning_status, .. } = load_balancer;
    let kind = Kind::Pending { retry_after };
    Error::new(kind, format!("load balancer {id} ({name}) is not ACTIVE: {provisioning_status}"))
}
