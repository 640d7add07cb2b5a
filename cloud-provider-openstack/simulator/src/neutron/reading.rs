//! Lists and single resources: what the caller sees, filters, pages.

use serde_json::{Value, json};

use super::resources::{self, Resource};
use crate::{
    context::Context,
    document::{Document, Fields as _, objects, shown},
    error::ApiError,
    listing::{self, NO_FILTERS, Paging, Previous},
    request::{Reply, Request},
    state::Kind,
};

/// Whether the caller sees a resource: its project does, or the network's owner, or it is shared or external.
pub(super) fn is_visible(context: &Context<'_>, kind: Kind, document: &Document) -> bool {
    if context.owns(document) || document.flag("shared") {
        return true;
    }
    let network = || context.state.networks.get(document.text("network_id"));
    match kind {
        Kind::Networks => document.flag("router:external"),
        Kind::Subnets => network().is_some_and(|network| {
            context.owns(network)
                || network.flag("shared")
                || network.flag("router:external") && !network.flag("_hides_subnets")
        }),
        Kind::Ports => network().is_some_and(|network| context.owns(network)),
        Kind::SecurityGroupRules => {
            let group = context.state.security_groups.get(document.text("security_group_id"));
            group.is_some_and(|group| context.owns(group))
        }
        _ => false,
    }
}

/// A resource that the caller sees.
pub(super) fn find<'a>(context: &'a Context<'_>, resource: &Resource, id: &str) -> Result<&'a Document, ApiError> {
    let found = context.state.table(resource.kind).get(id);
    found.filter(|document| is_visible(context, resource.kind, document)).ok_or_else(|| resource.missing(id))
}

/// A resource that the caller may change.
pub(super) fn own<'a>(context: &'a Context<'_>, resource: &Resource, id: &str) -> Result<&'a Document, ApiError> {
    let found = find(context, resource, id)?;
    let as_network_owner = resource.kind == Kind::Ports && is_visible(context, resource.kind, found);
    if context.owns(found) || as_network_owner {
        return Ok(found);
    }
    let action = format!("update_{}", resource.singular);
    Err(ApiError::of(403, "PolicyNotAuthorized", format!("(rule:{action}) is disallowed by policy")))
}

/// A resource as the caller sees it.
pub(super) fn view(context: &Context<'_>, resource: &Resource, document: &Document) -> Document {
    let mut view = shown(document);
    let id = document.text("id");
    match resource.kind {
        Kind::Networks => view.set("subnets", context.state.subnets.ids_with("network_id", id)),
        Kind::SecurityGroups => {
            let rules = context.state.security_group_rules.with("security_group_id", id);
            let rules: Vec<Value> =
                rules.map(|rule| Value::Object(self::view(context, &resources::SECURITY_GROUP_RULES, rule))).collect();
            view.set("security_group_rules", rules);
        }
        Kind::Ports => {
            if let Some(details) = trunk_details(context, id) {
                view.set("trunk_details", details);
            }
        }
        Kind::FloatingIps => view.set("port_details", port_details(context, document)),
        _ => {}
    }
    let hidden = context.knobs.omissions.get(resource.plural);
    let is_shown = |name: &str| {
        let attribute = resource.attributes.iter().find(|attribute| attribute.name == name);
        attribute.is_none_or(|attribute| attribute.is_on(context.knobs) && (!attribute.admin || context.is_admin()))
            && hidden.is_none_or(|hidden| !hidden.contains(name))
    };
    view.retain(|name, _| is_shown(name));
    view
}

fn trunk_details(context: &Context<'_>, port: &str) -> Option<Value> {
    let trunk = context.state.trunks.with("port_id", port).next()?;
    let sub_ports: Vec<Value> = objects(trunk, "sub_ports")
        .map(|sub| {
            let mac = context.state.ports.get(sub.text("port_id")).map_or("", |port| port.text("mac_address"));
            let mut sub = sub.clone();
            sub.set("mac_address", mac);
            Value::Object(sub)
        })
        .collect();
    Some(json!({ "trunk_id": trunk.text("id"), "sub_ports": sub_ports }))
}

