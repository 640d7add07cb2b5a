//! What all writes share: finding what they change, storing what they make.

use serde_json::{Value, json};

use super::states::{self, Change, begin, immutable_child, set_status};
use crate::{
    context::Context,
    document::{Document, Fields as _, object},
    error::ApiError,
    request::{Reply, Request},
    state::Kind,
    time,
};

/// How a kind is called in texts.
pub(super) fn noun(kind: Kind) -> &'static str {
    match kind {
        Kind::LoadBalancers => "Load Balancer",
        Kind::Listeners => "Listener",
        Kind::Pools => "Pool",
        Kind::Members => "Member",
        _ => "Health Monitor",
    }
}

/// How one of a kind is called in bodies.
pub(super) fn singular(kind: Kind) -> &'static str {
    match kind {
        Kind::LoadBalancers => "loadbalancer",
        Kind::Listeners => "listener",
        Kind::Pools => "pool",
        Kind::Members => "member",
        _ => "healthmonitor",
    }
}

pub(super) fn missing(kind: Kind, id: &str) -> ApiError {
    ApiError::not_found(format!("{} {id} not found.", noun(kind)))
}

pub(super) fn invalid(detail: impl std::fmt::Display) -> ApiError {
    ApiError::bad_request(format!("Validation failure: {detail}"))
}

pub(super) fn forbidden() -> ApiError {
    ApiError::new(403, "Policy does not allow this request to be performed.")
}

/// A resource that the caller may see and change. Octavia does not hide what belongs to others, it refuses it.
pub(super) fn find<'a>(context: &'a Context<'_>, kind: Kind, id: &str) -> Result<&'a Document, ApiError> {
    let found = context.state.table(kind).get(id).ok_or_else(|| missing(kind, id))?;
    let everywhere = context.caller.has("load-balancer_global_observer");
    if context.owns(found) || everywhere { Ok(found) } else { Err(forbidden()) }
}

/// The body of a request.
pub(super) fn body(request: &Request, kind: Kind) -> Result<&Document, ApiError> {
    let name = singular(kind);
    let unknown = || {
        ApiError::bad_request(format!(
            "Invalid input for field/attribute {name}. Value: 'Unset'. Mandatory field missing."
        ))
    };
    request.json()?.get(name).and_then(Value::as_object).ok_or_else(unknown)
}

/// Refuses `more` of a kind than the quota lets a project have.
pub(super) fn check_quota(context: &Context<'_>, kind: Kind, project: &str, more: usize) -> Result<(), ApiError> {
    let quotas = &context.knobs.quotas;
    let quota = match kind {
        Kind::LoadBalancers => quotas.load_balancers,
        Kind::Listeners => quotas.listeners,
        Kind::Pools => quotas.pools,
        Kind::Members => quotas.members,
        _ => quotas.health_monitors,
    };
    let used = context.state.table(kind).with("project_id", project).count();
    if quota.is_none_or(|quota| used + more <= quota) {
        return Ok(());
    }
    Err(ApiError::new(403, format!("Quota has been met for resources: {}", noun(kind))))
}

/// Makes a load balancer pending for a change below it, together with listeners and pools that the change touches.
pub(super) fn touch(context: &mut Context<'_>, balancer: &str, touched: &[(Kind, String)]) -> Result<(), ApiError> {
    states::check(context, balancer, Change::Update, immutable_child)?;
    begin(context, balancer, "PENDING_UPDATE");
    for (kind, id) in touched {
        set_status(context.state, *kind, id, "PENDING_UPDATE", context.now);
    }
    Ok(())
}

/// The listeners that lead to a pool, and the pool itself: what a change of its members or monitor touches.
pub(super) fn around_pool(context: &Context<'_>, pool: &str) -> Vec<(Kind, String)> {
    let listeners = context.state.listeners.ids_with("default_pool_id", pool);
    let mut touched: Vec<(Kind, String)> = listeners.into_iter().map(|id| (Kind::Listeners, id)).collect();
    touched.push((Kind::Pools, pool.to_owned()));
    touched
}

/// Stores a new resource below a load balancer, pending.
pub(super) fn store(context: &mut Context<'_>, kind: Kind, balancer: &str, mut made: Document) -> String {
    let (id, place) = (context.state.next_id(), context.state.next_place());
    let project =
        context.state.load_balancers.get(balancer).map_or(String::new(), |found| found.text("project_id").to_owned());
    made.remove("tenant_id");
    made.remove("loadbalancer_id");
    made.extend(object(json!({
        "id": id, "project_id": project, "_loadbalancer_id": balancer, "_place": place,
        "provisioning_status": "PENDING_CREATE", "operating_status": "OFFLINE",
        "created_at": time::plain(context.now), "updated_at": null,
    })));
    context.state.table_mut(kind).insert(made);
    id
}

/// Applies changes, pending.
pub(super) fn apply(context: &mut Context<'_>, kind: Kind, id: &str, changes: Document) {
    if let Some(resource) = context.state.table_mut(kind).get_mut(id) {
        resource.extend(changes);
    }
    set_status(context.state, kind, id, "PENDING_UPDATE", context.now);
}

/// The answer with one resource.
pub(super) fn answer(context: &Context<'_>, kind: Kind, id: &str, status: u16) -> Reply {
    let found = context.state.table(kind).get(id).cloned().unwrap_or_default();
    Reply::new(status, json!({ singular(kind): super::reading::view(context, kind, &found) }))
}
