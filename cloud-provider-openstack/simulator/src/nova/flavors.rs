//! Flavors.

use serde_json::{Value, json};

use super::view::both_links;
use crate::{
    context::Context,
    document::{Document, Fields as _, object},
    error::ApiError,
    listing,
    request::{Reply, Request},
};

fn basic(context: &Context<'_>, flavor: &Document) -> Document {
    let id = flavor.text("id");
    let mut view =
        object(json!({ "id": id, "name": flavor.text("name"), "links": both_links(context, "flavors", id) }));
    if context.minor >= 55 {
        view.set("description", Value::Null);
    }
    view
}

fn full(context: &Context<'_>, flavor: &Document) -> Document {
    let mut view = basic(context, flavor);
    let number = |name: &str| flavor.number(name).unwrap_or_default();
    let swap = number("swap");
    view.extend(object(json!({
        "ram": number("ram"), "disk": number("disk"), "vcpus": number("vcpus"),
        "swap": if swap == 0 && context.minor < 75 { json!("") } else { json!(swap) },
        "OS-FLV-EXT-DATA:ephemeral": number("OS-FLV-EXT-DATA:ephemeral"), "os-flavor-access:is_public": true,
    })));
    if context.minor < 102 {
        view.set("OS-FLV-DISABLED:disabled", false);
        view.set("rxtx_factor", 1.0);
    }
    if context.minor >= 61 {
        view.set("extra_specs", flavor.get("_extra_specs").cloned().unwrap_or_else(|| json!({})));
    }
    view
}

fn all(context: &Context<'_>, view: fn(&Context<'_>, &Document) -> Document) -> Reply {
    let items = context.state.flavors.values().map(|flavor| view(context, flavor)).collect();
    Reply::ok(listing::body("flavors", items, Vec::new()))
}

pub(super) fn list(context: &mut Context<'_>, _: &Request) -> Result<Reply, ApiError> {
    Ok(all(context, basic))
}

pub(super) fn detail(context: &mut Context<'_>, _: &Request) -> Result<Reply, ApiError> {
    Ok(all(context, full))
}

pub(super) fn show(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let flavor = context.state.flavors.get(request.id());
    let flavor = flavor.ok_or_else(|| ApiError::not_found(format!("Flavor {} could not be found.", request.id())))?;
    Ok(Reply::ok(json!({ "flavor": full(context, flavor) })))
}
