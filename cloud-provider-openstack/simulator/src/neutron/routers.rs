//! Routers: extra routes, as a whole list and one by one, and interfaces.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::{
    reading::{find, own},
    resources::{PORTS, ROUTERS, SUBNETS},
    writing::{apply, changes, store, updated},
};
use crate::{
    context::Context,
    document::{Document, Fields as _, object, objects},
    error::ApiError,
    request::{Reply, Request, required},
    seed::{self, mac},
};

pub(super) fn update(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let mut changes = changes(context, request, &ROUTERS)?;
    if changes.contains_key("routes") {
        let routes = checked(context, request.id(), changes.list("routes"))?;
        changes.set("routes", routes);
    }
    apply(context, &ROUTERS, request.id(), changes);
    Ok(updated(context, &ROUTERS, request.id()))
}

/// The routes of a body, which must be well formed, few enough, and lead through a subnet of the router.
fn checked(context: &Context<'_>, router: &str, asked: &[Value]) -> Result<Vec<Value>, ApiError> {
    let invalid = |reason: &str| {
        let shown = Value::from(asked.to_vec());
        ApiError::of(400, "InvalidRoutes", format!("Invalid format for routes: {shown}, {reason}"))
    };
    let interfaces: Vec<&Document> =
        context.state.ports.with("device_id", router).flat_map(|port| objects(port, "fixed_ips")).collect();
    let mut routes: Vec<Value> = Vec::new();
    for route in asked {
        let (destination, nexthop) = (route["destination"].as_str(), route["nexthop"].as_str());
        let (Some(destination), Some(nexthop)) = (destination, nexthop) else {
            let text = format!("Invalid input for routes. Reason: Invalid data format for hostroute: '{route}'.");
            return Err(ApiError::bad_request(text));
        };
        if destination.parse::<IpNet>().is_err() {
            let text = format!("Invalid input for routes. Reason: '{destination}' is not a valid CIDR.");
            return Err(ApiError::bad_request(text));
        }
        let hop: IpAddr = nexthop.parse().map_err(|_| {
            ApiError::bad_request(format!("Invalid input for routes. Reason: '{nexthop}' is not a valid IP address."))
        })?;
        let connected = interfaces
            .iter()
            .filter_map(|fixed| context.state.subnets.get(fixed.text("subnet_id")))
            .any(|subnet| subnet.text("cidr").parse::<IpNet>().is_ok_and(|cidr| cidr.contains(&hop)));
        if !connected {
            return Err(invalid("the nexthop is not connected with router"));
        }
        if interfaces.iter().any(|fixed| fixed.text("ip_address") == nexthop) {
            return Err(invalid("the nexthop is used by router"));
        }
        let route = json!({ "destination": destination, "nexthop": nexthop });
        if routes.contains(&route) {
            let text = format!("Invalid input for routes. Reason: Duplicate hostroute '{route}'.");
            return Err(ApiError::bad_request(text));
        }
        routes.push(route);
    }
    check_number(context, &routes)?;
    Ok(routes)
}

fn check_number(context: &Context<'_>, routes: &[Value]) -> Result<(), ApiError> {
    if routes.len() <= context.knobs.release.max_routes {
        return Ok(());
    }
    Err(ApiError::of(409, "OverQuota", "Quota exceeded for resources: ['router_route']."))
}

fn asked_routes(request: &Request) -> Result<Vec<Value>, ApiError> {
    Ok(request.object(ROUTERS.singular)?.list("routes").to_vec())
}

fn check_atomic(context: &Context<'_>, request: &Request) -> Result<Vec<Value>, ApiError> {
    if context.knobs.release.neutron_without.contains("extraroute-atomic") {
        return Err(ApiError::nothing_here());
    }
    Ok(own(context, &ROUTERS, request.id())?.list("routes").to_vec())
}

fn set_routes(context: &mut Context<'_>, request: &Request, routes: Vec<Value>) -> Reply {
    let before = context.state.routers.get(request.id()).map(|router| router.list("routes").to_vec());
    if before.as_ref() != Some(&routes) {
        apply(context, &ROUTERS, request.id(), object(json!({ "routes": routes })));
    }
    updated(context, &ROUTERS, request.id())
}

/// Adds what is not there; what is stays.
pub(super) fn add_routes(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let mut routes = check_atomic(context, request)?;
    let asked = checked(context, request.id(), &asked_routes(request)?)?;
    for route in asked {
        if !routes.contains(&route) {
            routes.push(route);
        }
    }
    check_number(context, &routes)?;
    Ok(set_routes(context, request, routes))
}

/// Removes what is there; what is not is no error.
pub(super) fn remove_routes(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let mut routes = check_atomic(context, request)?;
    let asked = asked_routes(request)?;
    let same = |a: &Value, b: &Value| a["destination"] == b["destination"] && a["nexthop"] == b["nexthop"];
    routes.retain(|route| !asked.iter().any(|gone| same(route, gone)));
    Ok(set_routes(context, request, routes))
}

pub(super) fn add_interface(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let router = own(context, &ROUTERS, request.id())?.clone();
    let asked = request.json()?.as_object().cloned().unwrap_or_default();
    let subnet = find(context, &SUBNETS, required(&asked, "subnet_id")?)?.clone();
    let (id, subnet_id, project) = (router.text("id"), subnet.text("id"), router.text("project_id"));
    let fixed = json!([{ "subnet_id": subnet_id, "ip_address": subnet.text("gateway_ip") }]);
    let place = context.state.next_place();
    let mut port = seed::port("", subnet.text("network_id"), project, &fixed);
    port.extend(object(json!({
        "mac_address": mac(place), "device_id": id, "device_owner": "network:router_interface",
        "port_security_enabled": false,
    })));
    let port = store(context, &PORTS, project, port);
    Ok(Reply::ok(json!({
        "id": id, "tenant_id": project, "project_id": project, "port_id": port, "network_id": subnet.text("network_id"),
        "subnet_id": subnet_id, "subnet_ids": [subnet_id],
    })))
}
