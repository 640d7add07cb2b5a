//! Listeners.

use serde_json::Value;

use super::{
    attributes::{LISTENER, to_create, to_update},
    load_balancers::addresses,
    ovn, pools,
    states::set_status,
    writing::{answer, apply, body, check_quota, find, invalid, missing, store, touch},
};
use crate::{
    barbican,
    context::Context,
    document::{Document, Fields as _},
    error::ApiError,
    request::{Reply, Request},
    state::Kind,
};

const HEADERS: &[&str] = &["X-Forwarded-For", "X-Forwarded-Port", "X-Forwarded-Proto"];
const TLS_HEADERS: &[&str] = &[
    "X-SSL-Client-Verify",
    "X-SSL-Client-Has-Cert",
    "X-SSL-Client-DN",
    "X-SSL-Client-CN",
    "X-SSL-Issuer",
    "X-SSL-Client-SHA1",
    "X-SSL-Client-Not-Before",
    "X-SSL-Client-Not-After",
];

pub(super) fn create(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let mut asked = body(request, Kind::Listeners)?.clone();
    let balancer = asked.remove("loadbalancer_id").and_then(|id| id.as_str().map(str::to_owned)).unwrap_or_default();
    if balancer.is_empty() {
        return Err(ApiError::bad_request(
            "Invalid input for field/attribute loadbalancer_id. Value: 'Unset'. Mandatory field missing.",
        ));
    }
    find(context, Kind::LoadBalancers, &balancer)?;
    if asked.has("default_pool") {
        return Err(invalid("default_pool is only for creating a fully populated loadbalancer."));
    }
    to_create(context, LISTENER, &asked)?;
    touch(context, &balancer, &[])?;
    let id = make(context, &balancer, &asked)?;
    Ok(answer(context, Kind::Listeners, &id, 201))
}

/// Makes a listener of a load balancer that may be changed.
pub(super) fn make(context: &mut Context<'_>, balancer: &str, asked: &Document) -> Result<String, ApiError> {
    let mut made = to_create(context, LISTENER, asked)?;
    let owner = find(context, Kind::LoadBalancers, balancer)?.clone();
    ovn::check_listener(owner.text("provider"), &made)?;
    check_quota(context, Kind::Listeners, owner.text("project_id"), 1)?;
    let protocol = made.text("protocol").to_owned();
    check_headers(&made, &protocol)?;
    check_tls(context, &made, &protocol)?;
    check_port(context, balancer, &made)?;
    check_cidrs(&owner, &made)?;
    if made.has("default_pool_id") {
        let pool = made.text("default_pool_id");
        let found = context.state.pools.get(pool).filter(|found| found.text("_loadbalancer_id") == balancer);
        pools::check_protocol(&protocol, found.ok_or_else(|| missing(Kind::Pools, pool))?.text("protocol"))?;
    }
    made.remove("default_pool");
    Ok(store(context, Kind::Listeners, balancer, made))
}

fn check_headers(listener: &Document, protocol: &str) -> Result<(), ApiError> {
    let headers: Vec<&str> = listener
        .get("insert_headers")
        .and_then(Value::as_object)
        .map(|all| all.keys().map(String::as_str).collect())
        .unwrap_or_default();
    if headers.is_empty() {
        return Ok(());
    }
    if !matches!(protocol, "HTTP" | "TERMINATED_HTTPS") {
        return Err(ApiError::bad_request(format!(
            "insert-headers is not a valid option for a {protocol} protocol listener."
        )));
    }
    let known =
        |header: &&str| HEADERS.contains(header) || protocol == "TERMINATED_HTTPS" && TLS_HEADERS.contains(header);
    if headers.iter().all(known) {
        return Ok(());
    }
    Err(ApiError::bad_request(format!("{headers:?} is not a valid option for insert_headers")))
}

fn check_tls(context: &Context<'_>, listener: &Document, protocol: &str) -> Result<(), ApiError> {
    let mut references = listener.texts("sni_container_refs");
    if listener.has("default_tls_container_ref") {
        references.push(listener.text("default_tls_container_ref"));
    }
    match (protocol, references.is_empty()) {
        ("TERMINATED_HTTPS", true) => {
            return Err(invalid(format!(
                "An SNI or default certificate container reference must be provided for {protocol} protocol listeners."
            )));
        }
        ("TERMINATED_HTTPS" | "PROMETHEUS", _) | (_, true) => {}
        ("UDP" | "SCTP", false) => return Err(invalid(format!("{protocol} protocol listener does not support TLS."))),
        _ => {
            return Err(invalid(format!(
                "Certificate container references are not allowed on {protocol} protocol listeners."
            )));
        }
    }
    let unknown: Vec<&str> = references.into_iter().filter(|reference| !barbican::exists(context, reference)).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(ApiError::bad_request(format!("Could not retrieve certificate: {unknown:?}")))
}

/// The protocol below: listeners of one port must differ in it.
fn layer_4(protocol: &str) -> &str {
    match protocol {
        "UDP" | "SCTP" => protocol,
        _ => "TCP",
    }
}

fn check_port(context: &Context<'_>, balancer: &str, listener: &Document) -> Result<(), ApiError> {
    let (protocol, port) = (listener.text("protocol"), listener.number("protocol_port"));
    let same =
        context.state.listeners.with("_loadbalancer_id", balancer).find(|other| {
            other.number("protocol_port") == port && layer_4(other.text("protocol")) == layer_4(protocol)
        });
    let Some(same) = same else { return Ok(()) };
    let text = format!(
        "Another Listener on this Load Balancer is already using protocol {} and protocol_port {}",
        same.text("protocol"),
        port.unwrap_or_default()
    );
    Err(ApiError::conflict(text))
}

fn check_cidrs(balancer: &Document, listener: &Document) -> Result<(), ApiError> {
    let vips = addresses(balancer);
    for cidr in listener.texts("allowed_cidrs") {
        if !vips.iter().any(|vip| vip.contains(':') == cidr.contains(':')) {
            return Err(invalid(format!("CIDR {cidr} IP version incompatible with all VIPs {vips:?} IP version.")));
        }
    }
    Ok(())
}

pub(super) fn update(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let before = find(context, Kind::Listeners, request.id())?.clone();
    let changes = to_update(context, LISTENER, body(request, Kind::Listeners)?)?;
    let (balancer, protocol) = (before.text("_loadbalancer_id"), before.text("protocol"));
    let owner = find(context, Kind::LoadBalancers, balancer)?.clone();
    let mut after = before.clone();
    after.extend(changes.clone());
    ovn::check_listener(owner.text("provider"), &changes)?;
    check_headers(&changes, protocol)?;
    if changes.contains_key("default_tls_container_ref") || changes.contains_key("sni_container_refs") {
        check_tls(context, &after, protocol)?;
    }
    check_cidrs(&owner, &changes)?;
    if changes.has("default_pool_id") {
        let pool = changes.text("default_pool_id");
        let found = context.state.pools.get(pool).filter(|found| found.text("_loadbalancer_id") == balancer);
        pools::check_protocol(protocol, found.ok_or_else(|| missing(Kind::Pools, pool))?.text("protocol"))?;
    }
    touch(context, balancer, &[])?;
    apply(context, Kind::Listeners, request.id(), changes);
    Ok(answer(context, Kind::Listeners, request.id(), 200))
}

pub(super) fn delete(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let balancer = find(context, Kind::Listeners, request.id())?.text("_loadbalancer_id").to_owned();
    touch(context, &balancer, &[])?;
    set_status(context.state, Kind::Listeners, request.id(), "PENDING_DELETE", context.now);
    Ok(Reply::empty(204))
}
