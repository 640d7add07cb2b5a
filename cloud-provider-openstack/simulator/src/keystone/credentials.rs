//! Application credentials.

use serde_json::{Value, json};

use super::{catalog::id_of, tokens::roles_in};
use crate::{
    context::Context,
    document::{Document, Fields as _, object},
    error::ApiError,
    request::{Reply, Request, required},
};

fn check_user(context: &Context<'_>, request: &Request) -> Result<(), ApiError> {
    if request.id() == context.caller.user || context.is_admin() {
        return Ok(());
    }
    Err(ApiError::new(403, "You are not authorized to perform the requested action."))
}

fn view(context: &Context<'_>, credential: &Document) -> Value {
    let (id, user) = (credential.text("id"), credential.text("user_id"));
    let roles: Vec<Value> = credential
        .texts("roles")
        .into_iter()
        .map(|role| json!({ "id": id_of(role), "name": role, "domain_id": null, "description": null, "options": {} }))
        .collect();
    json!({
        "id": id, "name": credential.text("name"), "description": credential.get("description"),
        "project_id": credential.text("project_id"), "user_id": user, "roles": roles, "system": null,
        "expires_at": credential.get("expires_at"), "unrestricted": credential.flag("unrestricted"),
        "links": { "self": format!("{}/identity/v3/users/{user}/application_credentials/{id}", context.root) },
    })
}

pub(crate) fn list(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    check_user(context, request)?;
    let own = context.state.credentials.with("user_id", request.id());
    let named = own.filter(|credential| request.query("name").is_none_or(|name| credential.text("name") == name));
    let all: Vec<Value> = named.map(|credential| view(context, credential)).collect();
    Ok(Reply::ok(json!({ "application_credentials": all, "links": { "self": null, "next": null, "previous": null } })))
}

pub(crate) fn show(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    check_user(context, request)?;
    let found = context.state.credentials.get(request.capture(1));
    let text = || ApiError::not_found(format!("Could not find Application Credential: {}.", request.capture(1)));
    Ok(Reply::ok(json!({ "application_credential": view(context, found.ok_or_else(text)?) })))
}

pub(crate) fn create(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    check_user(context, request)?;
    let asked = request.object("application_credential")?;
    let (name, user) = (required(asked, "name")?, context.caller.user.clone());
    if context.state.credentials.with("user_id", &user).any(|credential| credential.text("name") == name) {
        let text = format!(
            "Conflict occurred attempting to store application_credential - Duplicate entry found with name {name}."
        );
        return Err(ApiError::conflict(text));
    }
    let own = context.state.users.get(&user).map(|user| roles_in(user, &context.caller.project)).unwrap_or_default();
    let wanted: Vec<String> =
        crate::document::objects(asked, "roles").map(|role| role.text("name").to_owned()).collect();
    let roles = if wanted.is_empty() { own } else { wanted };
    let secret = match asked.text("secret") {
        "" => context.state.next_id(),
        given => given.to_owned(),
    };
    let id = context.state.next_id().replace('-', "");
    let credential = object(json!({
        "id": id, "name": name, "user_id": user, "project_id": context.caller.project, "roles": roles,
        "description": asked.get("description"), "expires_at": asked.get("expires_at"),
        "unrestricted": asked.flag("unrestricted"), "_secret": secret,
    }));
    let mut body = view(context, &credential);
    body["secret"] = json!(secret);
    context.state.credentials.insert(credential);
    Ok(Reply::new(201, json!({ "application_credential": body })))
}

pub(crate) fn delete(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    check_user(context, request)?;
    let text = || ApiError::not_found(format!("Could not find Application Credential: {}.", request.capture(1)));
    context.state.credentials.remove(request.capture(1)).ok_or_else(text)?;
    let gone = request.capture(1);
    context.tokens.retain(|_, token| token.credential.as_deref() != Some(gone));
    Ok(Reply::empty(204))
}
