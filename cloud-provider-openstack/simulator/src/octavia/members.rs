//! Members of pools, one by one and all at once.

use serde_json::Value;

use super::{
    attributes::{MEMBER, to_create, to_update},
    states::{self, Change, immutable_child, set_status},
    writing::{answer, apply, around_pool, body, check_quota, find, invalid, missing, store, touch},
};
use crate::{
    context::Context,
    document::{Document, Fields as _},
    error::ApiError,
    policy::Access,
    request::{Reply, Request},
    state::Kind,
};

/// The pool of a request. Its own state must let it be changed, too.
fn pool(context: &Context<'_>, request: &Request) -> Result<Document, ApiError> {
    let pool = find(context, Kind::Pools, request.id())?;
    if pool.text("provisioning_status") == "ACTIVE" {
        return Ok(pool.clone());
    }
    Err(ApiError::conflict(format!("Pool {} is immutable and cannot be updated.", request.id())))
}

fn key(member: &Document) -> (String, Option<i64>) {
    (member.text("address").to_owned(), member.number("protocol_port"))
}

/// Makes a member of a pool that may be changed.
pub(super) fn make(context: &mut Context<'_>, pool: &str, asked: &Document) -> Result<String, ApiError> {
    let mut made = to_create(context, MEMBER, asked)?;
    if made.text("address") == "169.254.169.254" {
        return Err(ApiError::bad_request("169.254.169.254 is not a valid option for member address"));
    }
    if made.has("subnet_id") && !context.state.subnets.contains(made.text("subnet_id")) {
        return Err(ApiError::bad_request(format!("Subnet {} not found.", made.text("subnet_id"))));
    }
    if context.state.members.with("_pool_id", pool).any(|other| key(other) == key(&made)) {
        let text = format!(
            "Another member on this pool is already using ip {} on protocol_port {}",
            made.text("address"),
            made.number("protocol_port").unwrap_or_default()
        );
        return Err(ApiError::conflict(text));
    }
    let owner = find(context, Kind::Pools, pool)?.clone();
    check_quota(context, Kind::Members, owner.text("project_id"), 1)?;
    made.remove("request_sriov");
    made.set("vnic_type", "normal");
    made.set("_pool_id", pool);
    let id = store(context, Kind::Members, owner.text("_loadbalancer_id"), made);
    if context.state.health_monitors.with("_pool_id", pool).next().is_none()
        && let Some(member) = context.state.members.get_mut(&id)
    {
        member.set("operating_status", "NO_MONITOR");
    }
    Ok(id)
}

pub(super) fn create(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let asked = body(request, Kind::Members)?.clone();
    to_create(context, MEMBER, &asked)?;
    let pool = pool(context, request)?;
    touch(context, pool.text("_loadbalancer_id"), &around_pool(context, request.id()))?;
    let id = make(context, request.id(), &asked)?;
    Ok(answer(context, Kind::Members, &id, 201))
}

/// Replaces all members, or with `additive_only` leaves those that are not named. Nothing to do is no change.
pub(super) fn update_all(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let additive = request.query("additive_only").is_some_and(|text| text.eq_ignore_ascii_case("true"))
        && context.knobs.release.octavia_minor >= 11;
    let rule = |verb: &str| format!("os_load-balancer_api:member:{verb}");
    for verb in ["post", "delete"].into_iter().filter(|verb| !additive || *verb == "post") {
        if !context.may(&rule(verb), Access::LoadBalancerWrite) {
            return Err(super::writing::forbidden());
        }
    }
    let Some(Value::Array(members)) = request.json()?.get("members") else {
        return Err(ApiError::bad_request(
            "Invalid input for field/attribute members. Value: 'Unset'. Mandatory field missing.",
        ));
    };
    let mut wanted = Vec::new();
    for asked in members {
        let asked =
            asked.as_object().ok_or_else(|| ApiError::bad_request("Invalid input for field/attribute members."))?;
        wanted.push((asked.clone(), to_create(context, MEMBER, asked)?));
    }
    let pool = pool(context, request)?;
    let balancer = pool.text("_loadbalancer_id");
    states::check(context, balancer, Change::Update, immutable_child)?;
    let old: Vec<Document> = context.state.members.with("_pool_id", request.id()).cloned().collect();
    if wanted.is_empty() && old.is_empty() {
        return Ok(Reply::empty(202));
    }
    touch(context, balancer, &around_pool(context, request.id()))?;
    let mut updated = Vec::new();
    for (asked, full) in &wanted {
        let Some(before) = old.iter().find(|member| key(member) == key(full)) else {
            make(context, request.id(), asked)?;
            continue;
        };
        if updated.contains(&before.text("id")) {
            return Err(invalid("Member must be updated only once in the same request."));
        }
        updated.push(before.text("id"));
        // What the request leaves out keeps its value, except what has a default.
        let defaults = ["admin_state_up", "weight", "backup", "monitor_port", "monitor_address"];
        let changes: Document = full
            .iter()
            .filter(|(name, _)| defaults.contains(&name.as_str()) || asked.contains_key(*name))
            .filter(|(name, _)| !matches!(name.as_str(), "subnet_id" | "request_sriov" | "project_id" | "tenant_id"))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        apply(context, Kind::Members, before.text("id"), changes);
    }
    let gone: Vec<&str> = old.iter().map(|member| member.text("id")).filter(|id| !updated.contains(id)).collect();
    if !additive {
        for id in &gone {
            set_status(context.state, Kind::Members, id, "PENDING_DELETE", context.now);
        }
    }
    Ok(Reply::empty(202))
}

fn member(context: &Context<'_>, request: &Request) -> Result<Document, ApiError> {
    let found = find(context, Kind::Members, request.capture(1))?;
    if found.text("_pool_id") == request.id() {
        Ok(found.clone())
    } else {
        Err(missing(Kind::Members, request.capture(1)))
    }
}

pub(super) fn update(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    member(context, request)?;
    let changes = to_update(context, MEMBER, body(request, Kind::Members)?)?;
    let pool = pool(context, request)?;
    touch(context, pool.text("_loadbalancer_id"), &around_pool(context, request.id()))?;
    apply(context, Kind::Members, request.capture(1), changes);
    Ok(answer(context, Kind::Members, request.capture(1), 200))
}

pub(super) fn delete(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    member(context, request)?;
    let pool = pool(context, request)?;
    touch(context, pool.text("_loadbalancer_id"), &around_pool(context, request.id()))?;
    set_status(context.state, Kind::Members, request.capture(1), "PENDING_DELETE", context.now);
    Ok(Reply::empty(204))
}
