//! Nova: servers with what their ports tell, and flavors.

mod flavors;
pub(crate) mod microversion;
mod servers;
mod view;

use http::Method;
use serde_json::{Value, json};

use crate::{
    context::Context,
    error::ApiError,
    policy::Access,
    request::{Reply, Request},
    service::Action,
};

pub(crate) const ACTIONS: &[Action] = &[
    Action::get("ListVersions", "", "", Access::Open, versions),
    Action::get("ShowVersion", "/v2.1", "", Access::Open, version),
    Action::get("ListServers", "/v2.1/servers", "os_compute_api:servers:index", Access::Reader, servers::list),
    Action::get(
        "ListServersDetail",
        "/v2.1/servers/detail",
        "os_compute_api:servers:detail",
        Access::Reader,
        servers::detail,
    ),
    Action::get("ShowServer", "/v2.1/servers/{}", "os_compute_api:servers:show", Access::Reader, servers::show),
    Action::write(
        "UpdateServer",
        Method::PUT,
        "/v2.1/servers/{}",
        "os_compute_api:servers:update",
        Access::Member,
        servers::update,
    ),
    Action::write(
        "DeleteServer",
        Method::DELETE,
        "/v2.1/servers/{}",
        "os_compute_api:servers:delete",
        Access::Member,
        servers::delete,
    ),
    Action::write(
        "ActOnServer",
        Method::POST,
        "/v2.1/servers/{}/action",
        "os_compute_api:servers:action",
        Access::Member,
        servers::act,
    ),
    Action::get(
        "ShowServerAddresses",
        "/v2.1/servers/{}/ips",
        "os_compute_api:ips:index",
        Access::Reader,
        servers::addresses,
    ),
    Action::get(
        "ShowServerMetadata",
        "/v2.1/servers/{}/metadata",
        "os_compute_api:server-metadata:index",
        Access::Reader,
        servers::metadata,
    ),
    Action::write(
        "UpdateServerMetadata",
        Method::POST,
        "/v2.1/servers/{}/metadata",
        "os_compute_api:server-metadata:create",
        Access::Member,
        servers::update_metadata,
    ),
    Action::get(
        "ListServerInterfaces",
        "/v2.1/servers/{}/os-interface",
        "os_compute_api:os-attach-interfaces:list",
        Access::Reader,
        servers::interfaces,
    ),
    Action::get("ListFlavors", "/v2.1/flavors", "", Access::Token, flavors::list),
    Action::get("ListFlavorsDetail", "/v2.1/flavors/detail", "", Access::Token, flavors::detail),
    Action::get("ShowFlavor", "/v2.1/flavors/{}", "", Access::Token, flavors::show),
    Action::get(
        "ListZones",
        "/v2.1/os-availability-zone",
        "os_compute_api:os-availability-zone:list",
        Access::Reader,
        zones,
    ),
];

fn described(context: &Context<'_>, id: &str) -> Value {
    let current = id == "v2.1";
    let newest = if current { format!("2.{}", context.knobs.release.nova_minor) } else { String::new() };
    let path = if current { "v2.1" } else { "v2" };
    json!({
        "id": id,
        "status": if current { "CURRENT" } else { "SUPPORTED" },
        "version": newest,
        "min_version": if current { "2.1" } else { "" },
        "updated": if current { "2013-07-23T11:33:21Z" } else { "2011-01-21T11:33:21Z" },
        "links": [{ "rel": "self", "href": format!("{}/compute/{path}/", context.root) }],
    })
}

fn versions(context: &mut Context<'_>, _: &Request) -> Result<Reply, ApiError> {
    Ok(Reply::ok(json!({ "versions": [described(context, "v2.0"), described(context, "v2.1")] })))
}

fn version(context: &mut Context<'_>, _: &Request) -> Result<Reply, ApiError> {
    let mut version = described(context, "v2.1");
    version["media-types"] =
        json!([{ "base": "application/json", "type": "application/vnd.openstack.compute+json;version=2.1" }]);
    if let Some(links) = version["links"].as_array_mut() {
        links.push(json!({ "rel": "describedby", "type": "text/html", "href": "http://docs.openstack.org/" }));
    }
    Ok(Reply::ok(json!({ "version": version })))
}

fn zones(context: &mut Context<'_>, _: &Request) -> Result<Reply, ApiError> {
    use crate::document::Fields as _;
    let mut names: Vec<&str> =
        context.state.servers.values().map(|server| server.text("OS-EXT-AZ:availability_zone")).collect();
    names.sort_unstable();
    names.dedup();
    let zone = |name: &str| json!({ "zoneName": name, "zoneState": { "available": true }, "hosts": null });
    let all: Vec<Value> = names.into_iter().filter(|name| !name.is_empty()).map(zone).collect();
    Ok(Reply::ok(json!({ "availabilityZoneInfo": all })))
}
