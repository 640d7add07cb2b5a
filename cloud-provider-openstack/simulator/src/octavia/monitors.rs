//! Health monitors.

use serde_json::Value;

use super::{
    attributes::{MONITOR, to_create, to_update},
    ovn,
    states::set_status,
    writing::{answer, apply, around_pool, body, check_quota, find, invalid, store, touch},
};
use crate::{
    context::Context,
    document::{Document, Fields as _},
    error::ApiError,
    request::{Reply, Request},
    state::Kind,
};

/// Makes the monitor of a pool that may be changed.
pub(super) fn make(context: &mut Context<'_>, pool: &str, asked: &Document) -> Result<String, ApiError> {
    let mut made = to_create(context, MONITOR, asked)?;
    let owner = find(context, Kind::Pools, pool)?.clone();
    let balancer = owner.text("_loadbalancer_id");
    let provider = find(context, Kind::LoadBalancers, balancer)?.text("provider").to_owned();
    check(context, owner.text("protocol"), &made)?;
    ovn::check_monitor(&provider, &made)?;
    if context.state.health_monitors.with("_pool_id", pool).next().is_some() {
        return Err(ApiError::conflict("This pool already has a health monitor"));
    }
    check_quota(context, Kind::HealthMonitors, owner.text("project_id"), 1)?;
    if matches!(made.text("type"), "HTTP" | "HTTPS") {
        for (name, default) in [("http_method", "GET"), ("url_path", "/"), ("expected_codes", "200")] {
            if !made.has(name) {
                made.set(name, default);
            }
        }
    }
    made.remove("pool_id");
    made.set("_pool_id", pool);
    Ok(store(context, Kind::HealthMonitors, balancer, made))
}

fn check(context: &Context<'_>, pool_protocol: &str, monitor: &Document) -> Result<(), ApiError> {
    let kind = monitor.text("type");
    if matches!(pool_protocol, "UDP" | "SCTP") {
        let newer = ["TCP", "HTTP"].contains(&kind) && context.knobs.release.octavia_minor >= 16;
        if !matches!(kind, "UDP-CONNECT" | "SCTP") && !newer {
            return Err(invalid(format!(
                "The associated pool protocol is {pool_protocol}, so only a UDP-CONNECT/SCTP/TCP/HTTP health monitor is supported."
            )));
        }
        if kind == "UDP-CONNECT" && monitor.number("delay").is_some_and(|delay| delay < 3) {
            let delay = monitor.number("delay").unwrap_or_default();
            return Err(invalid(format!(
                "The request delay value {delay} should be larger than 3 for UDP-CONNECT health monitor type."
            )));
        }
    } else if matches!(kind, "UDP-CONNECT" | "SCTP") {
        return Err(invalid(format!("The {kind} type is only supported for pools of type UDP/SCTP.")));
    }
    check_http(kind, monitor)
}

fn check_http(kind: &str, monitor: &Document) -> Result<(), ApiError> {
    let http = matches!(kind, "HTTP" | "HTTPS");
    let stray = ["http_method", "url_path", "expected_codes"].into_iter().find(|name| monitor.has(name));
    match stray.filter(|_| !http) {
        Some(name) => {
            Err(ApiError::bad_request(format!("{name} is not a valid option for health monitors of type {kind}")))
        }
        None if monitor.has("url_path") && !monitor.text("url_path").starts_with('/') => {
            let path = monitor.text("url_path");
            Err(ApiError::bad_request(format!(
                "Invalid input for field/attribute url_path. Value: '{path}'. Value should be a URL path"
            )))
        }
        None => Ok(()),
    }
}

pub(super) fn create(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let asked = body(request, Kind::HealthMonitors)?.clone();
    if !asked.has("pool_id") {
        return Err(ApiError::bad_request(
            "Invalid input for field/attribute pool_id. Value: 'Unset'. Mandatory field missing.",
        ));
    }
    to_create(context, MONITOR, &asked)?;
    let pool = mutable_pool(context, asked.text("pool_id"))?;
    touch(context, pool.text("_loadbalancer_id"), &around_pool(context, pool.text("id")))?;
    let id = make(context, pool.text("id"), &asked)?;
    Ok(answer(context, Kind::HealthMonitors, &id, 201))
}

fn mutable_pool(context: &Context<'_>, id: &str) -> Result<Document, ApiError> {
    let pool = find(context, Kind::Pools, id)?;
    if pool.text("provisioning_status") == "ACTIVE" {
        return Ok(pool.clone());
    }
    Err(ApiError::conflict(format!("Pool {id} is immutable and cannot be updated.")))
}

pub(super) fn update(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let before = find(context, Kind::HealthMonitors, request.id())?.clone();
    let changes = to_update(context, MONITOR, body(request, Kind::HealthMonitors)?)?;
    check_http(before.text("type"), &changes)?;
    if changes.get("delay").is_some_and(Value::is_null) {
        return Err(ApiError::bad_request("None is not a valid option for delay"));
    }
    let pool = mutable_pool(context, before.text("_pool_id"))?;
    touch(context, pool.text("_loadbalancer_id"), &around_pool(context, pool.text("id")))?;
    apply(context, Kind::HealthMonitors, request.id(), changes);
    Ok(answer(context, Kind::HealthMonitors, request.id(), 200))
}

pub(super) fn delete(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let pool = find(context, Kind::HealthMonitors, request.id())?.text("_pool_id").to_owned();
    let pool = mutable_pool(context, &pool)?;
    touch(context, pool.text("_loadbalancer_id"), &around_pool(context, pool.text("id")))?;
    set_status(context.state, Kind::HealthMonitors, request.id(), "PENDING_DELETE", context.now);
    Ok(Reply::empty(204))
}
