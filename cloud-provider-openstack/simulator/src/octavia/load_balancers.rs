//! Load balancers themselves.

use serde_json::{Value, json};

use super::{
    attributes::{LOAD_BALANCER, to_create, to_update},
    listeners, ovn, pools,
    reading::full_view,
    states::{self, BELOW, Change, begin, set_status, wrong_state},
    vip,
    writing::{answer, apply, body, check_quota, find, forbidden, invalid},
};
use crate::{
    context::Context,
    document::{Document, Fields as _, object, objects},
    error::ApiError,
    request::{Reply, Request},
    state::Kind,
    time,
};

pub(super) fn create(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let mut made = to_create(context, LOAD_BALANCER, body(request, Kind::LoadBalancers)?)?;
    let asked = ["project_id", "tenant_id"].map(|name| made.text(name)).into_iter().find(|id| !id.is_empty());
    let project = asked.unwrap_or(&context.caller.project).to_owned();
    if project != context.caller.project && !context.is_admin() {
        return Err(forbidden());
    }
    made.remove("tenant_id");
    made.set("project_id", project.as_str());
    let (id, place) = (context.state.next_id(), context.state.next_place());
    vip::allocate(context, &id, &mut made)?;
    let provider = choose_provider(context, &made)?;
    check_quota(context, Kind::LoadBalancers, &project, 1)?;
    let listeners = made.remove("listeners").unwrap_or_default();
    let pools = made.remove("pools").unwrap_or_default();
    made.extend(object(json!({
        "id": id, "provider": provider, "vip_vnic_type": "normal", "provisioning_status": "PENDING_CREATE",
        "operating_status": "OFFLINE", "created_at": time::plain(context.now), "updated_at": null, "_place": place,
    })));
    context.state.load_balancers.insert(made);
    populate(context, &id, listeners, pools)?;
    begin(context, &id, "PENDING_CREATE");
    let made = context.state.load_balancers.get(&id).cloned().unwrap_or_default();
    Ok(Reply::new(201, json!({ "loadbalancer": full_view(context, &made) })))
}

/// The provider that was asked for, the flavor's, or the default one; what it cannot do is refused.
fn choose_provider(context: &Context<'_>, made: &Document) -> Result<String, ApiError> {
    let mut provider = made.text("provider").to_owned();
    if made.has("flavor_id") {
        let found = context.state.lb_flavors.get(made.text("flavor_id"));
        let flavor = found.ok_or_else(|| invalid("Invalid flavor_id."))?;
        if flavor.get("enabled") == Some(&Value::Bool(false)) {
            let text = format!("The selected flavor is not allowed in this deployment: {}", made.text("flavor_id"));
            return Err(ApiError::bad_request(text));
        }
        let of_flavor = flavor.text("_provider");
        if !of_flavor.is_empty() && !provider.is_empty() && provider != of_flavor {
            let text = format!("Flavor '{}' is not compatible with provider '{provider}'", made.text("flavor_id"));
            return Err(ApiError::bad_request(text));
        }
        if !of_flavor.is_empty() {
            of_flavor.clone_into(&mut provider);
        }
    }
    let release = &context.knobs.release;
    if provider.is_empty() {
        provider.clone_from(&release.octavia_default_provider);
    }
    if !release.octavia_providers.contains(&provider) {
        return Err(ApiError::bad_request(format!("Provider '{provider}' is not enabled.")));
    }
    if provider == "ovn" && made.has("flavor_id") {
        return Err(ovn::not_implemented("flavors"));
    }
    if made.has("availability_zone") {
        let zone = made.text("availability_zone");
        let found =
            context.state.lb_zones.with("name", zone).next().ok_or_else(|| invalid("Invalid availability zone."))?;
        if found.get("enabled") == Some(&Value::Bool(false)) {
            let text = format!("The selected availability_zone is not allowed in this deployment: {zone}");
            return Err(ApiError::bad_request(text));
        }
        if provider == "ovn" {
            return Err(ovn::not_implemented("availability zones"));
        }
    }
    Ok(provider)
}

