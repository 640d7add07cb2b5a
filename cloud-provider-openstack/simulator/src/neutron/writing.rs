//! What all writes share: bodies of one or many, revisions, quotas.

use serde_json::{Value, json};

use super::{
    attributes::to_update,
    reading::{own, view},
    resources::Resource,
};
use crate::{
    context::Context,
    document::{Document, Fields as _},
    error::ApiError,
    request::{Reply, Request},
    time,
};

/// Makes one or, if the body has the plural, many: all or none. Answers as it was asked.
pub(super) fn create(
    context: &mut Context<'_>,
    request: &Request,
    resource: &Resource,
    one: fn(&mut Context<'_>, &Document) -> Result<String, ApiError>,
) -> Result<Reply, ApiError> {
    let show = |context: &Context<'_>, id: &str| {
        let made = context.state.table(resource.kind).get(id).cloned().unwrap_or_default();
        Value::Object(view(context, resource, &made))
    };
    if let Some(Value::Array(many)) = request.json()?.get(resource.plural) {
        let mut made = Vec::new();
        for asked in many {
            let asked = asked.as_object().ok_or_else(|| ApiError::bad_request("Body contains invalid data"))?;
            made.push(one(context, asked)?);
        }
        let made: Vec<Value> = made.iter().map(|id| show(context, id)).collect();
        return Ok(Reply::new(201, json!({ resource.plural: made })));
    }
    let id = one(context, request.object(resource.singular)?)?;
    Ok(Reply::new(201, json!({ resource.singular: show(context, &id) })))
}

/// Stores a new resource with what all have: an ID, its project twice, times, a revision.
pub(super) fn store(context: &mut Context<'_>, resource: &Resource, project: &str, mut made: Document) -> String {
    let (id, now) = (context.state.next_id(), time::seconds(context.now));
    made.set("id", id.as_str());
    made.set("project_id", project);
    made.set("tenant_id", project);
    made.set("created_at", now.as_str());
    made.set("updated_at", now);
    made.set("revision_number", 1);
    context.state.table_mut(resource.kind).insert(made);
    id
}

/// The changes that a request asks for, if the caller may make them and knows the current revision.
pub(super) fn changes(context: &Context<'_>, request: &Request, resource: &Resource) -> Result<Document, ApiError> {
    let before = own(context, resource, request.id())?;
    check_revision(before, request)?;
    to_update(resource.attributes, request.object(resource.singular)?, context.knobs)
}

/// `If-Match: revision_number=N` refuses a change of another revision.
fn check_revision(before: &Document, request: &Request) -> Result<(), ApiError> {
    let Some(condition) = request.header("if-match") else { return Ok(()) };
    let wanted = condition.trim().strip_prefix("revision_number=").and_then(|number| number.parse::<i64>().ok());
    let Some(wanted) = wanted else {
        return Err(ApiError::bad_request("Revision number etag must be in the format of revision_number=<int>"));
    };
    if before.number("revision_number") == Some(wanted) {
        return Ok(());
    }
    let text = format!(
        "Constrained to {wanted}, but current revision is {}",
        before.number("revision_number").unwrap_or_default()
    );
    Err(ApiError::of(412, "RevisionNumberConstraintFailed", text))
}

/// Applies changes, and counts the revision.
pub(super) fn apply(context: &mut Context<'_>, resource: &Resource, id: &str, changes: Document) {
    let now = time::seconds(context.now);
    if let Some(document) = context.state.table_mut(resource.kind).get_mut(id) {
        document.extend(changes);
        let revision = document.number("revision_number").unwrap_or_default();
        document.set("revision_number", revision + 1);
        document.set("updated_at", now);
    }
}

/// The answer to an update.
pub(super) fn updated(context: &Context<'_>, resource: &Resource, id: &str) -> Reply {
    let document = context.state.table(resource.kind).get(id).cloned().unwrap_or_default();
    Reply::ok(json!({ resource.singular: view(context, resource, &document) }))
}

/// Refuses one more than the quota.
pub(super) fn check_quota(
    context: &Context<'_>,
    resource: &Resource,
    project: &str,
    quota: Option<usize>,
    name: &str,
) -> Result<(), ApiError> {
    let used = context.state.table(resource.kind).with("project_id", project).count();
    if quota.is_none_or(|quota| used < quota) {
        return Ok(());
    }
    Err(ApiError::of(409, "OverQuota", format!("Quota exceeded for resources: ['{name}'].")))
}