fn port_details(context: &Context<'_>, floating: &Document) -> Value {
    let Some(port) = context.state.ports.get(floating.text("port_id")) else { return Value::Null };
    let names = ["name", "network_id", "mac_address", "admin_state_up", "status", "device_id", "device_owner"];
    names.into_iter().map(|name| (name.to_owned(), port.get(name).cloned().unwrap_or_default())).collect()
}

/// Whether a stored resource is what the filters ask for: one value of each.
fn matches(document: &Document, filters: &[(&str, Vec<&str>)]) -> bool {
    filters.iter().all(|(name, wanted)| match *name {
        "fixed_ips" => fixed_ips_match(document, wanted),
        name => wanted.iter().any(|wanted| listing::equals(document.get(name), wanted)),
    })
}

/// `fixed_ips=ip_address=10.0.0.1`, `subnet_id=…`, `ip_address_substr=…`: values of one name are alternatives.
fn fixed_ips_match(document: &Document, wanted: &[&str]) -> bool {
    let pairs: Vec<(&str, &str)> = wanted.iter().filter_map(|pair| pair.split_once('=')).collect();
    let by = |name: &str, test: &dyn Fn(&Document, &str) -> bool| {
        let values: Vec<&str> = pairs.iter().filter(|(key, _)| *key == name).map(|(_, value)| *value).collect();
        values.is_empty() || objects(document, "fixed_ips").any(|fixed| values.iter().any(|value| test(fixed, value)))
    };
    by("ip_address", &|fixed, value| fixed.text("ip_address") == value)
        && by("subnet_id", &|fixed, value| fixed.text("subnet_id") == value)
        && by("ip_address_substr", &|fixed, value| fixed.text("ip_address").contains(value))
}

/// The filters of a request, by name. What is no attribute is refused.
fn filters<'a>(
    context: &Context<'_>,
    resource: &Resource,
    request: &'a Request,
) -> Result<Vec<(&'a str, Vec<&'a str>)>, ApiError> {
    let mut filters: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut unknown = Vec::new();
    for (name, value) in &request.query {
        if NO_FILTERS.contains(&name.as_str()) {
            continue;
        }
        let known = resource
            .attributes
            .iter()
            .any(|attribute| attribute.name == name && attribute.filter && attribute.is_on(context.knobs));
        if !known {
            unknown.push(format!("'{name}'"));
            continue;
        }
        match filters.iter_mut().find(|(known, _)| *known == name.as_str()) {
            Some((_, values)) => values.push(value.as_str()),
            None => filters.push((name.as_str(), vec![value.as_str()])),
        }
    }
    if unknown.is_empty() {
        return Ok(filters);
    }
    unknown.dedup();
    Err(ApiError::bad_request(format!("[{}] is invalid attribute for filtering", unknown.join(", "))))
}

pub(super) fn list(context: &Context<'_>, request: &Request, resource: &Resource) -> Result<Reply, ApiError> {
    let filters = filters(context, resource, request)?;
    let found = context.state.table(resource.kind).values().filter(|document| {
        matches(document, &filters)
            && listing::tags_match(document, request)
            && is_visible(context, resource.kind, document)
    });
    let mut all: Vec<Document> = found.cloned().collect();
    listing::sort(&mut all, request);
    let paging = Paging {
        largest: context.knobs.release.neutron_page,
        links_need_limit: context.knobs.release.neutron_page.is_none(),
        links_keep_query: true,
        previous: Previous::Always,
        unknown_marker: |marker| ApiError::bad_request(format!("Invalid marker: {marker}")),
        bad_limit: |limit| ApiError::bad_request(format!("Limit must be an integer 0 or greater and not '{limit}'")),
    };
    let (items, links) = listing::page(all, request, &paging)?;
    let items = items.iter().map(|document| listing::select(view(context, resource, document), request)).collect();
    Ok(Reply::ok(listing::body(resource.plural, items, links)))
}

pub(super) fn show(context: &Context<'_>, request: &Request, resource: &Resource) -> Result<Reply, ApiError> {
    let found = find(context, resource, request.id())?;
    let view = listing::select(view(context, resource, found), request);
    Ok(Reply::ok(json!({ resource.singular: view })))
}
