//! Barbican: reading secrets and containers.

use serde_json::{Value, json};

use crate::{
    context::Context,
    document::{Document, Fields as _, shown},
    error::ApiError,
    policy::Access,
    request::{Reply, Request},
    service::Action,
    state::Table,
};

pub(crate) const ACTIONS: &[Action] = &[
    Action::get("ListVersions", "", "", Access::Open, versions),
    Action::get("ShowVersion", "/v1", "", Access::Open, version),
    Action::get("ListSecrets", "/v1/secrets", "secrets:get", Access::Secret, secrets),
    Action::get("ShowSecret", "/v1/secrets/{}", "secret:get", Access::Secret, secret),
    Action::get("ListContainers", "/v1/containers", "containers:get", Access::Secret, containers),
    Action::get("ShowContainer", "/v1/containers/{}", "container:get", Access::Secret, container),
];

fn described(context: &Context<'_>) -> Value {
    json!({
        "id": "v1", "status": "CURRENT", "min_version": "1.0", "max_version": "1.2",
        "links": [
            { "rel": "self", "href": format!("{}/key-manager/v1/", context.root) },
            { "rel": "describedby", "type": "text/html", "href": "https://docs.openstack.org/" },
        ],
    })
}

fn versions(context: &mut Context<'_>, _: &Request) -> Result<Reply, ApiError> {
    Ok(Reply::new(300, json!({ "versions": [described(context)] })))
}

fn version(context: &mut Context<'_>, _: &Request) -> Result<Reply, ApiError> {
    Ok(Reply::ok(json!({ "version": described(context) })))
}

/// The path of a reference such as `http://host/key-manager/v1/containers/ID`, which is an ID in the end.
pub(crate) fn exists(context: &Context<'_>, reference: &str) -> bool {
    let mut parts = reference.rsplit('/');
    let (id, collection) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    match collection {
        "containers" => context.state.containers.contains(id),
        "secrets" => context.state.secrets.contains(id),
        _ => false,
    }
}

/// With the references that Barbican answers instead of IDs.
fn view(context: &Context<'_>, collection: &str, document: &Document) -> Value {
    let reference = |collection: &str, id: &str| format!("{}/key-manager/v1/{collection}/{id}", context.root);
    let mut view = shown(document);
    let id = view.remove("id").unwrap_or_default();
    view.remove("project_id");
    let name = format!("{}_ref", collection.trim_end_matches('s'));
    view.set(&name, reference(collection, id.as_str().unwrap_or_default()));
    for secret in view.get_mut("secret_refs").and_then(Value::as_array_mut).into_iter().flatten() {
        let id = secret["secret_ref"].as_str().unwrap_or_default().to_owned();
        secret["secret_ref"] = json!(reference("secrets", &id));
    }
    Value::Object(view)
}

fn list(context: &Context<'_>, collection: &str, table: &Table, request: &Request) -> Reply {
    let number = |name: &str, default: usize| request.query(name).and_then(|text| text.parse().ok()).unwrap_or(default);
    let matches = |document: &&Document| {
        context.owns(document) && request.query("name").is_none_or(|name| document.text("name") == name)
    };
    let all: Vec<Value> = table.values().filter(matches).map(|document| view(context, collection, document)).collect();
    let total = all.len();
    let page: Vec<Value> = all.into_iter().skip(number("offset", 0)).take(number("limit", 10).min(100)).collect();
    Reply::ok(json!({ collection: page, "total": total }))
}

fn one(context: &Context<'_>, collection: &str, table: &Table, id: &str) -> Result<Reply, ApiError> {
    let text = "Not Found. Sorry but your ";
    let kind = collection.trim_end_matches('s');
    let found = table.get(id).ok_or_else(|| ApiError::not_found(format!("{text}{kind} is in another castle.")))?;
    if !context.owns(found) {
        let mut kind = kind.to_owned();
        kind[..1].make_ascii_uppercase();
        let text = format!("{kind} retrieval attempt not allowed - please review your user/project privileges");
        return Err(ApiError::new(403, text));
    }
    Ok(Reply::ok(view(context, collection, found)))
}

fn secrets(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    Ok(list(context, "secrets", &context.state.secrets, request))
}

fn secret(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    one(context, "secrets", &context.state.secrets, request.id())
}

fn containers(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    Ok(list(context, "containers", &context.state.containers, request))
}

fn container(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    one(context, "containers", &context.state.containers, request.id())
}
