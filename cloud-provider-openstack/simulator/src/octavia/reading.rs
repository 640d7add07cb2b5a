//! Lists and single resources, with what follows from how they belong together.

use serde_json::{Value, json};

use super::{
    attributes::{self, is_later},
    writing::{find, missing, singular},
};
use crate::{
    context::Context,
    document::{Document, Fields as _, ids, object, shown},
    error::ApiError,
    listing::{self, NO_FILTERS, Paging, Previous},
    request::{Reply, Request},
    state::Kind,
};

fn plural(kind: Kind) -> String {
    format!("{}s", singular(kind))
}

fn in_order<'a>(documents: impl Iterator<Item = &'a Document>) -> Vec<&'a Document> {
    let mut all: Vec<&Document> = documents.collect();
    all.sort_by_key(|document| document.number("_place").unwrap_or_default());
    all
}

/// A resource as Octavia answers it.
pub(super) fn view(context: &Context<'_>, kind: Kind, document: &Document) -> Document {
    let state = &*context.state;
    let (id, balancer) = (document.text("id"), document.text("_loadbalancer_id"));
    let children = |kind: Kind, name: &str, of: &str| {
        let all = in_order(state.table(kind).with(name, of));
        ids(all.into_iter().map(|child| child.text("id")))
    };
    let mut view = shown(document);
    let table = match kind {
        Kind::LoadBalancers => {
            view.set("listeners", children(Kind::Listeners, "_loadbalancer_id", id));
            view.set("pools", children(Kind::Pools, "_loadbalancer_id", id));
            attributes::LOAD_BALANCER
        }
        Kind::Listeners => {
            view.set("loadbalancers", ids([balancer]));
            attributes::LISTENER
        }
        Kind::Pools => {
            view.set("loadbalancers", ids([balancer]));
            view.set("listeners", children(Kind::Listeners, "default_pool_id", id));
            view.set("members", children(Kind::Members, "_pool_id", id));
            let monitor = state.health_monitors.with("_pool_id", id).next().map(|monitor| monitor.text("id"));
            view.set("healthmonitor_id", monitor.map(str::to_owned));
            attributes::POOL
        }
        Kind::Members => attributes::MEMBER,
        _ => {
            view.set("pools", ids([document.text("_pool_id")]));
            attributes::MONITOR
        }
    };
    let minor = context.knobs.release.octavia_minor;
    let hidden = context.knobs.omissions.get(&plural(kind));
    view.retain(|name, _| !is_later(table, name, minor) && hidden.is_none_or(|hidden| !hidden.contains(name)));
    if minor < 28 {
        view.remove("vip_vnic_type");
    }
    if minor < 30 {
        view.remove("vnic_type");
    }
    view
}

/// A load balancer with whole listeners and pools instead of their IDs, as creating one answers it.
pub(super) fn full_view(context: &Context<'_>, document: &Document) -> Document {
    let id = document.text("id");
    let all = |kind: Kind, name: &str, of: &str| -> Vec<Value> {
        let children = in_order(context.state.table(kind).with(name, of));
        children
            .into_iter()
            .map(|child| {
                let mut view = view(context, kind, child);
                view.remove("loadbalancers");
                if kind == Kind::HealthMonitors {
                    view.remove("pools");
                }
                Value::Object(view)
            })
            .collect()
    };
    let mut view = view(context, Kind::LoadBalancers, document);
    view.set("listeners", all(Kind::Listeners, "_loadbalancer_id", id));
    let mut pools = all(Kind::Pools, "_loadbalancer_id", id);
    for pool in pools.iter_mut().filter_map(Value::as_object_mut) {
        let id = pool.text("id").to_owned();
        pool.remove("listeners");
        pool.remove("healthmonitor_id");
        pool.set("members", all(Kind::Members, "_pool_id", &id));
        pool.set("healthmonitor", all(Kind::HealthMonitors, "_pool_id", &id).pop());
    }
    view.set("pools", pools);
    view
}

pub(super) fn show(context: &Context<'_>, request: &Request, kind: Kind) -> Result<Reply, ApiError> {
    let found = find(context, kind, request.id())?;
    Ok(Reply::ok(json!({ singular(kind): listing::select(view(context, kind, found), request) })))
}

/// What a filter is compared with: attributes, and the IDs of what a resource belongs to.
fn filtered<'a>(document: &'a Document, name: &str) -> Option<&'a Value> {
    match name {
        "loadbalancer_id" | "load_balancer_id" => document.get("_loadbalancer_id"),
        "pool_id" => document.get("_pool_id"),
        _ => document.get(name),
    }
}

