//! Authentication: who gets a token, for what, and for how long.

use cloud_provider_simulation::{later, mix};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::catalog::{self, id_of};
use crate::{
    context::Context,
    document::{Document, Fields as _},
    error::ApiError,
    request::{Reply, Request},
    time,
};

/// A token that was given out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Token {
    pub(crate) user: String,
    pub(crate) project: Option<String>,
    pub(crate) domain: Option<String>,
    pub(crate) trust: Option<String>,
    pub(crate) credential: Option<String>,
    pub(crate) roles: Vec<String>,
    pub(crate) methods: Vec<String>,
    pub(crate) issued: Timestamp,
    pub(crate) expires: Timestamp,
}

/// Who proved to be whom.
struct Identity {
    user: Document,
    methods: Vec<String>,
    credential: Option<Document>,
    /// The end and the trust of the token that was shown.
    before: Option<Token>,
}

fn refused() -> ApiError {
    ApiError::unauthorized()
}

fn malformed(what: &str) -> ApiError {
    ApiError::bad_request(format!(
        "Expecting to find {what}. The server could not comply with the request since it is either malformed or otherwise \
         incorrect. The client is assumed to be in error."
    ))
}

fn object<'a>(document: &'a Document, name: &str) -> Option<&'a Document> {
    document.get(name).and_then(Value::as_object)
}

pub(crate) fn create(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let auth = request.object("auth").map_err(|_| malformed("auth in request body"))?;
    let identity = object(auth, "identity").ok_or_else(|| malformed("identity in auth"))?;
    let proven = identify(context, identity)?;
    let mut token = Token {
        user: proven.user.text("id").to_owned(),
        project: None,
        domain: None,
        trust: None,
        credential: None,
        roles: Vec::new(),
        methods: proven.methods.clone(),
        issued: context.now,
        expires: later(context.now, context.knobs.delays.token_s.saturating_mul(1000)),
    };
    if let Some(before) = &proven.before {
        token.expires = before.expires;
    }
    match &proven.credential {
        Some(credential) => {
            if auth.contains_key("scope") {
                return Err(malformed("no scope: application credentials cannot request a scope"));
            }
            token.project = Some(credential.text("project_id").to_owned());
            token.credential = Some(credential.text("id").to_owned());
            token.roles = credential.texts("roles").into_iter().map(str::to_owned).collect();
        }
        None => scope(context, auth, &proven, &mut token)?,
    }
    let id = next_id(context);
    let body = view(context, &token);
    context.tokens.retain(|_, token| context.now < token.expires);
    context.tokens.insert(id.clone(), token);
    Ok(Reply::new(201, body).with("x-subject-token", id).with("vary", "X-Auth-Token"))
}

/// The shape of a Fernet token; the number makes it unique.
fn next_id(context: &mut Context<'_>) -> String {
    let number = context.state.next_number();
    let parts: Vec<String> = (0..8).map(|place| format!("{:016x}", mix(number.wrapping_add(place)))).collect();
    format!("gAAAAAB{}", parts.concat())
}

fn identify(context: &Context<'_>, identity: &Document) -> Result<Identity, ApiError> {
    let methods: Vec<String> = identity.texts("methods").into_iter().map(str::to_owned).collect();
    if methods.is_empty() {
        return Err(malformed("methods in identity"));
    }
    let mut proven: Option<Identity> = None;
    for method in &methods {
        let of_method = object(identity, method).ok_or_else(|| malformed(&format!("{method} in identity")))?;
        let next = match method.as_str() {
            "password" => by_password(context, of_method)?,
            "token" => by_token(context, of_method)?,
            "application_credential" => by_credential(context, of_method)?,
            _ => {
                let text = format!("Attempted to authenticate with an unsupported method: {method}.");
                return Err(ApiError::new(401, text));
            }
        };
        if proven.as_ref().is_some_and(|before| before.user.text("id") != next.user.text("id")) {
            return Err(refused());
        }
        proven = Some(next);
    }
    let mut proven = proven.ok_or_else(refused)?;
    if proven.before.is_none() {
        proven.methods = methods;
    }
    Ok(proven)
}

