//! Servers.

use regex::Regex;
use serde_json::{Value, json};

use super::view::{Attached, addresses as addresses_of, basic, full};
use crate::{
    context::Context,
    document::{Document, Fields as _, objects},
    error::ApiError,
    listing::{self, Paging, Previous},
    request::{Reply, Request},
    time,
};

fn visible(context: &Context<'_>, server: &Document) -> bool {
    context.is_admin() || server.text("tenant_id") == context.caller.project
}

fn find<'a>(context: &'a Context<'_>, id: &str) -> Result<&'a Document, ApiError> {
    let found = context.state.servers.get(id).filter(|server| visible(context, server));
    found.ok_or_else(|| ApiError::not_found(format!("Instance {id} could not be found.")))
}

/// The servers that a list holds, newest first. Filters that only administrators may use are ignored for others.
fn selected(context: &Context<'_>, request: &Request) -> Result<Vec<Document>, ApiError> {
    let pattern = |name: &str| match request.query(name) {
        None => Ok(None),
        Some(text) => {
            Regex::new(text).map(Some).map_err(|_| ApiError::bad_request(format!("Invalid regular expression: {text}")))
        }
    };
    let (name, ip) = (pattern("name")?, pattern("ip")?);
    let everywhere =
        context.is_admin() && request.query("all_tenants").is_some_and(|text| !matches!(text, "0" | "false" | "False"));
    let attached = ip.is_some().then(|| Attached::of(context.state));
    let own = |server: &&Document| everywhere || server.text("tenant_id") == context.caller.project;
    let matches = |server: &&Document| {
        let statuses: Vec<&str> = request.all("status").collect();
        let by_ip = |ip: &Regex| {
            let ports = attached.as_ref().map(|attached| attached.ports(server.text("id"))).unwrap_or_default();
            ports.iter().flat_map(|port| objects(port, "fixed_ips")).any(|fixed| ip.is_match(fixed.text("ip_address")))
        };
        name.as_ref().is_none_or(|name| name.is_match(server.text("name")))
            && (statuses.is_empty() || statuses.iter().any(|status| status.eq_ignore_ascii_case(server.text("status"))))
            && ip.as_ref().is_none_or(by_ip)
            && request.query("flavor").is_none_or(|flavor| server.text("_flavor") == flavor)
            && tags_match(server, request, context.minor)
            && (context.minor < 83 && !context.is_admin()
                || request
                    .query("availability_zone")
                    .is_none_or(|zone| server.text("OS-EXT-AZ:availability_zone") == zone))
    };
    let mut servers: Vec<&Document> = context.state.servers.values().filter(own).filter(matches).collect();
    servers.sort_by_key(|server| std::cmp::Reverse(server.number("_place").unwrap_or_default()));
    let mut servers: Vec<Document> = servers.into_iter().cloned().collect();
    listing::sort(&mut servers, request);
    Ok(servers)
}

fn tags_match(server: &Document, request: &Request, minor: u32) -> bool {
    if minor < 26 {
        return true;
    }
    let mut tagged = Document::new();
    tagged.set("tags", server.get("_tags").cloned().unwrap_or_else(|| json!([])));
    listing::tags_match(&tagged, request)
}

fn paging(context: &Context<'_>) -> Paging {
    Paging {
        largest: Some(context.knobs.release.nova_page),
        links_need_limit: false,
        links_keep_query: true,
        previous: Previous::Never,
        unknown_marker: |marker| ApiError::bad_request(format!("marker [{marker}] not found")),
        bad_limit: |limit| {
            ApiError::bad_request(format!(
                "Invalid input for query parameters limit. Value: {limit}. '{limit}' does not match '^[0-9]*$'"
            ))
        },
    }
}

pub(super) fn list(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let (items, links) = listing::page(selected(context, request)?, request, &paging(context))?;
    let items = items.iter().map(|server| basic(context, server)).collect();
    Ok(Reply::ok(listing::body("servers", items, links)))
}

pub(super) fn detail(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let (items, links) = listing::page(selected(context, request)?, request, &paging(context))?;
    let attached = Attached::of(context.state);
    let items = items.iter().map(|server| full(context, server, &attached)).collect();
    Ok(Reply::ok(listing::body("servers", items, links)))
}

