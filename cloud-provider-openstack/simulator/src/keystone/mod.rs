//! Keystone, version 3.

pub(crate) mod catalog;
mod credentials;
pub(crate) mod tokens;

use http::Method;
use serde_json::{Value, json};

use crate::{
    context::Context,
    document::{Document, Fields as _},
    error::ApiError,
    policy::Access,
    request::{Reply, Request},
    service::Action,
};

pub(crate) const ACTIONS: &[Action] = &[
    Action::get("ListVersions", "", "", Access::Open, versions),
    Action::get("ShowVersion", "/v3", "", Access::Open, version),
    Action::write("CreateToken", Method::POST, "/v3/auth/tokens", "", Access::Open, tokens::create),
    Action::get("ShowToken", "/v3/auth/tokens", "identity:validate_token", Access::Token, tokens::show),
    Action::write(
        "RevokeToken",
        Method::DELETE,
        "/v3/auth/tokens",
        "identity:revoke_token",
        Access::Token,
        tokens::revoke,
    ),
    Action::get("ShowCatalog", "/v3/auth/catalog", "identity:get_auth_catalog", Access::Token, catalog::show),
    Action::get("ListAuthProjects", "/v3/auth/projects", "identity:get_auth_projects", Access::Token, projects),
    Action::get("ShowProject", "/v3/projects/{}", "identity:get_project", Access::Reader, project),
    Action::get(
        "ListApplicationCredentials",
        "/v3/users/{}/application_credentials",
        "identity:list_application_credentials",
        Access::Reader,
        credentials::list,
    ),
    Action::write(
        "CreateApplicationCredential",
        Method::POST,
        "/v3/users/{}/application_credentials",
        "identity:create_application_credential",
        Access::Member,
        credentials::create,
    ),
    Action::get(
        "ShowApplicationCredential",
        "/v3/users/{}/application_credentials/{}",
        "identity:get_application_credential",
        Access::Reader,
        credentials::show,
    ),
    Action::write(
        "DeleteApplicationCredential",
        Method::DELETE,
        "/v3/users/{}/application_credentials/{}",
        "identity:delete_application_credential",
        Access::Member,
        credentials::delete,
    ),
];

fn described(root: &str) -> Value {
    json!({
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{ "rel": "self", "href": format!("{root}/identity/v3/") }],
        "media-types": [{ "base": "application/json", "type": "application/vnd.openstack.identity-v3+json" }],
    })
}

fn versions(context: &mut Context<'_>, _: &Request) -> Result<Reply, ApiError> {
    Ok(Reply::new(300, json!({ "versions": { "values": [described(context.root)] } })))
}

fn version(context: &mut Context<'_>, _: &Request) -> Result<Reply, ApiError> {
    Ok(Reply::ok(json!({ "version": described(context.root) })))
}

fn project_view(context: &Context<'_>, project: &Document) -> Value {
    let id = project.text("id");
    json!({
        "id": id, "name": project.text("name"), "domain_id": project.text("domain_id"), "description": "",
        "enabled": true, "is_domain": false, "parent_id": project.text("domain_id"), "tags": [], "options": {},
        "links": { "self": format!("{}/identity/v3/projects/{id}", context.root) },
    })
}

fn projects(context: &mut Context<'_>, _: &Request) -> Result<Reply, ApiError> {
    let own = |project: &&Document| {
        let user = context.state.users.get(&context.caller.user);
        user.is_some_and(|user| !tokens::roles_in(user, project.text("id")).is_empty())
    };
    let all: Vec<Value> =
        context.state.projects.values().filter(own).map(|project| project_view(context, project)).collect();
    let links =
        json!({ "self": format!("{}/identity/v3/auth/projects", context.root), "next": null, "previous": null });
    Ok(Reply::ok(json!({ "projects": all, "links": links })))
}

fn project(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let found = context.state.projects.get(request.id());
    let visible = found.filter(|project| context.is_admin() || project.text("id") == context.caller.project);
    match visible {
        Some(project) => Ok(Reply::ok(json!({ "project": project_view(context, project) }))),
        None if context.is_admin() => Err(ApiError::not_found(format!("Could not find project: {}.", request.id()))),
        None => {
            Err(ApiError::new(403, "You are not authorized to perform the requested action: identity:get_project."))
        }
    }
}