/// A user by ID, or by name and domain.
fn user<'a>(context: &'a Context<'_>, asked: &Document) -> Result<&'a Document, ApiError> {
    let found = if asked.has("id") {
        context.state.users.get(asked.text("id"))
    } else if asked.has("name") {
        let domain = domain_of(context, object(asked, "domain").ok_or_else(|| malformed("domain in user"))?)?;
        context.state.users.with("name", asked.text("name")).find(|user| user.text("domain_id") == domain)
    } else {
        return Err(malformed("id or name in user"));
    };
    found.filter(|user| user.get("enabled") != Some(&Value::Bool(false))).ok_or_else(refused)
}

fn domain_of(context: &Context<'_>, asked: &Document) -> Result<String, ApiError> {
    let found = if asked.has("id") {
        context.state.domains.get(asked.text("id"))
    } else {
        context.state.domains.with("name", asked.text("name")).next()
    };
    found.map(|domain| domain.text("id").to_owned()).ok_or_else(refused)
}

fn by_password(context: &Context<'_>, of_method: &Document) -> Result<Identity, ApiError> {
    let asked = object(of_method, "user").ok_or_else(|| malformed("user in password"))?;
    let user = user(context, asked)?;
    if !asked.has("password") || asked.text("password") != user.text("password") {
        return Err(refused());
    }
    Ok(Identity { user: user.clone(), methods: Vec::new(), credential: None, before: None })
}

fn by_token(context: &Context<'_>, of_method: &Document) -> Result<Identity, ApiError> {
    let before = context.tokens.get(of_method.text("id")).filter(|token| context.now < token.expires);
    let before = before.ok_or_else(refused)?;
    if before.credential.is_some() || before.trust.is_some() {
        let text = "Using an application credential or a trust-scoped token to create another token is forbidden.";
        return Err(ApiError::new(403, text));
    }
    let user = context.state.users.get(&before.user).ok_or_else(refused)?.clone();
    let mut methods = vec!["token".to_owned()];
    methods.extend(before.methods.iter().filter(|method| *method != "token").cloned());
    Ok(Identity { user, methods, credential: None, before: Some(before.clone()) })
}

fn by_credential(context: &Context<'_>, of_method: &Document) -> Result<Identity, ApiError> {
    let found = if of_method.has("id") {
        context.state.credentials.get(of_method.text("id"))
    } else {
        let asked = object(of_method, "user").ok_or_else(|| malformed("user in application_credential"))?;
        let user = user(context, asked)?.text("id");
        context.state.credentials.with("name", of_method.text("name")).find(|all| all.text("user_id") == user)
    };
    let credential = found.ok_or_else(refused)?;
    let over = credential.text("expires_at").parse::<Timestamp>().is_ok_and(|end| end <= context.now);
    if over || of_method.text("secret") != credential.text("_secret") {
        return Err(refused());
    }
    let user = context.state.users.get(credential.text("user_id")).ok_or_else(refused)?.clone();
    Ok(Identity { user, methods: Vec::new(), credential: Some(credential.clone()), before: None })
}

