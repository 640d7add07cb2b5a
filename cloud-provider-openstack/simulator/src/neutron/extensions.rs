//! Which extensions are on.

use serde_json::{Value, json};

use crate::{
    context::Context,
    error::ApiError,
    request::{Reply, Request},
};

const ALL: &[(&str, &str)] = &[
    ("agent", "agent"),
    ("allowed-address-pairs", "Allowed Address Pairs"),
    ("availability_zone", "Availability Zone"),
    ("binding", "Port Binding"),
    ("external-net", "Neutron external network"),
    ("extraroute", "Neutron Extra Route"),
    ("extraroute-atomic", "Atomically add/remove extra routes"),
    ("filter-validation", "Filter parameters validation"),
    ("fip-port-details", "Floating IP Port Details Extension"),
    ("ip-substring-filtering", "IP address substring filtering"),
    ("net-mtu", "Network MTU"),
    ("pagination", "Pagination support"),
    ("port-security", "Port Security"),
    ("project-id", "project_id field enabled"),
    ("provider", "Provider Network"),
    ("qos", "Quality of Service"),
    ("quotas", "Quota management support"),
    ("revision-if-match", "If-Match constraints based on revision_number"),
    ("router", "Neutron L3 Router"),
    ("security-group", "security-group"),
    ("security-groups-normalized-cidr", "Normalized CIDR field for security group rules"),
    ("sorting", "Sorting support"),
    ("standard-attr-description", "standard-attr-description"),
    ("standard-attr-revisions", "Resource revision numbers"),
    ("standard-attr-tag", "Tag support for resources with standard attribute"),
    ("standard-attr-timestamp", "Resource timestamps"),
    ("stateful-security-group", "Stateful security group"),
    ("subnet-external-network", "Subnet belongs to an external network"),
    ("trunk", "Trunk Extension"),
    ("trunk-details", "Trunk port details"),
];

fn view(alias: &str, name: &str) -> Value {
    json!({ "alias": alias, "name": name, "description": name, "updated": "2020-01-01T00:00:00-00:00", "links": [] })
}

fn on<'a>(context: &'a Context<'_>) -> impl Iterator<Item = &'static (&'static str, &'static str)> + 'a {
    ALL.iter().filter(move |(alias, _)| !context.knobs.release.neutron_without.contains(*alias))
}

pub(super) fn list(context: &mut Context<'_>, _: &Request) -> Result<Reply, ApiError> {
    let all: Vec<Value> = on(context).map(|(alias, name)| view(alias, name)).collect();
    Ok(Reply::ok(json!({ "extensions": all })))
}

pub(super) fn show(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let found = on(context).find(|(alias, _)| *alias == request.id());
    let missing = || ApiError::not_found(format!("Extension with alias {} does not exist", request.id()));
    let (alias, name) = found.ok_or_else(missing)?;
    Ok(Reply::ok(json!({ "extension": view(alias, name) })))
}