pub(super) fn list(context: &Context<'_>, request: &Request, kind: Kind) -> Result<Reply, ApiError> {
    listed(context, request, kind, |_| true)
}

fn listed(
    context: &Context<'_>,
    request: &Request,
    kind: Kind,
    belongs: impl Fn(&Document) -> bool,
) -> Result<Reply, ApiError> {
    let known = |name: &str| {
        matches!(name, "loadbalancer_id" | "load_balancer_id" | "pool_id" | "tenant_id" | "enabled")
            || context
                .state
                .table(kind)
                .values()
                .next()
                .is_none_or(|any| any.contains_key(name) && !name.starts_with('_'))
    };
    let filters: Vec<(&str, &str)> = request
        .query
        .iter()
        .filter(|(name, _)| !NO_FILTERS.contains(&name.as_str()))
        .map(|(name, value)| (if name == "tenant_id" { "project_id" } else { name.as_str() }, value.as_str()))
        .collect();
    if filters.iter().any(|(name, _)| !known(name)) {
        return Err(ApiError::bad_request("One or more arguments are either duplicate or invalid"));
    }
    let foreign = filters.iter().any(|(name, value)| *name == "project_id" && *value != context.caller.project);
    let everywhere = context.is_admin() || context.caller.has("load-balancer_global_observer");
    if foreign && !everywhere {
        return Err(super::writing::forbidden());
    }
    let found = context.state.table(kind).values().filter(|document| {
        belongs(document)
            && (everywhere || document.text("project_id") == context.caller.project)
            && filters.iter().all(|(name, wanted)| listing::equals(filtered(document, name), wanted))
            && listing::tags_match(document, request)
    });
    let mut all: Vec<Document> = in_order(found).into_iter().cloned().collect();
    listing::sort(&mut all, request);
    let paging = Paging {
        largest: Some(context.knobs.release.octavia_page),
        links_need_limit: false,
        links_keep_query: false,
        previous: Previous::AfterMarker,
        unknown_marker: |marker| ApiError::bad_request(format!("Supplied pagination marker '{marker}' is not valid.")),
        bad_limit: |limit| ApiError::bad_request(format!("Supplied pagination limit '{limit}' is not valid.")),
    };
    let (items, links) = listing::page(all, request, &paging)?;
    let items: Vec<Value> =
        items.iter().map(|document| Value::Object(listing::select(view(context, kind, document), request))).collect();
    let plural = plural(kind);
    Ok(Reply::ok(json!({ plural.as_str(): items, format!("{plural}_links"): links })))
}

pub(super) fn members(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let pool = find(context, Kind::Pools, request.id())?.text("id").to_owned();
    listed(context, request, Kind::Members, |member| member.text("_pool_id") == pool)
}

pub(super) fn member(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let id = request.capture(1);
    let found = find(context, Kind::Members, id)?;
    if found.text("_pool_id") != request.id() {
        return Err(missing(Kind::Members, id));
    }
    Ok(Reply::ok(json!({ "member": listing::select(view(context, Kind::Members, found), request) })))
}

/// The tree of states below a load balancer.
pub(super) fn status(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let balancer = find(context, Kind::LoadBalancers, request.id())?;
    let state = &*context.state;
    let brief = |document: &Document| {
        object(json!({
            "id": document.text("id"), "name": document.text("name"),
            "provisioning_status": document.text("provisioning_status"),
            "operating_status": document.text("operating_status"),
        }))
    };
    let pool = |pool: &Document| {
        let mut view = brief(pool);
        let members = in_order(state.members.with("_pool_id", pool.text("id"))).into_iter().map(|member| {
            let mut view = brief(member);
            view.set("address", member.text("address"));
            view.set("protocol_port", member.number("protocol_port"));
            Value::Object(view)
        });
        view.set("members", members.collect::<Vec<_>>());
        if let Some(monitor) = state.health_monitors.with("_pool_id", pool.text("id")).next() {
            let mut of_monitor = brief(monitor);
            of_monitor.set("type", monitor.text("type"));
            view.set("health_monitor", of_monitor);
        }
        Value::Object(view)
    };
    let listeners = in_order(state.listeners.with("_loadbalancer_id", request.id())).into_iter().map(|listener| {
        let mut view = brief(listener);
        let pools: Vec<Value> = state.pools.get(listener.text("default_pool_id")).into_iter().map(pool).collect();
        view.set("pools", pools);
        Value::Object(view)
    });
    let mut view = brief(balancer);
    view.set("listeners", listeners.collect::<Vec<_>>());
    Ok(Reply::ok(json!({ "statuses": { "loadbalancer": view } })))
}