/// The roles that a user has in a project or a domain.
pub(crate) fn roles_in(user: &Document, target: &str) -> Vec<String> {
    let roles = user.get("_roles").and_then(|all| all.get(target)).and_then(Value::as_array);
    roles.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn scope(context: &Context<'_>, auth: &Document, proven: &Identity, token: &mut Token) -> Result<(), ApiError> {
    let default = || {
        let project = proven.user.text("default_project_id");
        (!project.is_empty() && proven.before.is_none()).then(|| project.to_owned())
    };
    let Some(scope) = auth.get("scope") else {
        if let Some(project) = default() {
            token.roles = roles_in(&proven.user, &project);
            token.project = Some(project).filter(|_| !token.roles.is_empty());
        }
        return Ok(());
    };
    let Some(scope) = scope.as_object() else {
        // `"scope": "unscoped"`
        return Ok(());
    };
    if let Some(trust) = object(scope, "OS-TRUST:trust") {
        let trust = context
            .state
            .trusts
            .get(trust.text("id"))
            .ok_or_else(|| ApiError::new(403, format!("Could not find trust: {}.", trust.text("id"))))?;
        if trust.text("trustee_user_id") != proven.user.text("id") {
            return Err(ApiError::new(403, "User is not a trustee."));
        }
        if trust.flag("impersonation") {
            trust.text("trustor_user_id").clone_into(&mut token.user);
        }
        token.trust = Some(trust.text("id").to_owned());
        token.project = Some(trust.text("project_id").to_owned());
        token.roles = trust.texts("roles").into_iter().map(str::to_owned).collect();
        return Ok(());
    }
    if let Some(asked) = object(scope, "project") {
        let project = if asked.has("id") {
            context.state.projects.get(asked.text("id"))
        } else {
            let domain = domain_of(context, object(asked, "domain").ok_or_else(|| malformed("domain in project"))?)?;
            context.state.projects.with("name", asked.text("name")).find(|all| all.text("domain_id") == domain)
        };
        let project = project.ok_or_else(refused)?.text("id").to_owned();
        token.roles = roles_in(&proven.user, &project);
        token.project = Some(project);
    } else if let Some(asked) = object(scope, "domain") {
        let domain = domain_of(context, asked)?;
        token.roles = roles_in(&proven.user, &domain);
        token.domain = Some(domain);
    } else {
        return Err(malformed("project, domain or OS-TRUST:trust in scope"));
    }
    if token.roles.is_empty() {
        return Err(refused());
    }
    Ok(())
}

/// The document of a token.
fn view(context: &Context<'_>, token: &Token) -> Value {
    let named = |document: Option<&Document>| {
        let document = document.cloned().unwrap_or_default();
        let domain = context.state.domains.get(document.text("domain_id")).cloned().unwrap_or_default();
        json!({
            "id": document.text("id"), "name": document.text("name"),
            "domain": { "id": domain.text("id"), "name": domain.text("name") },
        })
    };
    let mut user = named(context.state.users.get(&token.user));
    user["password_expires_at"] = Value::Null;
    let mut body = json!({
        "methods": token.methods, "user": user, "audit_ids": [id_of(&token.issued.to_string())],
        "expires_at": time::micros(token.expires), "issued_at": time::micros(token.issued),
    });
    if let Some(project) = &token.project {
        body["project"] = named(context.state.projects.get(project));
        body["is_domain"] = json!(false);
    }
    if let Some(domain) = &token.domain {
        let domain = context.state.domains.get(domain).cloned().unwrap_or_default();
        body["domain"] = json!({ "id": domain.text("id"), "name": domain.text("name") });
    }
    if token.project.is_some() || token.domain.is_some() {
        let roles = crate::policy::with_implied(&token.roles);
        body["roles"] = roles.iter().map(|role| json!({ "id": id_of(role), "name": role })).collect();
        body["catalog"] = catalog::entries(context);
    }
    if let Some(trust) = token.trust.as_ref().and_then(|id| context.state.trusts.get(id)) {
        body["OS-TRUST:trust"] = json!({
            "id": trust.text("id"), "impersonation": trust.flag("impersonation"),
            "trustor_user": { "id": trust.text("trustor_user_id") },
            "trustee_user": { "id": trust.text("trustee_user_id") },
        });
    }
    if let Some(credential) = token.credential.as_ref().and_then(|id| context.state.credentials.get(id)) {
        let restricted = !credential.flag("unrestricted");
        body["application_credential"] =
            json!({ "id": credential.text("id"), "name": credential.text("name"), "restricted": restricted });
    }
    json!({ "token": body })
}

/// The token that a request asks about, which must be good.
fn subject<'a>(context: &'a Context<'_>, request: &Request) -> Result<(String, &'a Token), ApiError> {
    let id = request.header("x-subject-token").unwrap_or_default();
    let token = context.tokens.get(id).filter(|token| context.now < token.expires);
    let token =
        token.ok_or_else(|| ApiError::not_found("Could not find token: This is not a recognized Fernet token."))?;
    Ok((id.to_owned(), token))
}

pub(crate) fn show(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let (id, token) = subject(context, request)?;
    Ok(Reply::ok(view(context, token)).with("x-subject-token", id).with("vary", "X-Auth-Token"))
}

pub(crate) fn revoke(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let (id, _) = subject(context, request)?;
    context.tokens.remove(&id);
    Ok(Reply::empty(204))
}
