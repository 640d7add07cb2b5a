//! Cinder: reading volumes.

use serde_json::{Value, json};

use crate::{
    context::Context,
    document::{Document, Fields as _, shown},
    error::ApiError,
    listing::{self, Paging, Previous},
    nova::microversion::CINDER,
    policy::Access,
    request::{Reply, Request},
    service::Action,
};

pub(crate) const ACTIONS: &[Action] = &[
    Action::get("ListVersions", "", "", Access::Open, versions),
    Action::get("ShowVersion", "/v3", "", Access::Open, versions),
    Action::get("ListVolumes", "/v3/volumes", "volume:get_all", Access::Reader, list),
    Action::get("ListVolumesDetail", "/v3/volumes/detail", "volume:get_all", Access::Reader, list),
    Action::get("ShowVolume", "/v3/volumes/{}", "volume:get", Access::Reader, show),
    // Before Yoga the project had to be in the path, and it still may be.
    Action::get("ListVolumes", "/v3/{}/volumes", "volume:get_all", Access::Reader, list),
    Action::get("ListVolumesDetail", "/v3/{}/volumes/detail", "volume:get_all", Access::Reader, list),
    Action::get("ShowVolume", "/v3/{}/volumes/{}", "volume:get", Access::Reader, show),
];

fn versions(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let version = json!({
        "id": "v3.0", "status": "CURRENT", "version": format!("3.{CINDER}"), "min_version": "3.0",
        "updated": "2023-08-31T00:00:00Z",
        "links": [
            { "rel": "describedby", "type": "text/html", "href": "https://docs.openstack.org/" },
            { "rel": "self", "href": format!("{}/volume/v3/", context.root) },
        ],
        "media-types": [{ "base": "application/json", "type": "application/vnd.openstack.volume+json;version=3" }],
    });
    Ok(Reply::new(if request.path.is_empty() { 300 } else { 200 }, json!({ "versions": [version] })))
}

fn own<'a>(context: &'a Context<'_>) -> impl Iterator<Item = &'a Document> {
    context.state.volumes.values().filter(move |volume| {
        context.is_admin() || volume.text("os-vol-tenant-attr:tenant_id") == context.caller.project
    })
}

fn list(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let filters = ["name", "status", "availability_zone"];
    let matches = |volume: &&Document| {
        filters.iter().all(|name| request.query(name).is_none_or(|wanted| listing::equals(volume.get(*name), wanted)))
    };
    let all: Vec<Document> = own(context).filter(matches).map(shown).collect();
    let paging = Paging {
        largest: Some(1000),
        links_need_limit: false,
        links_keep_query: true,
        previous: Previous::Never,
        unknown_marker: |marker| ApiError::not_found(format!("Volume {marker} could not be found.")),
        bad_limit: |limit| {
            ApiError::bad_request(format!("Invalid input received: limit param must be an integer: {limit}"))
        },
    };
    let (items, links) = listing::page(all, request, &paging)?;
    Ok(Reply::ok(listing::body("volumes", items, links)))
}

fn show(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let id = request.captures.last().map(String::as_str).unwrap_or_default();
    let found = own(context).find(|volume| volume.text("id") == id);
    let volume = found.ok_or_else(|| ApiError::not_found(format!("Volume {id} could not be found.")))?;
    Ok(Reply::ok(json!({ "volume": Value::Object(shown(volume)) })))
}
