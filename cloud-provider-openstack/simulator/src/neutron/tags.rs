//! Tags of any resource that has them.

use serde_json::json;

use super::{
    reading::{find, own},
    resources::{self, Resource},
    writing::apply,
};
use crate::{
    context::Context,
    document::{Document, Fields as _},
    error::ApiError,
    request::{Reply, Request},
};

fn target(request: &Request) -> Result<(&'static Resource, &str), ApiError> {
    let resource = resources::of_path(request.id()).ok_or_else(ApiError::nothing_here)?;
    Ok((resource, request.capture(1)))
}

fn tags(context: &Context<'_>, resource: &Resource, id: &str) -> Result<Vec<String>, ApiError> {
    Ok(find(context, resource, id)?.texts("tags").into_iter().map(str::to_owned).collect())
}

fn set(context: &mut Context<'_>, resource: &Resource, id: &str, tags: Vec<String>) -> Result<(), ApiError> {
    own(context, resource, id)?;
    let mut changes = Document::new();
    changes.set("tags", tags);
    apply(context, resource, id, changes);
    Ok(())
}

fn missing(tag: &str) -> ApiError {
    ApiError::of(404, "TagNotFound", format!("Tag {tag} could not be found."))
}

pub(super) fn list(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let (resource, id) = target(request)?;
    Ok(Reply::ok(json!({ "tags": tags(context, resource, id)? })))
}

pub(super) fn show(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let (resource, id) = target(request)?;
    let tag = request.capture(2);
    if tags(context, resource, id)?.iter().any(|own| own == tag) { Ok(Reply::empty(204)) } else { Err(missing(tag)) }
}

pub(super) fn replace(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let (resource, id) = target(request)?;
    let asked = request.json()?.as_object().cloned().unwrap_or_default();
    let mut wanted: Vec<String> = asked.texts("tags").into_iter().map(str::to_owned).collect();
    wanted.sort();
    wanted.dedup();
    if let Some(long) = wanted.iter().find(|tag| tag.is_empty() || tag.chars().count() > 255) {
        return Err(ApiError::bad_request(format!(
            "Invalid input for tags. Reason: '{long}' exceeds maximum length of 255."
        )));
    }
    set(context, resource, id, wanted.clone())?;
    Ok(Reply::ok(json!({ "tags": wanted })))
}

pub(super) fn add(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let (resource, id) = target(request)?;
    let mut all = tags(context, resource, id)?;
    if !all.iter().any(|tag| tag == request.capture(2)) {
        all.push(request.capture(2).to_owned());
        set(context, resource, id, all)?;
    }
    Ok(Reply::empty(201))
}

pub(super) fn delete(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let (resource, id) = target(request)?;
    let (mut all, tag) = (tags(context, resource, id)?, request.capture(2));
    let before = all.len();
    all.retain(|own| own != tag);
    if all.len() == before {
        return Err(missing(tag));
    }
    set(context, resource, id, all)?;
    Ok(Reply::empty(204))
}

pub(super) fn delete_all(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let (resource, id) = target(request)?;
    set(context, resource, id, Vec::new())?;
    Ok(Reply::empty(204))
}