fn shown(context: &Context<'_>, id: &str) -> Result<Value, ApiError> {
    let server = find(context, id)?;
    let mut view = full(context, server, &Attached::of(context.state));
    if context.minor >= 71 {
        view.set("server_groups", json!([]));
    }
    Ok(Value::Object(view))
}

pub(super) fn show(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    Ok(Reply::ok(json!({ "server": shown(context, request.id())? })))
}

pub(super) fn update(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    find(context, request.id())?;
    let asked = request.object("server")?.clone();
    let now = time::seconds(context.now);
    if let Some(server) = context.state.servers.get_mut(request.id()) {
        for (name, value) in asked {
            if matches!(name.as_str(), "name" | "accessIPv4" | "accessIPv6" | "description") {
                server.insert(name, value);
            }
        }
        server.set("updated", now);
    }
    Ok(Reply::ok(json!({ "server": shown(context, request.id())? })))
}

/// Deletes a server with the ports that Nova made for it.
pub(super) fn delete(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    find(context, request.id())?;
    context.state.delete_server(request.id());
    Ok(Reply::empty(204))
}

pub(super) fn act(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    find(context, request.id())?;
    let action = request.json()?.as_object().and_then(|body| body.keys().next().cloned()).unwrap_or_default();
    let (from, to): (&[&str], &str) = match action.as_str() {
        "os-stop" => (&["ACTIVE", "ERROR"], "SHUTOFF"),
        "os-start" => (&["SHUTOFF"], "ACTIVE"),
        "pause" => (&["ACTIVE"], "PAUSED"),
        "unpause" => (&["PAUSED"], "ACTIVE"),
        "suspend" => (&["ACTIVE"], "SUSPENDED"),
        "resume" => (&["SUSPENDED"], "ACTIVE"),
        "shelve" => (&["ACTIVE", "SHUTOFF"], "SHELVED_OFFLOADED"),
        "unshelve" => (&["SHELVED", "SHELVED_OFFLOADED"], "ACTIVE"),
        "reboot" => (&["ACTIVE", "SHUTOFF"], "ACTIVE"),
        _ => {
            return Err(ApiError::bad_request(format!(
                "There is no such action: {action}. Available actions: pause, unpause, …"
            )));
        }
    };
    let now = time::seconds(context.now);
    if let Some(server) = context.state.servers.get_mut(request.id()) {
        if !from.contains(&server.text("status")) {
            let verb = action.trim_start_matches("os-");
            let text = format!(
                "Cannot '{verb}' instance {} while it is in vm_state {}",
                request.id(),
                server.text("status").to_lowercase()
            );
            return Err(ApiError::conflict(text));
        }
        server.set("status", to);
        server.set("updated", now);
    }
    Ok(Reply::empty(202))
}

pub(super) fn addresses(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let server = find(context, request.id())?;
    let mut addresses = addresses_of(context, server, &Attached::of(context.state));
    for entry in addresses.as_object_mut().into_iter().flat_map(|all| all.values_mut()) {
        for address in entry.as_array_mut().into_iter().flatten() {
            *address = json!({ "addr": address["addr"], "version": address["version"] });
        }
    }
    Ok(Reply::ok(json!({ "addresses": addresses })))
}

pub(super) fn metadata(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let server = find(context, request.id())?;
    Ok(Reply::ok(json!({ "metadata": server.get("metadata").cloned().unwrap_or_else(|| json!({})) })))
}

pub(super) fn update_metadata(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    find(context, request.id())?;
    let asked = request.object("metadata")?.clone();
    if let Some(server) = context.state.servers.get_mut(request.id()) {
        let mut all = server.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default();
        all.extend(asked);
        server.set("metadata", all);
    }
    metadata(context, request)
}

pub(super) fn interfaces(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let server = find(context, request.id())?;
    let attached = Attached::of(context.state);
    let all: Vec<Value> = attached
        .ports(server.text("id"))
        .iter()
        .map(|port| {
            json!({
                "port_state": port.text("status"), "net_id": port.text("network_id"), "port_id": port.text("id"),
                "mac_addr": port.text("mac_address"), "fixed_ips": port.list("fixed_ips"),
            })
        })
        .collect();
    Ok(Reply::ok(json!({ "interfaceAttachments": all })))
}
