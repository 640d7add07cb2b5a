//! Where the services are.

use cloud_provider_simulation::{chance::uuid, mix};
use serde_json::{Value, json};

use crate::{
    context::Context,
    error::ApiError,
    request::{Reply, Request},
    service::Service,
};

/// Interfaces of endpoints. Calls that do not go through the public one are logged with theirs.
pub(crate) const INTERFACES: [&str; 3] = ["public", "internal", "admin"];

/// An ID as Keystone makes them, always the same for the same name.
pub(crate) fn id_of(name: &str) -> String {
    uuid_of(name).replace('-', "")
}

/// A UUID that is always the same for the same name.
pub(crate) fn uuid_of(name: &str) -> String {
    let sum = name.bytes().fold(0_u64, |sum, byte| mix(sum ^ u64::from(byte)));
    uuid(sum, mix(sum))
}

/// The catalog of a scoped token. The first region's URLs are bare; the others have the region's name in front, so that the
/// log tells them apart, as it does with interfaces.
pub(crate) fn entries(context: &Context<'_>) -> Value {
    let without = &context.knobs.release.catalog_without;
    let services = Service::ALL.into_iter().filter(|service| !without.contains(service.catalog_type()));
    services
        .map(|service| {
            let mut endpoints = Vec::new();
            for (place, region) in context.state.regions.iter().enumerate() {
                for interface in INTERFACES {
                    let mut url = context.root.to_owned();
                    if place > 0 {
                        url.push_str(&format!("/region-{region}"));
                    }
                    if interface != "public" {
                        url.push_str(&format!("/{interface}"));
                    }
                    url.push_str(&format!("/{}{}", service.prefix(), service.catalog_suffix()));
                    endpoints.push(json!({
                        "id": id_of(&url), "interface": interface, "region": region, "region_id": region, "url": url,
                    }));
                }
            }
            let kind = service.catalog_type();
            json!({ "id": id_of(kind), "name": service.name(), "type": kind, "endpoints": endpoints })
        })
        .collect()
}

pub(crate) fn show(context: &mut Context<'_>, _: &Request) -> Result<Reply, ApiError> {
    let links = json!({ "self": format!("{}/identity/v3/auth/catalog", context.root) });
    Ok(Reply::ok(json!({ "catalog": entries(context), "links": links })))
}
