//! Versions, providers, flavors and availability zones.

use serde_json::{Value, json};

use crate::{
    context::Context,
    document::{Document, Fields as _, shown},
    error::ApiError,
    request::{Reply, Request},
};

/// Since when each minor version of the API exists.
const UPDATED: [&str; 31] = [
    "2016-12-11",
    "2018-04-20",
    "2018-07-31",
    "2018-12-18",
    "2018-12-19",
    "2019-01-21",
    "2019-01-25",
    "2018-01-25",
    "2019-02-12",
    "2019-03-04",
    "2019-03-05",
    "2019-06-24",
    "2019-09-11",
    "2019-09-13",
    "2019-11-10",
    "2020-03-10",
    "2020-03-15",
    "2020-04-29",
    "2020-04-29",
    "2020-05-12",
    "2020-08-02",
    "2020-09-03",
    "2020-09-04",
    "2020-09-07",
    "2020-10-15",
    "2021-10-02",
    "2022-08-29",
    "2023-05-05",
    "2023-11-08",
    "2024-10-15",
    "2025-02-26",
];

/// In ascending order; only the last one is current.
pub(super) fn versions(context: &mut Context<'_>, _: &Request) -> Result<Reply, ApiError> {
    let newest = context.knobs.release.octavia_minor;
    let all: Vec<Value> = (0..=newest)
        .map(|minor| {
            let day = UPDATED.get(minor as usize).copied().unwrap_or("2025-02-26");
            json!({
                "id": format!("v2.{minor}"), "status": if minor == newest { "CURRENT" } else { "SUPPORTED" },
                "updated": format!("{day}T00:00:00Z"),
                "links": [{ "href": format!("{}/load-balancer/v2", context.root), "rel": "self" }],
            })
        })
        .collect();
    Ok(Reply::ok(json!({ "versions": all })))
}

pub(super) fn providers(context: &mut Context<'_>, _: &Request) -> Result<Reply, ApiError> {
    let one = |name: &String| json!({ "name": name, "description": format!("The {name} provider.") });
    let all: Vec<Value> = context.knobs.release.octavia_providers.iter().map(one).collect();
    Ok(Reply::ok(json!({ "providers": all, "providers_links": [] })))
}

pub(super) fn flavors(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let named = |flavor: &&Document| request.query("name").is_none_or(|name| flavor.text("name") == name);
    let all: Vec<Value> =
        context.state.lb_flavors.values().filter(named).map(|flavor| Value::Object(shown(flavor))).collect();
    Ok(Reply::ok(json!({ "flavors": all, "flavors_links": [] })))
}

pub(super) fn flavor(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let found = context.state.lb_flavors.get(request.id());
    let found = found.ok_or_else(|| ApiError::not_found(format!("Flavor {} not found.", request.id())))?;
    Ok(Reply::ok(json!({ "flavor": shown(found) })))
}

/// Zones have no ID: their name is it.
fn zone_view(zone: &Document) -> Value {
    let mut view = shown(zone);
    view.remove("id");
    Value::Object(view)
}

pub(super) fn zones(context: &mut Context<'_>, _: &Request) -> Result<Reply, ApiError> {
    let all: Vec<Value> = context.state.lb_zones.values().map(zone_view).collect();
    Ok(Reply::ok(json!({ "availability_zones": all, "availability_zones_links": [] })))
}

pub(super) fn zone(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let found = context.state.lb_zones.with("name", request.id()).next();
    let found = found.ok_or_else(|| ApiError::not_found(format!("Availability Zone {} not found.", request.id())))?;
    Ok(Reply::ok(json!({ "availability_zone": zone_view(found) })))
}