/// Makes what a fully populated request brings: pools first, then the listeners that name them.
fn populate(context: &mut Context<'_>, balancer: &str, listeners: Value, pools: Value) -> Result<(), ApiError> {
    let list = |all: Value| -> Vec<Document> {
        all.as_array().into_iter().flatten().filter_map(Value::as_object).cloned().collect()
    };
    let (mut listeners, mut pools) = (list(listeners), list(pools));
    for listener in &mut listeners {
        let Some(Value::Object(pool)) = listener.remove("default_pool") else { continue };
        if pool.text("name").is_empty() {
            return Err(invalid("Pools must be named when creating a fully populated loadbalancer."));
        }
        listener.set("_pool", pool.text("name"));
        if pool.len() > 1 {
            pools.push(pool);
        }
    }
    let mut names: Vec<&str> = pools.iter().map(|pool| pool.text("name")).collect();
    names.sort_unstable();
    names.dedup();
    if names.len() != pools.len() {
        return Err(invalid("Pool names must be unique when creating a fully populated loadbalancer."));
    }
    if let Some(unknown) =
        listeners.iter().map(|listener| listener.text("_pool")).find(|name| !name.is_empty() && !names.contains(name))
    {
        return Err(invalid(format!("Pool '{unknown}' was referenced but no full definition was found.")));
    }
    let mut made: Vec<(String, String)> = Vec::new();
    for pool in &pools {
        let id = pools::make(context, balancer, pool)?;
        made.push((pool.text("name").to_owned(), id));
    }
    for mut listener in listeners {
        let name = listener.remove("_pool").and_then(|name| name.as_str().map(str::to_owned));
        if let Some((_, pool)) = made.iter().find(|(own, _)| Some(own) == name.as_ref()) {
            listener.set("default_pool_id", pool.as_str());
        }
        listeners::make(context, balancer, &listener)?;
    }
    Ok(())
}

pub(super) fn update(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let id = request.id();
    find(context, Kind::LoadBalancers, id)?;
    let changes = to_update(context, LOAD_BALANCER, body(request, Kind::LoadBalancers)?)?;
    states::check(context, id, Change::Update, wrong_state)?;
    begin(context, id, "PENDING_UPDATE");
    apply(context, Kind::LoadBalancers, id, changes);
    Ok(answer(context, Kind::LoadBalancers, id, 200))
}

pub(super) fn delete(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let id = request.id();
    find(context, Kind::LoadBalancers, id)?;
    let cascade = request
        .query("cascade")
        .is_some_and(|text| matches!(text.to_ascii_lowercase().as_str(), "true" | "1" | "t" | "yes" | "y" | "on"));
    let has_children = [Kind::Listeners, Kind::Pools]
        .iter()
        .any(|kind| !context.state.table(*kind).ids_with("_loadbalancer_id", id).is_empty());
    if has_children && !cascade {
        return Err(invalid(format!("Cannot delete Load Balancer {id} - it has children")));
    }
    states::check(context, id, Change::Delete, wrong_state)?;
    begin(context, id, "PENDING_DELETE");
    for kind in BELOW {
        for child in context.state.table(kind).ids_with("_loadbalancer_id", id) {
            set_status(context.state, kind, &child, "PENDING_DELETE", context.now);
        }
    }
    Ok(Reply::empty(204))
}

/// Builds a load balancer anew, which also repairs one in `ERROR`.
pub(super) fn failover(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let id = request.id();
    if find(context, Kind::LoadBalancers, id)?.text("provider") == "ovn" {
        return Err(ovn::not_implemented("loadbalancer failover"));
    }
    states::check(context, id, Change::Failover, wrong_state)?;
    begin(context, id, "PENDING_UPDATE");
    for kind in BELOW {
        let broken = context
            .state
            .table(kind)
            .with("_loadbalancer_id", id)
            .filter(|child| child.text("provisioning_status") == "ERROR");
        let broken: Vec<String> = broken.map(|child| child.text("id").to_owned()).collect();
        for child in broken {
            set_status(context.state, kind, &child, "PENDING_UPDATE", context.now);
        }
    }
    Ok(Reply::empty(202))
}

/// The addresses that a load balancer listens at.
pub(super) fn addresses(balancer: &Document) -> Vec<&str> {
    let more = objects(balancer, "additional_vips").map(|vip| vip.text("ip_address"));
    std::iter::once(balancer.text("vip_address")).chain(more).collect()
}
