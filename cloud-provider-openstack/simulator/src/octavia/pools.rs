//! Pools.

use serde_json::{Value, json};

use super::{
    attributes::{POOL, to_create, to_update},
    members, monitors, ovn,
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

/// Refuses a pool that a listener cannot lead to.
pub(super) fn check_protocol(listener: &str, pool: &str) -> Result<(), ApiError> {
    let allowed: &[&str] = match listener {
        "TCP" => &["HTTP", "HTTPS", "PROXY", "PROXYV2", "TCP"],
        "HTTP" | "TERMINATED_HTTPS" => &["HTTP", "PROXY", "PROXYV2"],
        "HTTPS" => &["HTTPS", "PROXY", "PROXYV2", "TCP"],
        "UDP" => &["UDP"],
        "SCTP" => &["SCTP"],
        _ => return Err(ApiError::bad_request(format!("Protocol {listener} listeners cannot have child objects."))),
    };
    if allowed.contains(&pool) {
        return Ok(());
    }
    Err(invalid(format!("The pool protocol \"{pool}\" is invalid while the listener protocol is \"{listener}\".")))
}

pub(super) fn create(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let mut asked = body(request, Kind::Pools)?.clone();
    for nested in ["members", "healthmonitor"] {
        if asked.remove(nested).is_some_and(|nested| !nested.is_null()) {
            return Err(ApiError::bad_request(format!("Unknown attribute: {nested}")));
        }
    }
    let listener = asked.remove("listener_id").filter(Value::is_string);
    let listener =
        listener.map(|id| find(context, Kind::Listeners, id.as_str().unwrap_or_default()).cloned()).transpose()?;
    let balancer = match (asked.remove("loadbalancer_id").filter(Value::is_string), &listener) {
        (Some(id), _) => id.as_str().unwrap_or_default().to_owned(),
        (None, Some(listener)) => listener.text("_loadbalancer_id").to_owned(),
        (None, None) => return Err(invalid("Must provide at least one of: loadbalancer_id, listener_id")),
    };
    find(context, Kind::LoadBalancers, &balancer)?;
    let wanted = to_create(context, POOL, &asked)?;
    let mut touched = Vec::new();
    if let Some(listener) = &listener {
        check_protocol(listener.text("protocol"), wanted.text("protocol"))?;
        if listener.has("default_pool_id") {
            return Err(ApiError::conflict("This listener already has a default pool"));
        }
        touched.push((Kind::Listeners, listener.text("id").to_owned()));
    }
    touch(context, &balancer, &touched)?;
    let id = make(context, &balancer, &asked)?;
    if let Some(listener) = listener.and_then(|listener| context.state.listeners.get_mut(listener.text("id"))) {
        listener.set("default_pool_id", id.as_str());
    }
    Ok(answer(context, Kind::Pools, &id, 201))
}

/// Makes a pool of a load balancer that may be changed, with the members and the monitor in the request.
pub(super) fn make(context: &mut Context<'_>, balancer: &str, asked: &Document) -> Result<String, ApiError> {
    let mut made = to_create(context, POOL, asked)?;
    let owner = find(context, Kind::LoadBalancers, balancer)?.clone();
    let algorithm = made.text("lb_algorithm");
    if algorithm == "SOURCE_IP_PORT" && context.knobs.release.octavia_minor < 13 {
        let text = format!(
            "Invalid input for field/attribute lb_algorithm. Value: '{algorithm}'. Value should be one of: LEAST_CONNECTIONS, ROUND_ROBIN, SOURCE_IP"
        );
        return Err(ApiError::bad_request(text));
    }
    ovn::check_pool(owner.text("provider"), &made)?;
    check_persistence(&made)?;
    check_quota(context, Kind::Pools, owner.text("project_id"), 1)?;
    let persistence = full_persistence(&made);
    made.set("session_persistence", persistence);
    made.remove("listener_id");
    let members = made.remove("members").unwrap_or_default();
    let monitor = made.remove("healthmonitor").unwrap_or_default();
    let id = store(context, Kind::Pools, balancer, made);
    if let Value::Object(monitor) = monitor {
        monitors::make(context, &id, &monitor)?;
    }
    for member in members.as_array().into_iter().flatten().filter_map(Value::as_object) {
        members::make(context, &id, member)?;
    }
    Ok(id)
}

fn check_persistence(pool: &Document) -> Result<(), ApiError> {
    let Some(asked) = pool.get("session_persistence").and_then(Value::as_object) else { return Ok(()) };
    let (kind, cookie) = (asked.text("type"), asked.text("cookie_name"));
    let limits = asked.has("persistence_timeout") || asked.has("persistence_granularity");
    let datagrams = matches!(pool.text("protocol"), "UDP" | "SCTP");
    if !matches!(kind, "SOURCE_IP" | "HTTP_COOKIE" | "APP_COOKIE") {
        return Err(invalid("Invalid session_persistence provided."));
    }
    if datagrams && kind != "SOURCE_IP" {
        return Err(invalid(format!(
            "Session persistence of type {kind} is not supported for UDP/SCTP protocol pools."
        )));
    }
    if !datagrams && limits {
        return Err(invalid(
            "persistence_timeout and persistence_granularity is only for UDP and SCTP protocol pools.",
        ));
    }
    match (kind == "APP_COOKIE", cookie.is_empty()) {
        (true, true) => Err(invalid(
            "Field \"cookie_name\" must be specified when using the \"APP_COOKIE\" session persistence type.",
        )),
        (false, false) => {
            Err(invalid("Field \"cookie_name\" can only be specified with session persistence of type \"APP_COOKIE\"."))
        }
        _ => Ok(()),
    }
}

/// With every name, as answers have it.
fn full_persistence(pool: &Document) -> Value {
    let Some(asked) = pool.get("session_persistence").and_then(Value::as_object).filter(|asked| !asked.is_empty())
    else {
        return Value::Null;
    };
    let given = |name: &str| asked.get(name).cloned().unwrap_or_default();
    json!({
        "type": given("type"), "cookie_name": given("cookie_name"), "persistence_timeout": given("persistence_timeout"),
        "persistence_granularity": given("persistence_granularity"),
    })
}

pub(super) fn update(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let before = find(context, Kind::Pools, request.id())?.clone();
    let mut changes = to_update(context, POOL, body(request, Kind::Pools)?)?;
    let balancer = before.text("_loadbalancer_id");
    let provider = find(context, Kind::LoadBalancers, balancer)?.text("provider").to_owned();
    ovn::check_pool(&provider, &changes)?;
    if changes.contains_key("session_persistence") {
        let mut after = before.clone();
        after.extend(changes.clone());
        check_persistence(&after)?;
        changes.set("session_persistence", full_persistence(&after));
    }
    touch(context, balancer, &around_pool(context, request.id()))?;
    apply(context, Kind::Pools, request.id(), changes);
    Ok(answer(context, Kind::Pools, request.id(), 200))
}

pub(super) fn delete(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let balancer = find(context, Kind::Pools, request.id())?.text("_loadbalancer_id").to_owned();
    touch(context, &balancer, &around_pool(context, request.id()))?;
    set_status(context.state, Kind::Pools, request.id(), "PENDING_DELETE", context.now);
    Ok(Reply::empty(204))
}
