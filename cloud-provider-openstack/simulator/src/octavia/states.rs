//! The states that load balancers and what belongs to them go through.
//!
//! A change makes the load balancer and what it touches pending; while it is, every other change of anything below the same
//! load balancer is refused. When the time is over, all of it is `ACTIVE`, or gone, or `ERROR`.

use cloud_provider_simulation::{glob, later};
use jiff::Timestamp;

use crate::{
    context::Context,
    document::{Document, Fields as _},
    error::ApiError,
    state::{Job, Kind, State},
    time,
};

pub(super) const BELOW: [Kind; 4] = [Kind::Listeners, Kind::Pools, Kind::HealthMonitors, Kind::Members];

/// What a change does to the load balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Update,
    Delete,
    Failover,
}

/// Refuses a change while the load balancer may not be changed. `immutable` words the refusal.
pub(super) fn check(
    context: &Context<'_>,
    balancer: &str,
    change: Change,
    immutable: fn(&str, &str) -> ApiError,
) -> Result<(), ApiError> {
    let status = context.state.load_balancers.get(balancer).map_or("", |found| found.text("provisioning_status"));
    let allowed = match change {
        Change::Update => status == "ACTIVE",
        Change::Delete | Change::Failover => matches!(status, "ACTIVE" | "ERROR"),
    };
    if allowed { Ok(()) } else { Err(immutable(status, balancer)) }
}

/// The refusal of a change below a load balancer.
pub(super) fn immutable_child(_: &str, balancer: &str) -> ApiError {
    ApiError::conflict(format!("Load Balancer {balancer} is immutable and cannot be updated."))
}

/// The refusal of a change of a load balancer itself.
pub(super) fn wrong_state(status: &str, balancer: &str) -> ApiError {
    ApiError::conflict(format!("Invalid state {status} of loadbalancer resource {balancer}"))
}

/// Makes a load balancer pending, and lets it settle after its time.
pub(super) fn begin(context: &mut Context<'_>, balancer: &str, pending: &str) {
    let delays = &context.knobs.delays;
    let delay = match pending {
        "PENDING_CREATE" => delays.load_balancer_create_ms,
        "PENDING_DELETE" => delays.load_balancer_delete_ms,
        _ => delays.load_balancer_update_ms,
    };
    let fails = {
        let name = context.state.load_balancers.get(balancer).map_or("", |found| found.text("name"));
        context.knobs.failing_load_balancers.iter().any(|pattern| glob::matches(pattern, name))
    };
    // Behind busy workers a change waits for the one that ends first.
    let mut busy: Vec<Timestamp> = context.state.jobs.iter().map(|job| job.due).collect();
    busy.sort_unstable();
    let start = match context.knobs.octavia_workers {
        Some(workers) if workers > 0 && busy.len() >= workers => busy[busy.len() - workers].max(context.now),
        _ => context.now,
    };
    let due = later(start, delay);
    context.state.jobs.push(Job { due, load_balancer: balancer.to_owned(), fails });
    set_status(context.state, Kind::LoadBalancers, balancer, pending, context.now);
}

/// Puts a resource into a status.
pub(super) fn set_status(state: &mut State, kind: Kind, id: &str, status: &str, now: Timestamp) {
    if let Some(resource) = state.table_mut(kind).get_mut(id) {
        resource.set("provisioning_status", status);
        if status == "PENDING_UPDATE" {
            resource.set("updated_at", time::plain(now));
        }
    }
}

impl State {
    /// Lets happen what is due.
    pub(crate) fn advance(&mut self, now: Timestamp) {
        if self.jobs.iter().all(|job| now < job.due) {
            return;
        }
        let (due, left): (Vec<Job>, Vec<Job>) =
            std::mem::take(&mut self.jobs).into_iter().partition(|job| job.due <= now);
        self.jobs = left;
        for job in due {
            self.settle(&job, now);
        }
    }

    fn settle(&mut self, job: &Job, now: Timestamp) {
        let id = job.load_balancer.as_str();
        let Some(balancer) = self.load_balancers.get(id) else { return };
        if balancer.text("provisioning_status") == "PENDING_DELETE" && !job.fails {
            self.remove_load_balancer(id);
            return;
        }
        let end = if job.fails { "ERROR" } else { "ACTIVE" };
        for kind in BELOW {
            for child in self.table(kind).ids_with("_loadbalancer_id", id) {
                let status =
                    self.table(kind).get(&child).map_or("", |child| child.text("provisioning_status")).to_owned();
                match status.as_str() {
                    "PENDING_DELETE" if !job.fails => self.remove_child(kind, &child),
                    status if status.starts_with("PENDING") => {
                        set_status(self, kind, &child, end, now);
                        self.set_operating_status(kind, &child);
                    }
                    _ => {}
                }
            }
        }
        if let Some(balancer) = self.load_balancers.get_mut(id) {
            balancer.set("provisioning_status", end);
            balancer.set("operating_status", if job.fails { "ERROR" } else { "ONLINE" });
        }
    }

    fn set_operating_status(&mut self, kind: Kind, id: &str) {
        let watched = match (kind, self.table(kind).get(id)) {
            (Kind::Members, Some(member)) => {
                self.health_monitors.with("_pool_id", member.text("_pool_id")).next().is_some()
            }
            _ => true,
        };
        if let Some(child) = self.table_mut(kind).get_mut(id) {
            let status = match child.text("provisioning_status") {
                "ERROR" => "ERROR",
                _ if watched => "ONLINE",
                _ => "NO_MONITOR",
            };
            child.set("operating_status", status);
        }
    }

    /// Removes a resource below a load balancer with what belongs to it.
    pub(super) fn remove_child(&mut self, kind: Kind, id: &str) {
        if kind == Kind::Pools {
            for below in [Kind::Members, Kind::HealthMonitors] {
                for child in self.table(below).ids_with("_pool_id", id) {
                    self.table_mut(below).remove(&child);
                }
            }
            for listener in self.listeners.ids_with("default_pool_id", id) {
                if let Some(listener) = self.listeners.get_mut(&listener) {
                    listener.set("default_pool_id", serde_json::Value::Null);
                }
            }
        }
        self.table_mut(kind).remove(id);
    }

    /// Removes a load balancer with everything below it, and its port if it was made for it.
    pub(crate) fn remove_load_balancer(&mut self, id: &str) {
        for kind in BELOW {
            for child in self.table(kind).ids_with("_loadbalancer_id", id) {
                self.table_mut(kind).remove(&child);
            }
        }
        self.jobs.retain(|job| job.load_balancer != id);
        if let Some(gone) = self.load_balancers.remove(id) {
            self.release_vip(&gone);
        }
    }

    fn release_vip(&mut self, balancer: &Document) {
        let mut ports = vec![balancer.text("vip_port_id").to_owned()];
        ports.extend(crate::document::objects(balancer, "additional_vips").map(|vip| vip.text("port_id").to_owned()));
        for id in ports {
            let Some(port) = self.ports.get_mut(&id) else { continue };
            if port.flag("_of_octavia") {
                self.delete_port(&id);
            } else {
                port.set("device_id", "");
                port.set("device_owner", "");
            }
        }
    }
}
